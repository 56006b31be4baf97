"""``miracle demo``: everything once, on a generated shop."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import message, plain, print_fields, print_json, print_table

if TYPE_CHECKING:
    from miracle_cli.recommend import Asked
    from miracle_core.data.synthetic.recovery import Recovery
    from miracle_core.demo import Demo
    from miracle_core.evaluation.evaluate_run import RunEvaluation

TEXT_WIDTH = 100

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to write; an earlier demo is replaced.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the shop and the training.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Generate a shop, train on it, show what was learned: about two minutes on two cores.

    The shop's users have interests that are known, so the capsules can be compared with them.
    """
    from miracle_cli.progress import RichProgress
    from miracle_cli.training_display import display
    from miracle_core.demo import demo as run_demo
    from miracle_core.demo import demo_settings

    settings = demo_settings(out, seed)
    with _one_thread(), display(settings) as shown:
        found = run_demo(
            out, seed=seed, settings=settings, listeners=[shown], progress=RichProgress()
        )
    if as_json:
        print_json(_summary(found))
    else:
        _show(found)
    message(f"{found.seconds:.0f} seconds in all")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: so small a network gains nothing from a second.

    On a busy machine the threads would wait for each other most of the time; and the figures don't
    depend on how many cores there are.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _summary(found: Demo) -> dict[str, Any]:
    """The JSON contract."""
    from miracle_cli.recommend import summary as recommended

    own = found.evaluation.found.summary()
    references = found.evaluation.references
    return {
        "shop": found.shop.name,
        "seed": found.shop.seed,
        **{name: own[name] for name in ("split", "users", "items", "metrics", "active_capsules")},
        **{name: other.metrics for name, other in references.items()},
        "recovery": vars(found.recovery),
        "recommendations": [recommended(found.recommender, _asked(found), found.recommendation)],
        "data": str(found.folder.data),
        "run": str(found.folder.run),
        "seconds": found.seconds,
    }


def _show(found: Demo) -> None:
    from miracle_cli.data import print_counts
    from miracle_cli.inspect_command import show_capsules
    from miracle_cli.recommend import show as show_recommendation

    recommender = found.recommender
    _heading(
        1,
        "A shop",
        f"{found.shop.name!r} is generated: its items, users and purchases are made up. Each item "
        f"belongs to one of {len(found.shop.truth.interests)} interests, each user follows one to "
        "five of them. The model sees titles and purchases only.",
    )
    print_counts(recommender.dataset)
    _heading(
        2,
        "What it learned",
        "For every user the last purchase was held out. All items are ranked; recall@10 says how "
        "often the held-out one is among the first ten.",
    )
    _show_metrics(found.evaluation)
    _heading(
        3,
        "What its capsules stand for",
        "A capsule is an interest of the shop as the model sees it: the words that tell its items "
        "from the rest, the share of items that activate it, and of users.",
    )
    show_capsules(recommender, recommender.capsule_use())
    _heading(
        4,
        "Whether these are the planted interests",
        "The model never saw them. The share of item pairs that have the same capsule:",
    )
    _show_recovery(found.recovery)
    _heading(
        5,
        "Recommendations for a history of two typed titles",
        "A title need not be in the catalogue: the text of a new one is encoded (the encoder "
        "'hashing' knows words, not what they mean; 'minilm' does).",
    )
    show_recommendation(_asked(found), found.recommendation, recommender.max_length)
    _heading(6, "Commands to try next", "")
    typer.echo("\n".join(_next(found)))


def _asked(found: Demo) -> Asked:
    """The typed titles, as ``miracle recommend`` tells of them."""
    from miracle_cli.recommend import Asked

    history = tuple(match.given for match in found.matches)
    return Asked(history=history, matches=found.matches, user=None, target=None)


def _heading(number: int, title: str, text: str) -> None:
    """A step's number and name, and what is to be seen in it."""
    typer.secho(f"\n{number}. {title}", bold=True)
    if text:
        width = min(shutil.get_terminal_size().columns, TEXT_WIDTH)
        typer.echo(textwrap.fill(text, width))


def _show_metrics(found: RunEvaluation) -> None:
    names = list(found.found.metrics)
    rows = {"this run": found.found.metrics}
    rows |= {name: other.metrics for name, other in found.references.items()}
    print_table(
        ["", *names],
        [[label, *(f"{metrics[name]:.4f}" for name in names)] for label, metrics in rows.items()],
        right=names,
    )


def _show_recovery(found: Recovery) -> None:
    print_fields(
        {
            "of one interest": f"{found.same_interest:.1%}",
            "of two interests": f"{found.different_interest:.1%}",
            "adjusted mutual information": f"{found.adjusted_mutual_information:.2f} "
            f"(1: the same groups, 0: chance), {found.items:,} items",
        }
    )


def _next(found: Demo) -> list[str]:
    """Commands to go on with, ready to copy."""
    from miracle_cli.main import COMMANDS

    folder = found.folder
    run, config, data, other = (
        shlex.quote(str(path))
        for path in (folder.run, folder.run / "config.toml", folder.data, folder.path / "minilm")
    )
    user = found.recommender.user_id(0)
    largest = sorted(found.recommender.capsules(), key=lambda capsule: -capsule.share)[:2]
    titles = " ".join(
        f"--title {shlex.quote(plain(found.recommender.title(capsule.items[0])))}"
        for capsule in largest
    )
    lines = {
        "recommend": [
            f"{run} {titles}",
            f"{run} --user {user} --held-out",
        ],
        "tui": [run],
        "inspect": [run],
        "evaluate": [f"{run} --seen leave-out"],
        # A run that knows what new titles mean.
        "encode": [f"{data} --encoder minilm"],
        "finetune": [f"--config {config} --encoder minilm --mode inductive --out {other}"],
    }
    return [
        f"  {_program()} {command} {arguments}"
        for command in lines
        if command in COMMANDS
        for arguments in lines[command]
    ]


def _program() -> str:
    """How this program is called: by its name, or by its path where the name finds nothing."""
    called = Path(sys.argv[0])
    if called.name == "miracle" and shutil.which("miracle") is None:
        return shlex.quote(str(called))
    return "miracle"
