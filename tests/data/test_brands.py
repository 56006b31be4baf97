"""``docs/brands.py``: add brands, taken from the end of the texts, to a published split."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read

SCRIPT = Path(__file__).parents[2] / "docs" / "brands.py"
TEXTS = ["Glove, L. Gloves. Acme. ", "Tape 3.5 mm. 3M.", "Nut without more."]


def written(folder: Path, header: str) -> Path:
    folder.mkdir()
    rows = [f"I{number}\t{text}" for number, text in enumerate(TEXTS)]
    (folder / "S.text").write_text("\n".join([header, *rows]) + "\n")
    inter = "user_id:token\titem_id_list:token_seq\titem_id:token"
    (folder / "S.test.inter").write_text(f"{inter}\nu\tI0 I1\tI2\nv\tI2 I0\tI1\n")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, paths)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_brands_are_attributes_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = written(tmp_path / "raw", "item_id:token\ttext:token_seq")
    run(monkeypatch, raw, tmp_path / "branded")
    plain, branded = (
        prepare(
            read("atomic", [tmp_path / name]), PrepareSettings(k_core=0), tmp_path / f"{name}-d"
        )
        for name in ("raw", "branded")
    )
    assert branded.attributes.rows() == [(0, "brand", "Acme"), (1, "brand", "3M")]
    assert branded.items.equals(plain.items)
    assert branded.sequences.tolist() == plain.sequences.tolist()


def test_other_columns_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = written(tmp_path / "raw", "item_id:token\ttitle:token_seq")
    with pytest.raises(SystemExit, match="has other columns than item_id:token and text:token_seq"):
        run(monkeypatch, raw, tmp_path / "branded")
    assert not (tmp_path / "branded").exists()
