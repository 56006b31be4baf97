"""Trainings of systems that are fitted at once, without gradients."""

from __future__ import annotations

import time
from typing import Any

import torch

from miracle_core.config import Settings
from miracle_core.data.dataset import SPLITS, Dataset, Split
from miracle_core.errors import MiracleError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.metrics import cut_offs
from miracle_core.processes import Processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.looks import log_look
from miracle_core.runs.opening import (
    build_system,
    check_needs,
    data_hash,
    item_side,
    origin_of,
    sizes_of,
)
from miracle_core.runs.tensors import save_tensors
from miracle_core.training.model_card import write_model_card


def read_parts(settings: Settings) -> tuple[Split, ...]:
    """The parts of a split that a training reads; the test part only with ``train.test``."""
    return SPLITS if settings.train.test else SPLITS[:-1]


def test_looked_at(folder: RunFolder, settings: Settings, dataset: Dataset) -> None:
    """Log a training's look at the test part.

    Raises:
        MiracleError: the run folder can't be written.
    """
    problem = log_look(folder.path, "train", settings.seen, dataset)
    if problem is not None:
        raise MiracleError(problem)


def fit(
    settings: Settings,
    folder: RunFolder,
    processes: Processes,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fit a system to one Dataset and leave a run folder.

    Args:
        settings: the whole run; ``settings.data`` names the Dataset.
        folder: the run folder.
        processes: all fit, and each ranks for a share of the users; the first one writes.
        resume: fit again what was begun in ``folder``, on its own settings and data.
        overwrite: replace a run that is in ``folder`` already.

    Returns:
        What ``result.json`` holds.

    Raises:
        InputError: no such Dataset or features, or the folder is taken.
        MiracleError: a look at the test part can't be logged.
    """
    from miracle_core.training.finetuning import resolved

    started = time.perf_counter()
    if resume:
        settings, dataset = folder.settings(), folder.dataset()
    else:
        processes.on_first(lambda: folder.check_free(overwrite=overwrite))
        dataset = Dataset.open(settings.data)
    check_needs(settings.spec, dataset)
    dataset.require_examples(*read_parts(settings))
    if not resume:
        settings = resolved(settings, dataset, None)
        processes.on_first(lambda: folder.create(settings, dataset, overwrite=overwrite))
    torch.manual_seed(settings.train.seed)
    system = build_system(settings, sizes_of(settings, dataset))
    system.fit(dataset, settings.train.seed)
    system.to(processes.device).eval()
    origin = origin_of(settings, dataset)
    metadata = {
        "kind": settings.model.kind,
        "epoch": "0",
        "data": data_hash(settings, dataset),
        **origin.metadata(),
    }
    weights = system.state_dict()
    processes.on_first(lambda: save_tensors(folder.weights, weights, metadata))
    items = item_side(system, settings.spec, dataset, settings.encoder or None, processes.device)
    scorer = system.scorer(items)
    ks = cut_offs(settings.metric_k)
    found = {
        split: evaluate(
            scorer,
            dataset,
            split,
            ks=ks,
            leave_out=settings.seen == "leave-out",
            processes=processes,
        )
        for split in read_parts(settings)[1:]
    }
    if "test" in found:
        processes.on_first(lambda: test_looked_at(folder, settings, dataset))
    result: dict[str, Any] = {
        "status": "finished",
        "model": settings.model.kind,
        "seen": settings.seen,
        "dataset": dataset.name,
        "fingerprint": dataset.manifest.fingerprint,
        "mode": settings.train.mode,
        "epochs": 0,
        "best_epoch": 0,
        "metric": settings.train.metric,
        "seconds": time.perf_counter() - started,
        **{split: each.metrics for split, each in found.items()},
    }
    processes.on_first(lambda: folder.write_result(result))
    processes.on_first(
        lambda: write_model_card(folder, settings, [dataset], origin.encoder, result)
    )
    return result
