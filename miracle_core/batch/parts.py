"""Where a batch is written: parts in a folder beside the output, joined when all are there.

    OUT.parts/batch.json              a hash of what the parts answer
    OUT.parts/part-00000.parquet      the rows of a part (.csv, .jsonl: as OUT)
    OUT.parts/done/part-00000.json    a part is done: requests, rows, problems

A part is done once its record is there, which is written last. A kill loses only the part that is
being made.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from miracle_core.batch.sources import Problem
from miracle_core.errors import InputError, MiracleError
from miracle_core.files import (
    read_json,
    remove_leftovers,
    replacing,
    replacing_folder,
    write_json,
)
from miracle_core.paths import as_path

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


@dataclass(frozen=True)
class PartRecord:
    """The record of a part that is done.

    Attributes:
        number: which part.
        requests: how many there were.
        users: how many of them have a row.
        rows: rows written.
        problems: the requests that could not be answered.
    """

    number: int
    requests: int
    users: int
    rows: int
    problems: tuple[Problem, ...]


class Parts:
    """The parts of one batch on disk.

    Args:
        out: the output: a file by its ending, or a folder of Parquet parts.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        self.format: Format = FORMATS.get(out.suffix.lower(), "parquet")
        self.single = out.suffix.lower() in FORMATS

    def begin(self, key: str | None) -> bool:
        """Make the folder of parts; parts of another batch are removed.

        Args:
            key: a hash of what is asked; None if the requests can be read only once.

        Returns:
            Whether parts of this batch are there already.

        Raises:
            InputError: the folder holds something else.
        """
        if self.folder.is_symlink() or self.folder.exists():
            if not self._ours():
                raise InputError(
                    "is where the parts go, and is or holds something else",
                    where=str(self.folder),
                    remedy="move it away, or name another --out",
                )
            asked = self._record.is_file() and read_json(self._record) == {"key": key}
            if key is not None and asked:
                return any(self._done.glob("part-*.json"))
            self.discard()
        self.folder.mkdir(parents=True)
        write_json(self._record, {"key": key})
        return False

    def _ours(self) -> bool:
        """Whether the folder is of parts: it says so from the first moment to the last."""
        if self.folder.is_symlink() or not self.folder.is_dir():
            return False
        remove_leftovers(self.folder, self._record.name)
        return self._record.is_file() or not any(self.folder.iterdir())

    @property
    def _record(self) -> Path:
        return self.folder / "batch.json"

    @property
    def _done(self) -> Path:
        return self.folder / "done"

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        record = self._done / f"part-{number:05}.json"
        return record.is_file() and self._file(number).is_file()

    def write(self, table: pl.DataFrame, record: PartRecord) -> None:
        """Write a part whole, then its record."""
        with replacing(self._file(record.number)) as beside:
            write_rows(table, beside, self.format)
        write_json(self._done / f"part-{record.number:05}.json", asdict(record))

    def records(self) -> list[PartRecord]:
        """The parts that are done, in order."""
        found = [read_json(path) for path in sorted(self._done.glob("part-*.json"))]
        return [
            PartRecord(**{**each, "problems": tuple(Problem(**p) for p in each["problems"])})
            for each in found
        ]

    def discard(self) -> None:
        """Remove the folder of parts; the output stays as it was.

        After a kill what is left is still known as parts, and no part counts as done.
        """
        if self._done.is_dir():
            shutil.rmtree(self._done)
        for path in self.folder.iterdir():
            if path != self._record:
                path.unlink()
        self._record.unlink(missing_ok=True)
        self.folder.rmdir()

    def finish(self) -> None:
        """Put the output in its place, and remove the folder of parts."""
        files = [self._file(record.number) for record in self.records()]
        if self.single:
            with replacing(self.out) as beside:
                _join(files, beside, self.format)
        else:
            with replacing_folder(self.out) as beside:
                for file in files:
                    _same_file(file, beside / file.name)
        self.discard()

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.{self.format}"


def check_out(out: str | Path) -> Path:
    """The output's path, if a batch can be written there.

    Raises:
        InputError: a file with another ending, or a folder that holds something else than parts.
    """
    path = as_path(out)
    if path.name in ("", ".."):
        raise InputError("has no name of its own", where=f"--out {out}", remedy="name a file")
    if path.suffix and path.suffix.lower() not in FORMATS and not path.is_dir():
        raise InputError(
            "its name does not say in which format to write",
            where=f"--out {out}",
            remedy=f"end it in {', '.join(FORMATS)}, or name a folder for Parquet parts",
        )
    single = path.suffix.lower() in FORMATS
    if single and path.is_dir():
        raise InputError("is a folder", where=f"--out {out}", remedy="name a file")
    if not single and path.exists():
        others = not path.is_dir() or any(
            not (each.name.startswith("part-") and each.suffix == ".parquet")
            for each in path.iterdir()
        )
        if others:
            raise InputError(
                "holds something else than parts of a batch",
                where=f"--out {out}",
                remedy="name another folder",
            )
    return path


def write_rows(table: pl.DataFrame, target: Any, form: Format, *, header: bool = True) -> None:
    """Write rows in a format to a path or an open file."""
    if form == "parquet":
        arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
        pq.write_table(arrow, target, **_parquet(arrow.schema))
    elif form == "csv":
        table.write_csv(target, include_header=header)
    else:
        table.write_ndjson(target)


def _parquet(schema: pa.Schema) -> dict[str, Any]:
    """Options of the Parquet writer. Scores get no dictionary, since hardly two are the same."""
    words = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return {"compression": "zstd", "use_dictionary": words}


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file)
    except pa.ArrowException as error:
        raise MiracleError(
            f"this part was damaged: {error}",
            where=str(file),
            remedy="remove it, and run the command again: it is then made again",
        ) from error


def _same_file(file: Path, to: Path) -> None:
    """A second name of a file, so that a kill loses neither; a copy where a disk has no links."""
    try:
        to.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, to)


def _join(files: list[Path], out: Path, form: Format) -> None:
    """One file of the parts, in order; one part is in memory at a time."""
    if form == "parquet":
        writer: pq.ParquetWriter | None = None
        try:
            for file in files:
                table = _read(file)
                writer = writer or pq.ParquetWriter(out, table.schema, **_parquet(table.schema))
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        return
    with out.open("wb") as target:
        for number, file in enumerate(files):
            with file.open("rb") as part:
                if form == "csv" and number:
                    part.readline()  # the header; no column's name holds a line break
                shutil.copyfileobj(part, target)
