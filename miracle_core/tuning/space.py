"""The search space of a study: the system's, without the settings that were fixed."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from miracle_core.config import (
    Range,
    Settings,
    flat,
    make_settings,
    nested,
    setting_names,
    settings_class,
)
from miracle_core.errors import InputError, did_you_mean
from miracle_core.registry import SystemSpec


def check_search(spec: SystemSpec) -> None:
    """Refuse a search space that does not fit the system's settings.

    Raises:
        InputError: a name that is no setting (the nearest one is suggested), or an end of a range
            that the settings refuse.
    """
    search = spec.settings_class().SEARCH
    known = setting_names(settings_class(spec.name))
    for name, among in search.items():
        where = f"{spec.settings}.SEARCH: {name}"
        if name not in known:
            raise InputError(
                "there is no such setting",
                where=where,
                remedy=did_you_mean(name, known, "name a setting of a whole run"),
            )
        for value in among.ends():
            make_settings(nested({"model.kind": spec.name, name: value}), where=where)


def search_space(settings: Settings, fixed: Collection[str] = ()) -> dict[str, Range]:
    """What is searched, by name.

    Args:
        settings: where the search begins; its values are tried first.
        fixed: names of settings that are not searched.

    Raises:
        InputError: the system's space doesn't fit its settings, nothing is left to search, or a
            setting that is not fixed begins outside its range.
    """
    spec = settings.spec
    check_search(spec)
    space = {
        name: among
        for name, among in spec.settings_class().SEARCH.items()
        if name not in set(fixed)
    }
    if not space:
        raise InputError(
            f"there is nothing to search in {spec.name}"
            + (" but what is fixed" if spec.settings_class().SEARCH else ""),
            where="miracle tune",
            remedy="fix fewer settings"
            if spec.settings_class().SEARCH
            else f"train it as it is: miracle train --model {spec.name}",
        )
    values = flat(settings.model_dump(mode="json"))
    for name, among in space.items():
        if not among.holds(values[name]):
            raise InputError(
                f"begins at {values[name]}, and what is searched is {among.words()}",
                where=name,
                remedy=f"fix it: --set {name}={values[name]}",
            )
    return space


def first_values(settings: Settings, names: Iterable[str]) -> dict[str, str | int | float | bool]:
    """The values of the first trial: the settings as they are."""
    values = flat(settings.model_dump(mode="json"))
    return {name: values[name] for name in names}
