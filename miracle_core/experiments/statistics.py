"""The paper's table 1: the figures of Datasets beside the paper's, and what differs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from miracle_core.experiments import paper
from miracle_core.experiments.definition import Experiment
from miracle_core.experiments.plan import Data
from miracle_core.paths import from_portable, portable
from miracle_core.report.tables import latex_table, latex_text, markdown_table, markdown_text

Found = Mapping[str, Any]
COUNTS = ("users", "items", "interactions")
COLUMNS = ("data", "", *COUNTS, "density")
SPARSITY = (
    "The paper's last column, sparsity, is ten times the density and cut off after a digit, so it "
    "is not compared."
)


def statistics(experiment: Experiment, data: Sequence[Data], out: Path | None) -> dict[str, Any]:
    """What ``experiment.json`` holds of an experiment of statistics.

    Args:
        experiment: which.
        data: the Datasets.
        out: the experiment's folder, to which the Datasets' paths are relative; None keeps the
            paths as they were given.
    """
    return {
        "format": 1,
        "experiment": experiment.name,
        "title": experiment.title,
        "status": "finished",
        "statistics": [_one(each, out) for each in data],
    }


def _one(data: Data, out: Path | None) -> dict[str, Any]:
    dataset = data.dataset
    own = {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": dataset.n_interactions,
    }
    printed = paper.counts(dataset.name)
    theirs = None if printed is None else {name: getattr(printed, name) for name in COUNTS}
    return {
        "data": data.label,
        "name": dataset.name,
        "fingerprint": dataset.manifest.fingerprint,
        "folder": str(dataset.folder) if out is None else portable(dataset.folder, out),
        **own,
        "density": own["interactions"] / (own["users"] * own["items"]),
        "paper_name": None if printed is None else printed.name,
        "paper": theirs,
        "paper_sparsity": None if printed is None else printed.sparsity,
        "differences": []
        if theirs is None
        else [
            f"{name}: {own[name]:,} here, {theirs[name]:,} in the paper "
            f"({own[name] - theirs[name]:+,})"
            for name in COUNTS
            if own[name] != theirs[name]
        ],
    }


def lines(found: Found) -> list[list[str]]:
    """The table: ours and, below, the paper's row."""
    made = []
    for each in found["statistics"]:
        own = [f"{each[name]:,}" for name in COUNTS]
        made.append([each["name"], "here", *own, f"{each['density']:.2%}"])
        if each["paper"] is not None:
            theirs = [f"{each['paper'][name]:,}" for name in COUNTS]
            made.append([each["paper_name"], "paper", *theirs, ""])
    return made


def verdicts(found: Found) -> list[str]:
    """One sentence for each Dataset."""
    said = []
    for each in found["statistics"]:
        if each["paper"] is None:
            known = ", ".join(paper.data_names())
            said.append(f"{each['name']}: the paper has no row of this name. It has: {known}.")
        elif each["differences"]:
            said.append(f"{each['name']}: differs from the paper's row. " + "; ".join(
                each["differences"]) + ".")  # fmt: skip
        else:
            said.append(f"{each['name']}: equal to the paper's row in {', '.join(COUNTS)}.")
    if any(each["paper"] is not None for each in found["statistics"]):
        said.append(SPARSITY)
    return said


def markdown(found: Found) -> str:
    """The table and the verdicts as Markdown."""
    cells = [[markdown_text(cell) for cell in row] for row in lines(found)]
    parts = [
        f"# {markdown_text(found['title'])}",
        markdown_table(list(COLUMNS), cells),
        "\n".join(f"- {markdown_text(each)}" for each in verdicts(found)),
    ]
    return "\n\n".join(parts) + "\n"


def latex(found: Found) -> str:
    """The table as LaTeX, the verdicts as comments."""
    cells = [[latex_text(cell) for cell in row] for row in lines(found)]
    said = "\n".join(f"% {' '.join(each.split())}" for each in verdicts(found))
    return latex_table([latex_text(name) for name in COLUMNS], cells) + said + "\n"


def as_csv(found: Found) -> str:
    """A line a Dataset, for other programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", *COUNTS, "density", *(f"paper_{name}" for name in COUNTS)])
    for each in found["statistics"]:
        theirs = each["paper"] or {}
        writer.writerow(
            [each["name"], *(each[name] for name in COUNTS), each["density"]]
            + [theirs.get(name) for name in COUNTS]
        )
    return out.getvalue()


def recounted(found: Found, out: Path) -> list[str]:
    """Count again from the files alone, and say what differs from what was found.

    Args:
        found: what ``experiment.json`` holds.
        out: its folder.
    """
    wrong = []
    for each in found["statistics"]:
        folder = Path(from_portable(each["folder"], out))
        if not folder.is_dir():
            wrong.append(f"{each['name']}: its Dataset is not in {folder} any more")
            continue
        offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
        sequences = np.load(folder / "sequences.npy", mmap_mode="r", allow_pickle=False)
        again = {
            "users": len(offsets) - 1,
            "items": pq.read_metadata(folder / "items.parquet").num_rows,
            "interactions": len(sequences),
        }
        wrong += [
            f"{each['name']} {name}: {again[name]} from the files, {each[name]} in the table"
            for name in COUNTS
            if again[name] != each[name]
        ]
    return wrong
