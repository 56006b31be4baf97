"""What an evaluation found for each user, as one Parquet file that can be compared later.

One row a user; the schema's metadata say what was evaluated and how, so that files alone are
enough for ``miracle compare``, and files of different evaluations are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from miracle_core.config import SeenRule, flat
from miracle_core.data.dataset import Split
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import RunEvaluation
from miracle_core.evaluation.metrics import UNRANKED
from miracle_core.files import replacing, sha256_file
from miracle_core.paths import as_path
from miracle_core.ranking.rules import Rules
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import Weights

FORMAT: Literal[1] = 1
TOP = 50  # items kept of each user's list
_KEY = b"miracle.user_results"
_ROWS = 1 << 16  # a row group
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("target_item_id", pa.string()),
        ("rank", pa.int64()),
        ("history_length", pa.int32()),
        ("interests", pa.int32()),
        ("target_count", pa.int64()),
        ("top_item_ids", pa.list_(pa.string())),
    ]
)
_REMEDY = "make it again: miracle evaluate RUN --save-users FILE"


class About(BaseModel):
    """Where a file of user results comes from.

    Attributes:
        format: version of the file's form.
        dataset: the Dataset's name.
        fingerprint: of its catalogue, sequences and split.
        split: ``valid`` or ``test``.
        seen: the seen rule of the ranking.
        trained_seen: the seen rule of the training.
        model: the kind of system.
        seeded: whether another seed gives another result.
        run: the run folder's name.
        seed: of the training.
        settings: the run's settings except its seed and where its data lie, by dotted name.
        candidates: items that were ranked.
        users: rows of the file.
        weights: ``best`` or ``last``.
        weights_sha256: hash of the weights' file.
        epoch: how many epochs the weights were trained for; None where their file doesn't say.
        rules: the rules for lists (``Rules.record``); None for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = FORMAT
    dataset: str
    fingerprint: str
    split: Split
    seen: SeenRule
    trained_seen: SeenRule
    model: str
    seeded: bool
    run: str
    seed: int
    settings: dict[str, Any]
    candidates: int
    users: int
    weights: Weights
    weights_sha256: str
    epoch: int | None
    rules: dict[str, Any] | None = None

    def document(self) -> str:
        """As JSON; without rules as older versions, which had none, wrote it."""
        return self.model_dump_json(exclude=None if self.rules else {"rules"})


@dataclass(frozen=True)
class UserResults:
    """A file of user results, read.

    Attributes:
        where: the file.
        about: where the results come from.
        user_ids: the users' ids, no two equal.
        targets: ids of their held-out items.
        ranks: int64 [users], from 1; ``UNRANKED`` where the item was no candidate.
        lengths: int64 [users], items of the whole history.
        interests: int64 [users], active interests.
        target_counts: int64 [users], how often the held-out item occurs in the training part.
    """

    where: Path
    about: About
    user_ids: pl.Series
    targets: pl.Series
    ranks: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    interests: npt.NDArray[np.int64]
    target_counts: npt.NDArray[np.int64]


def check_one_rank(rules: Rules, path: str | Path) -> None:
    """Refuse rules under which an item's rank depends on the length of the list.

    Raises:
        InputError: quotas or diversity are asked for.
    """
    if rules.of_lists:
        raise InputError(
            "with quota or diversity an item's rank follows from the length of the list, and a "
            "file of user results holds one rank a user",
            where=f"--save-users {path}",
            remedy="leave it out (miracle evaluate says what the rules cost), or leave these out",
        )


def write_user_results(path: str | Path, evaluation: RunEvaluation) -> None:
    """Write what an evaluation found for each user, whole or not at all.

    Args:
        path: where to; a file there is replaced.
        evaluation: with at least ``TOP`` best items kept, or all there are.

    Raises:
        InputError: the rules have quotas or diversity (:func:`check_one_rank`).
        ValueError: the evaluation kept too few items.
    """
    check_one_rank(evaluation.rules, path)
    found, dataset = evaluation.found, evaluation.dataset
    if found.top_items is None or found.top_items.shape[1] < min(TOP, found.n_items):
        raise ValueError(f"this evaluation kept fewer than {TOP} items a user")
    assert found.top_scores is not None
    user_ids = dataset.users["user_id"].to_arrow().cast(pa.string())
    item_ids = dataset.items["item_id"].to_arrow().cast(pa.string())
    counts = dataset.training_counts()
    lengths = np.empty(dataset.n_users, dtype=np.int32)
    examples = dataset.examples(found.split)
    lengths[examples.users] = examples.positions - dataset.offsets[examples.users]
    about = about_of(evaluation).document().encode()
    schema = _SCHEMA.with_metadata({_KEY: about})
    with replacing(path) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for start in range(0, len(found.users), _ROWS):
            part = slice(start, start + _ROWS)
            users, targets = found.users[part], found.targets[part]
            top = found.top_items[part, :TOP]
            kept = np.isfinite(found.top_scores[part, :TOP])
            ends = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int32)
            columns = [
                user_ids.take(users),
                item_ids.take(targets),
                pa.array(found.ranks[part], mask=found.ranks[part] == UNRANKED),
                pa.array(lengths[users]),
                pa.array(found.active[part].astype(np.int32)),
                pa.array(counts[targets]),
                pa.ListArray.from_arrays(ends, item_ids.take(top[kept])),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def about_of(evaluation: RunEvaluation) -> About:
    """The description that goes into the file of an evaluation's user results."""
    run, found = evaluation.run, evaluation.found
    return About(
        dataset=found.dataset,
        fingerprint=evaluation.dataset.manifest.fingerprint,
        split=found.split,
        seen=evaluation.seen,
        trained_seen=run.settings.seen,
        model=run.spec.name,
        seeded=run.spec.seeded,
        run=run.folder.path.resolve().name,
        seed=run.settings.train.seed,
        settings={
            name: value
            for name, value in flat(run.settings.model_dump(mode="json")).items()
            if name not in ("train.seed", "data", "datasets")
        },
        candidates=found.n_items,
        users=len(found.users),
        weights=run.weights_from,
        weights_sha256=weights_hash(run.folder, run.weights_from),
        epoch=run.epoch,
        rules=None if evaluation.rules.empty else evaluation.rules.record(),
    )


def weights_hash(folder: RunFolder, weights: Weights) -> str:
    """The SHA-256 of the file that a run's weights are in."""
    return sha256_file(folder.weights if weights == "best" else folder.state)


def read_about(path: str | Path) -> About:
    """The description in a file of user results.

    Raises:
        InputError: it is missing, cut off, no Parquet, or not a file of user results.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"can't be read as parquet: {error}", where=str(path), remedy=_REMEDY
        ) from error
    told = (schema.metadata or {}).get(_KEY)
    if told is None:
        raise InputError("is not a file of user results", where=str(path), remedy=_REMEDY)
    try:
        about = About.model_validate_json(told)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"its description can't be read: {place}: {first['msg']} (this version reads format "
            f"{FORMAT})",
            where=str(path),
            remedy=_REMEDY,
        ) from error
    names = [(field.name, str(field.type)) for field in schema][:-1]
    lists = schema.field(len(schema) - 1) if len(schema) else None
    # A list's type names its elements, by another word in some versions.
    is_list = lists is not None and lists.name == "top_item_ids" and pa.types.is_list(lists.type)
    if not is_list or names != [(field.name, str(field.type)) for field in _SCHEMA][:-1]:
        raise InputError("has not the columns of user results", where=str(path), remedy=_REMEDY)
    return about


def read_user_results(path: str | Path) -> UserResults:
    """Read a file of user results, all but the lists.

    Raises:
        InputError: what :func:`read_about` raises, or rows that are impossible.
    """
    path = as_path(path)
    about = read_about(path)
    try:
        table = pl.from_arrow(pq.read_table(path, columns=_SCHEMA.names[:-1]))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"can't be read: {error}", where=str(path), remedy=_REMEDY) from error
    assert isinstance(table, pl.DataFrame)

    def refuse(what: str) -> InputError:
        return InputError(what, where=str(path), remedy=_REMEDY)

    if table.height != about.users:
        raise refuse(f"has {table.height:,} rows and says {about.users:,}")
    for name in table.columns:
        if name != "rank" and table[name].null_count():
            raise refuse(f"a user has no {name}")
    if table["user_id"].n_unique() != table.height:
        twice = table.filter(pl.col("user_id").is_duplicated())["user_id"][0]
        raise refuse(f"user {twice!r} has several rows")
    bounds = {
        "rank": (1, about.candidates),
        "history_length": (0, None),
        "interests": (0, None),
        "target_count": (0, None),
    }
    for name, (low, high) in bounds.items():
        bad = (pl.col(name) < low) | (pl.lit(False) if high is None else pl.col(name) > high)
        wrong = table.filter(bad)
        if wrong.height:
            user, value = wrong["user_id"][0], wrong[name][0]
            raise refuse(f"user {user!r} has {name} {value}")
    return UserResults(
        where=path,
        about=about,
        user_ids=table["user_id"],
        targets=table["target_item_id"],
        ranks=table["rank"].fill_null(UNRANKED).to_numpy(),
        lengths=table["history_length"].cast(pl.Int64).to_numpy(),
        interests=table["interests"].cast(pl.Int64).to_numpy(),
        target_counts=table["target_count"].to_numpy(),
    )
