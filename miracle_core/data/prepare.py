"""From Interactions to a Dataset folder: k-core, order, ids, counts.

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
from pydantic import BaseModel, ConfigDict, Field

from miracle_core.data.dataset import Dataset, write_dataset
from miracle_core.data.interactions import Interactions, encode
from miracle_core.errors import InputError
from miracle_core.files import read_json
from miracle_core.progress import SILENT, Progress, stage

DEFAULT_K_CORE = 5


class PrepareSettings(BaseModel):
    """What decides a Dataset, given the interactions.

    Attributes:
        name: what the Dataset is called; None takes the interactions' own name.
        k_core: users and items with fewer interactions than this are removed, over and over until
            nothing changes; 0 keeps all. None is 5, but keeps a published benchmark split, which
            was filtered before it was split and capped, as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    k_core: int | None = Field(default=None, ge=0)


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
        raise InputError("is no folder", where=str(out), remedy=remedy)


def k_core(
    users: npt.NDArray[np.int64], items: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.bool_], int]:
    """The interactions of the largest set in which every user and item has at least ``k``.

    Interactions are counted, not pairs: buying an item twice counts twice.

    Args:
        users: int64 [n], codes from 0.
        items: int64 [n], codes from 0.
        k: the least number of interactions.

    Returns:
        Which interactions stay, bool [n], and how many rounds of removal it took.
    """
    keep = np.ones(len(users), dtype=bool)
    index = np.arange(len(users))
    rounds = 0
    while len(index):
        few_users = np.bincount(users[index])[users[index]] < k
        few_items = np.bincount(items[index])[items[index]] < k
        remove = few_users | few_items
        if not remove.any():
            break
        rounds += 1
        keep[index[remove]] = False
        index = index[~remove]
    return keep, rounds


def prepare(
    interactions: Interactions,
    settings: PrepareSettings,
    out: str | Path,
    progress: Progress = SILENT,
) -> Dataset:
    """Filter, order and number the interactions, and write them as a Dataset folder.

    Repeated interactions of a user with an item are kept and counted. Items nobody took are
    dropped and counted. Nothing is written unless everything is.

    Args:
        interactions: the raw data.
        settings: how to filter it.
        out: the folder to write; a Dataset there is replaced.
        progress: hears of each step.

    Raises:
        InputError: nothing is left after filtering, or ``out`` holds something else.
    """
    out = Path(out)
    check_out(out)
    k = settings.k_core
    if k is None:
        k = 0 if interactions.benchmark else DEFAULT_K_CORE
    events = interactions.events
    with stage(progress, "filtering"):
        names = events["user_id"].unique(maintain_order=True)
        users = encode(events["user_id"], names)
        items = encode(events["item_id"], interactions.items["item_id"])
        time = events["time"].to_numpy()
        steps = [_step("as read", users, items) | {"items": interactions.items.height}]
        steps.append(_step("items nobody took dropped", users, items))
        if k > 1:
            keep, rounds = k_core(users, items, k)
            users, items, time = users[keep], items[keep], time[keep]
            steps.append(_step(f"{k}-core", users, items) | {"rounds": rounds})
    if not len(users):
        raise InputError(
            f"no user and no item has {k} interactions left: the {k}-core is empty",
            where=interactions.name,
            remedy="lower --k-core (0 keeps everything), or give more data",
        )
    with stage(progress, "ordering"):
        # Users by the first event that is left. (Written backwards, the first one stays.)
        first = np.full(len(names), len(users), dtype=np.int64)
        first[users[::-1]] = np.arange(len(users))[::-1]
        user_order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(users))]
        users = _renumber(user_order, len(names))[users]
        item_order = np.flatnonzero(np.bincount(items))
        items = _renumber(item_order, interactions.items.height)[items]
        order = np.lexsort((time, users))  # stable: equal times keep the input order
        offsets = np.zeros(len(user_order) + 1, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=len(user_order)), out=offsets[1:])
        pairs = pl.Series(users * len(item_order) + items).n_unique()
    with stage(progress, f"writing {out}"):
        return write_dataset(
            out,
            name=settings.name or interactions.name,
            items=interactions.items[item_order],
            user_ids=names.gather(user_order).to_list(),
            sequences=items[order].astype(np.int32),
            offsets=offsets,
            sources=interactions.sources,
            settings={
                "read": dict(interactions.reading or {}),
                "k_core": k,
                "order": "by time; equal times keep the input order",
                "repeats": "kept",
            },
            counts={"steps": steps, "repeats": len(users) - pairs},
        )


def _step(name: str, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {
        "step": name,
        "users": int(np.count_nonzero(np.bincount(users))),
        "items": int(np.count_nonzero(np.bincount(items))),
        "interactions": len(users),
    }


def _renumber(order: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """New numbers for old ones: ``order[i]`` becomes ``i``."""
    new = np.full(size, -1, dtype=np.int64)
    new[order] = np.arange(len(order))
    return new
