"""Training: the curves of the run, followed while it goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Static

from tui.display import shown
from tui.exports import Table
from tui.runs import Metrics, metric_of, planned_epochs, read_metrics, read_result, stamp_of
from tui.screens.base import ExplorerScreen
from tui.widgets.curve import Curve

EVERY = 1.0
CHARTS = 4
Name = tuple[str, str]


def curves_of(metrics: Metrics, metric: str) -> dict[Name, list[float]]:
    """Every curve that has a value in each record: the loss first, then the choosing metric."""
    if not metrics.records:
        return {}
    first = metrics.records[0]
    names = [(part, name) for part in ("train", "valid", "capsules") for name in first[part]]
    leading = [
        ("train", "loss"),
        ("valid", metric),
        *_beside(metric, names),
        ("capsules", "in_use"),
    ]
    found: dict[Name, list[float]] = {}
    for part, name in dict.fromkeys([*(name for name in leading if name in names), *names]):
        values = [record[part].get(name) for record in metrics.records]
        if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            found[part, name] = [float(value) for value in values]
    return found


def _beside(metric: str, names: Sequence[Name]) -> list[Name]:
    """Another validation metric with the same cut-off."""
    at = metric.partition("@")[2]
    return [n for n in names if n[0] == "valid" and n[1] != metric and n[1].endswith(f"@{at}")][:1]


class TrainingScreen(ExplorerScreen):
    """Four curves; `m` brings the others."""

    mode = "training"
    about = "What each validation found. A run that is still going is followed."
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "next_curves(1)", "More curves"),
        Binding("M", "next_curves(-1)", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._first = 0
        self._seen: object = None
        self._metrics = Metrics(())
        self._curves: dict[Name, list[float]] = {}

    def compose_main(self) -> ComposeResult:
        """A line that says how it stands, and the curves."""
        yield Static("", id="training-status", markup=False)
        with Container(id="curves"):
            for number in range(CHARTS):
                yield Curve(id=f"curve-{number}")

    def on_mount(self) -> None:
        """Look at the file now and then."""
        self.set_interval(EVERY, self.look)

    def arrive(self) -> None:
        """Show the run that is open, loaded or not."""
        self._seen = None
        self.look()

    def look(self) -> None:
        """Read what has changed."""
        engine = self.explorer.engine
        if engine is None or not self.is_current:
            if engine is None:
                self.query_one("#training-status", Static).update(self.waiting_text())
            return
        seen = (
            engine.run,
            *map(stamp_of, (engine.run / "metrics.jsonl", engine.run / "result.json")),
        )
        # Of a folder that is gone the last figures stay.
        if seen != self._seen and os.path.isdir(engine.run):  # noqa: PTH112
            self._seen = seen
            self._metrics = read_metrics(engine.run)
            self._curves = curves_of(self._metrics, metric_of(engine.run))
            self.draw()
        self.query_one("#training-status", Static).update(self._status(engine.run))

    def draw(self) -> None:
        """Show as many curves as there is room for."""
        names = list(self._curves)
        room = 2 if self.has_class("-accordion") else CHARTS
        for number in range(CHARTS):
            curve = self.query_one(f"#curve-{number}", Curve)
            place = self._first + number
            curve.display = number < min(room, len(names))
            if curve.display:
                part, name = names[place % len(names)]
                rising = part != "train"
                curve.show(f"{shown(name, 40)} ({part})", self._curves[part, name], rising=rising)

    def fold(self) -> None:
        """Fewer curves where there is little room."""
        self.draw()

    def action_next_curves(self, by: int) -> None:
        """Other curves."""
        if self._curves:
            self._first = (self._first + by) % len(self._curves)
            self.draw()

    def _status(self, run: Path) -> str:
        records = self._metrics.records
        if not os.path.isdir(run):  # noqa: PTH112 - no error where it can't be reached
            return "The run folder is gone or can't be reached; these are the last figures read."
        if not records:
            return "No validation yet: this screen follows the run and shows it when it comes."
        planned = planned_epochs(run)
        parts = [f"epoch {len(records)}" + (f" of at most {planned}" if planned else "")]
        seconds = records[-1].get("seconds")
        if isinstance(seconds, int | float):
            parts.append(f"{seconds / len(records):.0f} s an epoch")
        result = read_result(run)
        if result:
            parts.append(shown(str(result.get("status", "ended")), 40))
            test = result.get("test")
            if isinstance(test, dict):
                metric = metric_of(run)
                if isinstance(value := test.get(metric), float):
                    parts.append(f"test {shown(metric, 40)} {value:.4f}")
        else:
            parts.append("no result yet")
            stamp = stamp_of(run / "metrics.jsonl")
            if stamp is not None:
                ago = time.time() - stamp.changed / 1e9
                parts[-1] += f"; the last validation came {ago:.0f} s ago"
        if self._metrics.damaged:
            parts.append("a line of metrics.jsonl is damaged; what follows it is left out")
        return " · ".join(parts)

    def export_json(self) -> Any:
        """The validations."""
        return list(self._metrics.records) or None

    def export_table(self) -> Table | None:
        """The curves, a row an epoch."""
        if not self._curves:
            return None
        head = ("epoch", *(f"{part}.{name}" for part, name in self._curves))
        rows = zip(*self._curves.values(), strict=True)
        return head, [(epoch, *row) for epoch, row in enumerate(rows, 1)]
