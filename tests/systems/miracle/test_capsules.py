"""Eq. 7-14 against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.layers.radial import squash
from miracle_core.systems.miracle.capsules import CapsuleOutput, SparseCapsules, active_capsules
from tests.reference.capsules import Interests, eq7_14_interests, eq13_squash
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    WIDTH,
    N,
    assert_same_interests,
    f64,
    paper_parameters,
    per_history,
    per_user,
    randomise,
)


def network(seed: int = 0, capsules: int = 5, **options: object) -> SparseCapsules:
    return randomise(SparseCapsules(WIDTH, capsules, N, **options), seed)  # type: ignore[arg-type]


def batch(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, Packed]:
    """H of a batch in which no two histories share an item."""
    ends = np.cumsum(lengths)
    packed = pack_lists([list(range(e - n, e)) for n, e in zip(lengths, ends, strict=True)], N)
    H = torch.from_numpy(np.random.default_rng(seed).normal(size=(sum(lengths), WIDTH)))
    return H[packed.items], packed


def expected(module: SparseCapsules, H: torch.Tensor, packed: Packed) -> list[Interests]:
    p = paper_parameters(capsules=module)
    return [
        eq7_14_interests(list(hs), p, tau=module.iterations, agreement=module.agreement)
        for hs in per_history(packed, H)
    ]


def assert_equals_the_paper(
    output: CapsuleOutput, packed: Packed, reference: list[Interests]
) -> None:
    """Compare the interests, and everything in the trace."""
    activated = per_history(packed, output.activated)
    similarity = per_history(packed, output.similarity)
    found = per_user(packed, output.interests)
    for user, want in enumerate(reference):
        assert_same_interests(found[user], want.u)
        assert activated[user].tolist() == want.choice
        np.testing.assert_allclose(similarity[user], want.s, **TOLERANCE)
    history = 0
    for (_, count), trace in zip(packed.groups, output.trace, strict=True):
        for b in range(count):
            want = reference[int(packed.order[history])]
            active = sorted(want.u)
            assert trace.slots[b][trace.valid[b]].tolist() == active
            np.testing.assert_allclose(f64(trace.importance[b]), want.o, **TOLERANCE)
            routing = f64(trace.routing[b])
            valid = trace.valid[b].numpy()
            np.testing.assert_allclose(routing[:, valid], want.c[:, active], **TOLERANCE)
            assert not routing[:, ~valid].any()
            history += 1


@SETTINGS
@given(
    seed=SEEDS,
    lengths=LENGTHS,
    capsules=st.integers(1, 7),
    iterations=st.integers(1, 4),
    agreement=st.sampled_from(["h", "q"]),
)
def test_equals_the_paper(seed, lengths, capsules, iterations, agreement):
    module = network(seed, capsules, iterations=iterations, agreement=agreement)
    H, packed = batch(lengths, seed)
    assert_equals_the_paper(module(H, packed), packed, expected(module, H, packed))


@pytest.mark.parametrize("lengths", [[n] for n in range(1, N + 1)] + [[1] * 4, [5, 1, 3, 1, 5]])
@pytest.mark.parametrize("agreement", ["h", "q"])
def test_hard_cases_equal_the_paper(lengths, agreement):
    """Every length; all scores equal; equal items; zero items; strong and opposed items."""
    module = network(1, agreement=agreement)
    H, packed = batch(lengths)
    first = H[:1].expand_as(H)
    for items in (H, first, torch.zeros_like(H), 30.0 * H, first * torch.sign(H[:, :1])):
        reference = expected(module, items, packed)
        assert_equals_the_paper(module(items, packed), packed, reference)
    # Use zeros for exact ties on any machine; products of equal columns may differ slightly.
    with torch.no_grad():
        module.base.zero_()
    output = module(H, packed)
    assert not output.activated.any()
    assert output.interests.groups == ((1, len(lengths)),)
    assert_equals_the_paper(output, packed, expected(module, H, packed))


def test_a_user_activates_as_few_as_one_and_as_many_as_its_items():
    """Base vectors are on the axes and items one-hot, so the counts are known."""
    module = network(2, capsules=6)
    with torch.no_grad():
        module.base.copy_(torch.eye(6))
    packed = pack_lists([[0, 1, 2, 3, 4], [5, 5, 5], [5, 0, 5, 0]], N)
    output = module(torch.eye(6, dtype=torch.float64)[packed.items], packed)
    found = per_user(packed, output.interests)
    assert [sorted(user) for user in found] == [[0, 1, 2, 3, 4], [5], [0, 5]]
    assert output.interests.groups == ((1, 1), (2, 1), (5, 1))
    assert output.interests.n_users == 3


def test_interests_lie_by_how_many_a_user_has_and_by_rising_capsule():
    module = network(3)
    H, packed = batch([5, 4, 3, 2, 1, 5, 4, 3])
    interests = module(H, packed).interests
    sizes = [size for size, _ in interests.groups]
    assert sizes == sorted(set(sizes))
    assert sorted(interests.users.tolist()) == list(range(8))
    row = 0
    for count in interests.counts().tolist():
        own = interests.which[row : row + count].tolist()
        assert own == sorted(set(own))
        row += count
    assert row == len(interests.vectors)


def test_forced_activation_replaces_the_items_own():
    module = network(4)
    H, packed = batch([3, 5, 1])
    forced = torch.tensor([4, 0, 0, 1, 2, 2, 3, 3, 2])
    output = module(H, packed, forced=forced)
    assert torch.equal(output.activated, forced)
    p = paper_parameters(capsules=module)
    found = per_user(packed, output.interests)
    choices = per_history(packed, forced)
    for user, hs in enumerate(per_history(packed, H)):
        want = eq7_14_interests(list(hs), p, forced=choices[user].tolist())
        assert_same_interests(found[user], want.u)


def test_without_the_position_module_all_items_weigh_the_same():
    module = network(5, positional=False)
    H, packed = batch([4, 1])
    for (length, _), trace in zip(packed.groups, module(H, packed).trace, strict=True):
        np.testing.assert_allclose(trace.importance, 1.0 / length)


def test_order_and_company_of_histories_change_nothing():
    module = network(6)
    lengths = [1, 2, 2, 3, 4, 5, 5, 1]
    H, packed = batch(lengths)
    rows = per_history(packed, H)
    alone = []
    for own in rows:
        single = pack_lists([list(range(len(own)))], N)
        alone.append(per_user(single, module(torch.from_numpy(own), single).interests)[0])
    turned = np.random.default_rng(1).permutation(len(lengths)).tolist()
    stacked = torch.from_numpy(np.concatenate([rows[i] for i in turned]))
    ends = np.cumsum([lengths[i] for i in turned]).tolist()
    again = pack_lists(
        [list(range(e - lengths[i], e)) for i, e in zip(turned, ends, strict=True)], N
    )
    found = per_user(again, module(stacked[again.items], again).interests)
    for place, i in enumerate(turned):
        assert_same_interests(found[place], alone[i])


def test_noise_explores_in_training_only():
    """N(0, 0.2^2) relative to the similarity, and 0.01 absolute if the similarity is zero."""
    module = network(7, capsules=3)
    H, _ = batch([2, 1])
    H = H * torch.tensor([[1.0], [0.0], [20.0]])
    clean = module.similarity(H)
    assert torch.equal(clean, module.similarity(H))
    module.train()
    torch.manual_seed(0)
    draws = torch.stack([module.similarity(H) for _ in range(4000)]) - clean
    wanted = 0.2 * clean.abs() + 0.01
    np.testing.assert_allclose(f64(draws.std(0) / wanted), 1.0, atol=0.06)
    assert (draws.mean(0).abs() < 5 * wanted / 4000**0.5).all()
    module.noisy = False
    assert torch.equal(module.similarity(H), clean)


@pytest.mark.parametrize("agreement", ["h", "q"])
def test_gradcheck_of_the_layer(agreement):
    """For H and every parameter, away from ties of the activation."""
    module = network(8, agreement=agreement)
    H, packed = batch([1, 2, 4, 4])
    top = module.similarity(H).topk(2).values
    assert (top[:, 0] - top[:, 1]).min() > 1e-3
    names, values = zip(*module.named_parameters(), strict=True)

    def forward(items: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        named = dict(zip(names, weights, strict=True))
        output = functional_call(module, named, (items, packed))
        return output.interests.vectors, output.similarity

    inputs = (H, *(value.detach() for value in values))
    assert torch.autograd.gradcheck(forward, tuple(v.requires_grad_() for v in inputs))


def test_every_parameter_learns_from_the_interests():
    module = network(9).train()
    H, packed = batch([1, 2, 5, 4])
    module(H, packed).interests.vectors.square().sum().backward()
    for name, parameter in module.named_parameters():
        if name == "attention.score.bias":  # shifts all items' scores equally: softmax ignores it
            continue
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_vanishing_features_give_zero_and_finite_gradients():
    module = network(10)
    with torch.no_grad():
        module.features.norm.weight.zero_()
        module.features.norm.bias.zero_()
    H, packed = batch([1, 3, 5])
    H.requires_grad_()
    vectors = module(H, packed).interests.vectors
    assert not vectors.any()
    vectors.sum().backward()
    assert H.grad.isfinite().all()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("length", [0.0, 1e-200, 1e-9, 1e-3, 1.0, 1e9])
def test_squash_at_any_length(length):
    z = torch.tensor([[0.6, -0.8]], dtype=torch.float64) * length
    z.requires_grad_()
    u = squash(z)
    np.testing.assert_allclose(f64(u)[0], eq13_squash(f64(z)[0]), rtol=1e-10, atol=1e-200)
    u.sum().backward()
    assert z.grad.isfinite().all()


def test_gradcheck_of_squash():
    z = torch.tensor([[0.3, -0.4, 1.0], [2.0, 0.1, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(squash, (z.requires_grad_(),))


@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=1, max_size=8))
@SETTINGS
def test_active_sets(choices):
    slots, valid = active_capsules(torch.tensor(choices), None, 7)
    found = [row[keep].tolist() for row, keep in zip(slots, valid, strict=True)]
    assert found == [sorted(set(row)) for row in choices]
    assert slots.shape[1] == max(len(set(row)) for row in choices)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=1, max_size=8))
@SETTINGS
def test_active_sets_of_padded_histories(choices):
    """Padding activates nothing, whatever it holds, and there is room for every active capsule."""
    rows = torch.tensor([[3] * (4 - len(row)) + row for row in choices])
    items = torch.tensor([[False] * (4 - len(row)) + [True] * len(row) for row in choices])
    for capsules, room in ((7, 4), (9, 4)):
        slots, valid = active_capsules(rows, items, capsules)
        found = [row[keep].tolist() for row, keep in zip(slots, valid, strict=True)]
        assert found == [sorted(set(row)) for row in choices]
        assert slots.shape == (len(choices), room)
        assert int(slots.max()) < capsules
    if rows.max() < 3:
        assert active_capsules(rows, items, 3)[0].shape[1] == 3


def test_float32_stays_close():
    """Nothing in the routing is ill-conditioned in single precision."""
    module = network(11)
    H, packed = batch([5, 5, 3, 2, 1])
    exact = module(H, packed).interests
    single = module.float()(H.float(), packed).interests
    assert torch.equal(single.which, exact.which)
    torch.testing.assert_close(single.vectors.double(), exact.vectors, rtol=1e-4, atol=1e-5)
