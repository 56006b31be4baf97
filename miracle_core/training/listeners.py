"""Listeners of a training: a progress display, TensorBoard, a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Listener:
    """Is called at a training's events. Each method does nothing here; override those you need."""

    def transferred(self, report: dict[str, Any]) -> None:
        """Weights were taken over from another run; ``report`` is its ``transfer.json``."""

    def start(self, total_epochs: int, steps_per_epoch: int, n_examples: int) -> None:
        """The training begins (or goes on)."""

    def step(self, epoch: int, step: int, report: dict[str, float]) -> None:
        """Some steps are done.

        Args:
            epoch: from 1.
            step: steps done of this epoch.
            report: mean loss terms since the epoch began; how many numbers of each of the system's
                counters are above zero (``NAME_in_use``); and ``examples_per_second``.
        """

    def validating(self, epoch: int) -> None:
        """An epoch's steps are done; its validation begins."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch has been validated; ``record`` is the line of ``metrics.jsonl``."""

    def testing(self) -> None:
        """Training is over; the best weights are tested now."""

    def end(self, status: str) -> None:
        """The training ends: ``finished``, ``stopped early`` or ``interrupted``."""


class TensorBoard(Listener):
    """Writes loss terms and validation metrics as TensorBoard events.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder

    def start(self, total_epochs: int, steps_per_epoch: int, n_examples: int) -> None:
        """Open an event file. Before this call there is no run folder to put it in."""
        # Imported here: TensorBoard takes about a second to import.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder))

    def epoch(self, record: dict[str, Any]) -> None:
        """Write one point of every curve."""
        for group in ("train", "valid", "figures"):
            for name, value in record[group].items():
                self._writer.add_scalar(f"{group}/{name}", value, record["epoch"])
        for domain, metrics in record.get("domains", {}).items():
            for name, value in metrics.items():
                self._writer.add_scalar(f"valid {domain}/{name}", value, record["epoch"])
        self._writer.flush()

    def end(self, status: str) -> None:
        """Close the event file."""
        self._writer.close()
