"""The checks of a system's contract. Each says in one sentence what must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from miracle_core.check.workshop import Workshop
from miracle_core.config import dump_settings, load_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import pack
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.files import write_text
from miracle_core.processes import ALONE
from miracle_core.ranking.order import tie_order, top_k
from miracle_core.ranking.seen import Seen
from miracle_core.recommender.recommender import Recommender
from miracle_core.registry import SystemSpec
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import TrainedRun, build_system, sizes_of
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.base import System
from miracle_core.training.finetuning import Finetuning, finetune
from miracle_core.tuning.space import check_search

# How much a history's scores may differ between batches, relative to the largest score.
TOLERANCE = 1e-4
# How many examples both layouts are tried on, and how much losses and gradients may differ,
# relative to the largest.
PADDED_EXAMPLES, PADDED_TOLERANCE = 256, 1e-5


class BrokenContractError(MiracleError):
    """A system does not keep the contract."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: its name in ``miracle check``.
        says: what must hold, in one sentence.
        run: raises :class:`BrokenContractError` if it does not hold.
        applies: whether the check makes sense for a system.
    """

    name: str
    says: str
    run: Callable[[Workshop], None]
    applies: Callable[[SystemSpec], bool] = lambda spec: True


def check_system(
    spec: SystemSpec, folder: Path, settings: Mapping[str, Any] | None = None
) -> Iterator[tuple[Check, MiracleError | None]]:
    """Run every check that applies, on a small generated shop.

    Args:
        spec: the system, registered.
        folder: an empty folder for data and runs.
        settings: more of the system's settings, to make it small.

    Yields:
        Each check, with what is wrong or None.
    """
    shop = Workshop(spec, folder, dict(settings or {}))
    for check in CHECKS:
        if not check.applies(spec):
            continue
        try:
            check.run(shop)
        except MiracleError as error:
            yield check, error
        except NotImplementedError as error:
            yield check, _broken(f"the method {error} is missing")
        except Exception as error:  # the system's own code may raise anything
            yield check, _broken(f"{type(error).__name__}: {error}")
        else:
            yield check, None


def _broken(what: str) -> BrokenContractError:
    return BrokenContractError(what, remedy="docs/systems.md says what each method is to do")


def _settings(shop: Workshop) -> None:
    settings = shop.asked()
    path = shop.folder / "settings.toml"
    write_text(path, dump_settings(settings))
    if load_settings(path) != settings:
        raise _broken("its settings are not the same after being written and read")


def _searches(shop: Workshop) -> None:
    check_search(shop.spec)


def _builds(shop: Workshop) -> None:
    settings = shop.asked()
    torch.manual_seed(0)
    system = build_system(settings, sizes_of(settings, Dataset.open(shop.data)))
    missing = [
        name
        for name in ("inputs", "encode")
        if getattr(type(system), name) is getattr(System, name)
        and type(system).scorer is System.scorer
    ]
    if missing:
        raise _broken(f"the method {type(system).__name__}.{missing[0]} is missing")


def _trains(shop: Workshop) -> None:
    folder = RunFolder(shop.run)
    result = folder.read_result() or {}
    for split in ("valid", "test"):
        if not all(np.isfinite(value) for value in result.get(split, {"": np.nan}).values()):
            raise _broken(f"its {split} metrics are not all numbers")
    if load_tensors(folder.weights)[1].get("kind") != shop.spec.name:
        raise _broken("its weights don't name its kind")


def _learns(shop: Workshop) -> None:
    losses = [record["train"]["loss"] for record in RunFolder(shop.run).history()]
    if not losses[-1] < losses[0]:
        raise _broken(f"its training loss does not fall: {losses}")


def _repeats(shop: Workshop) -> None:
    again = shop.folder / "again"
    finetune(shop.asked(), again)
    _same_weights(RunFolder(shop.run), RunFolder(again), "trained twice with one seed")


def _resumes(shop: Workshop) -> None:
    out, steps = shop.folder / "resumed", 0

    def enough() -> bool:
        nonlocal steps
        steps += 1
        return steps == 3

    finetune(shop.asked(), out, should_stop=enough)
    finetune(shop.asked(), out, resume=True)
    _same_weights(RunFolder(shop.run), RunFolder(out), "stopped after three steps and resumed")


def _same_weights(one: RunFolder, other: RunFolder, when: str) -> None:
    mine, theirs = load_tensors(one.weights)[0], load_tensors(other.weights)[0]
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs or not torch.equal(mine[name], theirs[name]):
            raise _broken(f"{when}, its weight {name!r} is another")


def _scores(run: TrainedRun, starts: Any, ends: Any, leave_out: bool = False) -> torch.Tensor:
    """Scores of some histories, [histories, items], in the order given."""
    scorer = run.scorer()
    packed = pack(run.dataset.sequences, starts, ends, scorer.max_length)
    order = packed.order.numpy()
    seen = Seen.left_out(run.dataset.sequences, starts[order], ends[order]) if leave_out else None
    table = torch.full((len(starts), run.dataset.n_items), torch.nan, dtype=torch.float64)
    for histories, scores in scorer.scores(packed, seen).chunks:
        table[packed.order[histories.cpu()]] = scores.double().cpu()
    return table


def _histories(run: TrainedRun) -> tuple[Any, Any]:
    examples = run.dataset.examples("test")
    return np.asarray(run.dataset.offsets[examples.users]), examples.positions


def _alone(shop: Workshop) -> None:
    run = shop.trained
    starts, ends = _histories(run)
    together = _scores(run, starts, ends)
    if together.isnan().any():
        raise _broken("its scorer leaves out some histories, or gives scores that are no numbers")
    scale = float(together[together.isfinite()].abs().max()) or 1.0
    for user in range(0, len(starts), max(len(starts) // 5, 1)):
        one = slice(user, user + 1)
        alone = _scores(run, starts[one], ends[one])
        if float((alone - together[one]).abs().max()) > TOLERANCE * scale:
            raise _broken(f"the scores of history {user} depend on what else is in its batch")


def _evaluates(shop: Workshop) -> None:
    run = shop.trained
    leave_out = run.settings.seen == "leave-out"
    found = evaluate(run.scorer(), run.dataset, "test", leave_out=leave_out)
    told = (run.folder.read_result() or {}).get("test", {})
    for name, value in found.metrics.items():
        if abs(told.get(name, np.inf) - value) > TOLERANCE:
            raise _broken(f"its test {name} was {told.get(name)} in training and is {value} now")


def _leaves_out(shop: Workshop) -> None:
    run = shop.trained
    starts, ends = _histories(run)
    table = _scores(run, starts, ends, leave_out=True)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        gone = torch.zeros(run.dataset.n_items, dtype=torch.bool)
        gone[torch.from_numpy(run.dataset.sequences[start:end].astype(np.int64))] = True
        if not table[row][gone].isneginf().all() or table[row][~gone].isneginf().any():
            raise _broken("items of a history are not left out, or others are")


def _recommends(shop: Workshop) -> None:
    recommender = Recommender.load(shop.run)
    run = shop.trained
    starts, ends = _histories(run)
    user = int(np.argmax(ends - starts))
    one = slice(user, user + 1)
    history = run.dataset.sequences[starts[user] : ends[user]].tolist()
    leave_out = run.settings.seen == "leave-out"
    table = _scores(run, starts[one], ends[one], leave_out)
    found = recommender.recommend(history, 10)
    scores, _ = top_k(table, len(found.items), tie_order(run.dataset.n_items))
    for item, score in zip(found.items, scores[0].tolist(), strict=True):
        if abs(item.score - score) > TOLERANCE * max(abs(score), 1.0):
            raise _broken(f"it recommends {item.item_id!r} with {item.score}, its scorer: {score}")
        brought = sum(item.contributions) + item.repeat + item.cooccurrence
        additive = found.additive and item.contributions
        if additive and abs(brought - item.score) > 1e-3 * max(abs(item.score), 1.0):
            raise _broken(f"what the history adds to {item.item_id!r} is not its score")


def _needs_text(shop: Workshop) -> None:
    out = shop.folder / "refused"
    settings = shop.asked(data=str(shop.textless))
    try:
        finetune(settings, out)
    except InputError as error:
        if "text" not in error.what:
            raise _broken(f"refused a Dataset without text for another reason: {error}") from error
    else:
        raise _broken("it needs text, and trained on a Dataset without any")
    if out.exists():
        raise _broken("a refused training left a folder")


def _needs_no_text(shop: Workshop) -> None:
    finetune(shop.asked(data=str(shop.textless)), shop.folder / "without-text")


def _padded(shop: Workshop) -> None:
    if not shop.spec.system_class().padded:
        _refuses_padding(shop)
        return
    run = shop.trained
    parts, found = [], []
    for layout in ("packed", "padded"):
        settings = shop.asked(train={"layout": layout})
        beside = RunFolder(shop.folder / layout)
        training = Finetuning(settings, beside, run.dataset, None, ALONE)
        training.system.load_state_dict(run.system.state_dict())
        training.system.eval()
        some = np.arange(min(training.n_examples, PADDED_EXAMPLES))
        _, _, values = training.learn(some, 1.0)
        slopes = [(n, p.grad) for n, p in training.system.named_parameters() if p.grad is not None]
        parts.append((values, slopes))
        found.append(evaluate(training.system.scorer(training.items), run.dataset, "valid"))
    (values, slopes), (padded_values, padded_slopes) = parts
    if not torch.allclose(values, padded_values, rtol=PADDED_TOLERANCE):
        raise _broken(
            f"its losses are {values.tolist()} of packed histories and {padded_values.tolist()} of "
            "padded ones"
        )
    largest = max(float(slope.norm()) for _, slope in slopes)
    for (name, slope), (_, other) in zip(slopes, padded_slopes, strict=True):
        if float((slope - other).norm()) > PADDED_TOLERANCE * largest:
            raise _broken(f"the gradient of {name!r} is another where histories are padded")
    if not np.array_equal(found[0].ranks, found[1].ranks):
        raise _broken("it ranks otherwise where histories are padded")


def _refuses_padding(shop: Workshop) -> None:
    out = shop.folder / "padded"
    try:
        finetune(shop.asked(train={"layout": "padded"}), out)
    except InputError as error:
        if "padded" not in error.what:
            raise _broken(f"refused padded histories for another reason: {error}") from error
    else:
        raise _broken("it does not say that it takes padded histories, and trained on them")
    if out.exists():
        raise _broken("a refused training left a folder")


CHECKS = (
    Check("settings", "Settings survive being written and read.", _settings),
    Check(
        "searches",
        "What miracle tune searches are settings and values that they allow.",
        _searches,
        lambda spec: bool(spec.settings_class().SEARCH),
    ),
    Check("builds", "The methods that every system needs are there.", _builds),
    Check("trains", "A run ends with metrics that are numbers, and weights that name it.", _trains),
    Check("learns", "The training loss falls.", _learns, lambda spec: "train" in spec.stages),
    Check("repeats", "The same seed gives the same weights.", _repeats),
    Check(
        "resumes",
        "A run that was stopped and resumed ends with the same weights.",
        _resumes,
        lambda spec: "train" in spec.stages,
    ),
    Check(
        "padded",
        "Padded histories give the losses, gradients and ranks of packed ones, or are refused.",
        _padded,
        lambda spec: "train" in spec.stages,
    ),
    Check("alone", "A history's scores don't depend on what else is in its batch.", _alone),
    Check("evaluates", "Evaluation finds what training told.", _evaluates),
    Check("leaves out", "Items of a history can be left out, and no others.", _leaves_out),
    Check("recommends", "Recommendations are those of the scorer.", _recommends),
    Check(
        "needs text",
        "A Dataset without text is refused, and nothing is written.",
        _needs_text,
        lambda spec: "text" in spec.needs,
    ),
    Check(
        "needs no text",
        "A Dataset without text is trained on.",
        _needs_no_text,
        lambda spec: "text" not in spec.needs,
    ),
)
