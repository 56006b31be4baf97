"""How a training goes, on stderr: a live display on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from miracle_cli.output import message, plain, tell_drawn
from miracle_cli.verbosity import draws, is_quiet, log
from miracle_core.training.listeners import Listener

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table

    from miracle_core.config import Settings

SHOWN_EPOCHS = 10
NAMED = 12  # weights of another run that are named
_STOPPING = "stopping after this step; Ctrl-C again aborts at once"
_SPEED, _IN_USE = "examples_per_second", "_in_use"


class Display(Listener):
    """What both displays know.

    Args:
        settings: the run's settings.
        history: the validations before this process (of a resumed run).
    """

    def __init__(self, settings: Settings, history: Sequence[dict[str, Any]] = ()) -> None:
        self.settings = settings
        self.records = list(history)
        self.speed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def transferred(self, report: dict[str, Any]) -> None:
        """Say what was taken over from another run, what was not, and what is new."""
        message(f"from {report['run']}, trained on {', '.join(report['domains'])}:")
        for title, key in (
            ("loaded", "loaded"),
            ("new", "new"),
            ("left out", "left_out"),
            ("frozen", "frozen"),
        ):
            message(f"  {title} ({len(report[key])}): {_some(report[key]) or 'none'}")
        if items := report["items"]:
            message(
                f"  items: {items['kept']:,} kept by their ids, {items['new']:,} new, "
                f"{items['gone']:,} gone"
            )
        if values := report.get("values"):
            message(
                f"  values of attributes: {values['kept']:,} kept, {values['new']:,} new, "
                f"{values['gone']:,} gone"
            )
        for name, (there, here) in report["settings"].items():
            message(f"  {name}: {there!r} there, {here!r} here")

    def step(self, epoch: int, step: int, report: dict[str, float]) -> None:
        """Remember the speed."""
        self.speed = report[_SPEED]

    def line(self, text: str) -> None:
        """A line of the log; where nothing is drawn, of stderr too."""
        log(text)

    def start(self, total_epochs: int, steps_per_epoch: int, n_examples: int) -> None:
        """Say what lies ahead."""
        self.line(
            f"training: {n_examples:,} examples, {steps_per_epoch:,} steps an epoch, "
            f"at most {total_epochs} epoch{'' if total_epochs == 1 else 's'}"
        )

    def epoch(self, record: dict[str, Any]) -> None:
        """Remember the validation, and a line of losses, metrics, other figures, speed."""
        # A kill may have left a validation that the checkpoint before it knows nothing of.
        earlier = [known for known in self.records if known["epoch"] < record["epoch"]]
        self.records = [*earlier, record]
        figures = [f"{name} {value:.4f}" for name, value in record["train"].items()]
        figures += [f"{validated(name, record)} {v:.4f}" for name, v in record["valid"].items()]
        figures += [self.figure(name, value) for name, value in record["figures"].items()]
        self.line(
            f"epoch {record['epoch']}/{self.settings.train.epochs}"
            f"{' (best so far)' if record['best'] else ''}: {', '.join(figures)}, "
            f"{self.speed:,.0f} examples/s, "
            f"{clock(record['seconds'])} so far"
        )

    def testing(self) -> None:
        """Say so."""
        self.line("testing the best weights")

    def stopping(self) -> None:
        """Say that the training will stop; called from a signal handler."""
        log(_STOPPING)

    def figure(self, name: str, value: float) -> str:
        """A figure with its name; of things in use, how many there are where a setting says so.

        Args:
            name: ``NAME_in_use`` counts what the setting ``model.NAME`` sets the number of.
            value: the figure.
        """
        total = getattr(self.settings.model, name.removesuffix(_IN_USE), None)
        of = f"/{total}" if name.endswith(_IN_USE) and isinstance(total, int) else ""
        return f"{_words(name)} {value:.4g}{of}"

    @property
    def best_epoch(self) -> int:
        """The epoch of the best validation so far, 0 if there is none."""
        return max((record["epoch"] for record in self.records if record["best"]), default=0)


class Lines(Display):
    """One line an epoch."""

    def line(self, text: str) -> None:
        """A line of stderr and of the log."""
        message(text)

    def stopping(self) -> None:
        """Straight to the file: the handler may have cut into a write of ours."""
        super().stopping()
        if not is_quiet():
            os.write(sys.stderr.fileno(), f"{_STOPPING}\n".encode())


class Live(Display):
    """A display that stays in place: the epoch under way above, the validations below.

    Args:
        settings: the run's settings.
        history: the validations before this process.
        console: where to draw.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        history: Sequence[dict[str, Any]] = (),
        *,
        console: Console | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        super().__init__(settings, history)
        self._now = now
        self._report: dict[str, float] = {}
        self._epoch = self._step = self._steps = self._examples = 0
        self._reported = self._validation_began = now()
        self._validation_seconds = 0.0
        self._doing = "preparing"
        self._note = ""
        self._live = RichLive(
            console=console or Console(file=sys.stderr),
            get_renderable=self.render,
            refresh_per_second=4,
        )

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def start(self, total_epochs: int, steps_per_epoch: int, n_examples: int) -> None:
        """Begin to draw."""
        super().start(total_epochs, steps_per_epoch, n_examples)
        self._steps, self._examples = steps_per_epoch, n_examples
        self._epoch = min(len(self.records) + 1, total_epochs)
        self._doing = "training"
        self._live.start()

    def step(self, epoch: int, step: int, report: dict[str, float]) -> None:
        """Show the step, its losses and the speed."""
        super().step(epoch, step, report)
        self._epoch, self._step, self._report = epoch, step, report
        self._reported = self._now()

    def validating(self, epoch: int) -> None:
        """Show it."""
        self._doing, self._validation_began = "validating", self._now()

    def epoch(self, record: dict[str, Any]) -> None:
        """Add a row and turn to the next epoch."""
        super().epoch(record)
        self._validation_seconds = self._now() - self._validation_began
        self._doing = "training"
        if record["epoch"] < self.settings.train.epochs:
            self._epoch, self._step = record["epoch"] + 1, 0
        self._reported = self._now()

    def testing(self) -> None:
        """Show it."""
        super().testing()
        self._doing = "testing the best weights"

    def end(self, status: str) -> None:
        """Draw once more, and no more."""
        self._doing, self._note = status, ""
        self._live.stop()

    def stopping(self) -> None:
        """Show it with the next drawing."""
        super().stopping()
        self._note = _STOPPING

    def seconds_left(self) -> tuple[float, float] | None:
        """Seconds to the end of the epoch's steps, and at most to the last epoch's validation.

        Both count on the speed so far; None while it is unknown.
        """
        if not self.speed:
            return None
        an_epoch = self._examples / self.speed
        waited = self._now() - self._reported
        here = max(an_epoch * (1 - self._step / self._steps) - waited, 0.0)
        later = self.settings.train.epochs - self._epoch
        return here, here + later * an_epoch + (later + 1) * self._validation_seconds

    def render(self) -> Group:
        """The whole display."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [self._progress(), Text(self._losses())]
        if self._doing in ("training", "validating"):
            parts.append(Text(self._ahead(), style="dim"))
        if self.records:
            parts.append(self._validations())
        if self._note:
            parts.append(Text(self._note, style="bold yellow"))
        return Group(*parts)

    def _progress(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        left = self.seconds_left()
        cells: list[RenderableType] = [
            Text(f"epoch {self._epoch}/{self.settings.train.epochs}", style="bold"),
            ProgressBar(total=max(self._steps, 1), completed=self._step, width=24),
            Text(f"{self._step:,}/{self._steps:,} steps"),
            Text(f"{self.speed:,.0f} examples/s" if self.speed else ""),
        ]
        if self._doing != "training":
            cells.append(Text(self._doing, style="bold"))
        elif left is not None:
            cells.append(Text(f"{clock(left[0])} left"))
        grid = Table.grid(padding=(0, 2))
        grid.add_row(*cells)
        return grid

    def _losses(self) -> str:
        report = self._report
        return "  ".join(
            self.figure(name, value) if name.endswith(_IN_USE) else f"{name} {value:.4f}"
            for name, value in report.items()
            if name != _SPEED
        )

    def _ahead(self) -> str:
        train = self.settings.train
        left = self.seconds_left()
        longest = f"at most {clock(left[1])} to epoch {train.epochs}; " if left else ""
        return f"{longest}stops after {train.patience} epochs without a better {train.metric}"

    def _validations(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        best = self.best_epoch
        last = self.records[-SHOWN_EPOCHS:]
        shown = [r for r in self.records if r["epoch"] == best and r not in last] + last
        names = list(shown[-1]["valid"])
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        figures = list(shown[-1]["figures"])
        headings = [validated(name, shown[-1]) for name in names]
        chosen = validated(self.settings.train.metric, shown[-1])
        for heading in ("epoch", "", "loss", *headings, *map(_words, figures)):
            style = "bold" if heading == chosen else ""
            table.add_column(Text(heading), justify="right", style=style)
        for record in shown:
            is_best = record["epoch"] == best
            table.add_row(
                str(record["epoch"]),
                Text("best" if is_best else ""),
                f"{record['train']['loss']:.4f}",
                *(f"{record['valid'][name]:.4f}" for name in names),
                *(f"{record['figures'].get(name, 0.0):.4g}" for name in figures),
                style="green" if is_best else "",
            )
        return table


def validated(name: str, record: Mapping[str, Any]) -> str:
    """What a validation's figure is called: a loss says that it is not the training's."""
    return f"valid {name}" if name in record["train"] else name


def _some(names: Sequence[str]) -> str:
    """Names, or the first ones of many: a run has tens of weights, and its folder names all."""
    if len(names) <= NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more (transfer.json names all)"


def _words(name: str) -> str:
    return name.replace("_", " ")


def display(settings: Settings, history: Sequence[dict[str, Any]] = ()) -> Display:
    """The display that fits stderr."""
    return Live(settings, history) if draws() else Lines(settings, history)


def show_metrics(result: Mapping[str, Any]) -> None:
    """The final table of validation and test metrics, on stderr."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    splits = [split for split in ("valid", "test") if split in result]
    if not splits:
        return
    names = list(result[splits[-1]])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(Text(name), justify="right")
    rows = {split: result[split] for split in splits}
    domains = result.get("domains", {})
    if len(domains) > 1:
        rows |= {f"valid, {name}": metrics for name, metrics in domains.items()}
    for label, metrics in rows.items():
        table.add_row(Text(plain(label)), *(f"{metrics[name]:.4f}" for name in names))
    of = result.get("dataset") or ", ".join(result["datasets"])
    best = f", best epoch {result['best_epoch']}" if result["best_epoch"] else ""
    tell_drawn(Text(plain(f"{of}{best}")), table)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
