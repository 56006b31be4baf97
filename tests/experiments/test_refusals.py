"""What an experiment refuses: bad input, and folders with other content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from miracle_cli.main import main
from tests.support.experiments import TINY, command, refused, tiny

Capture = pytest.CaptureFixture[str]


def test_another_version(copy: Path, shops: Path, capsys: Capture) -> None:
    path = copy / "out" / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 7}))
    for args in (command(copy, shops), ["experiment", "verify", str(copy / "out")]):
        assert "is of format 7, and this version reads format 1" in refused(capsys, args)


def test_another_experiment(copy: Path, shops: Path, capsys: Capture) -> None:
    (copy / "tiny.toml").rename(copy / "other.toml")
    args = command(copy, shops)
    said = refused(capsys, [args[0], str(copy / "other.toml"), *args[2:]])
    assert "begun with tiny, and this is other" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--set", "train.epochs=3"],
            "train.epochs of the run workshop/as-printed/gru4rec/seed-2023",
        ),
        (["--set", "train.epochs=3"], "begun with 2, and this is 3"),
        (["--quick"], "--quick: the folder was begun with no, and this is yes"),
        (["--seeds", "1"], "seed-2024 and 3 more, and this asks for fewer"),
    ],
)
def test_other_settings(
    options: list[str], told: str, copy: Path, shops: Path, capsys: Capture
) -> None:
    before = (copy / "out" / "plan.json").read_text()
    assert told in refused(capsys, command(copy, shops, *options))
    assert (copy / "out" / "plan.json").read_text() == before


def test_another_claim(copy: Path, shops: Path, capsys: Capture) -> None:
    tiny(copy, TINY.replace('["SASRec"]', '["GRU4Rec"]'))
    said = refused(capsys, command(copy, shops))
    assert "proposed systems: the folder was begun with SASRec, and this is GRU4Rec" in said
    tiny(copy, TINY, seeds='primary = "recall@10"\nseeds')
    said = refused(capsys, command(copy, shops))
    assert "primary metric: the folder was begun with ndcg@10, and this is recall@10" in said


def test_changed_data(copy: Path, shops: Path, tmp_path: Path, capsys: Capture) -> None:
    changed = tmp_path / "workshop"
    shutil.copytree(shops / "kitchen", changed)
    manifest = json.loads((changed / "manifest.json").read_text())
    (changed / "manifest.json").write_text(json.dumps({**manifest, "name": "workshop"}))
    said = refused(capsys, command(copy, tmp_path))
    then = json.loads((copy / "out" / "plan.json").read_text())["data"]["workshop"]["fingerprint"]
    assert "the data of 'workshop' have changed" in said
    assert then[:16] in said
    assert manifest["split_hash"][:16] in said
    args = command(copy, shops)
    args[args.index(str(shops / "workshop"))] = str(shops / "kitchen")
    assert "does not name it" in refused(capsys, args)


def test_a_half_written_rank_file(copy: Path, shops: Path, capsys: Capture) -> None:
    file = next((copy / "out").rglob("*/gru4rec/seed-2024/users-test-gain.parquet"))
    file.write_bytes(file.read_bytes()[:-200])
    for args in (command(copy, shops), ["experiment", "verify", str(copy / "out")]):
        said = refused(capsys, args)
        assert "can't be read as parquet" in said
        assert str(file) in said
    file.unlink()
    assert "is missing" in refused(capsys, ["experiment", "verify", str(copy / "out")])
    assert main(command(copy, shops)) == 0


def test_ranks_of_another_run(copy: Path, shops: Path, capsys: Capture) -> None:
    runs = copy / "out/runs/workshop/seen-aware/gru4rec"
    name = "users-test-gain.parquet"
    shutil.copyfile(runs / "seed-2023" / name, runs / "seed-2024" / name)
    said = refused(capsys, command(copy, shops))
    assert "are results of the seed 2023, and the run" in said
    assert "has 2024" in said


def test_ranks_of_other_weights(copy: Path, shops: Path, capsys: Capture) -> None:
    runs = copy / "out/runs/workshop/seen-aware/gru4rec"
    shutil.copyfile(runs / "seed-2023/model.safetensors", runs / "seed-2024/model.safetensors")
    said = refused(capsys, command(copy, shops))
    assert "are results of the weights" in said
    assert str(runs / "seed-2024") in said


def test_a_run_of_other_settings(copy: Path, shops: Path, capsys: Capture) -> None:
    config = copy / "out/runs/workshop/seen-aware/gru4rec/seed-2024/config.toml"
    config.write_text(config.read_text().replace("width = 8", "width = 9"))
    said = refused(capsys, command(copy, shops))
    assert "is a run with model.width 9, and the experiment has 8 there" in said


def test_a_folder_of_something_else(shops: Path, tmp_path: Path, capsys: Capture) -> None:
    tiny(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "and no experiment (it has no plan.json)" in refused(capsys, command(tmp_path, shops))
    said = refused(capsys, ["experiment", "verify", str(tmp_path / "out")])
    assert "is not an experiment's folder" in said
    (tmp_path / "file").write_text("mine")
    args = ["experiment", "table2", "--data", str(shops / "workshop"), "--out"]
    assert "is not a folder" in refused(capsys, [*args, str(tmp_path / "file")])
    args = ["experiment", "table1", "--data", str(shops / "workshop"), "--out"]
    assert "something else" in refused(capsys, [*args, str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["tabel2"], "did you mean table2?"),
        (["nothing-like-it"], "a file of your own ends in .toml"),
        (["missing.toml", "--data", "x"], "can't be read"),
        (["table2"], "no Dataset is named"),
        (["table2", "--data", "DATA"], "no folder is named"),
        (["table2", "--data", "DATA", "--data", "DATA", "--dry-run"], "names the same data twice"),
        (
            ["table2", "--data", "DATA", "--pretrain", "DATA", "--dry-run"],
            "is to be pre-trained on",
        ),
        (["table2", "--data", "nowhere", "--dry-run"], "is not a Dataset folder"),
        (["table2", "--data", "DATA", "--dry-run", "--set", "seen=gain"], "columns says"),
        (["table2", "--data", "DATA", "--dry-run", "--set", "model.kind=mind"], "says itself"),
        (["table2", "--data", "DATA", "--dry-run", "--set", "model.widht=3"], "model.width?"),
        (["table2", "--data", "DATA", "--dry-run", "--set", "train.epoch=3"], "train.epochs?"),
        (["table2", "--data", "DATA", "--dry-run", "--set", "train.test=false"], "unread"),
        (["table2", "--data", "DATA", "--dry-run", "--set", "seen=gain"], "where: --set seen=gain"),
        (
            ["table2", "--data", "DATA", "--dry-run", "--set", "train.epochs=0"],
            "where: --set train.epochs=0\n",
        ),
        (
            ["table2", "--data", "DATA", "--dry-run", "--set", "model.widht=3"],
            "where: --set model.widht=3\n",
        ),
        (["table2", "--data", "DATA", "--shard", "3/2", "--dry-run"], "is no share of the runs"),
        (["table2", "--data", "DATA", "--recorded", "x"], "only --dry-run asks for it"),
        (["table1", "--data", "DATA", "--seeds", "3"], "table1 trains nothing"),
        (["table2", "--data", "DATA", "--seeds", "1001", "--dry-run"], "are more than 1000"),
        (["table1", "extra", "--data", "DATA"], "is one argument too many"),
        (["verify"], "no folder is named"),
    ],
)
def test_bad_input(args: list[str], told: str, shops: Path, capsys: Capture) -> None:
    named = [str(shops / "workshop") if arg == "DATA" else arg for arg in args]
    assert told in refused(capsys, ["experiment", *named])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": "seed"}, "did you mean seeds?"),
        ({"seeds = 2": "seeds = 0"}, "seeds"),
        ({'["SASRec"]': '["SASREC"]'}, "which is no system of it (it has: SASRec, "),
        ({'"GRU4Rec"': '"sasrec"'}, "would be in one folder"),
        ({"[settings]": '[settings]\nseen = "gain"'}, "seen can't be set here"),
        ({'model.kind = "gru4rec"': "train.epochs = 1"}, "no system is named"),
        ({'name = "GRU4Rec"': "train.epochs = 1"}, "name"),
        ({"seeds = 2": 'seeds = 2\nprimary = "hits@3"'}, "hits@3 is none of"),
        ({"seeds = 2": 'seeds = 2\ncolumns = ["as-printed"]'}, "columns"),
        ({"seeds = 2": 'seeds = 2\nname = "x"'}, "an experiment is called as its file is"),
        ({"seeds = 2": 'seeds = 2\nkind = "statistics"'}, "one of statistics has none"),
        ({"train.epochs = 2": "train.epochs = 0"}, "where: tiny: SASRec: train.epochs\n"),
        ({"train.batch_size": "train.batchsize"}, "did you mean train.batch_size?"),
        ({'model.kind = "gru4rec"': 'model.kind = "gru4rec"\nfinetune = false'}, "neither"),
        ({"[[system]]": "[system]"}, "not valid TOML"),
    ],
)
def test_a_bad_definition(
    changes: dict[str, str], told: str, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = tiny(tmp_path, **changes)
    assert told in refused(capsys, command(tmp_path, shops, "--dry-run"))
    assert path.is_file()
    assert not (tmp_path / "out").exists()
