"""The same files give the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from miracle_core.data.dataset import Dataset
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from tests.data.support import (
    lines,
)


def test_the_same_bytes_from_several_files_whatever_the_hash_seed(tmp_path: Path) -> None:
    users = [f"A{n:013d}" for n in range(12)]
    items = [f"B{n:09d}" for n in range(9)]
    for name, step in (("one", 5), ("two", 7)):
        rows = [f"{users[n % 12]},{items[n * step % 9]},5.0,{n // 40}" for n in range(200)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "meta.json").write_bytes(lines(*({"asin": i, "title": f"T {i}"} for i in items)))
    sources = [str(tmp_path / name) for name in ("two.csv", "one.csv", "meta.json")]
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "miracle_cli", "preprocess", *sources, "--k-core", "2"]
        subprocess.run(
            [*command, "--out", str(tmp_path / f"out{seed}")],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": seed},
        )
    for path in (tmp_path / "out1").iterdir():
        assert path.read_bytes() == (tmp_path / "out2" / path.name).read_bytes()
    # With equal times, the file named first comes first.
    dataset = Dataset.open(tmp_path / "out1")
    ids = dataset.items["item_id"].to_list()
    first = [items[n * 7 % 9] for n in range(0, 40, 12)]
    user = dataset.users["user_id"].to_list().index(users[0])
    assert [ids[item] for item in dataset.sequence(user)][: len(first)] == first


def test_the_order_of_files_orders_equal_times_and_nothing_else(tmp_path: Path) -> None:
    """Reversing the order of the files reverses ties, and only ties."""
    rows = [f"A{n % 6:013d},B{n * 5 % 7:09d},5.0,{n // 30}" for n in range(120)]
    for name, part in (("one", rows[:60]), ("two", rows[60:])):  # the files share no time
        (tmp_path / f"{name}.csv").write_text("\n".join(part) + "\n")
    for name, part in (("tie-one", rows[:20]), ("tie-two", rows[20:40])):
        later = [f"{row.rpartition(',')[0]},7" for row in part]
        (tmp_path / f"{name}.csv").write_text("\n".join(later) + "\n")
    items = [{"asin": f"B{n:09d}", "title": f"T {n}"} for n in range(7)]
    (tmp_path / "meta.json").write_bytes(lines(*items))

    def sequences(*names: str) -> dict[str, list[int]]:
        out = tmp_path / "out"
        paths = [tmp_path / f"{name}.csv" for name in names]
        found = read("amazon2018", [*paths, tmp_path / "meta.json"])
        dataset = prepare(found, PrepareSettings(k_core=0), out)
        users = dataset.users["user_id"].to_list()
        return {user: dataset.sequence(n).tolist() for n, user in enumerate(users)}

    assert sequences("one", "two") == sequences("two", "one")
    first, second = sequences("tie-one", "tie-two"), sequences("tie-two", "tie-one")
    assert first != second
    assert {user: sorted(items) for user, items in first.items()} == {
        user: sorted(items) for user, items in second.items()
    }
