"""``miracle evaluate``: full-ranking metrics of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from miracle_cli.output import message, print_fields, print_json, print_table
from miracle_cli.seen import SEEN, Seen, seen_option
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.data.dataset import Split
    from miracle_core.evaluation.evaluate_run import RunEvaluation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Another Dataset than the run's own: zero-shot, if its catalogue is another."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="test|valid", help="Whose held-out items are ranked.")
    ] = "test",
    k: Annotated[
        list[int] | None,
        typer.Option(min=1, help="A cut-off of the metrics (may be repeated) [default: 10, 50]."),
    ] = None,
    seen: Seen = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Short for --seen leave-out.")
    ] = False,
    save_top_k: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet|FILE.csv",
            help="Write every user's best items to this file. They are for measuring: each history "
            "stops before the held-out item. What to offer next, miracle recommend says.",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many of them --save-top-k writes.")] = 50,
    encoder: Annotated[
        str | None, typer.Option(help="Which text features of --data to read.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rank all items for every user of a run's data, the held-out item among them.

    Popularity and chance stand beside the run; for a catalogue it never saw also nearness of text
    alone.
    """
    if split not in ("test", "valid"):
        raise InputError(
            "is not a split to evaluate", where=f"--split {split}", remedy="test or valid"
        )
    from miracle_cli.progress import RichProgress
    from miracle_core.evaluation.evaluate_run import evaluate_run
    from miracle_core.evaluation.metrics import DEFAULT_KS
    from miracle_core.evaluation.top_k import check_top_k, write_top_k
    from miracle_core.processes import processes
    from miracle_core.text import feature_name

    if save_top_k is not None:
        check_top_k(save_top_k)  # before anything slow begins
    found = evaluate_run(
        run,
        data,
        cast("Split", split),
        encoder=None if encoder is None else feature_name(encoder),
        ks=sorted(set(k or DEFAULT_KS)),
        seen=seen_option(seen, exclude_seen),
        keep_top=0 if save_top_k is None else top_k,
        progress=RichProgress(),
    )
    if save_top_k is not None:
        processes().on_first(lambda: write_top_k(save_top_k, found.found, found.dataset))
        message(
            f"best items written to {save_top_k} (for measuring: each history stops before the "
            "held-out item)"
        )
    if as_json:
        print_json(found.summary())
    else:
        _show(found)


def _weights(found: RunEvaluation) -> str:
    """Which weights these are."""
    if "fit" in found.run.spec.stages:
        return "fitted to the training part"
    return {
        "best": "of the best validation",
        "last": "of the last checkpoint; no validation has been yet",
    }[found.run.weights_from]


def _figures(found: RunEvaluation) -> dict[str, str]:
    """How many interests users have, and of capsules how many are in use."""
    told = {name: f"{value:.4g}" for name, value in found.found.figures().items()}
    if "capsules_in_use" in told:
        told["capsules_in_use"] += f" of {found.run.system.n_interests}"
    return {name.replace("_", " "): value for name, value in told.items()}


def _show(found: RunEvaluation) -> None:
    own = found.found
    names = list(own.metrics)
    print_table(
        ["", *names],
        [
            [label, *(f"{metrics[name]:.4f}" for name in names)]
            for label, metrics in (
                (found.run.folder.path.name, own.metrics),
                *((name, other.metrics) for name, other in found.references.items()),
            )
        ],
        title=f"{own.dataset} ({own.split})",
        right=names,
    )
    fields: dict[str, object] = {
        "users": len(own.users),
        "items": own.n_items,
        "items the history holds": SEEN[found.seen],
        "weights": _weights(found),
        **_figures(found),
        "seconds": f"{own.seconds:.2f}",
    }
    if found.zero_shot:
        fields = {"zero-shot": f"trained on {found.run.origin.names}", **fields}
    print_fields(fields)
