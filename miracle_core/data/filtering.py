"""The filters that a person asked for, applied to a log one after the other and counted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from miracle_core.data.filters import (
    COUNTED,
    Log,
    k_core,
    latest,
    long_enough,
    one_of_duplicates,
    one_of_each_pair,
)
from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.units import unit_of
from miracle_core.data.settings import PrepareSettings, moment
from miracle_core.data.temporal import (
    TEST_SHARE,
    VALID_SHARE,
    Moments,
    default_moment,
    first_of_test,
    later_parts,
)
from miracle_core.errors import InputError


def filtered(
    log: Log, interactions: Interactions, settings: PrepareSettings, core: tuple[int, int]
) -> tuple[Log, Moments | None, dict[str, Any]]:
    """All filters, in the order that ``docs/data.md`` gives.

    Args:
        log: the interactions; it is changed.
        interactions: what the log was made of.
        settings: what is asked for.
        core: the least numbers of interactions of users and of items.

    Returns:
        What is left, the moments of a temporal split (None for another), and the moments as
        numbers, for the manifest.

    Raises:
        InputError: nothing is left, naming the step.
    """
    decided: dict[str, Any] = {}
    _begin(log, interactions, settings)
    _filter(log, interactions, settings, decided)
    _refuse_empty(log, interactions, log.steps[-1]["step"])
    if settings.split != "temporal":
        _shorten(log, interactions, settings, core)
        return log, None, decided
    moments = _moments(log, interactions, settings)
    decided |= {"valid_from": moments.valid, "test_from": moments.test}
    return _temporal(log, moments, interactions, settings, core), moments, decided


def _begin(log: Log, interactions: Interactions, settings: PrepareSettings) -> None:
    """Record what reading left out, and count items nobody took unless they are kept."""
    steps, lost = interactions.steps, "items nobody took dropped"
    log.keep_items = settings.keep_unsold
    textless = 0
    if interactions.text:
        textless = int((interactions.items["text"].str.strip_chars() == "").sum())
    read = interactions.items.height + interactions.unsold
    if steps:
        for before, after in pairwise(steps):
            left_out = {name: before[name] - after[name] for name in COUNTED}
            log.lose(after["step"], after.get("keep", ""), **left_out)
        log.steps = [dict(step) for step in steps]
        log.left = log.counted()
    else:
        log.count("as read")
        log.steps[-1]["items"] = read
        if not settings.keep_unsold:
            log.count(lost)
    if not settings.keep_unsold:
        log.lose(lost, "--keep-unsold", items=read - textless - log.counted()["items"])
    log.lose("items without text dropped", "give them a title or a text", items=textless)


def _filter(
    log: Log, interactions: Interactions, settings: PrepareSettings, decided: dict[str, Any]
) -> None:
    """Filter by ratings and dates, and drop duplicates and repeats."""
    if settings.min_rating is not None:
        log.keep(interactions.events["rating"].to_numpy() >= settings.min_rating)
        log.count(f"rated {settings.min_rating:g} or more", "leave out --min-rating")
    unit = unit_of(interactions.events["time"]) if settings.since or settings.until else ""
    if settings.since:
        decided["since"] = moment(settings.since, unit, "--since")
        log.keep(log.time >= decided["since"])
        log.count(f"since {settings.since}", "leave out --since")
    if settings.until:
        decided["until"] = moment(settings.until, unit, "--until")
        log.keep(log.time < decided["until"])
        log.count(f"until {settings.until}", "leave out --until")
    if settings.duplicates == "drop" and len(log):
        log.keep(one_of_duplicates(log))
        log.count("exact duplicates dropped", "--duplicates keep")
    if settings.repeats != "keep" and len(log):
        log.keep(one_of_each_pair(log, last=settings.repeats == "last"))
        log.count(f"the {settings.repeats} of repeats", "--repeats keep")


def _shorten(
    log: Log, interactions: Interactions, settings: PrepareSettings, core: tuple[int, int]
) -> None:
    """Filter by lengths and the k-core.

    Raises:
        InputError: nothing is left.
    """
    if settings.min_length is not None:
        log.keep(long_enough(log, settings.min_length))
        log.count(f"users with {settings.min_length} or more", "leave out --min-length")
        _refuse_empty(log, interactions, log.steps[-1]["step"])
    if settings.max_length is not None:
        log.keep(latest(log, settings.max_length))
        log.count(f"the latest {settings.max_length} of a user", "leave out --max-length")
    if max(core) > 1:
        keep, rounds = k_core(log.users, log.items, *core)
        log.keep(keep)
        name = f"{core[0]}-core" if core[0] == core[1] else f"{core[0]}-core, items {core[1]}"
        log.count(name, _without_core(settings), rounds=rounds)
        if not len(log):
            raise InputError(
                f"no user and no item has {' and '.join(map(str, dict.fromkeys(core)))} "
                f"interactions left: the {name} is empty",
                where=interactions.name,
                remedy="lower --k-core (0 keeps everything), or give more data",
            )


def _without_core(settings: PrepareSettings) -> str:
    """The options that keep all users and items."""
    named = (("--user-core", settings.user_core), ("--item-core", settings.item_core))
    given = [f"{option} 0" for option, least in named if least is not None]
    return " ".join(given if len(given) == 2 else ["--k-core 0", *given])


def _moments(log: Log, interactions: Interactions, settings: PrepareSettings) -> Moments:
    unit = unit_of(interactions.events["time"])
    valid, test = (
        moment(text, unit, option) if text else default_moment(log.time, share)
        for text, option, share in (
            (settings.valid_from, "--valid-from", VALID_SHARE),
            (settings.test_from, "--test-from", TEST_SHARE),
        )
    )
    if not log.time.min() < valid < test <= log.time.max():
        raise InputError(
            f"validation from {valid} and test from {test} leave one of the three parts empty: "
            f"the times go from {log.time.min()} to {log.time.max()}",
            where="--split temporal",
            remedy="name other moments with --valid-from and --test-from",
        )
    return Moments(valid, test)


def _temporal(
    log: Log,
    moments: Moments,
    interactions: Interactions,
    settings: PrepareSettings,
    core: tuple[int, int],
) -> Log:
    """The training part, filtered by itself, and what may follow it; in input order."""
    early = log.time < moments.valid
    rows = np.arange(len(log))
    training = Log(
        log.users[early],
        log.items[early],
        log.time[early],
        rows=rows[early],
        keep_items=log.keep_items,
    )
    training.count("training part")
    before = log.counted()
    seen = np.zeros(interactions.items.height, dtype=bool)
    seen[training.items] = True
    _shorten(training, interactions, settings, core)
    later = Log(log.users[~early], log.items[~early], log.time[~early], rows=rows[~early])
    later.keep(later_parts(training, later, seen))
    whole = np.sort(np.concatenate([training.rows, later.rows]))
    # The training part has already counted what its filters left out.
    for entry in training.lost:
        before = {name: before[name] - entry[name] for name in COUNTED}
    log = Log(
        log.users[whole],
        log.items[whole],
        log.time[whole],
        log.steps + training.steps,
        lost=log.lost + training.lost,
        keep_items=log.keep_items,
    )
    log.count(
        "with the later parts of users and items that are left, and new items",
        "--k-core 0, a later --valid-from",
        of=before,
    )
    log.keep(first_of_test(log, moments.test))
    log.count("nothing after a user's test item", "--split leave-one-out")
    return log


def _refuse_empty(log: Log, interactions: Interactions, step: str) -> None:
    if not len(log):
        raise InputError(
            f"nothing is left after this step: {step}",
            where=interactions.name,
            remedy="ask for less, or give more data",
        )
