"""What ``miracle evaluate --beyond`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miracle_cli.output import print_fields, print_table

if TYPE_CHECKING:
    from miracle_core.evaluation.beyond import Beyond


def show_beyond(found: Beyond) -> None:
    """The figures, then the metrics of each slice."""
    told = {name.replace("_", " "): f"{value:.4g}" for name, value in found.figures.items()}
    print_fields(told, title=f"\nbeyond accuracy (top {found.k})")
    for name, slices in found.slices.items():
        metrics = list(slices[0].metrics)
        print_table(
            [name.replace("_", " "), "users", *metrics],
            [
                [each.label, each.users, *(f"{value:.4f}" for value in each.metrics.values())]
                for each in slices
            ],
            right=metrics,
        )
