"""Every entry point of the Python API accepts text as a path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from miracle_core.config import load_settings, make_settings, nested, read_values
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset
from miracle_core.data.export import export_atomic
from miracle_core.data.prepare import PrepareSettings, check_out, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.storage import load_array, read_parquet, write_parquet
from miracle_core.data.verify import verify
from miracle_core.data.writing import write_features
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.top_k import write_top_k
from miracle_core.evaluation.user_results import TOP, read_user_results, write_user_results
from miracle_core.files import sha256_file, write_text
from miracle_core.index.store import build_index, open_index
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors, save_tensors
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import TensorBoard
from miracle_core.training.pretraining import pretrain
from miracle_core.training.seeds import finetune_seeds
from tests.support.runs import SMALL_MODEL


def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some paths are relative and some absolute, and none of them is a ``Path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = [f"u{u},i{(u + i) % 9},{i}\n" for u in range(12) for i in range(6)]
    write_text("raw/shop.csv", "user_id,item_id,time\n" + "".join(rows))
    write_text("raw/items.csv", "item_id,title\n" + "".join(f"i{i},Lamp {i}\n" for i in range(9)))
    options = ReadOptions(items="raw/items.csv", time="time")
    check_out("data/shop")
    prepare(read("table", ["raw/shop.csv"], options), PrepareSettings(k_core=0), "data/shop")
    encode_dataset("data/shop", "hashing:16")
    dataset = Dataset.open(str(tmp_path / "data/shop"))
    write_features("data/shop", np.asarray(dataset.features()), dataset.feature_set().encoder)
    export_atomic(dataset, "atomic")
    assert verify("data/shop")
    assert load_array("data/shop/offsets.npy", 1, "<i8").size == 13
    write_parquet("copy.parquet", read_parquet("data/shop/items.parquet"))
    assert sha256_file("copy.parquet") == sha256_file("data/shop/items.parquet")
    assert Corpus.open(["data/shop"]).names == ["shop"]

    quick = {**SMALL_MODEL, "train.epochs": 1, "train.batch_size": 16}
    settings = make_settings(nested({**quick, "data": "data/shop"}))
    finetune(settings, "runs/a", listeners=[TensorBoard("runs/a/tensorboard")])
    finetune(settings, "~/runs/a", resume=True)
    finetune_seeds(settings, "runs/seeds", 2)
    both = {**quick, "datasets": ["data/shop"], "train.mode": "inductive"}
    pretrain(make_settings(nested(both)), "runs/pre")
    assert load_settings("runs/a/config.toml").data == str(tmp_path / "data" / "shop")
    assert read_values("runs/a/config.toml")["data"] == str(tmp_path / "data" / "shop")
    assert RunFolder("runs/a").history()

    found = evaluate_run("runs/a", "data/shop", keep_top=TOP)
    write_top_k("top/k.csv", found.found, found.dataset)
    write_user_results("top/users.parquet", found)
    assert read_user_results("top/users.parquet")
    tensors, metadata = load_tensors("runs/a/model.safetensors")
    save_tensors("copy.safetensors", tensors, metadata)
    run = load_run("runs/a")
    build_index(run)
    assert open_index(run, run.system.scorer(run.items).items.shape[1])
    assert Recommender.load("runs/a", data="data/shop").recommend([0]).items
    assert not (tmp_path / "~").exists()
