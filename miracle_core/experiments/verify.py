"""An experiment computed a second time from the stored ranks, by independent code.

Metrics and statistics come from :mod:`miracle_core.report.verify`, which shares no code with the
evaluator. Here the tables are compared with them, the claims' p-values are adjusted again, and
active capsules are counted from the user results.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from miracle_core.errors import InputError
from miracle_core.evaluation.user_results import read_user_results
from miracle_core.experiments import statistics, tables
from miracle_core.experiments.folder import FORMAT, PLAN, RESULT, read_kept
from miracle_core.files import read_json
from miracle_core.paths import from_portable
from miracle_core.report.verify import TOLERANCE, verdict_of, verify

_MAKERS = {"table.md": tables.markdown, "table.csv": tables.as_csv, "table.tex": tables.latex}
_COUNTED = {
    "table.md": statistics.markdown,
    "table.csv": statistics.as_csv,
    "table.tex": statistics.latex,
}


def read_found(out: Path) -> dict[str, Any]:
    """What an experiment found.

    Raises:
        InputError: it has not ended, or is of another version.
    """
    path = out / RESULT
    if not path.is_file():
        if (out / "plan.json").is_file():
            raise InputError(
                f"has no {RESULT} yet: the experiment has not ended",
                where=str(out),
                remedy="run the same miracle experiment command again: it goes on",
            )
        read_kept(out)  # says what is missing
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        version = found.get("format") if isinstance(found, dict) else None
        raise InputError(
            f"is of format {version!r}, and this version reads format {FORMAT}",
            where=str(path),
            remedy="use the version of miracle that wrote it",
        )
    return found


def verify_experiment(out: Path) -> tuple[list[str], int]:
    """Compute all figures of an experiment again.

    Args:
        out: its folder.

    Returns:
        One sentence for each figure that is not what the ranks give, and how many files of ranks
        were read.

    Raises:
        InputError: it is no experiment's folder, has not ended, or a file of ranks is missing or
            damaged; or what was found names something that is not there.
    """
    found = read_found(out)
    try:
        return _verified(found, out)
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise InputError(
            f"its parts don't fit together ({type(error).__name__}: {error})",
            where=str(out / RESULT),
            remedy=f"if it or {PLAN} was changed by hand, bring it back; the same miracle "
            f"experiment command writes {RESULT} again",
        ) from error


def _verified(found: Mapping[str, Any], out: Path) -> tuple[list[str], int]:
    if "statistics" in found:
        return statistics.recounted(found, out) + _texts(found, out, _COUNTED), 0
    kept = read_kept(out)
    wrong = [
        f"{name}: {getattr(kept, name)} in {PLAN}, {found[name]} in {RESULT}"
        for name in ("experiment", "quick", "split", "primary", "tuned")
        if name in found and found[name] != getattr(kept, name)  # tuned: not of an older version
    ]
    read = 0
    for table in found["tables"]:
        document = dict(table["comparison"])
        document["systems"] = [
            {**system, "files": [_at(file, out) for file in system["files"]]}
            for system in document["systems"]
        ]
        for system in document["systems"]:
            for file, seed in zip(system["files"], system["seeds"], strict=True):
                about = read_user_results(file).about
                read += 1
                then = kept.data[table["data"]].fingerprint
                if about.fingerprint != then:
                    wrong.append(
                        f"{file}: ranks of the data {about.fingerprint[:16]}, and the experiment's "
                        f"are {then[:16]}"
                    )
                if about.seed != seed:
                    wrong.append(f"{file}: ranks of seed {about.seed}, in the table {seed}")
            if not _same_column(system["seen"], table["column"]):
                wrong.append(f"{system['name']}: ranked {system['seen']}, in {table['column']}")
        where = f"{table['data']}, {table['column']}"
        wrong += [f"{where}: {sentence}" for sentence in verify(document)]
    for claim in found["claims"]:
        wrong += _claim(claim, found)
    for each in found["activations"]:
        wrong += _activation(each, found, out)
    return wrong + _texts(found, out, _MAKERS), read


def _at(file: str, out: Path) -> str:
    path = from_portable(file, out)
    if not Path(path).is_file():
        raise InputError(
            "is missing: the experiment's figures are of these ranks",
            where=path,
            remedy="run the same miracle experiment command again: it ranks what is missing",
        )
    return path


def _same_column(seen: str, column: str) -> bool:
    return (seen == "as-printed") == (column == "as printed")


def _claim(claim: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Compare a claim with the tables, which are verified, and adjust its p-values again."""
    wrong = []
    p_values: dict[int, float] = {}
    differences = []
    for place, row in enumerate(claim["rows"]):
        where = f"claim {claim['column']}, {row['data']}, {row['proposed']} - {row['other']}"
        table = next(
            each
            for each in found["tables"]
            if (each["data"], each["column"]) == (row["data"], claim["column"])
        )
        against = next(
            each for each in table["comparison"]["against"] if each["other"] == row["other"]
        )
        own = against["differences"][claim["primary"]]
        differences.append((own, table["comparison"]["level"]))
        told = {
            **{name: own[name] for name in ("difference", "p", "relative", "both")},
            "interval": _ends(own["interval"]),
            "relative_interval": _ends(own["relative_interval"]),
            "proposed": table["comparison"]["reference"],
        }
        wrong += [f"{where} {name}: {value} in the table, {row[name]} in the claim"
                  for name, value in told.items() if row[name] != value]  # fmt: skip
        if row["p"] is not None:
            p_values[place] = row["p"]
    if claim["tests"] != len(p_values):
        wrong.append(
            f"claim {claim['column']}: {len(p_values)} tests, {claim['tests']} in the claim"
        )
    for place, row in enumerate(claim["rows"]):
        # Holm: for each p-value that is no larger, multiply it by the number of p-values that are
        # no smaller than it; the adjusted p is the largest of these products.
        p = p_values.get(place)
        again = None
        if p is not None:
            smaller = [other for other in p_values.values() if other <= p]
            again = min(
                1.0,
                max(other * sum(each >= other for each in p_values.values()) for other in smaller),
            )
        if (again is None) != (row["adjusted_p"] is None) or (
            again is not None and not math.isclose(again, row["adjusted_p"], abs_tol=TOLERANCE)
        ):
            wrong.append(
                f"claim {claim['column']}, {row['data']}, {row['other']} adjusted p: {again} "
                f"from the p-values, {row['adjusted_p']} in the table"
            )
        own, level = differences[place]
        verdict = verdict_of(own, again, 1 - level)
        if verdict != row["verdict"]:
            wrong.append(
                f"claim {claim['column']}, {row['data']}, {row['other']} verdict: {verdict} from "
                f"the p-values, {row['verdict']} in the table"
            )
    return wrong


def _ends(interval: Mapping[str, float] | None) -> list[float] | None:
    return None if interval is None else [interval["low"], interval["high"]]


def _activation(each: Mapping[str, Any], found: Mapping[str, Any], out: Path) -> list[str]:
    """Count active capsules from the user results of the same run."""
    file = next(
        Path(from_portable(name, out))
        for table in found["tables"]
        if (table["data"], table["column"]) == (each["data"], each["column"])
        for system in table["comparison"]["systems"]
        if system["name"] == each["system"]
        for name, seed in zip(system["files"], system["seeds"], strict=True)
        if seed == each["seed"]
    )
    counts = Counter(pq.read_table(file, columns=["interests"])["interests"].to_pylist())
    users = sum(counts.values())
    mean = sum(size * number for size, number in counts.items()) / users
    histogram = {str(size): number for size, number in counts.items()}
    where = f"{each['run']} active capsules"
    wrong = []
    if not math.isclose(mean, each["mean"], rel_tol=1e-9):
        wrong.append(f"{where}: {mean} from the user results, {each['mean']} in the table")
    if histogram != each["histogram"]:
        wrong.append(f"{where} by number: {histogram}, and {each['histogram']} in the table")
    return wrong


def _texts(found: Mapping[str, Any], out: Path, makers: Mapping[str, Any]) -> list[str]:
    """Files of tables that don't agree with ``experiment.json``."""
    wrong = []
    for name, make in makers.items():
        path = out / name
        if not path.is_file():
            wrong.append(f"{path}: is missing")
        elif path.read_bytes() != make(found).encode():
            wrong.append(
                f"{path}: does not say what {RESULT} says (another version of miracle may have "
                "written it: the same miracle experiment command writes it again)"
            )
    return wrong
