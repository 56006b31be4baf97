"""The training display: drawn on a terminal, plain lines elsewhere, with a time estimate."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from miracle_cli.training_display import SHOWN_EPOCHS, Lines, Live, clock, display, show_metrics
from miracle_core.config import make_settings, nested

SETTINGS = make_settings(nested({"train.epochs": 30, "train.metric": "ndcg@10"}))


def record(epoch: int, *, best: bool, value: float = 0.1234) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "step": 10 * epoch,
        "train": {"loss": 6.5, "recommendation": 6.25},
        "valid": {"recall@10": value, "ndcg@10": value / 2},
        "figures": {"capsules_in_use": 29, "capsules_per_user": 3.456},
        "best": best,
        "seconds": 3700.0,
    }


class Clock:
    """A clock that moves only when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def live(time: Clock) -> Live:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    return Live(SETTINGS, console=console, now=time)


def drawn(live: Live) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(live.render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


REPORT = {"loss": 6.5, "coverage": 1.25, "capsules_in_use": 31.0, "examples_per_second": 500.0}


def test_it_shows_all_that_matters(live: Live, time: Clock) -> None:
    with live:
        live.start(30, 10, 10_000)
        live.step(1, 4, REPORT)
        text = drawn(live)
        for part in ("epoch 1/30", "4/10 steps", "500 examples/s", "loss 6.5000"):
            assert part in text
        assert "coverage 1.2500" in text
        assert "capsules in use 31/32" in text
        # 10,000 examples at 500 per second: 20 s per epoch, with 6 of 10 steps and 29 epochs left.
        assert "0:00:12 left" in text
        assert "at most 0:09:52 to epoch 30" in text
        assert "stops after 10 epochs without a better ndcg@10" in text
        time.now += 5
        assert "0:00:07 left" in drawn(live)
        time.now += 500  # much slower than before: the time left is not negative
        assert "0:00:00 left" in drawn(live)


def test_validations_count_in_the_time_left(live: Live, time: Clock) -> None:
    with live:
        live.start(30, 10, 10_000)
        live.step(1, 10, REPORT)
        live.validating(1)
        assert "validating" in drawn(live)
        time.now += 3
        live.epoch(record(1, best=True))
        assert live.seconds_left() == (20, 29 * 20 + 29 * 3)


def test_the_best_is_marked_and_stays_in_sight(live: Live) -> None:
    with live:
        live.start(30, 10, 100)
        for epoch in range(1, 25):
            live.epoch(record(epoch, best=epoch in (1, 3), value=epoch / 100))
        rows = [line.split() for line in drawn(live).splitlines()]
        numbers = [row for row in rows if row and row[0].isdigit()]
        assert [int(row[0]) for row in numbers] == [3, *range(25 - SHOWN_EPOCHS, 25)]
        assert [row[0] for row in numbers if "best" in row] == ["3"]
        assert numbers[0][2:] == ["6.5000", "0.0300", "0.0150", "29", "3.456"]


def test_after_resuming_the_best_from_before_is_known(live: Live) -> None:
    resumed = Live(SETTINGS, [record(1, best=True), record(2, best=False)], console=Console())
    assert resumed.best_epoch == 1
    # A validation that was lost and is repeated is shown in one row.
    resumed.epoch(record(2, best=True))
    assert [r["epoch"] for r in resumed.records] == [1, 2]
    assert resumed.best_epoch == 2


def test_stopping_and_the_end_are_told(live: Live) -> None:
    with live:
        live.start(30, 10, 100)
        live.stopping()
        assert "Ctrl-C again aborts at once" in drawn(live)
        live.testing()
        assert "testing the best weights" in drawn(live)
        live.end("interrupted")
        text = drawn(live)
        assert "interrupted" in text
        assert "Ctrl-C" not in text


def test_a_failure_leaves_the_terminal_whole(live: Live) -> None:
    with pytest.raises(RuntimeError), live:
        live.start(30, 10, 100)
        raise RuntimeError
    file = live._live.console.file
    assert isinstance(file, io.StringIO)
    hidden, shown = "\x1b[?25l", "\x1b[?25h"  # hide and show the cursor
    assert file.getvalue().rindex(shown) > file.getvalue().rindex(hidden)


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = display(SETTINGS)
    assert isinstance(shown, Lines)
    with shown:
        shown.start(30, 10, 12_345)
        shown.step(1, 10, REPORT)
        shown.epoch(record(1, best=True))
        shown.epoch(record(2, best=False))
        shown.testing()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 12,345 examples, 10 steps an epoch, at most 30 epochs"
    assert lines[1] == (
        "epoch 1/30 (best so far): loss 6.5000, recommendation 6.2500, recall@10 0.1234, "
        "ndcg@10 0.0617, capsules in use 29/32, capsules per user 3.456, 500 examples/s, "
        "1:01:40 so far"
    )
    assert lines[2].startswith("epoch 2/30: ")
    assert lines[3:] == ["testing the best weights"]


def test_of_many_weights_taken_over_the_first_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"w{n}" for n in range(40)]
    report = {"run": "RUN", "domains": ["shop"], "loaded": names, "new": ["items"]}
    report |= {"left_out": [], "frozen": names[:12], "items": None, "settings": {}}
    display(SETTINGS).transferred(report)
    loaded, new, left_out, frozen = capsys.readouterr().err.splitlines()[1:]
    assert loaded.startswith("  loaded (40): w0, w1, ")
    assert loaded.endswith(", w11 and 28 more (transfer.json names all)")
    assert (new, left_out) == ("  new (1): items", "  left out (0): none")
    assert frozen.endswith(" w11")


def test_one_epoch_is_not_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    with display(SETTINGS) as shown:
        shown.start(1, 10, 12_345)
    assert capsys.readouterr().err.rstrip().endswith("at most 1 epoch")


def test_the_final_table_takes_a_name_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"recall@10": 0.5, "ndcg@10": 0.25}
    result = {"dataset": "[red]x[/red]\x1b[2J", "best_epoch": 3, "valid": metrics, "test": metrics}
    show_metrics(result)
    said = capsys.readouterr()
    assert said.out == ""
    assert "[red]x[/red] [2J, best epoch 3" in said.err
    assert said.err.count("0.5000") == 2
    show_metrics({"dataset": "x", "best_epoch": 0})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00:00"), (61, "0:01:01"), (36_000, "10:00:00")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
