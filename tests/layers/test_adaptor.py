"""Eq. 2-4 against the float64 reference."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from miracle_core.layers import adaptor as adaptor_module
from miracle_core.layers.adaptor import MoEAdaptor
from tests.reference.items import eq2_adaptor, eq3_gate
from tests.systems.miracle.support import (
    SEEDS,
    SETTINGS,
    TOLERANCE,
    f64,
    paper_parameters,
    randomise,
)


def texts(items: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(items, width)))


@SETTINGS
@given(
    seed=SEEDS,
    items=st.integers(1, 9),
    text_width=st.integers(1, 8),
    width=st.integers(1, 6),
    experts=st.integers(1, 4),
)
def test_equals_the_paper(seed, items, text_width, width, experts):
    module = randomise(MoEAdaptor(text_width, width, experts), seed)
    t = texts(items, text_width, seed)
    p = paper_parameters(adaptor=module)
    np.testing.assert_allclose(
        f64(module(t)), [eq2_adaptor(row, p) for row in t.numpy()], **TOLERANCE
    )
    np.testing.assert_allclose(
        f64(module.gate(t)), [eq3_gate(row, p.W1, p.b1) for row in t.numpy()], **TOLERANCE
    )


@pytest.mark.parametrize("items", [1, 3, 4, 7])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_blocks_change_neither_value_nor_gradient(monkeypatch, items, kept):
    monkeypatch.setattr(adaptor_module, "BLOCK_ROWS", 3)
    monkeypatch.setattr(adaptor_module._GatedExperts, "KEEP_ELEMENTS", kept)
    module = randomise(MoEAdaptor(5, 4, 3, noisy=False), 1)
    t = texts(items, 5)
    p = paper_parameters(adaptor=module)
    np.testing.assert_allclose(
        f64(module(t)), [eq2_adaptor(row, p) for row in t.numpy()], **TOLERANCE
    )
    names, values = zip(*module.named_parameters(), strict=True)

    def forward(*weights: torch.Tensor) -> torch.Tensor:
        return functional_call(module, dict(zip(names, weights, strict=True)), (t,))

    assert torch.autograd.gradcheck(forward, tuple(v.detach().requires_grad_() for v in values))


def test_gate_noise_has_the_learned_scale_in_training_only():
    module = randomise(MoEAdaptor(4, 3, 5, dropout=0.0), 2)
    t = texts(6, 4)
    assert torch.equal(module(t), module(t))
    module.train()
    torch.manual_seed(7)
    found = f64(module(t))
    torch.manual_seed(7)
    normal = torch.randn(6, 5, dtype=torch.float64).numpy()
    scale = np.log1p(np.exp(t.numpy() @ f64(module.noise_weight))) + 0.01
    p = paper_parameters(adaptor=module)
    expected = [eq2_adaptor(row, p, e) for row, e in zip(t.numpy(), normal * scale, strict=True)]
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_dropout_meets_the_experts_and_not_the_gate(monkeypatch):
    monkeypatch.setattr(adaptor_module.Mask, "keep", lambda mask, t: t * 0)
    module = randomise(MoEAdaptor(4, 3, 2, noisy=False), 3).train()
    t = texts(5, 4)
    p = paper_parameters(adaptor=module)
    expected = [
        sum(-g * p.b2[k] @ p.W2[k] for k, g in enumerate(eq3_gate(row, p.W1, p.b1)))
        for row in t.numpy()
    ]
    np.testing.assert_allclose(f64(module(t)), expected, **TOLERANCE)


@pytest.mark.parametrize("kept", [0, 1 << 25])
def test_gradients_see_the_text_that_was_dropped_out(kept, monkeypatch):
    monkeypatch.setattr(adaptor_module._GatedExperts, "KEEP_ELEMENTS", kept)
    monkeypatch.setattr(adaptor_module, "BLOCK_ROWS", 3)
    module = randomise(MoEAdaptor(6, 3, 2, dropout=0.4, noisy=False), 3).train()
    t = texts(8, 6)

    def value() -> torch.Tensor:
        torch.manual_seed(5)  # same mask each time
        return (module(t) ** 2).sum()

    module.zero_grad()
    value().backward()
    for name in ("expert_weight", "gate_weight", "expert_bias"):
        parameter = getattr(module, name)
        direction = torch.randn_like(parameter)
        step = 1e-6
        with torch.no_grad():
            parameter += step * direction
            above = value()
            parameter -= 2 * step * direction
            below = value()
            parameter += step * direction
        slope = (above - below) / (2 * step)
        torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-6, atol=1e-7)


def test_items_do_not_depend_on_each_other():
    module = randomise(MoEAdaptor(4, 3, 2), 4)
    t = texts(8, 4)
    turned = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(t[turned]), module(t)[turned], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(module(t[3:4]), module(t)[3:4], rtol=1e-12, atol=1e-12)


def test_an_empty_text_vector_and_no_item_are_no_trouble():
    module = randomise(MoEAdaptor(4, 3, 2), 5)
    assert module(torch.zeros(2, 4, dtype=torch.float64)).isfinite().all()
    assert module(torch.zeros(0, 4, dtype=torch.float64)).shape == (0, 3)


@pytest.mark.parametrize("noisy", [True, False])
def test_every_parameter_learns(noisy):
    module = randomise(MoEAdaptor(4, 3, 2, noisy=noisy), 6).train()
    module(texts(8, 4)).square().sum().backward()
    assert ("noise_weight" in dict(module.named_parameters())) == noisy
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


PEAK = """
import resource, torch
from miracle_core.memory import keep_freed_memory
from miracle_core.layers.adaptor import MoEAdaptor

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

keep_freed_memory()
torch.manual_seed(0)
module, text = MoEAdaptor(384, 300, 8), torch.randn(40_000, 384)
module(text[:2000]).sum().backward()
before = peak()
x = module(text)
print((peak() - before) / len(text))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted in KiB on Linux only")
def test_what_blocks_free_leaves_no_holes():
    """An item keeps its vector and mask (1.6 kB), but not its experts' outputs (9.6 kB)."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4500
