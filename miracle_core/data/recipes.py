"""Recipes: one name for a whole set of filters, so that a published data set can be made again.

A recipe belongs to a format: the format's reader does what is particular to it, and the
preparation keeps to its defaults (5-core, order by time, leave-one-out). The manifest names it
under ``settings.read.recipe``.
"""

from __future__ import annotations

from collections.abc import Mapping

from miracle_core.errors import InputError, did_you_mean

_ORDER = (
    "Interactions of equal time keep the order of the file; what order the published split has "
    "for them is not known."
)
# What each recipe does, in words: format -> name -> sentences.
RECIPES: Mapping[str, Mapping[str, str]] = {
    "online-retail": {
        "paper": "A user is an invoice; cancelled ones stay. Lines without a description are left "
        "out, and of lines with equal invoice, item, quantity and time the first stays. 5-core. "
        + _ORDER
    },
    "amazon2018": {
        "paper": "Of ratings with equal user, item, rating and time the first stays. Items without "
        "a row in the meta file are left out; those with a row but no title stay if a category or "
        "a brand says something of them. 5-core. " + _ORDER
    },
}


def check_recipe(name: str, format: str) -> None:
    """Refuse a recipe that a format does not have.

    Raises:
        InputError: naming those there are.
    """
    known = RECIPES.get(format, {})
    if name in known:
        return
    where = f"--recipe {name} --format {format}"
    if not known:
        raise InputError(
            "this format has no recipes",
            where=where,
            remedy=f"leave it out; formats that have some: {', '.join(sorted(RECIPES))}",
        )
    raise InputError(
        f"{format} has no recipe {name!r}",
        where=where,
        remedy=did_you_mean(name, known, f"choose one of {', '.join(known)}"),
    )
