"""From Interactions to a Dataset folder: filters, k-core, order, ids, split, counts.

Every step's counts go into the manifest, and what it left out with what keeps it. Ids are assigned
in a fixed order (users by their first event in input order, items by their row in the item table,
both of what is left), so equal input gives equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.dataset import Dataset
from miracle_core.data.filtering import filtered
from miracle_core.data.filters import Codes, Log, by_user_and_time, count_duplicates
from miracle_core.data.interactions import Interactions, encode, ids_of
from miracle_core.data.settings import DEFAULT_K_CORE, PrepareSettings, check_alone, check_settings
from miracle_core.data.temporal import cuts
from miracle_core.data.writing import write_dataset
from miracle_core.errors import InputError
from miracle_core.files import read_json, restore
from miracle_core.locks import one_writer
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress, stage

__all__ = ["PrepareSettings", "check_out", "check_settings", "prepare"]


def check_out(out: str | Path) -> None:
    """Refuse to write a Dataset over anything but a Dataset.

    Raises:
        InputError: ``out`` is a file, or a folder with something else in it, or another process is
            writing there.
    """
    out = as_path(out)
    with one_writer(out):  # told now, not after the reading
        restore(out)
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

    Items nobody took are dropped (or kept, if the settings say so) and counted. Nothing is written
    unless everything is.

    Args:
        interactions: the raw data.
        settings: how to filter and split it.
        out: the folder to write; a Dataset there is replaced.
        progress: shows each step.

    Raises:
        InputError: nothing is left after filtering, ``out`` holds something else, or settings that
            don't fit each other or the data.
    """
    out = as_path(out)
    check_out(out)
    _check(settings, interactions)
    core = _core(settings, interactions)
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
        log, moments, moments_used = filtered(log, interactions, settings, core)
        decided |= moments_used
        item_order = _catalogue(log, interactions, settings)
    with stage(progress, "ordering"):
        training = log.users if moments is None else log.users[log.time < moments.valid]
        user_order = _first_seen(training, len(names))
        users = _renumber(user_order, len(names))[log.users]
        items = _renumber(item_order, interactions.items.height)[log.items]
        order = by_user_and_time(users, log.time)
        offsets = np.zeros(len(user_order) + 1, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=len(user_order)), out=offsets[1:])
        pairs = pl.Series(users * len(item_order) + items)
        repeats = len(users) - pairs.n_unique()
        parts: dict[str, npt.NDArray[Any]] = {}
        if moments is not None:
            time = log.time[order]
            parts = {"cuts": cuts(time, offsets, moments), "times": time}
    counts: dict[str, Any] = {
        "steps": log.steps,
        "lost": log.lost,
        "repeats": repeats,
        # Where the file's order is all there is, no two interactions have one time.
        "duplicates": count_duplicates(pairs, log.time) if repeats and interactions.timed else 0,
    }
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
            text=interactions.text,
            attributes=interactions.attributes,
            **parts,
        )


def _check(settings: PrepareSettings, interactions: Interactions) -> None:
    """Refuse settings that don't fit each other or what was read."""
    check_settings(settings)
    if recipe := (interactions.reading or {}).get("recipe"):
        check_alone(recipe, settings)
    if settings.min_rating is not None and "rating" not in interactions.events.columns:
        raise InputError(
            "the source has no ratings (or they were not read)",
            where="--min-rating",
            remedy="leave it out, or name the column of ratings",
        )
    if settings.keep_unsold and interactions.unsold:
        raise InputError(
            f"{interactions.unsold} items that nobody took were not read",
            where="keep_unsold",
            remedy="read with ReadOptions(keep_unsold=True) too",
        )
    if not interactions.timed:
        for option, given in (
            ("--since", settings.since),
            ("--until", settings.until),
            ("--duplicates drop", settings.duplicates == "drop"),
        ):
            if given:
                raise InputError(
                    "the source has no times (or they were not read): the order of the file counts",
                    where=option,
                    remedy="leave it out, or name the column of times",
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


def _catalogue(log: Log, interactions: Interactions, settings: PrepareSettings) -> Codes:
    """The items that stay, int64, rising: those with an interaction left, or all with text."""
    taken = np.bincount(log.items, minlength=interactions.items.height) > 0
    if not settings.keep_unsold:
        return np.flatnonzero(taken)
    described = (interactions.items["text"].str.strip_chars() != "").to_numpy()
    stay = np.flatnonzero(taken | described | (not interactions.text))
    if len(stay) > np.count_nonzero(taken):
        unsold = interactions.items["item_id"].gather(stay[~taken[stay]])
        before = unsold.is_in(interactions.events["item_id"].unique().implode())
        log.steps.append(
            {
                "step": "with the items that no interaction is left of",
                **log.counted(),
                "items": len(stay),
                # Those of them that somebody took; a filter removed it.
                "taken_before": int(before.sum()),
            }
        )
    return stay


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
