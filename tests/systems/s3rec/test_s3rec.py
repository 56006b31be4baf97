"""S3-Rec compared with its paper, one sequence at a time; its two stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_cli.main import main
from miracle_core.config import Settings, make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import pack_lists
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import generate_shops, write_shop_files
from miracle_core.errors import InputError
from miracle_core.processes import ALONE
from miracle_core.ranking.draws import keys_within, others
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, load_run
from miracle_core.runs.summary import summarise
from miracle_core.systems.base import Batch, ItemSide, Sizes
from miracle_core.systems.s3rec.corruption import draw_mask, draw_segments
from miracle_core.systems.s3rec.system import S3Rec
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from miracle_core.training.stages import run_recipe
from tests.reference.basics import layer_norm
from tests.reference.s3rec import rather, told_values
from tests.reference.sequences import sasrec_block
from tests.systems.fdsa.test_fdsa import SIZES, VALUES, attributes
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE, N, f64, per_history, randomise
from tests.systems.sasrec.test_sasrec import layer_of
from tests.systems.support import beats_popularity, cycle_shop, overfits
from tests.training.support import same_tensors
from tests.training.test_resume import assert_same_run, stop_at

Capture = pytest.CaptureFixture[str]
N_ITEMS = 9
STREAM = (7, 3)
OBJECTIVES = ["item_attribute", "masked_item", "masked_attribute", "segment"]
# A training sequence is a history and its next item, together at most N items.
SEQUENCES = st.lists(
    st.lists(st.integers(0, N_ITEMS - 1), min_size=2, max_size=N), min_size=1, max_size=5
)


def small(*, pretraining: bool = True, sizes: tuple[int, ...] = SIZES, **changes: object) -> S3Rec:
    own = {"kind": "s3rec", "width": 6, "inner": 8, "max_length": N, **changes}
    data = {"datasets": ["somewhere"]} if pretraining else {}
    system = build_system(make_settings({"model": own, **data}), Sizes(N_ITEMS, None, sizes))
    assert isinstance(system, S3Rec)
    return system


def batch_of(sequences: list[list[int]]) -> Batch:
    packed = pack_lists([own[:-1] for own in sequences], N - 1)
    targets = torch.tensor([own[-1] for own in sequences])[packed.order]
    return Batch(packed, targets, 10 * packed.order + 3, STREAM)


def states_of(system: S3Rec, rows: list[Any], *, both_ways: bool = True) -> list[Any]:
    """Encode one sequence; the reference's causal block is made bidirectional by hand."""
    places = f64(system.context.position)
    scale, shift = f64(system.context.norm.weight), f64(system.context.norm.bias)
    first = N - len(rows)
    rows = [layer_norm(row + places[first + i], scale, shift) for i, row in enumerate(rows)]
    for layer in system.context.layers:
        block = layer_of(layer)
        if both_ways:
            # To let item i attend to all items, move it to the end of the causal sequence.
            turned = []
            for i in range(len(rows)):
                order = [*(j for j in range(len(rows)) if j != i), i]
                own = sasrec_block([rows[j] for j in order], block, layer.heads, "post", "gelu")
                turned.append(own[-1])
            rows = turned
        else:
            rows = sasrec_block(rows, block, layer.heads, "post", "gelu")
    return rows


def map_of(system: S3Rec, name: str) -> tuple[Any, Any]:
    assert system.objectives is not None
    own = system.objectives.maps[name]
    return f64(own.weight), f64(own.bias)


@SETTINGS
@given(seed=SEEDS, sequences=SEQUENCES)
def test_the_four_objectives_are_the_papers(seed, sequences):
    """Given the drawn masks, each objective is the mean over sequences of a sequence's sum."""
    system = randomise(small(), seed)
    batch = batch_of(sequences)
    found = system.pretrain_objective(ItemSide(attributes=attributes()), batch, ALONE)
    whole, _ = batch.packed.appended(batch.targets)
    keys = keys_within(batch.examples[whole.history_of_token()], whole.places())
    masked = draw_mask(STREAM, keys, whole, 0.2)
    drawn = others(STREAM, keys, whole.items, N_ITEMS, 1).squeeze(1)
    inside, strange = draw_segments(STREAM, batch.examples, whole, ALONE)
    per = {
        name: per_history(whole, values)
        for name, values in {
            "masked": masked, "drawn": drawn, "inside": inside, "strange": strange
        }.items()
    }  # fmt: skip
    items, mask = f64(system.item), f64(system.objectives.mask)
    values = f64(system.objectives.value)
    expected = dict.fromkeys(OBJECTIVES, 0.0)
    for number, own in enumerate(sequences):
        hidden = per["masked"][number].tolist()
        rows = [mask if h else items[item] for item, h in zip(own, hidden, strict=True)]
        states = states_of(system, rows)
        for place, item in enumerate(own):
            have = set(VALUES[item])
            if hidden[place]:
                other = items[per["drawn"][number][place]]
                h = states[place]
                expected["masked_item"] += rather(
                    h, items[item], other, *map_of(system, "masked_item")
                )
                expected["masked_attribute"] += told_values(
                    h, values, have, *map_of(system, "masked_attribute")
                )
            else:
                expected["item_attribute"] += told_values(
                    items[item], values, have, *map_of(system, "item_attribute")
                )
        cut = per["inside"][number].tolist()
        around = [mask if c else items[item] for item, c in zip(own, cut, strict=True)]
        mine = [items[item] if c else mask for item, c in zip(own, cut, strict=True)]
        theirs = [
            items[item] if c else mask
            for item, c in zip(per["strange"][number].tolist(), cut, strict=True)
        ]
        last = [states_of(system, rows)[-1] for rows in (around, mine, theirs)]
        expected["segment"] += rather(*last, *map_of(system, "segment"))
    assert list(found.terms) == OBJECTIVES
    for name, value in expected.items():
        mean = value / len(sequences)
        np.testing.assert_allclose(found.terms[name].detach(), mean, rtol=1e-9, err_msg=name)
    total = sum(
        weight * float(found.terms[name].detach())
        for name, weight in zip(OBJECTIVES, (0.2, 1.0, 1.0, 0.5), strict=True)
    )
    np.testing.assert_allclose(found.total.detach(), total, rtol=1e-9)


@SETTINGS
@given(seed=st.integers(0, 1000), sequences=SEQUENCES)
def test_what_is_hidden(seed, sequences):
    """Always the last item; a segment is 1 to n / 2 items, with negatives from the batch."""
    batch = batch_of(sequences)
    whole, _ = batch.packed.appended(batch.targets)
    keys = keys_within(batch.examples[whole.history_of_token()], whole.places())
    masked = draw_mask((seed, 1), keys, whole, 0.2)
    inside, strange = draw_segments((seed, 1), batch.examples, whole, ALONE)
    line = [item for own in sequences for item in own]
    for number, own in enumerate(sequences):
        assert per_history(whole, masked)[number][-1]
        places = np.flatnonzero(per_history(whole, inside)[number])
        assert 1 <= len(places) <= len(own) // 2
        assert places[-1] - places[0] == len(places) - 1
        run = per_history(whole, strange)[number][places].tolist()
        assert any(line[i : i + len(run)] == run for i in range(len(line)))


def test_draws_are_spread():
    sequences = [np.random.default_rng(n).integers(0, N_ITEMS, N).tolist() for n in range(600)]
    batch = batch_of(sequences)
    whole, _ = batch.packed.appended(batch.targets)
    keys = keys_within(batch.examples[whole.history_of_token()], whole.places())
    masked = draw_mask(STREAM, keys, whole, 0.2).view(600, N)
    assert masked[:, :-1].double().mean().item() == pytest.approx(0.2, abs=0.03)
    inside = draw_segments(STREAM, batch.examples, whole, ALONE)[0].view(600, N)
    sizes = inside.sum(1)
    assert [int((sizes == n).sum()) for n in (1, 2)] == pytest.approx([300, 300], abs=50)
    assert float(inside[:, 0].double().mean()) > 0.1
    other = draw_mask((7, 4), keys, whole, 0.2).view(600, N)
    assert not torch.equal(masked, other)


@pytest.mark.parametrize(
    ("sizes", "weights", "left"),
    [
        ((), {}, ["masked_item", "segment"]),
        ((3, 4), {"segment": 0.0}, ["item_attribute", "masked_item", "masked_attribute"]),
        ((3, 4), {"masked_item": 0.0, "item_attribute": 0.0}, ["masked_attribute", "segment"]),
        ((), {"masked_item": 0.0}, ["segment"]),
    ],
)
def test_an_objective_without_weight_or_attributes_is_not_there(sizes, weights, left):
    system = randomise(small(sizes=sizes, **weights), 1)
    side = ItemSide(attributes=attributes() if sizes else None)
    found = system.pretrain_objective(side, batch_of([[1, 2, 3], [4, 5]]), ALONE)
    assert list(found.terms) == left
    found.total.backward()
    for name, weight in system.named_parameters():
        used = weight.grad is not None and float(weight.grad.abs().max()) > 0
        assert used, name


def test_nothing_to_learn_is_refused():
    with pytest.raises(InputError, match="no objective is left"):
        small(sizes=(), masked_item=0.0, segment=0.0)


@SETTINGS
@given(seed=SEEDS, sequences=SEQUENCES)
def test_fine_tuning_looks_from_left_to_right(seed, sequences):
    system = randomise(small(pretraining=False), seed)
    packed = pack_lists(sequences, N)
    tokens = system.inputs(ItemSide())[packed.items]
    found = per_history(packed, system.hidden(tokens, packed))
    for own, states in zip(sequences, found, strict=True):
        rows = [f64(system.item)[item] for item in own]
        np.testing.assert_allclose(states, states_of(system, rows, both_ways=False), **TOLERANCE)


# The two stages together.


def shop(folder: Path, seed: int = 0, *, bare: bool = False) -> Path:
    """A small Dataset with categories and brands, or with titles alone."""
    (made,) = generate_shops(seed, shops=["workshop"], n_items=60, n_users=60)
    write_shop_files(made, folder / "raw")
    if bare:
        lines = (folder / "raw" / "workshop.item").read_text().splitlines()
        columns = ["\t".join(line.split("\t")[:2]) for line in lines]
        (folder / "raw" / "workshop.item").write_text("\n".join(columns) + "\n")
    prepare(read("atomic", [folder / "raw"]), PrepareSettings(k_core=3), folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop(tmp_path_factory.mktemp("bare"), bare=True)


def pretraining(data: Path, **train: Any) -> Settings:
    model = {"kind": "s3rec", "width": 8, "layers": 1, "inner": 8, "max_length": 6, "dropout": 0.1}
    own = {"epochs": 2, "batch_size": 64, "learning_rate": 0.01, **train}
    return make_settings({"datasets": [str(data)], "model": model, "train": own})


def test_the_two_stages(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "pre"
    result = pretrain(pretraining(data), run)
    assert result["objectives"] == OBJECTIVES
    assert result["attributes"].keys() == {"brand", "category"}
    losses = [record["valid"]["loss"] for record in RunFolder(run).history()]
    assert result["best_epoch"] == 1 + int(np.argmin(losses))
    assert losses[-1] < losses[0]
    assert result["valid"]["loss"] == min(losses)
    card = (run / "README.md").read_text()
    assert "Objectives that ran: item_attribute, masked_item, masked_attribute, segment." in card
    assert "miracle evaluate" not in card
    summary = summarise(run)
    assert (summary.best, summary.best_epoch) == (min(losses), result["best_epoch"])
    # Zero-shot use is refused with a message.
    with pytest.raises(InputError, match="ranks nothing before it is fine-tuned"):
        load_run(run, Dataset.open(data))
    # Items, positions and blocks are transferred. Weights that only the objectives use are not.
    settings = {"data": str(data), "pretrained": str(run), "model": {"kind": "s3rec"}}
    theirs = RunFolder(run).settings().model.model_dump()
    tuned = make_settings(settings, {"model": theirs, "train": {"epochs": 1}})
    transfer = finetune(tuned, tmp_path / "tuned")["transfer"]
    assert transfer["new"] == ["repeat"]
    assert all(name.startswith("objectives.") for name in transfer["left_out"])
    assert {"item", "context.position"} <= set(transfer["loaded"])
    assert load_run(tmp_path / "tuned").scorer() is not None


def test_another_catalogue_is_refused(tmp_path: Path, data: Path) -> None:
    other = shop(tmp_path / "b", seed=1)
    pretrain(pretraining(data, epochs=1), tmp_path / "pre")
    code = main(["finetune", "--from", str(tmp_path / "pre"), "--data", str(other), "--out", "x"])
    assert code == 2
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"model.kind = 's3rec'\n[[stage]]\nkind = 'pretrain'\ndatasets = ['{data}']\n"
        f"[[stage]]\nkind = 'finetune'\ndata = '{other}'\n"
    )
    with pytest.raises(InputError, match="has another catalogue"):
        run_recipe(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="pre-trained on the one Dataset"):
        make_settings(pretraining(data).model_dump(), {"datasets": [str(data), str(other)]})


def test_a_recipe(tmp_path: Path, bare: Path) -> None:
    """Without attributes, the run names the objectives that were used."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "model = {kind = 's3rec', width = 8, layers = 1, inner = 8}\ntrain = {epochs = 1}\n"
        f"data = '{bare}'\n[[stage]]\nkind = 'pretrain'\ndatasets = ['{bare}']\n"
        "[[stage]]\nkind = 'finetune'\n[[stage]]\nkind = 'evaluate'\n"
    )
    before, after, measured = run_recipe(recipe, tmp_path / "out")["stages"]
    assert before["objectives"] == ["masked_item", "segment"]
    assert before["attributes"] == {}
    card = (tmp_path / "out" / "1-pretrain" / "README.md").read_text()
    assert "Attributes: the Dataset has none." in card
    assert "Objectives that ran: masked_item, segment." in card
    assert after["transfer"]["run"] == "../1-pretrain"
    assert measured["metrics"]["recall@10"] == pytest.approx(after["test"]["recall@10"])
    recipe.write_text(recipe.read_text().replace("kind = 'finetune'", "kind = 'evaluate'"))
    with pytest.raises(InputError, match="s3rec ranks nothing before it is fine-tuned"):
        run_recipe(recipe, tmp_path / "other")


def test_the_commands_say_what_ran(tmp_path: Path, bare: Path, capsys: Capture) -> None:
    data, run = bare, tmp_path / "pre"
    asked = ["pretrain", "--model", "s3rec", "--data", str(data), "--out", str(run)]
    small_one = ["--epochs", "1", "--set", "model.width=8", "--set", "model.inner=8"]
    assert main([*asked, "--metric", "recall@10"]) == 2
    assert "train.metric is loss" in capsys.readouterr().err
    assert main([*asked, *small_one]) == 0
    said = capsys.readouterr()
    assert "masked_item, segment" in said.out
    assert "attributes" in said.out and "none" in said.out
    assert "valid loss" in said.err
    assert main(["evaluate", str(run), "--data", str(data)]) == 2
    assert "there is no zero-shot" in capsys.readouterr().err
    out = str(tmp_path / "tuned")
    assert main(["finetune", "--from", str(run), "--data", str(data), "--out", out,
                 "--epochs", "1", "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["transfer"]["new"] == ["repeat"]


def test_it_goes_on_to_the_same_weights(tmp_path: Path, data: Path) -> None:
    settings = pretraining(data)
    pretrain(settings, tmp_path / "whole")
    pretrain(settings, tmp_path / "cut", should_stop=stop_at(3))
    pretrain(settings, tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert same_tensors(RunFolder(tmp_path / "whole").weights, RunFolder(tmp_path / "cut").weights)


def test_learns_what_is_around(tmp_path: Path) -> None:
    """On a circle the last item is certain; MIP falls from log 2 towards log(1 + 1 / e)."""
    data = cycle_shop(tmp_path / "circle")
    settings = make_settings(
        {"datasets": [str(data)], "model": {
            "kind": "s3rec", "width": 32, "layers": 1, "inner": 32, "dropout": 0.0,
            "segment": 0.0, "mask_probability": 0.0},
         "train": {"epochs": 20, "batch_size": 32, "learning_rate": 0.003, "average": 0.0}}
    )  # fmt: skip
    pretrain(settings, tmp_path / "run")
    losses = [each["train"]["masked_item"] for each in RunFolder(tmp_path / "run").history()]
    assert losses[0] == pytest.approx(np.log(2), abs=0.02)
    assert losses[-1] < 0.55


def test_overfits_sequences_that_repeat(tmp_path: Path) -> None:
    overfits(tmp_path, {"kind": "s3rec", "width": 16, "layers": 1, "inner": 16, "dropout": 0.0})


def test_beats_popularity_on_the_demo_shop(tmp_path: Path) -> None:
    beats_popularity(tmp_path, {"kind": "s3rec", "width": 32, "inner": 64, "dropout": 0.2})


def test_the_papers_preset() -> None:
    asked = {"preset": "paper", "model": {"kind": "s3rec"}}
    settings = make_settings(asked)
    own = settings.model
    assert (own.width, own.layers, own.heads, own.max_length) == (64, 2, 2, 50)
    assert (own.item_attribute, own.masked_item, own.masked_attribute, own.segment) == (
        0.2, 1.0, 1.0, 0.5,
    )  # fmt: skip
    assert (settings.loss.recommendation, settings.loss.negatives) == ("bce", 1)
    before = make_settings(asked, {"datasets": ["somewhere"]})
    assert (before.train.metric, before.train.epochs) == ("loss", 100)
    with pytest.raises(InputError, match="only in a pre-training that ranks nothing"):
        make_settings(asked, {"train": {"metric": "loss"}})
