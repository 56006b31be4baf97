"""Update a run with next week's data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from miracle_cli.main import main
from miracle_core.config import make_settings, nested
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, load_run, sizes_of
from miracle_core.runs.tensors import load_tensors
from miracle_core.text import load_encoder
from miracle_core.training.finetuning import finetune
from miracle_core.training.update import Beginning, update
from tests.support.runs import ENCODER, reencode, tiny_settings, tiny_shop
from tests.support.systems import pretrained, trained

NEW = ["A brand new mug", "Another new thing"]


def next_week(folder: Path, old: Dataset, *, prefix: str = "") -> Dataset:
    """Some items are gone, two are new, the order has changed, and users bought more."""
    rng = np.random.default_rng(11)
    kept = old.items.gather(rng.permutation(old.n_items)[:25].tolist())
    new = pl.DataFrame(
        {
            "item_id": ["N1", "N2"],
            "title": NEW,
            "text": [f"{title}. a shop" for title in NEW],
            "domain": ["shop"] * 2,
        }
    )
    items = pl.concat([kept.head(10), new, kept.tail(15)])
    items = items.with_columns(pl.concat_str(pl.lit(prefix), "item_id").alias("item_id"))
    lengths = [3, 4, 5, 6, 7, 8, 9, 4, 4, 5]
    write_dataset(
        folder,
        name="tiny",
        items=items,
        user_ids=[f"user-{place}" for place in range(len(lengths))],
        sequences=rng.integers(0, items.height, sum(lengths)).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        sources=[],
        settings={},
        counts={},
    )
    encoder = load_encoder(ENCODER)
    vectors = encoder.encode(items["text"].to_list()).astype(np.float16)
    return write_features(folder, vectors, encoder.identity)


def learned(folder: Path, mode: str = "transductive") -> Path:
    """A small trained run at ``folder / "run"``, over the tiny shop."""
    tiny_shop(folder / "data")
    settings = tiny_settings(data=str(folder / "data"), train__epochs=1, train__mode=mode)
    finetune(settings, folder / "run")
    return folder / "run"


def run_of(folder: Path, kind: str) -> Path:
    if kind in ("miracle", "inductive"):
        mode = "inductive" if kind == "inductive" else "transductive"
        return learned(folder / kind, mode)
    small = ["--epochs", "1", "--set", "model.width=8", "--set", "model.max_length=5"]
    tiny_shop(folder / "data")
    words = ["train", "--model", kind, "--data", str(folder / "data"), "--out", str(folder / kind)]
    assert main([*words, *small]) == 0
    return folder / kind


@pytest.mark.parametrize("kind", ["miracle", "inductive", "sasrec", "gru4rec", "mind", "comirec"])
def test_items_are_kept_by_their_ids(tmp_path: Path, kind: str) -> None:
    run = run_of(tmp_path, kind)
    old = RunFolder(run).dataset()
    data = next_week(tmp_path / "next", old)
    beginning = Beginning.of(run, data)
    settings = make_settings(
        beginning.settings.model_dump(mode="json") | {"data": str(data.folder), "pretrained": ""}
    )
    torch.manual_seed(3)
    system = build_system(settings, sizes_of(settings, data))
    fresh = {name: value.clone() for name, value in system.state_dict().items()}
    report = beginning.load_into(system, settings)
    assert report.items is not None
    assert (report.items.kept, report.items.new, report.items.gone) == (25, 2, 5)
    weights, _ = load_tensors(RunFolder(run).weights)
    tables = 0
    for name, value in system.state_dict().items():
        if value.shape[:1] != (27,):
            assert torch.equal(value, weights[name]), name
            continue
        tables += 1
        for row, item_id in enumerate(data.items["item_id"]):
            if item_id.startswith("N"):
                assert torch.equal(value[row], fresh[name][row])
            else:
                place = old.items["item_id"].to_list().index(item_id)
                assert torch.equal(value[row], weights[name][place])
    assert tables == (0 if kind == "inductive" else 1)


def test_before_is_what_the_old_run_says(tmp_path: Path) -> None:
    """On the same data, the updated run starts as the old run itself."""
    run = learned(tmp_path / "old")
    found = update(run, tmp_path / "old" / "data", tmp_path / "new")
    assert found.check is not None
    expected = evaluate_run(run, split="valid").found.metrics["recall@10"]
    assert found.check.figures["base_value"] == pytest.approx(expected)
    assert (found.items.kept, found.items.new, found.items.gone) == (30, 0, 0)
    now = evaluate_run(tmp_path / "new", split="valid").found.metrics["recall@10"]
    assert found.check.value == pytest.approx(now)


def test_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = learned(tmp_path / "old")
    data = next_week(tmp_path / "next", RunFolder(run).dataset())
    before = (run / "model.safetensors").read_bytes()
    new = tmp_path / "old" / "new"
    words = ["update", str(run), "--data", str(data.folder), "--out", str(new)]
    code = main([*words, "--epochs", "2", "--json"])
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert code == (1 if told["check"]["failed"] else 0)
    assert told["items"] == {"kept": 25, "new": 2, "gone": 5}
    assert "items: 25 kept by their ids, 2 new, 5 gone" in said.err
    low, high = told["check"]["interval"]
    assert low <= told["check"]["difference"] <= high
    assert json.loads((new / "update.json").read_text())["items"] == told["items"]
    assert "2 are new" in (new / "README.md").read_text()
    assert (run / "model.safetensors").read_bytes() == before and not told["replaced"]
    assert len(RunFolder(new).history()) == 2
    assert Recommender.load(new).item("N1") == 10
    assert load_run(new).settings.pretrained == ""


def test_it_takes_the_old_ones_place_only_if_it_is_no_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = learned(tmp_path / "old")
    data = next_week(tmp_path / "next", RunFolder(run).dataset())
    new = tmp_path / "old" / "new"
    before = (run / "model.safetensors").read_bytes()
    found = update(run, data.folder, new, replace_old=True)
    assert found.check is not None and not found.check.failed and found.replaced
    assert (new / "model.safetensors").read_bytes() == before
    told = json.loads((run / "update.json").read_text())
    assert (told["run"], told["old"]) == (str(run), str(new)) == (str(found.run), str(found.old))
    assert RunFolder(run).dataset().n_items == 27 and RunFolder(new).dataset().n_items == 30
    # The new run is worse: both runs stay in place, with a message.
    from miracle_core.training import update as module

    right = module.check_not_worse

    def worse(*args: object) -> object:
        check = right(*args)  # type: ignore[arg-type]
        figures = {**check.figures, "interval": [-0.3, -0.1]}
        return type(check)(**{**vars(check), "failed": True, "figures": figures})

    monkeypatch.setattr(module, "check_not_worse", worse)
    again = tmp_path / "old" / "again"
    kept = (run / "model.safetensors").read_bytes()
    found = update(run, data.folder, again, replace_old=True)
    assert not found.replaced and (run / "model.safetensors").read_bytes() == kept
    assert again.is_dir()
    words = ["update", run, "--data", data.folder, "--out", again, "--overwrite", "--replace"]
    assert main([*map(str, words)]) == 1
    said = capsys.readouterr()
    assert f"nothing was replaced: {run} is as it was, and the new run is in {again}" in said.err
    assert said.out.rstrip().endswith(" worse")
    assert "old recall@10" in said.out and "(95 % interval -0.3000 to -0.1000)" in said.out


def test_what_it_can_not_go_on_from_is_refused(tmp_path: Path) -> None:
    run = learned(tmp_path / "old")
    old = RunFolder(run).dataset()
    data = next_week(tmp_path / "next", old)
    out = tmp_path / "new"

    def refused(what: str, run: Path, data: Path, out: Path = out, **more: object) -> None:
        with pytest.raises(InputError, match=what):
            update(run, data, out, **more)  # type: ignore[arg-type]
        assert not (tmp_path / "new").exists()

    refused("is the run itself", run, data.folder, run)
    refused("lies elsewhere", run, data.folder, replace_old=True)
    refused("the model stays", run, data.folder, changes=nested({"model.width": 16}))
    refused("no setting", run, data.folder, changes=nested({"train.epoch": 1}))
    strangers = next_week(tmp_path / "strangers", old, prefix="other-")
    refused("none of the run's items", run, strangers.folder)
    popularity = trained(tmp_path / "systems", "popularity")
    refused("is fitted at once", popularity, data.folder)
    refused("is a pre-trained run", pretrained(tmp_path / "pre")[0], data.folder)
    refused("no weights yet|not a run folder", tmp_path, data.folder)
    other = reencode(data, revision="another")
    refused("the run reads those of", run, other.folder)


def test_an_inductive_run_recommends_items_without_sales(tmp_path: Path) -> None:
    """``recommend RUN --data NEW``: new items can be recommended, and be in histories."""
    run = learned(tmp_path / "old", "inductive")
    data = next_week(tmp_path / "next", RunFolder(run).dataset())
    recommender = Recommender.load(run, data=data.folder)
    everything = recommender.recommend_users(None, 27, "as-printed").table()
    assert {"N1", "N2"} <= set(everything["item_id"])
    text = recommender.encode_items([recommender.text(recommender.item("N1"))])
    row = recommender.item("N1")
    assert np.allclose(text.vectors[0], recommender.item_vectors().vectors[row], atol=1e-5)
    with pytest.raises(InputError, match="is transductive"):
        Recommender.load(learned(tmp_path / "known"), data=data.folder)


VALUES = {
    ("letter", "B"): ["N1"],  # a new value
    ("letter", "G"): ["I07", "I04", "I05"],
    ("maker", "acme"): ["I01", "N2"],  # values of a new attribute
    ("shelf", "0"): ["I00", "I01", "I02"],
    ("shelf", "3"): ["I25", "I26"],
}


@pytest.mark.parametrize("kind", ["fdsa", "s3rec"])
def test_values_of_attributes_are_kept_by_their_names(kind: str, tmp_path: Path) -> None:
    """Other data numbers values differently: some are new or gone, and an attribute is added."""
    old = tiny_shop(tmp_path / "shop", attributes=True)
    small = {"model.kind": kind, "model.width": 8, "model.heads": 1, "train.epochs": 1}
    settings = make_settings(nested({"data": str(tmp_path / "shop"), **small}))
    finetune(settings, tmp_path / "run")
    data = with_values(next_week(tmp_path / "plain", old), tmp_path / "next")
    beginning = Beginning.of(tmp_path / "run", data)
    new_settings = make_settings(
        beginning.settings.model_dump(mode="json") | {"data": str(data.folder), "pretrained": ""}
    )
    torch.manual_seed(3)
    system = build_system(new_settings, sizes_of(new_settings, data))
    fresh = {name: value.clone() for name, value in system.state_dict().items()}
    report = beginning.load_into(system, new_settings)
    known = old.attributes.select("attribute", "value").unique().sort("attribute", "value").rows()
    # A fine-tuned S3-Rec stores no attributes, since only its pre-training reads them.
    if kind == "fdsa":
        assert report.values is not None
        assert (report.values.kept, report.values.new) == (3, 2)
        assert report.values.gone == len(known) - 3
    else:
        assert report.values is None
    weights, _ = load_tensors(RunFolder(tmp_path / "run").weights)
    tables = {n: v for n, v in system.state_dict().items() if v.shape[:1] == (len(VALUES),)}
    assert len(tables) == (1 if kind == "fdsa" else 0)
    for name, value in tables.items():
        for row, pair in enumerate(sorted(VALUES)):
            expected = weights[name][known.index(pair)] if pair in known else fresh[name][row]
            assert torch.equal(value[row], expected)
    found = update(tmp_path / "run", data.folder, tmp_path / "new")
    assert found.check is not None and found.values == report.values
    told = found.summary().get("values")
    assert told == (None if report.values is None else report.values.model_dump())
    assert Recommender.load(tmp_path / "new").recommend_users(["user-0"]).frame().shape[0] == 10


def with_values(plain: Dataset, folder: Path) -> Dataset:
    """The same Dataset with :data:`VALUES` as the items' attributes."""
    there = set(plain.items["item_id"])
    rows = [
        (item, attribute, value)
        for (attribute, value), items in VALUES.items()
        for item in items
        if item in there
    ]
    assert len({row[1:] for row in rows}) == len(VALUES)
    write_dataset(
        folder,
        name="tiny",
        items=plain.items,
        user_ids=plain.users["user_id"],
        sequences=np.asarray(plain.sequences),
        offsets=np.asarray(plain.offsets),
        sources=[],
        settings={},
        counts={},
        attributes=pl.DataFrame(rows, ["item_id", "attribute", "value"], orient="row"),
    )
    return write_features(folder, plain.features(), plain.feature_set().encoder)
