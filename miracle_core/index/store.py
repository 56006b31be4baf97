"""The index in a run folder: build and measure it, open it, refuse one that is not the run's.

    RUN/index.faiss     the index, as faiss writes it
    RUN/index.json      what it was built from, how good it is, and the index file's SHA-256

faiss reads its files in native code that trusts them, so a file whose hash is not the recorded one
is never handed to it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from miracle_core.data.packed import pack
from miracle_core.errors import InputError, command
from miracle_core.files import read_json, replacing, sha256_file, write_json
from miracle_core.index.key import catalogue_key
from miracle_core.index.search import Index, build, faiss_library, kind_for
from miracle_core.index.vectors import catalogue_vectors
from miracle_core.locks import one_writer
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.walk import best_items
from miracle_core.runs.opening import TrainedRun
from miracle_core.systems.scorer import VectorScorer

FILE, RECORD = "index.faiss", "index.json"
LAYOUT = 1
RECALL_AT = (10, 100)
# ``probes`` is doubled until an index finds this share of each exact top-K.
WANTED_RECALL = 0.98
# Users whose interests the recall is measured on, and as many others that the probes are chosen on.
SAMPLE_USERS = 200


class IndexRecord(BaseModel):
    """The record of an index.

    Attributes:
        layout: version of these two files.
        key: of the item vectors in it (:func:`~miracle_core.index.key.catalogue_key`).
        sha256: of the index file.
        kind: as ``faiss.index_factory`` spells it.
        items: how many are in it.
        probes: how many of the lists in ``kind`` a query searches; 0 without lists.
        recall: for each K, the share of the exact top-K that the index finds, over the sample.
        sample_users: users of the run's data in the sample; none of them chose ``probes`` (unless
            there are too few).
        bytes: of the index file.
        seconds: how long building and measuring took.
        faiss: the version that built it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    layout: int
    key: str
    sha256: str
    kind: str
    items: int
    probes: int
    recall: dict[str, float]
    sample_users: int
    bytes: int
    seconds: float
    faiss: str


def build_index(
    run: TrainedRun, *, kind: str | None = None, progress: Progress = SILENT
) -> IndexRecord:
    """Build the index of a run, measure its recall, and leave both in the run folder.

    Args:
        run: a run, loaded.
        kind: of the index; None: the one that suits the catalogue.
        progress: shows the steps.

    Raises:
        InputError: faiss is not installed, or another process is writing to the run.
    """
    with one_writer(run.folder.path):
        return _build_index(run, kind, progress)


@torch.inference_mode()  # the items of some systems are a weight
def _build_index(run: TrainedRun, kind: str | None, progress: Progress) -> IndexRecord:
    started = time.perf_counter()
    check_vectors_alone(run)
    faiss = faiss_library()
    with stage(progress, "item vectors"):
        scorer = vector_scorer(run)
    candidates = scorer.items
    kind = kind or kind_for(len(candidates))
    with stage(progress, f"index {kind}"):
        index = build(candidates, kind)
    with stage(progress, "recall"):
        chosen_on, measured_on = samples(run, scorer)
        if index.lists:
            choose_probes(index, chosen_on, candidates)
        recall = {
            str(k): recall_of(
                index, measured_on, candidates, exact_best(measured_on, candidates, k)
            )
            for k in RECALL_AT
        }
    path = run.folder.path / FILE
    with replacing(path) as beside:
        faiss.write_index(index.faiss_index, str(beside))
        digest, size = sha256_file(beside), beside.stat().st_size
    record = IndexRecord(
        layout=LAYOUT,
        key=catalogue_key(run),
        sha256=digest,
        kind=kind,
        items=index.n_items,
        probes=index.probes,
        recall=recall,
        sample_users=measured_on.n_users,
        bytes=size,
        seconds=time.perf_counter() - started,
        faiss=faiss.__version__,
    )
    write_json(run.folder.path / RECORD, record.model_dump())
    return record


def check_vectors_alone(run: TrainedRun) -> None:
    """Refuse a run whose scores have a term beside the vectors, which an index does not know.

    Raises:
        InputError: its scores also count co-occurrence.
    """
    if run.system.cooccurrence is not None:
        raise InputError(
            "its scores also count which items the same users took, which no vectors hold",
            where=str(run.folder.path),
            remedy="search exactly, or train without cooccurrence.weight",
        )


def vector_scorer(run: TrainedRun) -> VectorScorer:
    """The scorer of a run's catalogue; its vectors are read from the run folder if kept there.

    Raises:
        InputError: the system has no vectors to build an index of.
    """
    inputs = catalogue_vectors(run)
    scorer = run.system.scorer(run.items, inputs=inputs)
    if not isinstance(scorer, VectorScorer):
        raise InputError(
            f"{run.spec.name} does not rank by vectors, so there is nothing to index",
            where=str(run.folder.path),
            remedy="search exactly (without --index)",
        )
    return scorer


def open_index(run: TrainedRun, width: int) -> tuple[Index, IndexRecord]:
    """The index in a run folder, and its record.

    Args:
        run: the run.
        width: d, numbers of a candidate's vector.

    Raises:
        InputError: faiss is not installed; there is no index; it was built from other weights or
            data; or its files are damaged. There is no fallback to an exact search.
    """
    faiss = faiss_library()
    again = "build it again with: " + command("miracle", "index", run.folder.path)
    path, record_path = run.folder.path / FILE, run.folder.path / RECORD
    if not record_path.is_file():
        raise InputError(
            "the run has no index",
            where=str(run.folder.path),
            remedy="build one with: " + command("miracle", "index", run.folder.path),
        )
    record = _record(record_path, again)
    if record.key != catalogue_key(run):
        raise InputError(
            "the index is of other weights, other data or another version of this program",
            where=str(path),
            remedy=again,
        )
    damaged = InputError(
        "the index file is not the one that its record describes", where=str(path), remedy=again
    )
    if not path.is_file() or sha256_file(path) != record.sha256:
        raise damaged
    found: Any = faiss.read_index(str(path))
    shape = (found.ntotal, found.d, found.metric_type)
    if shape != (run.dataset.n_items, width, faiss.METRIC_INNER_PRODUCT):
        raise damaged
    index = Index(found, record.probes)
    if not min(1, index.lists) <= record.probes <= index.lists:
        raise damaged
    return index, record


def exact_best(interests: Interests, candidates: Tensor, k: int) -> Tensor:
    """Each user's K best items (all, where there are fewer), int64 [users, K]."""
    return best_items(interests, candidates, min(k, len(candidates)))[1]


def recall_of(index: Index, interests: Interests, candidates: Tensor, exact: Tensor) -> float:
    """The share of the exact top-K that an index finds, mean over users.

    Args:
        index: over ``candidates``.
        interests: the users' active interests.
        candidates: [items, d].
        exact: int64 [users, K], from :func:`exact_best`.
    """
    k = exact.shape[1]
    found = index.best_items(interests, candidates, k)[1]
    both = torch.cat((exact, found), 1).sort(1).values
    return float((both[:, 1:] == both[:, :-1]).sum(1).double().mean()) / k


def choose_probes(index: Index, interests: Interests, candidates: Tensor) -> None:
    """Double ``index.probes`` until the recall at each K is at least ``WANTED_RECALL``.

    A small K may need more probes: for a large K a query searches further if its lists hold too few
    items.
    """
    for k in RECALL_AT:
        exact = exact_best(interests, candidates, k)
        while (
            index.probes < index.lists
            and recall_of(index, interests, candidates, exact) < WANTED_RECALL
        ):
            index.probes = min(2 * index.probes, index.lists)


def samples(run: TrainedRun, scorer: VectorScorer) -> tuple[Interests, Interests]:
    """Interests of two samples of the data's users from all that they took, always the same two."""
    dataset = run.dataset
    chosen = np.random.default_rng(0).permutation(dataset.n_users)[: 2 * SAMPLE_USERS]
    # With fewer than two users both samples are the same one.
    halves = (chosen[::2], chosen[1::2] if len(chosen) > 1 else chosen)
    offsets = np.asarray(dataset.offsets)
    first, second = (
        scorer.interests(
            pack(dataset.sequences, offsets[users], offsets[users + 1], scorer.max_length)
        )
        for users in halves
    )
    return first, second


def _record(path: Path, again: str) -> IndexRecord:
    """Read the record of an index.

    Raises:
        InputError: it can't be read, or is of another layout.
    """
    value = read_json(path)
    try:
        record = IndexRecord.model_validate(value)
    except ValidationError as error:
        raise InputError("is not an index record", where=str(path), remedy=again) from error
    if record.layout != LAYOUT:
        raise InputError(f"has layout {record.layout}", where=str(path), remedy=again)
    return record
