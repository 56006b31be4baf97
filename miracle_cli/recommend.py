"""``miracle recommend``: the interests of a history, and recommendations for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from miracle_cli.device import Device
from miracle_cli.output import bar, message, print_fields, print_json, print_table, shortened
from miracle_cli.recommend_many import Asking, OnError, recommend_many
from miracle_cli.rules import (
    Allow,
    Boost,
    Deny,
    DiverseBy,
    Diversity,
    MinStrength,
    Mute,
    Quota,
    RuleOptions,
    Where,
)
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender
    from miracle_core.recommender.given import Known
    from miracle_core.recommender.results import Match, Recommendation, Recommended, UserHistory

# Of an interest without an item in the top-K so many are shown all the same, unless it is so weak
# that its scores are next to nothing.
FURTHER = 3
WEAK = 0.1
_TYPED = "miracle.typed"


class InOrder(typer.core.TyperCommand):
    """A command that knows in which order ``--title`` and ``--item`` were typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as always, and note (option, value) of both options in the order typed."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        rest = {name: iter(values.get(name) or ()) for name in ("title", "item")}
        ctx.meta[_TYPED] = [(p.name, next(rest[p.name])) for p in order if p.name in rest]
        return super().parse_args(ctx, args)


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=InOrder)
def recommend(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    title: Annotated[
        list[str] | None,
        typer.Option(
            help="An item of the history, oldest first (repeatable): a title of the catalogue, or "
            "nearly one. Any other text is a new item."
        ),
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="The same, by its id in the catalogue (repeatable)."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Begin with the whole history of a user of the data, the last item too.",
        ),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", help="For evaluation: leave out the user's test item, and show its rank."
        ),
    ] = False,
    top_k: Annotated[int, typer.Option(min=1, help="How many items to recommend.")] = 10,
    data: Annotated[
        Path | None,
        typer.Option(help="Another Dataset than the run's own; a pre-trained run needs one."),
    ] = None,
    seen: Seen = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Short for --seen leave-out.")
    ] = False,
    index: Annotated[
        bool,
        typer.Option(
            "--index",
            help="Search with the run's approximate index (see miracle index).",
        ),
    ] = False,
    device: Device = "cpu",
    allow: Allow = None,
    deny: Deny = None,
    where: Where = None,
    mute: Mute = None,
    boost: Boost = None,
    min_strength: MinStrength = None,
    quota: Quota = None,
    diversity: Diversity = None,
    diverse_by: DiverseBy = None,
    users: Annotated[
        str | None,
        typer.Option(
            metavar="all|FILE",
            help="Lists for all users of the data, or those of a file (an id a line), from their "
            "whole histories up to now. With --out.",
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Lists for JSON requests, one a line: "
            '{"user_id": "ID", "history": ["ID", {"title": "..."}]}. - is standard input.',
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the lists to FILE.parquet, FILE.csv or FILE.jsonl, or to a folder of "
            "Parquet parts. The same command goes on after a kill; torchrun shares the work."
        ),
    ] = None,
    on_error: Annotated[
        OnError,
        typer.Option(help="At a user or request that can't be answered: stop, or skip and report."),
    ] = OnError.stop,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the interests in a history of items, and recommend items for them.

    The history is made of --user, --title and --item: the user's items come first, then the others
    in the order typed. With --users or --history lists are written for many at once.
    """
    typed: list[tuple[str, str]] = ctx.meta[_TYPED]
    asked_rules = RuleOptions(
        allow, deny, where, mute, boost, min_strength, quota, diversity, diverse_by
    )
    rules = asked_rules.rules()
    if users is not None or history is not None or out is not None:
        one = {"--title": title, "--item": item, "--user": user}
        flags = {"--held-out": held_out, "--index": index}
        _refuse_beside_many([name for name, given in (one | flags).items() if given])
        with asked_rules.named():
            recommend_many(
                Asking(run, users, history, out, on_error, top_k, data, device, as_json),
                seen_option(seen, exclude_seen),
                rules,
            )
        return
    if not typed and user is None:
        raise InputError(
            "there is no history",
            where="miracle recommend",
            remedy="name items with --title TITLE or --item ID, or a user with --user ID",
        )
    if held_out and user is None:
        raise InputError(
            "needs a user", where="--held-out", remedy="name one of the data with --user ID"
        )
    if held_out and index:
        raise InputError(
            "an index can't give the rank of the held-out item",
            where="--index",
            remedy="leave out --index or --held-out",
        )
    from miracle_cli.progress import RichProgress
    from miracle_core import Recommender
    from miracle_core.devices import device_named

    rule = seen_option(seen, exclude_seen)
    progress = RichProgress()
    with asked_rules.named():
        recommender = Recommender.load(
            run,
            data=data,
            device=device_named(device),
            seen=rule,
            progress=progress,
            rules=rules,
        )
        for note in recommender.notes:
            message(note)
        asked = _asked(recommender, typed, user, held_out)
        found = recommender.recommend(asked.history, top_k, target=asked.target, approximate=index)
    if as_json:
        print_json(summary(recommender, asked, found))
    else:
        show(asked, found, recommender.max_length)


def _refuse_beside_many(given: list[str]) -> None:
    if given:
        raise InputError(
            "is of one history",
            where=given[0],
            remedy="leave it out, or leave out --users, --history and --out",
        )


@dataclass(frozen=True)
class Asked:
    """A history as it was put together.

    Attributes:
        history: catalogue items, and new ones.
        matches: how each of them came about; None for those of a user.
        user: whose items come first.
        target: the item held out.
    """

    history: tuple[Known, ...]
    matches: tuple[Match | None, ...]
    user: UserHistory | None
    target: int | None


def _asked(
    recommender: Recommender, typed: Sequence[tuple[str, str]], user: str | None, held_out: bool
) -> Asked:
    past = None
    if user is not None:
        past = recommender.user_history(user, "test" if held_out else None)
        if held_out and past.held_out is None:
            raise InputError(
                f"user {user!r} has no item in the test part, so none is held out",
                where="--held-out",
                remedy="leave --held-out out",
            )
    matches = [_match(recommender, option, value) for option, value in typed]
    own = past.items if past else ()
    return Asked(
        history=(*own, *(match.given for match in matches)),
        matches=(*(None for _ in own), *matches),
        user=past,
        target=past.held_out if past else None,
    )


def _match(recommender: Recommender, option: str, value: str) -> Match:
    from miracle_core.recommender.results import Match

    if option == "title":
        return recommender.match(value)[0]
    item = recommender.item(value)
    return Match(value, item, value, recommender.title(item), "id", 1.0)


def summary(recommender: Recommender, asked: Asked, found: Recommendation) -> dict[str, Any]:
    """The JSON contract; what a system without interests can't say is not there."""
    named = recommender.abilities.interests
    capsules = [
        {
            "capsule": active.capsule,
            "strength": active.strength,
            "label": active.label,
            "items": list(active.items),
            "best": [_recommended(best, named) for best in active.best],
        }
        for active in found.capsules
    ]
    return {
        "run": str(recommender.run),
        "model": recommender.system.name,
        "dataset": recommender.dataset.name,
        "seen": recommender.seen,
        **({} if recommender.rules.empty else {"rules": recommender.rules.summary()}),
        "user": asked.user and asked.user.user_id,
        "history": [
            {
                "item_id": own.item_id,
                "title": own.title,
                **({"capsule": own.capsule} if named else {}),
                "match": match and match.kind,
                "similarity": match and match.similarity,
                "typed": match and match.query,
            }
            for own, match in zip(found.history, asked.matches, strict=True)
        ],
        **({"capsules": capsules} if named else {}),
        "items": [_recommended(item, named) for item in found.items],
        "held_out": _recommended(found.target, named) if found.target else None,
        "additive": found.additive,
    }


def _recommended(item: Recommended, named: bool) -> dict[str, Any]:
    winner = {"capsule": item.capsule, "scores": list(item.scores)} if named else {}
    return {
        "rank": item.rank,
        "item_id": item.item_id,
        "title": item.title,
        "score": item.score,
        **winner,
        "contributions": list(item.contributions),
        "repeat": item.repeat,
        "boost": item.boost,
        "cooccurrence": item.cooccurrence,
    }


def show(asked: Asked, found: Recommendation, max_length: int | None) -> None:
    """Print the history, its interests and the recommendations as tables.

    Args:
        asked: the history as it was put together.
        found: what is said of it.
        max_length: how many of its newest items the model reads.
    """
    labels = {active.capsule: active.label for active in found.capsules}
    first = found.first
    rows = list(zip(found.history, asked.matches, strict=True))[first:]
    # Of a system without interests the last column tells what each item brings to the best place.
    adds = found.items[0].contributions if found.items else ()
    adding = "adds to the first" if found.additive else "without it the first loses"
    last = "activates" if labels else adding if adds else ""
    print_table(
        ["", "history", "matched", *([last] if last else [])],
        [
            [
                first + place,
                shortened(own.title),
                _how(match),
                *([_named(labels, own.capsule)] if labels else []),
                *([f"{adds[place - 1]:+.3f}"] if adds and not labels else []),
            ]
            for place, (own, match) in enumerate(rows, start=1)
        ],
        right=(adding,),
    )
    if first:
        read = "newest item" if max_length == 1 else f"newest {max_length} items"
        message(f"the model reads the {read}; {first} older items are left out")
    if not labels:
        _show_items(found.items, labels, "recommendations")
        if found.target:
            _show_held_out(found.target, labels)
        return
    print_table(
        ["capsule", "interest", "strength", "", "activated by"],
        [
            [
                str(active.capsule),
                active.label,
                f"{active.strength:.3f}",
                bar(active.strength, 10),
                ", ".join(str(place + 1) for place in active.items),
            ]
            for active in found.capsules
        ],
    )
    _show_items(found.items, labels, "recommendations")
    won = {item.capsule for item in found.items}
    further = [
        item
        for active in found.capsules
        if active.capsule not in won and active.strength >= WEAK
        for item in active.best[:FURTHER]
    ]
    if further:
        _show_items(further, labels, "best items of the other interests, with their ranks")
    if found.target:
        _show_held_out(found.target, labels)


def _show_items(items: Sequence[Recommended], labels: dict[int, str], title: str) -> None:
    print_table(
        ["rank", "item", "score", *(["interest"] if labels else [])],
        [
            [
                item.rank,
                shortened(item.title),
                f"{item.score:.3f}",
                *([_named(labels, item.capsule)] if labels else []),
            ]
            for item in items
        ],
        title=title,
        right=("score",),
    )


def _show_held_out(target: Recommended, labels: dict[int, str]) -> None:
    print_fields(
        {
            "held out": shortened(target.title),
            "rank": target.rank or "none: the seen rule or another rule leaves it out",
            "score": f"{target.score:.3f}",
            **({"interest": _named(labels, target.capsule)} if labels else {}),
        }
    )


def _named(labels: dict[int, str], capsule: int | None) -> str:
    return "" if capsule is None else f"{capsule}: {labels[capsule]}"


def _how(match: Match | None) -> str:
    """How a typed text was understood."""
    if match is None:
        return "the user's"
    if match.kind == "fuzzy":
        return f"near ({match.similarity:.0%}) {shortened(match.query)!r}"
    return {"exact": "exact", "id": "by id", "new": "new"}[match.kind]
