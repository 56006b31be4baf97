"""One fine-tuning under several seeds, and what they reach on average (section 4.1.3)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from miracle_core.config import Settings
from miracle_core.errors import InputError
from miracle_core.files import to_overwrite, write_json
from miracle_core.locks import one_writer
from miracle_core.paths import as_path
from miracle_core.processes import Processes, processes
from miracle_core.runs.folder import RunFolder
from miracle_core.training.finetuning import finetune

SUMMARY = "summary.json"
# Settings, run folder, whether to resume: the result.
Train = Callable[[Settings, Path, bool], dict[str, Any]]


def seed_folder(out: Path, seed: int) -> Path:
    """Where the run of one seed lies."""
    return out / f"seed-{seed}"


def finetune_seeds(
    settings: Settings,
    out: str | Path,
    seeds: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
    train: Train | None = None,
) -> dict[str, Any]:
    """Fine-tune with the seeds ``settings.train.seed``, the next one, and so on.

    Each seed has a run folder ``out/seed-N``; ``out/summary.json`` holds mean, sample standard
    deviation and each run once all are done.

    Args:
        settings: the whole run.
        out: the folder of the runs.
        seeds: how many, at least two.
        resume: go on: finished runs stay, a stopped one goes on, the others begin.
        overwrite: replace the runs that are in ``out`` already.
        train: trains one run; None trains silently.

    Returns:
        What ``summary.json`` holds; where a run was interrupted, its result.

    Raises:
        InputError: ``out`` is taken, another training is writing there, or what
            :func:`finetune` raises.
        MiracleError: what :func:`finetune` raises.
    """
    out, together = as_path(out), processes()
    train = train or (lambda own, path, again: finetune(own, path, resume=again))
    with ExitStack() as held:
        together.on_first(lambda: held.enter_context(one_writer(out)))
        return _finetune_seeds(settings, out, seeds, resume, overwrite, train, together)


def _finetune_seeds(
    settings: Settings,
    out: Path,
    seeds: int,
    resume: bool,
    overwrite: bool,
    train: Train,
    together: Processes,
) -> dict[str, Any]:
    together.on_first(lambda: _check_free(out, resume=resume, overwrite=overwrite))
    results = []
    for seed in range(settings.train.seed, settings.train.seed + seeds):
        folder = RunFolder(seed_folder(out, seed))
        own = settings.model_copy(
            update={"train": settings.train.model_copy(update={"seed": seed})}
        )
        result = folder.read_result() if resume else None
        if result is None or result["status"] == "interrupted":
            result = train(own, folder.path, resume and folder.config.is_file())
        if result["status"] == "interrupted":
            return result
        results.append({"seed": seed, "run": folder.path.name, **result})
    summary = summarise(results)
    together.on_first(lambda: write_json(out / SUMMARY, summary))
    return summary


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation of each metric over runs that differ in their seed only.

    Args:
        results: at least two, each a run's result with its ``seed`` and ``run``.
    """
    first = results[0]
    summary: dict[str, Any] = {
        "status": "finished",
        **{name: first[name] for name in ("dataset", "fingerprint", "mode", "metric")},
        "seeds": [result["seed"] for result in results],
    }
    for name, statistic in (("mean", fmean), ("deviation", stdev)):
        summary[name] = {
            split: {
                metric: statistic([result[split][metric] for result in results])
                for metric in first[split]
            }
            for split in ("valid", "test")
            if split in first
        }
    kept = ("seed", "run", "status", "epochs", "best_epoch", "seconds", "valid", "test")
    summary["runs"] = [
        {name: result[name] for name in kept if name in result} for result in results
    ]
    return summary


def _check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    if resume or not to_overwrite(out, overwrite=overwrite):
        return
    runs = [path for path in out.glob("seed-*") if RunFolder(path).config.is_file()]
    if not runs:
        raise InputError(
            "holds no runs of seeds, so it will not be overwritten",
            where=str(out),
            remedy="choose another --out",
        )
    # All at once: a later --resume must not take an old run for one of these.
    (out / SUMMARY).unlink(missing_ok=True)
    for path in runs:
        with one_writer(path):
            shutil.rmtree(path)
