"""The whole model against the float64 reference, and its invariances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import pack_lists
from miracle_core.systems.base import ItemSide
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings
from tests.reference.basics import cosine, log_sum_exp
from tests.reference.losses import eq18_orthogonality, eq21_balance, eq24_finetune
from tests.reference.miracle import interests, item_vectors
from tests.reference.scoring import eq23_full
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    WIDTH,
    N,
    assert_same_interests,
    batch_of,
    f64,
    histories_of,
    paper_parameters,
    per_user,
    randomise,
)

ITEMS, TEXT_WIDTH = 9, 7
WEIGHTS = {"coverage": 0.4, "orthogonality": 0.07, "contrast": 0.3}


def model_of(
    seed: int = 0, transductive: bool = True, gain: bool = True, **options: Any
) -> Miracle:
    settings = MiracleSettings(
        **{
            "width": WIDTH, "capsules": 5, "experts": 3, "max_length": N, "inner": 8,
            "dropout": 0.0, "adaptor_dropout": 0.0, "gate_noise": False,
            "activation_noise": False, "score": "inner", "temperature": 1.0, **WEIGHTS, **options,
        }
    )  # fmt: skip
    return randomise(
        Miracle(settings, TEXT_WIDTH, ITEMS if transductive else None, gain=gain), seed
    )


def texts(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(ITEMS, TEXT_WIDTH)))


def losses_of(
    model: Miracle, text: torch.Tensor, histories: list[list[int]], targets: list[int]
) -> Any:
    return model.objective(ItemSide(text), batch_of(histories, targets))


def gain_of(model: Miracle) -> float:
    return (
        0.0
        if model.repeat is None
        else 50.0 * float(model.repeat.detach()) * model.settings.temperature
    )


def reference_of(model: Miracle, text: torch.Tensor, histories: list[list[int]]) -> tuple:
    p = paper_parameters(model.adaptor, model.context, model.capsules)
    ids = None if model.identity is None else f64(model.identity)
    xs = item_vectors(f64(text), p, ids)
    options = {"tau": model.settings.iterations, "agreement": model.settings.agreement}
    return xs, p, [interests(history, xs, p, **options) for history in histories]


@SETTINGS
@given(
    seed=SEEDS,
    lengths=LENGTHS,
    transductive=st.booleans(),
    agreement=st.sampled_from(["h", "q"]),
    capsules=st.integers(1, 6),
    repeat=st.booleans(),
)
def test_interests_and_losses_equal_the_paper(
    seed, lengths, transductive, agreement, capsules, repeat
):
    model = model_of(seed, transductive, agreement=agreement, capsules=capsules, gain=repeat)
    text, rng = texts(seed), np.random.default_rng(seed)
    histories = histories_of(lengths, rng, ITEMS)
    targets = rng.integers(0, ITEMS, len(lengths)).tolist()
    xs, p, users = reference_of(model, text, histories)

    packed = pack_lists(histories, N)
    x = model.inputs(ItemSide(text))
    np.testing.assert_allclose(f64(x), xs, **TOLERANCE)
    output = model(x[packed.items], packed)
    for found, want in zip(per_user(packed, output.interests), users, strict=True):
        assert_same_interests(found, want.u)

    rec = eq23_full([user.u for user in users], targets, xs, histories, gain_of(model))
    balance = eq21_balance([user.s for user in users], [user.choice for user in users])
    apart = eq18_orthogonality(p.A)
    losses = losses_of(model, text, histories, targets)
    assert sorted(losses.terms) == ["coverage", "orthogonality", "recommendation"]
    for name, want in (("recommendation", rec), ("coverage", balance), ("orthogonality", apart)):
        np.testing.assert_allclose(f64(losses.terms[name]), want, **TOLERANCE)
    total = eq24_finetune(rec, balance, apart, WEIGHTS["coverage"], WEIGHTS["orthogonality"])
    np.testing.assert_allclose(f64(losses.total), total, **TOLERANCE)


@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_cosine_scores_are_those_of_directions(temperature):
    model = model_of(1, score="cosine", temperature=temperature, gain=False)
    histories, targets = [[0, 1, 2], [3], [4, 5, 5, 6]], [7, 8, 0]
    xs, _, users = reference_of(model, texts(), histories)
    expected = 0.0
    for user, target in zip(users, targets, strict=True):
        scores = [max(cosine(u, x) for u in user.u.values()) / temperature for x in xs]
        expected += (log_sum_exp(scores) - scores[target]) / len(users)
    found = losses_of(model, texts(), histories, targets).terms["recommendation"]
    np.testing.assert_allclose(f64(found), expected, **TOLERANCE)


def test_names_of_items_and_order_of_histories_mean_nothing():
    """Renumbering the catalogue and shuffling the batch changes no loss term."""
    model, text = model_of(2), texts()
    rng = np.random.default_rng(0)
    histories = histories_of([1, 1, 2, 3, 4, 5, 5], rng, ITEMS)
    targets = rng.integers(0, ITEMS, 7).tolist()
    first = losses_of(model, text, histories, targets)

    new = rng.permutation(ITEMS)  # item i becomes new[i]
    old = torch.tensor(np.argsort(new))
    with torch.no_grad():
        model.identity.copy_(model.identity[old])
    turned = rng.permutation(7)
    second = losses_of(
        model,
        text[old],
        [[int(new[item]) for item in histories[i]] for i in turned],
        [int(new[targets[i]]) for i in turned],
    )
    for name, value in first.terms.items():
        torch.testing.assert_close(second.terms[name], value, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("score", ["inner", "cosine"])
def test_items_that_do_not_compete_are_as_if_they_were_not_there(score: str):
    """The loss equals that of a catalogue without them, and their embeddings get no gradient."""
    model, text = model_of(2, score=score, gain=True), texts()
    among = torch.tensor([0, 2, 3, 5, 8])
    rng = np.random.default_rng(0)
    places = [rng.integers(0, len(among), size) for size in (1, 2, 4, 5)]
    ends = rng.integers(0, len(among), 4)
    batch = batch_of(
        [among[place].tolist() for place in places],
        among[torch.from_numpy(ends)].tolist(),
        among=among,
    )
    found = model.objective(ItemSide(text), batch)
    found.total.backward()
    others = [item for item in range(ITEMS) if item not in among.tolist()]
    assert not model.identity.grad[others].any()
    assert model.identity.grad[among].any()

    small = model_of(2, score=score, gain=True)
    small.identity = torch.nn.Parameter(model.identity.detach()[among])
    expected = losses_of(small, text[among], [place.tolist() for place in places], ends.tolist())
    for name, value in expected.terms.items():
        torch.testing.assert_close(found.terms[name], value, rtol=1e-11, atol=1e-11)


def test_a_users_interests_do_not_depend_on_the_batch():
    model, text = model_of(3), texts()
    histories = histories_of([1, 2, 3, 4, 5, 5, 2], np.random.default_rng(1), ITEMS)
    x = model.inputs(ItemSide(text))

    def interests_in(batch: list[list[int]]) -> list:
        packed = pack_lists(batch, N)
        return per_user(packed, model(x[packed.items], packed).interests)

    for history, found in zip(histories, interests_in(histories), strict=True):
        assert_same_interests(found, interests_in([history])[0])


@pytest.mark.parametrize("agreement", ["h", "q"])
def test_gradcheck_of_the_whole_loss(agreement):
    model, text = model_of(4, agreement=agreement), texts()
    histories, targets = [[0, 1, 2], [3], [4, 5], [6, 0]], [7, 8, 0, 1]
    with torch.no_grad():  # avoid ties of the activation
        packed = pack_lists(histories, N)
        similarity = model(model.inputs(ItemSide(text))[packed.items], packed).similarity
        top = similarity.topk(2).values
    assert (top[:, 0] - top[:, 1]).min() > 1e-3
    names, values = zip(*model.named_parameters(), strict=True)

    def total(*weights: torch.Tensor) -> torch.Tensor:
        named = {f"model.{name}": w for name, w in zip(names, weights, strict=True)}
        return torch.func.functional_call(_Total(model), named, (text, histories, targets))

    inputs = tuple(value.detach().clone().requires_grad_() for value in values)
    assert torch.autograd.gradcheck(total, inputs, fast_mode=True)


class _Total(torch.nn.Module):
    """The fine-tuning loss as a module's forward."""

    def __init__(self, model: Miracle) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, text: torch.Tensor, histories: list[list[int]], targets: list[int]
    ) -> torch.Tensor:
        return losses_of(self.model, text, histories, targets).total


@pytest.mark.parametrize("transductive", [True, False])
def test_every_parameter_learns_in_one_step(transductive):
    model = model_of(5, transductive, gate_noise=True, activation_noise=True, dropout=0.1)
    model.train()
    histories = [[0, 1, 2, 3, 4], [5], [6, 7], [8, 0, 1]]
    losses_of(model, texts(), histories, [5, 6, 7, 8]).total.backward()
    assert (model.identity is not None) == transductive
    for name, parameter in model.named_parameters():
        if name == "capsules.attention.score.bias":  # shifts all scores equally: no effect
            continue
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_text_enters_at_unit_scale_or_raw():
    """The root mean square is 1 at any scale of the encoder; a text of zeros stays zero."""
    text = texts() * torch.logspace(-6, 6, ITEMS).unsqueeze(1)
    text[3] = 0.0
    scaled = model_of(7, text_scale="unit").prepared(text)
    size = scaled.square().mean(1).sqrt()
    np.testing.assert_allclose(np.delete(f64(size), 3), 1.0, rtol=1e-12)
    assert not scaled[3].any()
    np.testing.assert_allclose(
        f64(torch.nn.functional.cosine_similarity(scaled, text)), [1, 1, 1, 0, 1, 1, 1, 1, 1]
    )
    assert torch.equal(model_of(7, text_scale="raw").prepared(text), text)


def test_equal_items_and_empty_texts_stay_finite():
    model = model_of(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    losses = losses_of(model, torch.zeros(ITEMS, TEXT_WIDTH).double(), [[0, 0], [1]], [2, 0])
    assert losses.total.isfinite()
    losses.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_fresh_model_starts_near_log_of_the_catalogue():
    torch.manual_seed(0)
    settings = MiracleSettings(width=32, capsules=8, max_length=N, score="inner", temperature=1.0)
    model = Miracle(settings, TEXT_WIDTH, ITEMS).eval()
    losses = losses_of(model, texts().float(), [[0, 1, 2], [3, 4]], [5, 6])
    assert losses.terms["recommendation"].item() == pytest.approx(np.log(ITEMS), abs=0.2)
    assert losses.total.dtype == torch.float32
