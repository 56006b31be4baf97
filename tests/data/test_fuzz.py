"""Damaged, hostile and odd files: each is read, refused with a clear error, or skipped and counted.

The cases are the same in every run: small files in every layout, damaged in one to three ways by a
seeded generator, and rows of arbitrary text from hypothesis. By default this file and
``test_fuzz_tables.py`` run 2,000 cases together; set ``MIRACLE_FUZZ_CASES=10000`` for 10,000.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miracle_cli.main import main
from miracle_core.data.readers import ReadOptions
from tests.data.damage import FUZZ_CASES, MUTATIONS, SEEDS, TABLE, TEXT, attempt
from tests.data.support import lines, meta, reviews

BATCHES = 20
CASES = FUZZ_CASES // 2 // BATCHES  # the other half is in test_fuzz_tables.py


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file writes thousands of small folders; syncing to disk is tested elsewhere."""
    for name in ("sync", "sync_folder"):
        monkeypatch.setattr(f"miracle_core.files.{name}", lambda _: None)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_files(tmp_path: Path, batch: int, capsys: pytest.CaptureFixture[str]) -> None:
    read_well = 0
    for case in range(CASES):
        rng = random.Random(batch * CASES + case)
        form, seed = SEEDS[case % len(SEEDS)]
        files = dict(seed)
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(sorted(files))
            files[name] = rng.choice(MUTATIONS)(files[name], rng)
        folder = tmp_path / "raw"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        asked = {"time": "when"} if form == "table" else {}
        options = ReadOptions(
            on_error=rng.choice(["stop", "skip"]),
            with_ratings=form not in ("table", "steam") and rng.random() < 0.3,
            **asked,
        )
        read_well += attempt(rng.choice([form, "auto"]), folder, options)
        if case % 15 == 0:  # also from the shell, without a traceback or control characters
            out = tmp_path / "out"
            command = ["preprocess", str(folder), "--out", str(out), "--k-core", "0"]
            code = main([*command, "--format", form, "--on-error", options.on_error])
            said = "".join(capsys.readouterr())
            assert code in (0, 2)
            assert "Traceback" not in said
            assert "a bug" not in said
            assert not {"\x1b", "\x9b", "\x07"} & set(said)
            shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(folder)
    assert 0 < read_well < CASES  # some files are read and some are not


@given(
    rows=st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=5), max_size=6),
    separator=st.sampled_from([",", "\t", "::", "|"]),
    name=st.sampled_from(["shop.csv", "ratings.dat", "u.data", "T.inter", "shop.jsonl"]),
    skip=st.booleans(),
)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_rows_of_anything(
    tmp_path: Path, rows: list[list[str]], separator: str, name: str, skip: bool
) -> None:
    folder = tmp_path / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    text = "\n".join(separator.join(row) for row in rows)
    heads = {"shop.csv": "user_id,item_id,title\n", "T.inter": "user_id:token\titem_id:token\n"}
    content = heads.get(name, "") + text
    (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    if name == "T.inter":
        (folder / "T.item").write_bytes(TEXT)
    attempt("auto", folder, ReadOptions(on_error="skip" if skip else "stop"))


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=12,
    ),
    field=st.sampled_from(["asin", "title", "category", "brand", "reviewerID", "unixReviewTime"]),
    literal=st.booleans(),
    skip=st.booleans(),
)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_value_in_any_field(
    tmp_path: Path, value: object, field: str, literal: bool, skip: bool
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir(exist_ok=True)
    items = [json.loads(line) for line in meta().splitlines()]
    events = reviews()
    (items if field in items[0] else events)[1][field] = value
    written = repr if literal else json.dumps
    for name, objects in (("r.json", events), ("meta_r.json", items)):
        text = "".join(f"{written(entry)}\n" for entry in objects)
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    attempt("amazon2018", folder, ReadOptions(on_error="skip" if skip else "stop"))


@pytest.mark.parametrize("form", ["table", "amazon2018", "literal", "quotes", "fields"])
def test_a_line_of_ten_megabytes(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    huge = b"x" * (10 << 20)
    if form == "table":
        (folder / "shop.csv").write_bytes(TABLE + b"u,a,5," + huge + b"\n")
    elif form == "quotes":
        (folder / "shop.csv").write_bytes(TABLE + b'u,a,5,"' + b'""' * (5 << 20) + b'"\n')
    elif form == "fields":
        (folder / "shop.csv").write_bytes(TABLE + b"u,a,5,x" + b"," * (1 << 20) + b"\n")
    else:
        item = {"asin": reviews()[0]["asin"], "title": "t", "also": huge.decode()}
        written = json.dumps(item) if form == "amazon2018" else repr(item)
        (folder / "meta_T.json").write_bytes(written.encode() + b"\n")
        (folder / "T.json").write_bytes(lines(*reviews()))
    options = ReadOptions(time="when") if (folder / "shop.csv").exists() else ReadOptions()
    assert attempt("auto", folder, options) is (form != "fields")
