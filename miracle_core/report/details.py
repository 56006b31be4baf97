"""The parts of a report that need run folders: curves, capsules, figure 6, examples of users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Split
from miracle_core.progress import SILENT, Progress
from miracle_core.recommender import Recommender
from miracle_core.report import svg
from miracle_core.report.charts import legend
from miracle_core.report.markup import figure, table, text
from miracle_core.report.words import metric_name, percent
from miracle_core.runs.folder import RunFolder

USERS = 4  # examples
_SHOWN = 8  # items of a history
_TOP = 5
_TITLE = 90  # characters of an item's title


def details(runs: Sequence[Path], split: Split, seen: SeenRule, progress: Progress = SILENT) -> str:
    """HTML about the runs of one system; parts that need a model show the first run.

    Args:
        runs: run folders that differ in their seed only.
        split: whose held-out items the examples show.
        seen: the rule that examples are ranked by.
        progress: shows passes over the catalogue and the users.

    Raises:
        InputError: a run that can't be opened.
    """
    first = Recommender.load(runs[0], seen=seen, progress=progress)
    parts = [curves([RunFolder(run) for run in runs])]
    if first.abilities.capsules:
        parts += [_capsules(first), _figure_6(first)]
    parts.append(_users(first, split))
    return "".join(parts)


def curves(runs: Sequence[RunFolder]) -> str:
    """The validation metric and the training loss over epochs, a line a run."""
    settings = runs[0].settings()
    metric = settings.train.metric
    valid, loss = [], []
    for place, run in enumerate(runs):
        records = run.history()
        if not records:
            continue
        name = f"seed {run.settings().train.seed}"
        epochs = tuple(float(record["epoch"]) for record in records)
        best = max(
            (number for number, record in enumerate(records) if record["best"]), default=None
        )
        values = tuple(record["valid"][metric] for record in records)
        valid.append(svg.Line(name, place, epochs, values, mark=best))
        loss.append(
            svg.Line(name, place, epochs, tuple(record["train"]["loss"] for record in records))
        )
    if not valid:
        return (
            "<section><h2>Training</h2><p>This system is fitted at once, so there are no "
            "curves.</p></section>"
        )
    keys = legend([(line.name, line.series) for line in valid]) if len(valid) > 1 else ""
    name = metric_name(metric)
    return (
        f"<section><h2>Training</h2>{keys}"
        + figure(
            svg.lines(valid, f"validation {name} over epochs", "epochs"),
            f"<b>{name} of the validation part.</b> The mark is the best epoch, whose weights are "
            "kept.",
        )
        + figure(
            svg.lines(loss, "training loss over epochs", "epochs"),
            "<b>Training loss</b>, the mean of each epoch.",
        )
        + "</section>"
    )


def _capsules(recommender: Recommender) -> str:
    use = recommender.capsule_use()
    rows = []
    for each in recommender.capsules():
        items = "; ".join(_title(recommender, item) for item in each.items[:3])
        rows.append(
            [
                str(each.capsule),
                f"<b><bdi>{text(each.label)}</bdi></b><small>{items}</small>",
                percent(float(use.users[each.capsule])),
                percent(each.share),
            ]
        )
    return (
        "<section><h2>Capsules</h2><p>What each capsule stands for: words and items of the "
        f"catalogue that activate it. A user has {use.mean:.2f} active capsules on average.</p>"
        + table(["", "capsule", "users", "catalogue"], rows, left=2)
        + '<p class="small">Users: the share whose history before the test item activates it. '
        "Catalogue: the share of items that activate it when they are a history of their own.</p>"
        "</section>"
    )


def _figure_6(recommender: Recommender) -> str:
    sample = recommender.activations()
    names = [
        f"{user}, {length} items"
        for user, length in zip(sample.user_ids, sample.lengths.tolist(), strict=True)
    ]
    chart = svg.heat(
        names, sample.counts.tolist(), "items of some users that activate each capsule", "capsule"
    )
    return figure(
        chart,
        "<b>Which capsules the items of some users activate</b> (figure 6 of the paper). A row is "
        "a user, the stronger a cell's colour the more items. Users are spread evenly over "
        "lengths of histories.",
    )


def _users(recommender: Recommender, split: Split) -> str:
    # The sample rises by length, so every third of twelve is spread over lengths too.
    sample = recommender.sample()
    told = []
    for user in sample[:: max(1, len(sample) // USERS)][:USERS]:
        user_id = recommender.user_id(user)
        found = recommender.user_history(user_id, split)
        if found.held_out is None:
            continue
        answer = recommender.recommend(list(found.items), top_k=_TOP, target=found.held_out)
        earlier = len(found.items) - _SHOWN
        history = [f"<li>{_title(recommender, item)}</li>" for item in found.items[-_SHOWN:]]
        listed = []
        for item in answer.items:
            kind = ' class="hit"' if item.item == found.held_out else ""
            won = ""
            if item.capsule is not None and recommender.abilities.capsules:
                won = f' <span class="small">{text(recommender.label(item.capsule))}</span>'
            listed.append(f"<li{kind}>{_title(recommender, item.item)}{won}</li>")
        rank = answer.target.rank if answer.target is not None else 0
        place = f"was ranked {rank:,}" if rank else "was left out, as the history holds it"
        told.append(
            f'<div class="user"><h3>User <bdi>{text(user_id)}</bdi></h3>'
            + (f'<p class="small">{earlier} earlier items, then:</p>' if earlier > 0 else "")
            + f"<ul>{''.join(history)}</ul><p>The first {_TOP} of the list:</p>"
            f"<ol>{''.join(listed)}</ol><p>What came next, "
            f"<b>{_title(recommender, found.held_out)}</b>, {place}.</p></div>"
        )
    if not told:
        return ""
    return (
        "<section><h2>Some users</h2><p>Always the same ones, spread over lengths of histories and "
        f"not picked for what came out.</p>{''.join(told)}</section>"
    )


def _title(recommender: Recommender, item: int) -> str:
    words = " ".join(recommender.title(item).split())
    cut = words if len(words) <= _TITLE else words[: _TITLE - 1].rstrip() + "…"
    return f"<bdi>{text(cut)}</bdi>"
