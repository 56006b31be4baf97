"""Files with a JSON object a line, read in blocks: vectorised where a block is sound.

Arrow's parser takes a block at a time. A block that it can't take (a broken line, a field of
another type, a blank line) is gone through line by line, so that each bad line is named, or
counted.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.json as pa_json

from miracle_core.data.readers.delimited import require_file
from miracle_core.data.readers.exact import exactly_whole
from miracle_core.data.readers.literal import is_literal, to_json
from miracle_core.data.readers.opening import RawFile, line_blocks, native
from miracle_core.data.readers.tables import Table
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress

Kind = Literal["text", "whole", "number", "texts"]

_ARROW_BLOCK = 4 << 20  # what one thread takes at a time
_POLARS: dict[Kind, pl.DataType] = {
    "text": pl.String(),
    "whole": pl.Int64(),
    "number": pl.Float64(),
    "texts": pl.String(),
}
# The types Arrow tries for a kind, one after the other.
_ARROW: dict[Kind, tuple[pa.DataType, ...]] = {
    "text": (pa.string(),),
    "whole": (pa.int64(),),
    "number": (pa.float64(),),
    "texts": (pa.list_(pa.string()), pa.list_(pa.list_(pa.string())), pa.string()),
}
# What Python's json module writes for a float that is no number.
_NO_NUMBER = re.compile(rb"[:\[,]\s*(-?Infinity|NaN)\s*[,\]}]")


REMEDY = "fix or remove the line"


class BadLineError(Exception):
    """Why a line can't be used.

    Args:
        reason: what is wrong; the part before a colon is shown beside a count of such lines.
    """


def read_json_lines(
    raw: RawFile, fields: Mapping[str, Kind], skips: Skips, progress: Progress
) -> Table:
    """Read some fields of every object in a file.

    Args:
        raw: the file.
        fields: the fields to keep and what they hold: ``text``, a ``whole`` number, a ``number``,
            or ``texts`` (a text, a list of texts or a list of these), joined by spaces. A field
            that is missing or null is null.
        skips: whether broken lines may be left out, and the count of those that were.
        progress: shows each line.

    Raises:
        InputError: a line that is not an object, or a field of the wrong kind, with
            its number; or a file that can't be read.
    """
    require_file(raw)
    frames: list[pl.DataFrame] = []
    schemas = list(_schemas(fields))
    with raw.open() as file:
        for start, block in line_blocks(raw, file):
            frame = _fast(block, fields, schemas)
            if frame is None:
                frame = _slow(raw, start, block, fields, skips)
            else:
                frame = frame.with_columns(
                    pl.int_range(start, start + frame.height, dtype=pl.UInt32).alias("line")
                )
            frames.append(frame)
            progress.advance(frame.height)
    rows = pl.concat(frames)
    if not rows.height:
        raise InputError("has no rows", where=str(raw), remedy="give a file with rows in it")
    return Table(raw, rows.drop("line"), lines=rows["line"])


def _schemas(fields: Mapping[str, Kind]) -> Iterator[pa.Schema]:
    """Every way to read the fields, the likeliest first."""
    for types in itertools.product(*(_ARROW[kind] for kind in fields.values())):
        yield pa.schema(list(zip(fields, types, strict=True)))


def _fast(
    block: bytes, fields: Mapping[str, Kind], schemas: list[pa.Schema]
) -> pl.DataFrame | None:
    """A block as Arrow reads it, or None where it isn't one sound object a line."""
    if b"\0" in block:
        return None
    try:
        text = block.decode()  # Arrow doesn't look
    except UnicodeDecodeError:
        return None
    if is_literal(block[:1000]):
        block = to_json(text).encode()
    lines = block.count(b"\n")
    for schema in schemas:
        try:
            table = pa_json.read_json(
                native(block),
                read_options=pa_json.ReadOptions(block_size=_ARROW_BLOCK),
                parse_options=pa_json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="ignore"
                ),
            )
        except (pa.ArrowException, UnicodeError):
            continue
        if table.num_rows != lines:
            return None
        if schema is not schemas[0]:  # the next block is likely to be of the same kind
            schemas.remove(schema)
            schemas.insert(0, schema)
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame.select(_joined(pl.col(name), frame.schema[name]) for name in fields)
    return None


def _joined(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind == pl.List(pl.List(pl.String)):
        # A list of paths through the tree of categories: each name once.
        flat = column.list.eval(pl.element().explode().drop_nulls()).list.unique(
            maintain_order=True
        )
        return flat.list.join(" ")
    if kind == pl.Float64:  # what the other way reads as null
        return pl.when(column.is_finite()).then(column)
    return column.list.join(" ", ignore_nulls=True) if kind == pl.List(pl.String) else column


def _slow(
    raw: RawFile, start: int, block: bytes, fields: Mapping[str, Kind], skips: Skips
) -> pl.DataFrame:
    """A block line by line."""
    columns: dict[str, list[Any]] = {name: [] for name in fields}
    lines: list[int] = []
    for number, line in enumerate(block.split(b"\n"), start):
        if not line.strip():
            continue
        try:
            found = parse_line(line, is_literal(line))
            values = [_value(found.get(name), name, kind) for name, kind in fields.items()]
        except BadLineError as error:
            reason = str(error)
            if not skips.allowed:
                raise InputError(reason, where=f"{raw}:{number}", remedy=REMEDY) from error
            skips.add(reason.split(":")[0], 1, f"{raw}:{number}")
            continue
        lines.append(number)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    schema: dict[str, Any] = {name: _POLARS[kind] for name, kind in fields.items()}
    return pl.DataFrame({**columns, "line": lines}, {**schema, "line": pl.UInt32})


def parse_line(line: bytes, literal: bool) -> dict[str, Any]:
    """The object that a line is, in JSON or as a Python literal; NaN in it is null.

    Raises:
        BadLineError: it is none.
    """
    try:
        text = to_json(line.decode()) if literal else line
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            found = _with_nan(line, error)
    except UnicodeDecodeError as error:
        raise BadLineError("is not UTF-8") from error
    except orjson.JSONDecodeError as error:
        raise BadLineError(f"is not JSON: {error.msg}, character {error.colno}") from error
    if not isinstance(found, dict):
        raise BadLineError("is not a JSON object")
    return found


def _with_nan(line: bytes, error: orjson.JSONDecodeError) -> Any:
    """A line with NaN or Infinity in it, which Python's json module writes and JSON has not.

    Raises:
        orjson.JSONDecodeError: the error that there was, where that is not what is wrong.
    """
    if _NO_NUMBER.search(line) is None:
        raise error
    try:
        return json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise error from None


def _value(value: Any, name: str, kind: Kind) -> Any:
    if value is None:
        return None
    wrong = BadLineError(f"the field {name!r} holds no {_KINDS[kind]}")
    if kind == "texts":
        return (
            " ".join(dict.fromkeys(_flat(value, wrong)))
            if isinstance(value, list)
            else (_text(value, wrong))
        )
    if kind == "text":
        return _text(value, wrong)
    if isinstance(value, str):
        try:
            value = float(value) if kind == "number" else int(value)
        except ValueError as error:
            raise wrong from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if kind == "number":
        return float(value)
    if value != int(value) or abs(value) >= 1 << 63:
        raise wrong
    return int(value)


_KINDS = {"text": "text", "texts": "texts", "whole": "whole number", "number": "number"}


def _text(value: Any, wrong: BadLineError) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= exactly_whole(pl.Float64()):  # also whole numbers of more than 64 bits
            raise BadLineError(f"{wrong}: a number like {value:.0f} has lost its last digits")
        value = int(value)  # an id that was stored as a float
    return str(value)


def _flat(values: Sequence[Any], wrong: BadLineError) -> Iterator[str]:
    for value in values:
        if isinstance(value, list):
            for inner in value:
                if inner is not None:
                    yield _text(inner, wrong)
        elif value is not None:
            yield _text(value, wrong)
