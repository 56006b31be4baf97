"""Shared by the model's tests: random weights, also under the paper's symbols."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Batch
from tests.reference.parameters import Layer, Parameters, random_parameters

if TYPE_CHECKING:
    from miracle_core.layers.adaptor import MoEAdaptor
    from miracle_core.layers.context import ContextEncoder
    from miracle_core.layers.transformer import TransformerLayer
    from miracle_core.systems.miracle.capsules import SparseCapsules
    from tests.reference.parameters import Array

WIDTH, N = 6, 5
SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
# The lengths of a batch's histories.
LENGTHS = st.lists(st.integers(1, N), min_size=1, max_size=6)
TOLERANCE: dict[str, float] = {"rtol": 1e-10, "atol": 1e-10}


def f64(tensor: Tensor) -> Any:
    """A tensor as a float64 array."""
    return tensor.detach().double().numpy()


def randomise(module: nn.Module, seed: int, scale: float = 0.5) -> Any:
    """Turn the module to float64 and evaluation mode, and draw every parameter at random."""
    module.double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(0.0, scale, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return module


def histories_of(lengths: list[int], rng: np.random.Generator, n_items: int) -> list[list[int]]:
    """A random history of each length."""
    return [rng.integers(0, n_items, length).tolist() for length in lengths]


def batch_of(
    histories: list[list[int]], targets: list[int], longest: int = N, **more: Any
) -> Batch:
    """Histories with their targets, as in a training."""
    packed = pack_lists(histories, longest)
    return Batch(packed, torch.tensor(targets)[packed.order], packed.order, **more)


def per_history(packed: Packed, values: Tensor) -> list[Any]:
    """Split [tokens, ...] into one array per history, in the caller's order."""
    lengths = [length for length, count in packed.groups for _ in range(count)]
    parts = values.detach().split(lengths)
    found: list[Any] = [None] * packed.n_histories
    for part, caller in zip(parts, packed.order.tolist(), strict=True):
        found[caller] = part.numpy()
    return found


def per_user(packed: Packed, interests: Interests) -> list[dict[int, Array]]:
    """Each history's interests, as a dict from capsule to vector, in the caller's order."""
    found: list[dict[int, Array]] = [{} for _ in range(packed.n_histories)]
    counts = interests.counts().tolist()
    row = 0
    for history, count in zip(interests.users.tolist(), counts, strict=True):
        user = found[int(packed.order[history])]
        for capsule, vector in zip(
            interests.which[row : row + count].tolist(),
            interests.vectors[row : row + count],
            strict=True,
        ):
            user[capsule] = f64(vector)
        assert len(user) == count
        row += count
    assert row == len(interests.vectors) == len(interests.which)
    return found


def interests_of(users: list[dict[int, Array]]) -> Interests:
    """Convert dicts from capsule to vector to the model's interests (``users`` is the order)."""
    order = sorted(range(len(users)), key=lambda i: len(users[i]))
    pairs = [(j, users[i][j]) for i in order for j in sorted(users[i])]
    sizes, numbers = np.unique([len(users[i]) for i in order], return_counts=True)
    return Interests(
        torch.tensor(np.array([vector for _, vector in pairs])),
        torch.tensor([capsule for capsule, _ in pairs]),
        torch.tensor(order),
        tuple(zip(sizes.tolist(), numbers.tolist(), strict=True)),
    )


def random_users(
    rng: np.random.Generator, counts: list[int], width: int, capsules: int = 8
) -> list[dict[int, Array]]:
    """One user per count, with that many active capsules chosen at random."""
    return [
        {int(j): rng.normal(size=width) for j in rng.choice(capsules, size=count, replace=False)}
        for count in counts
    ]


def assert_same_interests(found: dict[int, Array], expected: dict[int, Array]) -> None:
    """The same active capsules with the same vectors."""
    assert sorted(found) == sorted(expected)
    for capsule, vector in expected.items():
        np.testing.assert_allclose(found[capsule], vector, **TOLERANCE)


def _adaptor(module: MoEAdaptor) -> dict[str, Any]:
    return {
        "W1": f64(module.gate_weight),
        "b1": f64(module.gate_bias),
        "W2": f64(module.expert_weight).transpose(1, 0, 2),
        "b2": f64(module.expert_bias),
    }


def layer_of(module: TransformerLayer) -> Layer:
    """A block under the paper's symbols; torch stores transposed matrices."""
    Wq, Wk, Wv = f64(module.query_key_value.weight).reshape(3, -1, module.output.in_features)
    bq, bk, bv = f64(module.query_key_value.bias).reshape(3, -1)
    return Layer(
        Wq=Wq.T, bq=bq, Wk=Wk.T, bk=bk, Wv=Wv.T, bv=bv,
        Wo=f64(module.output.weight).T, bo=f64(module.output.bias),
        norm1_scale=f64(module.attention_norm.weight), norm1_shift=f64(module.attention_norm.bias),
        W_in=f64(module.inner.weight).T, b_in=f64(module.inner.bias),
        W_out=f64(module.outer.weight).T, b_out=f64(module.outer.bias),
        norm2_scale=f64(module.inner_norm.weight), norm2_shift=f64(module.inner_norm.bias),
    )  # fmt: skip


def _context(module: ContextEncoder) -> dict[str, Any]:
    return {
        "P": f64(module.position),
        "norm0_scale": f64(module.norm.weight),
        "norm0_shift": f64(module.norm.bias),
        "layers": tuple(layer_of(layer) for layer in module.layers),  # type: ignore[arg-type]
        "heads": module.layers[0].heads if len(module.layers) else 1,
    }


def _capsules(module: SparseCapsules) -> dict[str, Any]:
    attention, features = module.attention, module.features
    assert attention is not None
    return {
        "A": f64(module.base),
        "P_tilde": f64(attention.position),
        "W3": f64(attention.hidden.weight).T,
        "b3": f64(attention.hidden.bias),
        "W4": f64(attention.score.weight)[0],
        "b4": float(attention.score.bias.detach()[0]),
        "W5": f64(features.hidden.weight).T,
        "b5": f64(features.hidden.bias),
        "norm5_scale": f64(features.norm.weight),
        "norm5_shift": f64(features.norm.bias),
    }


def paper_parameters(
    adaptor: MoEAdaptor | None = None,
    context: ContextEncoder | None = None,
    capsules: SparseCapsules | None = None,
) -> Parameters:
    """Our modules' weights under the paper's symbols; missing ones are random."""
    values: dict[str, Any] = {}
    if adaptor is not None:
        values |= _adaptor(adaptor)
    if context is not None:
        values |= _context(context)
    if capsules is not None:
        values |= _capsules(capsules)
    return replace(random_parameters(np.random.default_rng(0)), **values)
