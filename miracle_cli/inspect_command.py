"""``miracle inspect``: what a run's capsules stand for, and how users use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.device import Device
from miracle_cli.output import bar, message, plain, print_fields, print_json, print_table, shortened
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender
    from miracle_core.recommender.results import Activations, CapsuleUse

# The darker, the more items of a user activate a capsule.
SHADES = "·░▒▓█"
# Two capsules whose base vectors are nearer than this say nearly the same.
ALIKE = 0.9
_ID_LENGTH = 14

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def inspect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Show this user's capsules (may be repeated) [default: 12 of all]."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw the users' capsules (the paper's figure 6): .png or .svg."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A Dataset to read in place of the run's own; a pre-trained run needs one."
        ),
    ] = None,
    seen: Seen = None,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what every capsule stands for, and which capsules users activate.

    A capsule's words and items are those of the catalogue that activate it when they are a history
    of their own. How many users activate it comes from their histories before the test item. Of a
    system without capsules the ranks of users' held-out items are shown.
    """
    if figure is not None:
        from miracle_cli.activation_figure import check

        check(figure)
    from miracle_cli.progress import RichProgress
    from miracle_core import Recommender
    from miracle_core.devices import device_named

    recommender = Recommender.load(
        run, data=data, device=device_named(device), seen=seen_option(seen), progress=RichProgress()
    )
    if not recommender.abilities.capsules:
        if figure is not None:
            raise InputError(
                f"{recommender.system.name} has no capsules to draw",
                where="--figure",
                remedy="leave it out",
            )
        _without_capsules(recommender, user, as_json)
        return
    sample = recommender.activations(user)
    use = recommender.capsule_use()
    if figure is not None:
        from miracle_cli.activation_figure import draw

        draw(sample, recommender.dataset.name, figure)
        message(f"figure written to {figure}")
    if as_json:
        print_json(_summary(recommender, use, sample))
        return
    show_capsules(recommender, use)
    _show_use(recommender, use)
    _show_users(sample)


def _without_capsules(
    recommender: Recommender, user_ids: Sequence[str] | None, as_json: bool
) -> None:
    """How the held-out items of some users, or of a sample, rank."""
    table = recommender.users()
    users = recommender.sample() if user_ids is None else [*map(recommender.user, user_ids)]
    rows = [
        {
            "user_id": recommender.user_id(user),
            "length": int(table.lengths[user]),
            "held_out": None
            if table.held_out[user] < 0
            else recommender.item_id(int(table.held_out[user])),
            "rank": int(table.ranks[user]) or None,
        }
        for user in users
    ]
    if as_json:
        print_json(
            {
                "run": str(recommender.run),
                "model": recommender.system.name,
                "dataset": recommender.dataset.name,
                "seen": recommender.seen,
                "users": rows,
            }
        )
        return
    print_fields({"model": recommender.system.title, "paper": recommender.system.paper})
    print_table(
        ["user", "items", "rank of the held-out item"],
        [
            [
                row["user_id"],
                row["length"],
                row["rank"] or ("none held out" if row["held_out"] is None else "left out"),
            ]
            for row in rows
        ],
        right=("items", "rank of the held-out item"),
    )


def _summary(recommender: Recommender, use: CapsuleUse, sample: Activations) -> dict[str, Any]:
    """The JSON contract."""
    return {
        "run": str(recommender.run),
        "model": recommender.system.name,
        "dataset": recommender.dataset.name,
        "capsules": [
            {
                "capsule": capsule.capsule,
                "label": capsule.label,
                "words": list(capsule.words),
                "share": capsule.share,
                "share_of_users": float(use.users[capsule.capsule]),
                "share_of_history_items": float(use.items[capsule.capsule]),
                "items": [
                    {"item_id": recommender.item_id(item), "title": recommender.title(item)}
                    for item in capsule.items
                ],
                "neighbours": [
                    {"capsule": other, "cosine": cosine} for other, cosine in capsule.neighbours
                ],
            }
            for capsule in recommender.capsules()
        ],
        "active_per_user": {
            "mean": use.mean,
            "histogram": {str(size): users for size, users in use.histogram.items()},
        },
        "users": [
            {
                "user_id": user_id,
                "length": int(length),
                "capsules": {str(c): int(counts[c]) for c in counts.nonzero()[0]},
            }
            for user_id, length, counts in zip(
                sample.user_ids, sample.lengths, sample.counts, strict=True
            )
        ],
    }


def show_capsules(recommender: Recommender, use: CapsuleUse) -> None:
    """A table of the capsules: words, share of the items, share of the users, an item."""
    print_table(
        ["", "capsule", "items", "users", "most typical item"],
        [
            [
                capsule.capsule,
                capsule.label,
                f"{capsule.share:.1%}",
                f"{use.users[capsule.capsule]:.1%}",
                shortened(recommender.title(capsule.items[0])),
            ]
            for capsule in recommender.capsules()
        ],
        right=("items", "users"),
    )


def _show_use(recommender: Recommender, use: CapsuleUse) -> None:
    most = max(use.histogram.values(), default=1)
    print_table(
        ["active", "users", ""],
        [[size, users, bar(users / most)] for size, users in use.histogram.items()],
        title="active capsules of a user",
    )
    unused = [str(capsule) for capsule, share in enumerate(use.users) if not share]
    alike = [
        f"{capsule.capsule} and {other}"
        for capsule in recommender.capsules()
        for other, cosine in capsule.neighbours
        if cosine > ALIKE and capsule.capsule < other
    ]
    fields: dict[str, object] = {
        "mean": f"{use.mean:.2f} a user",
        "in use": f"{recommender.n_capsules - len(unused)} of {recommender.n_capsules}",
    }
    if unused:
        fields["unused"] = ", ".join(unused)
    if alike:
        fields["nearly the same"] = ", ".join(alike)
    print_fields(fields)


def _show_users(sample: Activations) -> None:
    """Figure 6 in characters: a row a user, a column a capsule."""
    n_capsules = sample.counts.shape[1]
    names = [_short(user_id) for user_id in sample.user_ids]
    margin = max([len("user"), *map(len, names)])
    digits = len(str(max(n_capsules - 1, 0)))
    lines = ["", "capsules that a user's items activate"]
    for place in range(digits):
        row = "".join(f"{capsule:>{digits}}"[place] + " " for capsule in range(n_capsules))
        name, n = ("user", "  n") if place == digits - 1 else ("", "")
        lines.append(f"{name:<{margin}}  {n:>3}  {row}".rstrip())
    for name, length, counts in zip(names, sample.lengths, sample.counts, strict=True):
        row = "".join(SHADES[min(int(count), len(SHADES) - 1)] + " " for count in counts)
        lines.append(f"{name:<{margin}}  {int(length):>3}  {row}".rstrip())
    lines.append("items  " + "  ".join(_legend()))
    typer.echo("\n".join(lines))


def _legend() -> Sequence[str]:
    last = len(SHADES) - 1
    return [f"{shade} {count}{'+' * (count == last)}" for count, shade in enumerate(SHADES)]


def _short(user_id: str) -> str:
    """An id for the margin: long ones by their end, as in the paper."""
    shown = plain(user_id)
    return shown if len(shown) <= _ID_LENGTH else "…" + shown[1 - _ID_LENGTH :]
