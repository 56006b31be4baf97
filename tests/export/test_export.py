"""Exports work without this package, through the script that they contain."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from miracle_cli.main import main
from miracle_core.errors import InputError
from miracle_core.export import export
from miracle_core.recommender import Recommender
from miracle_core.runs.tensors import load_tensors
from tests.export.support import run, used
from tests.support.runs import LENGTHS
from tests.support.systems import trained


@pytest.mark.parametrize("target", ["numpy", "faiss"])
@pytest.mark.parametrize("seen", ["gain", "leave-out", "as-printed"])
def test_the_script_recommends_what_the_recommender_does(
    small_run: Path, tmp_path: Path, target: str, seen: str
) -> None:
    recommender = Recommender.load(small_run, seen=seen)  # type: ignore[arg-type]
    found = export(recommender, target, tmp_path / "out")  # type: ignore[arg-type]
    assert (found.items, found.users) == (30, len(LENGTHS))
    users = [f"user-{place}" for place in range(len(LENGTHS))]
    told = used(tmp_path / "out", *users)
    table = recommender.recommend_users().frame()
    for user in users:
        mine = table[table["user_id"] == user]
        assert [item for item, _ in told[user]] == mine["item_id"].tolist()
        assert np.allclose([s for _, s in told[user]], mine["score"], atol=2e-5)


def test_the_layout_of_hugging_face(small_run: Path, tmp_path: Path) -> None:
    recommender = Recommender.load(small_run)
    export(recommender, "huggingface", tmp_path / "out")
    weights, _ = load_tensors(small_run / "model.safetensors")
    kept = load_file(tmp_path / "out" / "model.safetensors")
    assert kept.keys() == weights.keys()
    assert all(np.array_equal(kept[name], weights[name].numpy()) for name in kept)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("miracle", ["Miracle"])
    assert config["model"]["width"] == 8 and "data" not in config
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: miracle\n") and "use.py" in card
    (near,) = used(tmp_path / "out", "I03").values()
    vectors = recommender.item_vectors().vectors.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = [item for item in np.argsort(-(unit @ unit[3])) if item != 3][:10]
    assert [item for item, _ in near] == [recommender.item_id(int(item)) for item in order]


def test_whom_the_mask_lets_read_can_read_all_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = Recommender.load(trained(tmp_path, "mind"))
        export(run, "faiss", tmp_path / "faiss")
        export(run, "numpy", tmp_path / "numpy")
        export(run, "huggingface", tmp_path / "huggingface")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"export.json", "model.safetensors", "state.safetensors"} <= {p.name for p in files}
    assert not [path for path in files if stat.S_IMODE(path.stat().st_mode) != 0o640]


def test_other_systems_and_what_they_lack(tmp_path: Path) -> None:
    mind = Recommender.load(trained(tmp_path, "mind"))
    export(mind, "numpy", tmp_path / "mind-out")
    (told,) = used(tmp_path / "mind-out", "user-9").values()
    table = mind.recommend_users(["user-9"]).frame()
    assert [item for item, _ in told] == table["item_id"].tolist()
    with pytest.raises(InputError, match="itemknn does not rank by vectors"):
        export(Recommender.load(trained(tmp_path, "itemknn")), "numpy", tmp_path / "knn")
    assert not (tmp_path / "knn").exists()


def test_from_the_shell(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(small_run), "--out", str(tmp_path / "out"), "--to"]
    assert main([*words, "numpy", "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["users"], told["replaced"], "replaced" in said.err) == (13, False, False)
    assert main([*words, "numpy", "--json"]) == 0  # the export is replaced, with a message
    said = capsys.readouterr()
    assert json.loads(said.out)["replaced"]
    assert f"replaced the export that was in {tmp_path / 'out'}" in said.err
    assert main([*words, "tflite"]) == 2
    assert "choose one of numpy, faiss, onnx, huggingface" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    words[3] = str(tmp_path / "mine")
    assert main([*words, "numpy"]) == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep me"


@pytest.mark.parametrize("target", ["numpy", "faiss", "huggingface"])
def test_an_unknown_id_is_told_in_one_sentence(
    small_run: Path, tmp_path: Path, target: str
) -> None:
    export(Recommender.load(small_run), target, tmp_path / "out")  # type: ignore[arg-type]
    done = run(tmp_path / "out", "together", "nobody")
    kind = "item" if target == "huggingface" else "user"
    assert done.stderr == f"'nobody' is no {kind} of this export\n" and done.returncode == 2
    first, second = ("I00", "I01") if kind == "item" else ("user-0", "user-1")
    done = run(tmp_path / "out", "together", first, second)
    assert (done.returncode, "one " + kind in done.stderr, "\t" in done.stdout) == (2, True, False)
    done = run(tmp_path / "out", "together")
    assert (done.returncode, done.stderr) == (0, f"no {kind} was named, so the first: {first!r}\n")
