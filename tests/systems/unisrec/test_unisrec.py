"""UniSRec compared with its paper, one history at a time; what it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.processes import ALONE
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import Batch, ItemSide, Sizes
from miracle_core.systems.unisrec.contrast import kept_items, sequence_contrast
from miracle_core.systems.unisrec.system import UniSRec
from tests.reference.scoring import eq16_in_batch
from tests.reference.unisrec import UniSRecParameters, contrast, item, sequence, unit
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    batch_of,
    f64,
    histories_of,
    per_history,
    randomise,
)
from tests.systems.sasrec.test_sasrec import layer_of
from tests.systems.support import beats_popularity, overfits

N_ITEMS, TEXT = 9, 7


def small(seed: int = 0, *, mode: str = "inductive", seen: str = "as-printed", **own: Any) -> Any:
    """A system with random weights, in float64 and evaluation mode."""
    model = {"kind": "unisrec", "width": 6, "inner": 8, "experts": 3, "max_length": N, **own}
    settings = make_settings({"model": model, "seen": seen, "train": {"mode": mode}})
    system = build_system(settings, Sizes(N_ITEMS, TEXT))
    assert isinstance(system, UniSRec)
    return randomise(system, seed)


def texts(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(N_ITEMS, TEXT)))


def parameters(system: UniSRec) -> UniSRecParameters:
    adaptor, context = system.adaptor, system.context
    return UniSRecParameters(
        b=f64(adaptor.expert_bias),
        W=f64(adaptor.expert_weight).transpose(1, 0, 2),
        W_gate=f64(adaptor.gate_weight),
        W_noise=f64(adaptor.noise_weight),
        places=f64(context.position),
        norm_scale=f64(context.norm.weight),
        norm_shift=f64(context.norm.bias),
        layers=tuple(layer_of(layer) for layer in context.layers),
        heads=system.settings.heads,
    )


@SETTINGS
@given(seed=SEEDS, mode=st.sampled_from(["inductive", "transductive"]), experts=st.integers(1, 4))
def test_items_are_whitened_by_every_expert_and_mixed(seed, mode, experts):
    system, x = small(seed, mode=mode, experts=experts), texts(seed)
    p = parameters(system)
    own = [np.zeros(6)] * N_ITEMS if system.identity is None else f64(system.identity)
    expected = [item(row, p) + e for row, e in zip(x.numpy(), own, strict=True)]
    np.testing.assert_allclose(f64(system.inputs(ItemSide(x))), expected, **TOLERANCE)
    some = torch.tensor([4, 1])
    np.testing.assert_allclose(
        f64(system.inputs(ItemSide(x[some], some))), [expected[4], expected[1]], **TOLERANCE
    )
    typed = f64(system.inputs(ItemSide(x, new=True)))
    np.testing.assert_allclose(typed, [item(row, p) for row in x.numpy()], **TOLERANCE)


def test_the_gate_is_noisy_in_training_only():
    system, x = small(1, adaptor_dropout=0.0), texts(1)
    p = parameters(system)
    assert torch.equal(system.inputs(ItemSide(x)), system.inputs(ItemSide(x)))
    system.train()
    torch.manual_seed(3)
    found = f64(system.inputs(ItemSide(x)))
    torch.manual_seed(3)
    normal = torch.randn(N_ITEMS, 3, dtype=torch.float64).numpy()
    expected = [item(row, p, e) for row, e in zip(x.numpy(), normal, strict=True)]
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, layers=st.integers(0, 2), heads=st.sampled_from([1, 2, 3]))
def test_a_history_is_its_newest_items_state(seed, lengths, layers, heads):
    system, x = small(seed, layers=layers, heads=heads), texts(seed)
    p = parameters(system)
    vs = [item(row, p) for row in x.numpy()]
    histories = histories_of([*lengths, N + 3], np.random.default_rng(seed), N_ITEMS)
    packed = pack_lists(histories, N)
    inputs = system.inputs(ItemSide(x))
    found = system.encode(inputs[packed.items], packed).interests.vectors
    (scored,) = system.scorer(ItemSide(x)).scores(packed).chunks
    for place, caller in enumerate(packed.order.tolist()):
        s = sequence([vs[i] for i in histories[caller][-N:]], p)
        np.testing.assert_allclose(f64(found[place]), s, **TOLERANCE)
        cosines = [s @ unit(v) for v in vs]
        np.testing.assert_allclose(f64(scored[1][place]), cosines, **TOLERANCE)


@SETTINGS
@given(
    seed=SEEDS,
    lengths=LENGTHS,
    share=st.sampled_from([0.0, 0.4, 1.0]),
    seen=st.sampled_from(["gain", "as-printed"]),
    log_q=st.booleans(),
)
def test_both_contrasts_are_the_papers(seed, lengths, share, seen, log_q):
    """Histories of every length; shared and separate targets; some, none or all items dropped."""
    system, x = small(seed, seen=seen, item_drop=share, contrast=0.1), texts(seed)
    p, rng = parameters(system), np.random.default_rng(seed)
    histories = histories_of(lengths, rng, N_ITEMS)
    targets = rng.integers(0, 4, len(lengths)).tolist()
    often = rng.dirichlet(np.ones(N_ITEMS)) if log_q else None
    frequencies = None if often is None else torch.from_numpy(often)
    batch = batch_of(histories, targets, stream=(seed, 1), frequencies=frequencies)
    found = system.pretrain_objective(ItemSide(x), batch, ALONE)

    vs, tau = [item(row, p) for row in x.numpy()], system.temperature
    kept = per_history(batch.packed, kept_items(batch, share))
    if share in (0.0, 1.0):
        wanted = [[share == 0.0 or place == 0 for place in range(n)] for n in lengths]
        assert [own.tolist() for own in kept] == wanted
    s = [sequence([vs[i] for i in own], p) for own in histories]
    copies = [
        sequence([vs[i] for i, stays in zip(own, stay, strict=True) if stays], p)
        for own, stay in zip(histories, kept, strict=True)
    ]
    gain = system.gain()
    first = eq16_in_batch(
        [{0: own / tau} for own in s],
        targets,
        [unit(vs[target]) for target in targets],
        histories,
        0.0 if gain is None else float(gain.detach()) / tau,
        None if often is None else dict(enumerate(often)),
    ) / len(s)
    second = contrast(s, copies, targets, tau)
    if gain is None and not log_q:
        plain = contrast(s, [unit(vs[target]) for target in targets], targets, tau)
        assert first == pytest.approx(plain, rel=1e-10)
    np.testing.assert_allclose(f64(found.terms["recommendation"]), first, rtol=1e-8)
    np.testing.assert_allclose(f64(found.terms["contrast"]), second, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(f64(found.total), first + 0.1 * second, rtol=1e-8)


def test_gradients_of_the_second_contrast():
    torch.manual_seed(0)
    vectors = [torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    targets = torch.tensor([1, 2, 1, 3, 2])
    assert torch.autograd.gradcheck(
        lambda a, b: sequence_contrast(a, b, targets, 0.5, ALONE), tuple(vectors)
    )


def test_without_the_second_contrast_no_copy_is_made(monkeypatch):
    system, x = small(contrast=0.0), texts()
    monkeypatch.setattr(system, "_copies", None)
    found = system.pretrain_objective(ItemSide(x), batch_of([[1, 2], [3]], [4, 5]), ALONE)
    assert list(found.terms) == ["recommendation"]
    assert found.total is found.terms["recommendation"]


def test_what_is_dropped_follows_from_seed_epoch_and_example():
    rng = np.random.default_rng(0)
    histories = histories_of(rng.integers(1, N + 1, 2000).tolist(), rng, N_ITEMS)
    batch = batch_of(histories, [0] * len(histories), stream=(5, 1))
    kept = per_history(batch.packed, kept_items(batch, 0.2))
    assert all(own[0] for own in kept)
    rest = np.concatenate([own[1:] for own in kept])
    assert abs(rest.mean() - 0.8) < 0.02
    # The same examples in another batch and in another order.
    some = [7, 3, 1200, 3]
    packed = pack_lists([histories[number] for number in some], N)
    other = Batch(packed, torch.zeros(4).long(), torch.tensor(some)[packed.order], (5, 1))
    for number, own in zip(some, per_history(packed, kept_items(other, 0.2)), strict=True):
        assert own.tolist() == kept[number].tolist()
    for stream in ((5, 2), (6, 1)):
        again = per_history(batch.packed, kept_items(replace(batch, stream=stream), 0.2))
        assert any(one.tolist() != two.tolist() for one, two in zip(again, kept, strict=True))


@pytest.mark.parametrize("mode", ["inductive", "transductive"])
def test_gradients_reach_every_weight(mode):
    """In fine-tuning and, for an inductive system, in pre-training."""
    system = small(2, mode=mode, seen="gain").train()
    rng = np.random.default_rng(0)
    histories = histories_of([1, 2, 3, N, N, N], rng, N_ITEMS)
    batch = batch_of(histories, [0, 1, 2, 3, 4, histories[5][0]])
    ways = [system.objective] if mode == "transductive" else [
        system.objective, system.pretrain_objective,
    ]  # fmt: skip
    for objective in ways:
        system.zero_grad()
        objective(ItemSide(texts()), batch, ALONE).total.backward()
        for name, weight in system.named_parameters():
            assert weight.grad is not None, name
            assert float(weight.grad.abs().max()) > 0, name


def test_what_the_score_loses_without_each_item():
    """By hand: query the system again without each item of the history."""
    system, x = small(4), texts(4)
    scorer, history = system.scorer(ItemSide(x)), [2, 0, 5, 2]

    def score(items: list[int]) -> torch.Tensor:
        (_, found), *_ = scorer.scores(pack_lists([items], N)).chunks
        return found[0]

    with torch.inference_mode():
        explained = scorer.explain(history)
        assert not explained.additive
        rows = torch.tensor([6, 1])
        found = explained.contributions(rows, torch.zeros(2, dtype=torch.int64))
        for place in range(4):
            left = history[:place] + history[place + 1 :]
            torch.testing.assert_close(found[place], (score(history) - score(left))[rows])


def test_published_settings():
    asked = {"preset": "paper", "model": {"kind": "unisrec"}}
    settings = make_settings(asked)
    own = settings.model
    assert (own.width, own.experts, own.layers, own.heads, own.inner) == (300, 8, 2, 2, 256)
    assert (own.dropout, own.adaptor_dropout, own.temperature) == (0.5, 0.2, 0.07)
    assert (own.contrast, own.item_drop, own.max_length) == (0.001, 0.2, 50)
    assert (own.text_scale, settings.seen) == ("raw", "as-printed")
    train = settings.train
    assert (train.batch_size, train.learning_rate, train.patience) == (2048, 1e-3, 10)
    assert (train.metric, train.average, train.freeze) == ("ndcg@10", 0.0, False)
    first = make_settings(asked, {"datasets": ["a", "b"]})
    assert (first.train.epochs, first.train.batch_size) == (300, 8192)
    assert (first.train.mode, first.pretrain.log_q) == ("inductive", False)
    assert make_settings(asked, {"pretrained": "run"}).train.freeze


def test_heads_divide_the_width():
    with pytest.raises(InputError, match="width 300 is not a multiple of heads 7"):
        make_settings({"model": {"kind": "unisrec", "heads": 7}})


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_overfits_sequences_that_repeat(tmp_path: Path, mode: str):
    model = {"kind": "unisrec", "width": 16, "inner": 16, "experts": 2, "dropout": 0.0}
    overfits(
        tmp_path, {**model, "adaptor_dropout": 0.0}, text=True, mode=mode, batch_size=4, epochs=8
    )


def test_beats_popularity_on_the_demo_shop(tmp_path: Path):
    model = {"kind": "unisrec", "width": 32, "inner": 64, "experts": 2, "dropout": 0.2}
    beats_popularity(tmp_path, model, text=True, batch_size=128, epochs=3)
