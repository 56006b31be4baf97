"""The Training screen: the run's curves, updated while it trains."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

from miracle_core.runs.records import METRICS, PARTS, RESULT, Metrics, read_metrics, read_result
from miracle_core.runs.summary import RunSummary, stamp_of, summarise
from tui.display import shown
from tui.exports import Table
from tui.screens.base import ExplorerScreen
from tui.widgets.curve import Curve

EVERY = 1.0
CHARTS = 4
Name = tuple[str, str]


def curves_of(metrics: Metrics, metric: str) -> dict[Name, list[float]]:
    """Return the curves with a value in every record: loss, selection metric, then the rest."""
    if not metrics.records:
        return {}
    first = metrics.records[0]
    names = [(part, name) for part in PARTS for name in first[part]]
    others = [name for name in names if name[0] == "figures"][:1]
    leading = [("train", "loss"), ("valid", metric), *_beside(metric, names), *others]
    found: dict[Name, list[float]] = {}
    for part, name in dict.fromkeys([*(name for name in leading if name in names), *names]):
        values = [record[part].get(name) for record in metrics.records]
        if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            found[part, name] = [float(value) for value in values]
    return found


def _beside(metric: str, names: Sequence[Name]) -> list[Name]:
    """One more validation metric with the same cut-off, if there is one."""
    at = metric.partition("@")[2]
    return [n for n in names if n[0] == "valid" and n[1] != metric and n[1].endswith(f"@{at}")][:1]


def curve_title(name: Name) -> str:
    """The title of a curve."""
    part, figure = name
    return figure.replace("_", " ") if part == "figures" else f"{figure} ({part})"


def result_text(result: dict[str, Any]) -> Text:
    """A table of the metrics of a system without epochs, on validation and test."""
    wanted = {name: result.get(name) for name in ("valid", "test")}
    parts = {name: found for name, found in wanted.items() if isinstance(found, dict)}
    out = Text()
    if not parts:
        return out
    out.append(f"{'metric':<20}" + "".join(f"{part:>12}" for part in parts) + "\n", "bold")
    for metric in dict.fromkeys(metric for found in parts.values() for metric in found):
        values = [found.get(metric) for found in parts.values()]
        cells = [f"{v:>12.4f}" if isinstance(v, int | float) else f"{'':>12}" for v in values]
        out.append(f"{shown(metric, 18):<20}{''.join(cells)}\n")
    return out


class TrainingScreen(ExplorerScreen):
    """Four curves at a time; ``m`` shows more."""

    mode = "training"
    about = (
        "The metrics of each validation, updated while a run trains. For a system without epochs, "
        "its final metrics."
    )
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "next_curves(1)", "More curves"),
        Binding("M", "next_curves(-1)", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._first = 0
        self._of: Path | None = None
        self._seen: object = None
        self._metrics = Metrics(())
        self._result: dict[str, Any] = {}
        self._run: RunSummary | None = None
        self._curves: dict[Name, list[float]] = {}

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the keys for more curves if there are no curves."""
        return bool(self._curves) or action != "next_curves"

    def compose_main(self) -> ComposeResult:
        """A status line and the curves."""
        yield Static("", id="training-status", markup=False)
        with VerticalScroll(id="figures"):
            yield Static("", id="figure-table", markup=False)
        with Container(id="curves"):
            for number in range(CHARTS):
                yield Curve(id=f"curve-{number}")

    def on_mount(self) -> None:
        """Check the files regularly."""
        self.set_interval(EVERY, self.look)

    def arrive(self) -> None:
        """Show the open run, whether it is loaded or not."""
        self._seen = None
        self.look()

    def look(self) -> None:
        """Read what has changed."""
        engine = self.explorer.engine
        if engine is None or not self.is_current:
            if engine is None:
                self.query_one("#training-status", Static).update(self.waiting_text())
            return
        if engine.run != self._of:
            # Another run was opened: drop the previous one's figures, as its folder may be gone.
            self._of, self._seen = engine.run, None
            self._metrics, self._result, self._run, self._curves = Metrics(()), {}, None, {}
            self.draw()
        seen = tuple(map(stamp_of, (engine.run / METRICS, engine.run / RESULT)))
        # If the folder is gone, keep the last figures.
        if seen != self._seen and os.path.isdir(engine.run):  # noqa: PTH112
            self._seen = seen
            self._metrics, self._result = read_metrics(engine.run), read_result(engine.run)
            self._run = summarise(engine.run)
            self._curves = curves_of(self._metrics, self._run.metric)
            self.draw()
        self.query_one("#training-status", Static).update(self._status(engine.run))

    def draw(self) -> None:
        """Draw as many curves as fit."""
        self.refresh_bindings()
        names = list(self._curves)
        fitted = self._run is not None and self._run.fitted
        self.query_one("#figures").display = fitted
        self.query_one("#curves").display = not fitted
        if fitted:
            self.query_one("#figure-table", Static).update(result_text(self._result))
        room = 2 if self.has_class("-accordion") else CHARTS
        for number in range(CHARTS):
            curve = self.query_one(f"#curve-{number}", Curve)
            place = self._first + number
            curve.display = number < min(room, len(names))
            if curve.display:
                name = names[place % len(names)]
                rising = name[0] != "train"
                curve.show(shown(curve_title(name), 48), self._curves[name], rising=rising)

    def fold(self) -> None:
        """Draw fewer curves in a small terminal."""
        self.draw()

    def action_next_curves(self, by: int) -> None:
        """Show the next or previous curves."""
        if self._curves:
            self._first = (self._first + by) % len(self._curves)
            self.draw()

    def _status(self, run: Path) -> str:
        if not os.path.isdir(run):  # noqa: PTH112 - False if it can't be reached
            last = "these are the last figures read" if self._run else "no figures were read before"
            return f"The run folder is gone or can't be reached; {last}."
        summary = self._run
        if summary is None:
            return ""
        if summary.fitted:
            return self._fitted(summary)
        records = self._metrics.records
        if not records:
            return "No validation yet: this screen follows the run and shows it when it comes."
        planned = f" of at most {summary.planned}" if summary.planned else ""
        parts = [f"epoch {len(records)}{planned}"]
        seconds = records[-1].get("seconds")
        if isinstance(seconds, int | float):
            parts.append(f"{seconds / len(records):.0f} s an epoch")
        if self._result:
            parts += [shown(summary.status, 40), *self._tested(summary)]
        else:
            parts.append("no result yet")
            stamp = stamp_of(run / METRICS)
            if stamp is not None:
                ago = time.time() - stamp.changed / 1e9
                parts[-1] += f"; the last validation came {ago:.0f} s ago"
        if self._metrics.damaged:
            parts.append("a line of metrics.jsonl is damaged; what follows it is left out")
        return " · ".join(parts)

    def _fitted(self, summary: RunSummary) -> str:
        if not self._result:
            return f"{summary.title} learns at once, without epochs; no result yet."
        parts = [f"{summary.title} learns at once, without epochs", shown(summary.status, 40)]
        return " · ".join([*parts, *self._tested(summary)])

    def _tested(self, summary: RunSummary) -> list[str]:
        """The test value of the metric that selects the epoch."""
        test = self._result.get("test")
        value = test.get(summary.metric) if isinstance(test, dict) else None
        if not isinstance(value, float):
            return []
        return [f"test {shown(summary.metric, 40)} {value:.4f}"]

    def export_json(self) -> Any:
        """The record of each validation, or the result of a system without epochs."""
        if self._run is not None and self._run.fitted:
            return self._result or None
        return list(self._metrics.records) or None

    def export_table(self) -> Table | None:
        """The curves, one row per epoch."""
        if not self._curves:
            return None
        head = ("epoch", *(f"{part}.{name}" for part, name in self._curves))
        rows = zip(*self._curves.values(), strict=True)
        return head, [(epoch, *row) for epoch, row in enumerate(rows, 1)]
