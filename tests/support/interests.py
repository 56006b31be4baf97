"""Shared by the tests of systems with several interests: small systems, histories and data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from miracle_core.config import make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import Packed, pack_lists
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import generate_shops, write_shop_files
from miracle_core.data.writing import write_dataset
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.processes import ALONE, Processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, load_run
from miracle_core.systems.base import Batch, ItemSide, Sizes
from miracle_core.systems.several import SeveralInterests
from miracle_core.training.finetuning import finetune
from tests.support.scorers import fitted_scorer

N_ITEMS, LENGTH, WIDTH = 12, 9, 5


def small(kind: str, *, seed: int = 0, seen: str = "as-printed", **own: Any) -> SeveralInterests:
    """A system of 12 items in float64, with weights large enough to distinguish items."""
    model = {"kind": kind, "width": WIDTH, "max_length": LENGTH, "interests": 3, **own}
    torch.manual_seed(seed)
    system = build_system(make_settings({"seen": seen, "model": model}), Sizes(N_ITEMS)).double()
    assert isinstance(system, SeveralInterests)
    with torch.no_grad():
        for weight in system.parameters():
            weight.copy_(torch.randn(weight.shape, dtype=torch.float64))
    return system.eval()


def histories(seed: int = 0) -> list[list[int]]:
    """Histories of every length from 1 to more than N, in no order; items may repeat."""
    rng = np.random.default_rng(seed)
    lengths = rng.permutation([*range(1, LENGTH + 3), 2, 2, LENGTH])
    return [rng.integers(0, N_ITEMS, length).tolist() for length in lengths]


def packed(given: list[list[int]]) -> Packed:
    """Pack the histories as a batch."""
    return pack_lists(given, LENGTH)


def padded(system: SeveralInterests, history: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A history right-aligned in N positions after random padding, and the mask of real items."""
    read_items = history[-LENGTH:]
    rows = np.full((LENGTH, WIDTH), 1e3)
    rows[LENGTH - len(read_items) :] = system.item.detach().numpy()[read_items]
    real = np.arange(LENGTH) >= LENGTH - len(read_items)
    return rows, real


def by_history(system: SeveralInterests, given: list[list[int]]) -> list[np.ndarray]:
    """The system's interests [interests, d] of each history, in the given order."""
    batch = packed(given)
    with torch.no_grad():
        found = system.interests(system.item[batch.items], batch)
    parts = found.vectors.split(found.counts().tolist())
    place = {int(batch.order[user]): n for n, user in enumerate(found.users.tolist())}
    return [parts[place[n]].numpy() for n in range(len(given))]


def squash(z: np.ndarray) -> np.ndarray:
    """||z||^2 / (1 + ||z||^2) z / ||z||."""
    length = float(np.sqrt(sum(x * x for x in z)))
    return np.zeros_like(z) if length == 0 else length**2 / (1 + length**2) * z / length


def chains(folder: Path) -> Path:
    """A Dataset of users who follow one of two chains of six items, so the next item is certain.

    Two users complete the chain; the others stop at the fourth item. So the training examples
    contain what the others are evaluated on. The next item depends on which items came before, but
    not on their order, because MIND hardly uses the order.
    """
    whole = [list(range(6)), list(range(6, 12))]
    users = [chain[:length] for length in (6, 4, 4, 4) for chain in whole]
    names = [f"I{item}" for item in range(N_ITEMS)]
    write_dataset(
        folder,
        name="chains",
        items=pl.DataFrame(
            {"item_id": names, "title": names, "text": names, "domain": ["chains"] * N_ITEMS}
        ),
        user_ids=[f"u{user}" for user in range(len(users))],
        sequences=np.concatenate(users).astype(np.int32),
        offsets=np.cumsum([0, *map(len, users)]),
        sources=[],
        settings={},
        counts={},
    )
    return folder


def demo_shop(folder: Path) -> Path:
    """The demo's shop, smaller, without text vectors."""
    (shop,) = generate_shops(0, n_items=180, n_users=300, shops=["workshop"])
    write_shop_files(shop, folder / "raw")
    prepare(read("atomic", [folder / "raw"]), PrepareSettings(), folder / "shop")
    return folder / "shop"


def trained(data: Path, out: Path, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a run's epochs."""
    finetune(make_settings({"data": str(data), **asked}), out)
    return RunFolder(out).history()


@dataclass(frozen=True)
class Share(Processes):
    """One of several processes, simulated alone.

    Attributes:
        part: its share of all rows.
    """

    part: float = 1.0

    def fraction(self, n: int) -> float:
        return self.part


def target_of(history: list[int]) -> int:
    """The target of a history, as a fixed function of it."""
    return (3 * history[-1] + len(history)) % N_ITEMS


def loss_of(
    system: SeveralInterests, given: list[list[int]], processes: Processes = ALONE
) -> float:
    """The training loss of histories with the targets of :func:`target_of`."""
    batch = packed(given)
    targets = torch.tensor([target_of(given[n]) for n in batch.order.tolist()])
    found = system.objective(ItemSide(), Batch(batch, targets, batch.order), processes)
    return float(found.total.detach())


def loss_in_two(system: SeveralInterests, given: list[list[int]]) -> float:
    """The same loss from two processes that share the histories, summed."""
    parts = [given[::2], given[1::2]]
    return sum(loss_of(system, part, Share(part=len(part) / len(given))) for part in parts)


@torch.inference_mode()
def check_explanations(system: SeveralInterests) -> None:
    """The parts sum to the interests, and the contributions to the scores in ranking."""
    scorer = system.scorer(ItemSide())
    for history in histories():
        read_items = history[-LENGTH:]
        explained = scorer.explain(read_items)
        each = explained.each()
        (scored,) = scorer.scores(packed([history])).chunks
        torch.testing.assert_close(each.amax(0), scored[1][0])
        rows, winners = torch.arange(N_ITEMS), each.argmax(0)
        brought = explained.contributions(rows, winners)
        assert brought is not None
        assert brought.shape == (len(read_items), N_ITEMS)
        torch.testing.assert_close(brought.sum(0), each.amax(0))
        routing = explained.routing
        assert routing is not None
        k = len(explained.which)
        assert routing.routing.shape == routing.agreement.shape == (len(read_items), k)
        ones = torch.ones(len(read_items), dtype=torch.float64)
        torch.testing.assert_close(routing.routing.sum(1), ones)
        assert float(routing.importance.sum()) == pytest.approx(1.0)
        assert list(explained.strengths) == sorted(explained.strengths, reverse=True)
        assert sorted(explained.which) == list(range(k))


def check_learns(folder: Path, model: dict[str, Any]) -> None:
    """A shop with certain next items is learned exactly."""
    data = chains(folder / "data")
    train = {"epochs": 30, "batch_size": 32, "learning_rate": 0.02, "average": 0.0, "patience": 30}
    records = trained(data, folder / "run", {"model": model, "train": train})
    assert records[-1]["train"]["loss"] < 0.05
    run = load_run(folder / "run", weights="last")
    found = evaluate(run.scorer(), run.dataset, "valid")
    asked = np.diff(run.dataset.offsets)[found.users] == 4
    assert found.ranks[asked].tolist() == [1] * 6


def check_beats_popularity(folder: Path, model: dict[str, Any]) -> None:
    """Validation is more than a tenth better than popularity after a few epochs."""
    data = demo_shop(folder)
    train = {"epochs": 3, "batch_size": 128, "learning_rate": 0.01, "average": 0.9}
    records = trained(data, folder / "run", {"model": model, "train": train})
    dataset = Dataset.open(data)
    popularity = evaluate(fitted_scorer("popularity", dataset), dataset, "valid").metrics
    best = max(record["valid"]["recall@10"] for record in records)
    assert best > 1.1 * popularity["recall@10"] > 0
