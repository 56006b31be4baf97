"""Refused files end the process with code 2, never with a signal.

If a library's thread outlives the error and holds a Python object when the interpreter ends, the
process is aborted (code 134). This happens by chance, so the test runs many processes.
``MIRACLE_REFUSED=300 pytest tests/cli/test_exit_codes.py`` runs 300.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pytest

from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError
from tests.data.support import lines, meta, reviews

REFUSED = int(os.environ.get("MIRACLE_REFUSED", "6"))
ROWS = "".join(f"u{n % 997},i{n % 89},{n},Title {n}\n" for n in range(400))
HEADER = "user_id,item_id,when,title\n"
FILES: dict[str, dict[str, bytes]] = {
    "fields": {"shop.csv": f"{HEADER}u,a,1\n{ROWS}".encode()},
    "quotes": {"shop.csv": f'{HEADER}u,a,1,"T\n{ROWS}'.encode()},
    "packed": {"shop.csv.gz": gzip.compress(f"{HEADER}{ROWS}u,a\n".encode())},
    "bytes": {"shop.csv": f"{HEADER}{ROWS}u,a,1,T\xff\n".encode("latin-1")},
    "json": {"r.json": lines(*reviews()) * 50 + b"{\n", "meta_r.json": meta()},
    "parquet": {"shop.parquet": b"PAR1" + ROWS.encode() + b"PAR1"},
}


def put(folder: Path, kind: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, content in FILES[kind].items():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def test_many_refused_files(tmp_path: Path) -> None:
    sources = {kind: put(tmp_path / kind, kind) for kind in FILES}

    def run(number: int) -> tuple[int, str]:
        kind = list(FILES)[number % len(FILES)]
        command = [sys.executable, "-m", "miracle_cli", "preprocess", *map(str, sources[kind])]
        command += ["--out", str(tmp_path / f"out{number}")]
        if kind != "json":
            command += ["--time-column", "when"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(REFUSED)))
    assert [code for code, _ in results] == [2] * REFUSED, results
    assert all("error: " in said for _, said in results)


@pytest.mark.parametrize("kind", FILES)
def test_arrow_never_holds_a_python_object(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's parsers use threads, so they are given paths and memory that Arrow owns."""
    given: list[object] = []

    def watched(parser: Callable[..., Any]) -> Callable[..., Any]:
        def parse(source: object, *more: Any, **options: Any) -> Any:
            given.append(source)
            return parser(source, *more, **options)

        return parse

    for module, name in ((pa.csv, "open_csv"), (pa.csv, "read_csv"), (pa.json, "read_json")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    options = ReadOptions() if kind == "json" else ReadOptions(time="when")
    with pytest.raises(InputError):
        read("auto", put(tmp_path / "raw", kind), options)
    assert given or kind in ("parquet", "quotes")
    assert all(isinstance(source, pa.BufferReader) for source in given)
