"""Padded and packed histories give the same losses, gradients and scores in every system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from miracle_core import registry
from miracle_core.config import make_settings
from miracle_core.data.packed import Packed, pack, pad
from miracle_core.errors import InputError
from miracle_core.launches import few_launches
from miracle_core.processes import ALONE
from miracle_core.ranking.order import ranks, tie_order
from miracle_core.ranking.seen import Seen
from miracle_core.runs.opening import build_system
from miracle_core.systems.attributes import ItemAttributes
from miracle_core.systems.base import Batch, ItemSide, Objective, Sizes, System
from tests.support import markov

AnySystem = TypeVar("AnySystem", bound=System)
N_ITEMS, N_TEXT, LONGEST = 40, 12, 9
# Two attributes, with none, one or several values per item.
ATTRIBUTES = (3, 5)
SMALL: dict[str, dict[str, Any]] = {
    "bert4rec": {"width": 8, "inner": 8, "last_only": 0.3},
    "comirec": {"width": 8},
    "fdsa": {"width": 8, "inner": 8},
    "gru4rec": {"width": 8, "hidden": 6, "layers": 2},
    "heads": {"width": 8, "experts": 2, "inner": 8},
    "mind": {"width": 8},
    "miracle": {"width": 8, "capsules": 12, "experts": 2, "inner": 8},
    "s3rec": {"width": 8, "inner": 8},
    "sasrec": {"width": 8, "inner": 8},
    "unisrec": {"width": 8, "experts": 2, "inner": 8},
}
# Variants of the systems above.
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("bert4rec", {"masked": 0.2, "last_only": 0.0}),
    ("bert4rec", {"masked": 0.99}),
    ("bert4rec", {"last_only": 1.0}),
    ("comirec", {"routing": "dr"}),
    ("comirec", {"score": "inner", "temperature": 1.0}),
    ("fdsa", {"activation": "relu"}),
    ("heads", {"head": "mean", "score": "inner", "temperature": 1.0}),
    ("heads", {"head": "attention", "interests": 3}),
    ("heads", {"head": "routing", "interests": 3}),
    ("heads", {"head": "capsules", "capsules": 12}),
    ("miracle", {"capsules": 4, "agreement": "q"}),
    ("miracle", {"positional": False, "score": "inner", "temperature": 1.0}),
    ("miracle", {"sparse": False, "capsules": 4}),
    ("sasrec", {"norm": "pre", "heads": 1}),
]
PADDED = [spec.name for spec in registry.systems() if spec.system_class().padded]
CASES = [*((name, {}) for name in PADDED), *OTHERS]
LOSSES = ["softmax", "bpr", "bpr-max", "top1", "top1-max", "bce", "gbce", "sampled-softmax"]


def system_of(
    kind: str, own: dict[str, Any], dtype: torch.dtype, loss: str = "softmax", seen: str = "gain"
) -> System:
    """A system with weights that distinguish histories, and a notable gain."""
    model = {"kind": kind, "max_length": LONGEST, **SMALL.get(kind, {}), **own}
    settings = make_settings(
        {"model": model, "seen": seen, "loss": {"recommendation": loss, "negatives": 7}}
    )
    system = build_system(settings, Sizes(N_ITEMS, N_TEXT, ATTRIBUTES))
    return drawn(system, dtype)


def drawn(system: AnySystem, dtype: torch.dtype) -> AnySystem:
    """Draw weights that distinguish histories and a notable gain; set evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in system.named_parameters():
            weight.normal_(0.0, 0.3, generator=generator)
            if "norm" in name and name.endswith("weight"):
                weight.add_(1.0)
        if system.repeat is not None:
            system.repeat.fill_(0.03)
    return system.to(dtype).eval()


def side(dtype: torch.dtype) -> ItemSide:
    generator = torch.Generator().manual_seed(4)
    text = torch.randn(N_ITEMS, N_TEXT, generator=generator, dtype=dtype)
    return ItemSide(text, attributes=attributes())


def attributes() -> ItemAttributes:
    """Every third item has no values, the others one to three."""
    has = torch.rand(N_ITEMS, sum(ATTRIBUTES), generator=torch.Generator().manual_seed(6)) < 0.3
    has[::3] = False
    items, values = has.nonzero().unbind(1)
    return ItemAttributes.of_rows(items, values, ATTRIBUTES)


def histories(seed: int, copies: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histories of every length from 1 to more than N, in no order; items may repeat."""
    rng = np.random.default_rng(seed)
    lengths = rng.permutation(np.repeat(np.arange(1, LONGEST + 3), copies))
    ends = np.cumsum(lengths)
    return rng.integers(0, 15, ends[-1]), ends - lengths, ends


def batches(seed: int, among: bool = False, longest: int = LONGEST) -> tuple[Batch, Batch]:
    """The same examples packed and padded."""
    sequences, starts, ends = histories(seed)
    rng = np.random.default_rng(seed + 1)
    targets = torch.from_numpy(rng.integers(0, N_ITEMS, len(starts)))
    examples = torch.from_numpy(rng.permutation(1000)[: len(starts)])
    competing = None
    if among:  # all targets, and some of the items in the histories
        competing = torch.cat([targets, torch.arange(0, N_ITEMS, 3)]).unique()

    def batch(packed: Packed) -> Batch:
        order = packed.order
        return Batch(packed, targets[order], examples[order], (5, 2), among=competing)

    arrays = sequences, starts, ends, longest
    return batch(pack(*arrays)), batch(pad(*arrays))


def learned(system: System, batch: Batch, dtype: torch.dtype) -> tuple[Objective, dict[str, Any]]:
    system.zero_grad(set_to_none=True)
    with few_launches(batch.packed.valid is not None):
        found = system.objective(side(dtype), batch, ALONE)
        found.total.backward()
    return found, {name: weight.grad for name, weight in system.named_parameters()}


def assert_same(
    packed: tuple[Objective, dict[str, Any]],
    padded: tuple[Objective, dict[str, Any]],
    tolerance: float,
) -> None:
    (one, slopes), (other, padded_slopes) = packed, padded
    assert one.terms.keys() == other.terms.keys()
    for name, term in one.terms.items():
        torch.testing.assert_close(other.terms[name], term, rtol=tolerance, atol=tolerance)
    for name, counter in one.counters.items():
        assert torch.equal(other.counters[name], counter)
    largest = max(float(slope.abs().max()) for slope in slopes.values() if slope is not None)
    for name, slope in slopes.items():
        if slope is None:
            assert padded_slopes[name] is None, name
            continue
        difference = float((padded_slopes[name] - slope).abs().max())
        # If a gradient is only rounding error (the bias in eq. 9), compare with the largest one.
        assert difference <= tolerance * max(float(slope.abs().max()), 0.1 * largest), name


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_and_gradients_are_those_of_packed_histories(kind, own, seed):
    system = system_of(kind, own, torch.float32)
    packed, padded = (learned(system, batch, torch.float32) for batch in batches(seed))
    assert_same(packed, padded, 1e-5)


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
@pytest.mark.parametrize("seen", ["as-printed", "gain"])
@pytest.mark.parametrize("among", [False, True])
def test_in_float64_they_differ_by_rounding(kind, own, seen, among):
    system = system_of(kind, own, torch.float64, seen=seen)
    packed, padded = (learned(system, batch, torch.float64) for batch in batches(2, among))
    assert_same(packed, padded, 1e-10)


@pytest.mark.parametrize("kind", PADDED)
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_so_do_losses_with_drawn_negatives(kind, loss):
    system = system_of(kind, {}, torch.float64, loss)
    packed, padded = (learned(system, batch, torch.float64) for batch in batches(3))
    assert_same(packed, padded, 1e-10)


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
@pytest.mark.parametrize("seen", ["as-printed", "gain", "leave-out"])
def test_ranks_are_the_same(kind, own, seen):
    system = system_of(kind, own, torch.float32, seen=seen)
    scorer = system.scorer(side(torch.float32))
    sequences, starts, ends = histories(4, copies=4)
    targets = torch.randint(N_ITEMS, (len(starts),), generator=torch.Generator().manual_seed(0))
    found = []
    for packed in (pack(sequences, starts, ends, LONGEST), pad(sequences, starts, ends, LONGEST)):
        table = torch.empty(len(starts), N_ITEMS)
        order = packed.order.numpy()
        left_out = None
        if seen == "leave-out":
            left_out = Seen.left_out(sequences, starts[order], ends[order])
        for users, scores in scorer.scores(packed, left_out).chunks:
            table[packed.order[users]] = scores
        found.append(ranks(table, targets, tie_order(N_ITEMS)))
    assert torch.equal(*found)
    assert len(found[0].unique()) > 5


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
def test_what_padding_holds_changes_nothing(kind, own):
    system = system_of(kind, own, torch.float64)
    _, batch = batches(5)
    packed = batch.packed
    assert packed.valid is not None
    other = torch.where(packed.valid, packed.items, N_ITEMS - 1)
    changed = replace(batch, packed=replace(packed, items=other))
    one, another = (learned(system, each, torch.float64) for each in (batch, changed))
    assert_same(one, another, 1e-12)


# S3-Rec needs at least two positions, since pre-training reads an example with its target.
@pytest.mark.parametrize("kind", [kind for kind in PADDED if kind != "s3rec"])
def test_a_history_of_one_place(kind):
    system = system_of(kind, {"max_length": 1}, torch.float64)
    sequences, starts, ends = histories(6)
    found = []
    for layout in (pack, pad):
        packed = layout(sequences, starts, ends, 1)
        targets = torch.arange(len(starts))[packed.order] % N_ITEMS
        found.append(learned(system, Batch(packed, targets, packed.order), torch.float64))
    assert_same(*found, 1e-10)


@pytest.fixture
def stranger() -> Iterator[str]:
    registry.register(markov.SPEC)
    yield markov.SPEC.name
    registry.unregister(markov.SPEC.name)


def test_a_system_that_does_not_say_so_is_refused(stranger):
    settings = make_settings({"model": {"kind": stranger}, "train": {"layout": "padded"}})
    with pytest.raises(InputError, match="does not take padded histories") as caught:
        build_system(settings, Sizes(N_ITEMS))
    assert caught.value.where == "train.layout"


def test_auto_is_padded_on_a_gpu_only(stranger):
    system = system_of("sasrec", {}, torch.float32)
    assert [system.pads(device) for device in ("cpu", "cuda", "cuda:1")] == [False, True, True]
    unsaid = build_system(make_settings({"model": {"kind": stranger}}), Sizes(N_ITEMS))
    assert not unsaid.pads("cuda")
    system.layout = "packed"
    assert not system.pads("cuda")
    system.layout = "padded"
    assert system.pads("cpu")


class Step(torch.nn.Module):
    """The losses of a padded batch, as a function of the tensors that differ between batches."""

    def __init__(self, system: System, like: Packed) -> None:
        super().__init__()
        self.system, self.like, self.items = system, like, side(torch.float64)

    def forward(self, items: Any, valid: Any, targets: Any, examples: Any) -> Any:
        packed = replace(self.like, items=items, valid=valid)
        batch = Batch(packed, targets, examples, (5, 2))
        return self.system.objective(self.items, batch, ALONE).total


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
def test_a_step_can_be_captured(kind, own):
    """The step is traced on one batch without reading values, then run on another batch.

    CUDA graphs require this: the host reads no value, and no shape depends on one.
    """
    system = system_of(kind, own, torch.float64).train(False)
    names = [name for name, weight in system.named_parameters() if weight.requires_grad]

    def learn(weights: list[torch.Tensor], *given: torch.Tensor) -> list[torch.Tensor]:
        called = {f"system.{name}": w for name, w in zip(names, weights, strict=True)}
        total = torch.func.functional_call(step, called, given)
        slopes = torch.autograd.grad(total, weights, allow_unused=True)
        return [total, *(slope for slope in slopes if slope is not None)]

    def tensors(batch: Batch) -> tuple[torch.Tensor, ...]:
        assert batch.packed.valid is not None
        return batch.packed.items, batch.packed.valid, batch.targets, batch.examples

    one, other = batches(7)[1], batches(8)[1]
    step = Step(system, one.packed)
    weights = [weight.detach().requires_grad_() for weight in system.parameters()]
    with few_launches():
        trace = make_fx(learn, tracing_mode="fake", _allow_non_fake_inputs=True)
        traced = trace(weights, *tensors(one))
        expected = learn(weights, *tensors(other))
        with torch.no_grad():
            found = traced([weight.detach() for weight in weights], *tensors(other))
    assert len(found) == len(expected) > 3
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(expected[0], learn(weights, *tensors(one))[0])


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
def test_in_low_precision(kind, own):
    """Products are in bfloat16, as on a GPU; padding adds no further error."""
    system = system_of(kind, own, torch.float32)
    _, batch = batches(9)
    exact, _ = learned(system, batch, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, slopes = learned(system, batch, torch.float32)
    torch.testing.assert_close(low.total, exact.total, rtol=0.01, atol=0.01)
    assert all(slope.isfinite().all() for slope in slopes.values() if slope is not None)


@pytest.mark.parametrize("kind", PADDED)
def test_noise_and_dropout_are_drawn_without_the_host(kind):
    """In training mode, too. The random stream differs, so losses differ from packed ones."""
    system = system_of(kind, {}, torch.float32).train()
    _, batch = batches(10)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(learned(system, batch, torch.float32)[0].total.detach())
    assert torch.equal(*found)
    assert found[0].isfinite()
