"""From Interactions to a Dataset folder: filters, k-core, order, ids, split, counts.

Every step's counts go into the manifest. Ids are assigned in a fixed order (users by their first
event in input order, items by their row in the item table, both of what is left), so equal
input gives equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.dataset import Dataset
from miracle_core.data.filters import (
    Log,
    by_user_and_time,
    k_core,
    latest,
    long_enough,
    one_of_each_pair,
)
from miracle_core.data.interactions import Interactions, encode, ids_of
from miracle_core.data.readers.times import unit_of
from miracle_core.data.settings import (
    DEFAULT_K_CORE,
    PrepareSettings,
    check_settings,
    moment,
)
from miracle_core.data.temporal import (
    TEST_SHARE,
    VALID_SHARE,
    Moments,
    cuts,
    default_moment,
    first_of_test,
    later_parts,
)
from miracle_core.data.writing import write_dataset
from miracle_core.errors import InputError
from miracle_core.files import read_json
from miracle_core.progress import SILENT, Progress, stage

__all__ = ["PrepareSettings", "check_out", "check_settings", "prepare"]


def check_out(out: Path) -> None:
    """Refuse to write a Dataset over anything but a Dataset.

    Raises:
        InputError: ``out`` is a file, or a folder with something else in it.
    """
    remedy = "name a new folder, or an earlier Dataset to replace"
    if out.is_dir():
        manifest = out / "manifest.json"
        if any(out.iterdir()):
            value = read_json(manifest) if manifest.is_file() else None
            if not isinstance(value, dict) or not {"format", "files", "split"} <= value.keys():
                raise InputError(
                    "is not empty and no Dataset: it is not overwritten",
                    where=str(out),
                    remedy=remedy,
                )
    elif out.exists():
        raise InputError("is not a folder", where=str(out), remedy=remedy)


def prepare(
    interactions: Interactions,
    settings: PrepareSettings,
    out: str | Path,
    progress: Progress = SILENT,
) -> Dataset:
    """Filter, order, number and split the interactions, and write them as a Dataset folder.

    Items nobody took are dropped and counted. Nothing is written unless everything is.

    Args:
        interactions: the raw data.
        settings: how to filter and split it.
        out: the folder to write; a Dataset there is replaced.
        progress: hears of each step.

    Raises:
        InputError: nothing is left after filtering, ``out`` holds something else, or settings that
            don't fit each other or the data.
    """
    out = Path(out)
    check_out(out)
    _check(settings, interactions)
    core = _core(settings, interactions)
    temporal = settings.split == "temporal"
    decided: dict[str, Any] = {
        "read": dict(interactions.reading or {}),
        "k_core": core[0],
        "order": "by time; equal times keep the input order",
        **settings.model_dump(exclude={"name", "k_core", "split", "valid_from", "test_from"}),
        "user_core": core[0],
        "item_core": core[1],
    }
    with stage(progress, "filtering"):
        names = ids_of(interactions.events["user_id"])
        log = _log(interactions, names)
        if interactions.steps:
            log.steps = [dict(step) for step in interactions.steps]
        else:
            log.count("as read")
            log.steps[-1]["items"] = interactions.items.height
            log.count("items nobody took dropped")
        _filter(log, interactions, settings, decided)
        _refuse_empty(log, interactions, log.steps[-1]["step"])
        moments = None
        if temporal:
            moments = _moments(log, interactions, settings)
            decided |= {"valid_from": moments.valid, "test_from": moments.test}
            log = _temporal(log, moments, interactions, settings, core)
        else:
            _shorten(log, interactions, settings, core)
    with stage(progress, "ordering"):
        training = log.users if moments is None else log.users[log.time < moments.valid]
        user_order = _first_seen(training, len(names))
        users = _renumber(user_order, len(names))[log.users]
        item_order = np.flatnonzero(np.bincount(log.items))
        items = _renumber(item_order, interactions.items.height)[log.items]
        order = by_user_and_time(users, log.time)
        offsets = np.zeros(len(user_order) + 1, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=len(user_order)), out=offsets[1:])
        pairs = pl.Series(users * len(item_order) + items).n_unique()
        parts: dict[str, npt.NDArray[Any]] = {}
        if moments is not None:
            time = log.time[order]
            parts = {"cuts": cuts(time, offsets, moments), "times": time}
    counts: dict[str, Any] = {"steps": log.steps, "repeats": len(users) - pairs}
    if interactions.skipped:
        counts["skipped"] = [dict(skip) for skip in interactions.skipped]
    with stage(progress, f"writing {out}"):
        return write_dataset(
            out,
            name=settings.name or interactions.name,
            items=interactions.items[item_order],
            user_ids=names.gather(user_order),
            sequences=items[order].astype(np.int32),
            offsets=offsets,
            sources=interactions.sources,
            settings=decided,
            counts=counts,
            split=settings.split,
            **parts,
        )


def _check(settings: PrepareSettings, interactions: Interactions) -> None:
    """Refuse settings that don't fit each other or what was read."""
    check_settings(settings)
    if settings.min_rating is not None and "rating" not in interactions.events.columns:
        raise InputError(
            "the source has no ratings (or they were not read)",
            where="--min-rating",
            remedy="leave it out, or name the column of ratings",
        )
    if settings.split == "temporal" and interactions.benchmark:
        raise InputError(
            "a published split has no times to split by",
            where="--split temporal",
            remedy="read the raw data instead",
        )


def _core(settings: PrepareSettings, interactions: Interactions) -> tuple[int, int]:
    """The least numbers of interactions of users and of items."""
    k = settings.k_core
    if k is None:
        k = 0 if interactions.benchmark else DEFAULT_K_CORE
    users = settings.user_core if settings.user_core is not None else k
    return users, settings.item_core if settings.item_core is not None else k


def _log(interactions: Interactions, names: pl.Series) -> Log:
    events = interactions.events
    return Log(
        encode(events["user_id"], names),
        encode(events["item_id"], interactions.items["item_id"]),
        events["time"].to_numpy(),
    )


def _filter(
    log: Log, interactions: Interactions, settings: PrepareSettings, decided: dict[str, Any]
) -> None:
    """Ratings, dates and repeats."""
    if settings.min_rating is not None:
        log.keep(interactions.events["rating"].to_numpy() >= settings.min_rating)
        log.count(f"rated {settings.min_rating:g} or more")
    unit = unit_of(interactions.events["time"]) if settings.since or settings.until else ""
    if settings.since:
        decided["since"] = moment(settings.since, unit, "--since")
        log.keep(log.time >= decided["since"])
        log.count(f"since {settings.since}")
    if settings.until:
        decided["until"] = moment(settings.until, unit, "--until")
        log.keep(log.time < decided["until"])
        log.count(f"until {settings.until}")
    if settings.repeats != "keep" and len(log):
        log.keep(one_of_each_pair(log, last=settings.repeats == "last"))
        log.count(f"the {settings.repeats} of repeats")


def _shorten(
    log: Log, interactions: Interactions, settings: PrepareSettings, core: tuple[int, int]
) -> None:
    """Lengths and k-core."""
    if settings.min_length is not None:
        log.keep(long_enough(log, settings.min_length))
        log.count(f"users with {settings.min_length} or more")
        _refuse_empty(log, interactions, log.steps[-1]["step"])
    if settings.max_length is not None:
        log.keep(latest(log, settings.max_length))
        log.count(f"the latest {settings.max_length} of a user")
    if max(core) > 1:
        keep, rounds = k_core(log.users, log.items, *core)
        log.keep(keep)
        name = f"{core[0]}-core" if core[0] == core[1] else f"{core[0]}-core, items {core[1]}"
        log.count(name, rounds=rounds)
        if not len(log):
            raise InputError(
                f"no user and no item has {' and '.join(map(str, dict.fromkeys(core)))} "
                f"interactions left: the {name} is empty",
                where=interactions.name,
                remedy="lower --k-core (0 keeps everything), or give more data",
            )


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
    training = Log(log.users[early], log.items[early], log.time[early], rows=rows[early])
    training.count("training part")
    seen = np.zeros(interactions.items.height, dtype=bool)
    seen[training.items] = True
    _shorten(training, interactions, settings, core)
    later = Log(log.users[~early], log.items[~early], log.time[~early], rows=rows[~early])
    later.keep(later_parts(training, later, seen))
    whole = np.sort(np.concatenate([training.rows, later.rows]))
    steps = log.steps + training.steps
    log = Log(log.users[whole], log.items[whole], log.time[whole], steps)
    log.count("with the later parts of users and items that are left, and new items")
    log.keep(first_of_test(log, moments.test))
    log.count("nothing after a user's test item")
    return log


def _refuse_empty(log: Log, interactions: Interactions, step: str) -> None:
    if not len(log):
        raise InputError(
            f"nothing is left after this step: {step}",
            where=interactions.name,
            remedy="ask for less, or give more data",
        )


def _first_seen(users: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Codes of users in the order of their first interaction."""
    # Written backwards, the first one stays.
    first = np.full(size, len(users), dtype=np.int64)
    first[users[::-1]] = np.arange(len(users))[::-1]
    return np.argsort(first, kind="stable")[: np.count_nonzero(first < len(users))]


def _renumber(order: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """New numbers for old ones: ``order[i]`` becomes ``i``."""
    new = np.full(size, -1, dtype=np.int64)
    new[order] = np.arange(len(order))
    return new
