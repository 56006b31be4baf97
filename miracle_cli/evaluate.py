"""``miracle evaluate``: full-ranking metrics of runs, and whether they are good enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.claim import split_named
from miracle_cli.output import message, print_json
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
    from miracle_core.evaluation.checks import Bound, Check
    from miracle_core.evaluation.evaluate_run import RunEvaluation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def evaluate(
    run: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders; several must be of the same data and seen rule, unless --data and "
            "--seen say one for all.",
        ),
    ],
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
            "stops before the held-out item. For lists to use, see miracle recommend.",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many of them --save-top-k writes.")] = 50,
    save_users: Annotated[
        Path | None,
        typer.Option(help="Write each user's result to this parquet file, for miracle compare."),
    ] = None,
    beyond: Annotated[
        bool,
        typer.Option("--beyond", help="Also coverage, novelty, diversity, popularity, slices."),
    ] = False,
    allow: Allow = None,
    deny: Deny = None,
    where: Where = None,
    mute: Mute = None,
    boost: Boost = None,
    min_strength: MinStrength = None,
    quota: Quota = None,
    diversity: Diversity = None,
    diverse_by: DiverseBy = None,
    encoder: Annotated[
        str | None, typer.Option(help="Which text features of --data to read.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="Where to rank; auto takes a GPU of NVIDIA's if there is one.",
        ),
    ] = "auto",
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=LEAST",
            help="End with exit code 1 if a run is below this, as in recall@10=0.2 (repeatable).",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="BASE", help="The run to compare with, for --fail-if-worse."),
    ] = None,
    fail_if_worse: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC",
            help="End with exit code 1 if a run is worse than BASE: the 95 % interval of the "
            "paired difference over users must lie wholly below zero, a lower mean alone is "
            "not enough (repeatable).",
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write JUnit XML: a test case for each demand on each run."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rank all items for every user of a run's data, the held-out item among them.

    The run is shown beside popularity and chance, and on a catalogue that it never saw also beside
    nearness of text alone. Several runs come in one table.
    """
    part = split_named(split)
    for option, path in (
        ("--save-users", save_users),
        ("--junit", junit),
    ):
        if path is not None and path.is_dir():
            raise InputError("is a folder", where=f"{option} {path}", remedy="name a file")
    for option, given in (
        ("--save-top-k", save_top_k is not None),
        ("--save-users", save_users is not None),
        ("--beyond", beyond),
    ):
        if given and (len(run) > 1 or against is not None):
            raise InputError("is of one run", where=option, remedy="evaluate that run by itself")
    asked_rules = RuleOptions(
        allow, deny, where, mute, boost, min_strength, quota, diversity, diverse_by
    )
    rules = asked_rules.rules()
    if rules is not None and save_users is not None:
        from miracle_core.evaluation.user_results import check_one_rank

        check_one_rank(rules, save_users)  # before anything slow begins
    if junit is not None and not (fail_under or fail_if_worse):
        raise InputError(
            "holds a test case for each demand, and there is none",
            where=f"--junit {junit}",
            remedy="add --fail-under METRIC=LEAST, or --against BASE --fail-if-worse METRIC",
        )
    from miracle_cli.evaluation_shown import show_checks, show_run, show_runs
    from miracle_cli.progress import RichProgress
    from miracle_core.evaluation.beyond import BEYOND_K, beyond_accuracy
    from miracle_core.evaluation.junit import write_junit
    from miracle_core.evaluation.metrics import DEFAULT_KS
    from miracle_core.evaluation.several import evaluate_runs, labels
    from miracle_core.evaluation.top_k import check_top_k, write_top_k
    from miracle_core.evaluation.user_results import TOP, write_user_results
    from miracle_core.processes import processes
    from miracle_core.text import feature_name

    if save_top_k is not None:
        check_top_k(save_top_k)  # before anything slow begins
    ks = sorted(set(k or DEFAULT_KS))
    bounds, metrics = _asked(fail_under or [], against, fail_if_worse or [], ks)
    paths = list(run)
    base = None if against is None else _place(against, paths)
    with asked_rules.named():
        every = evaluate_runs(
            paths,
            data,
            part,
            encoder=None if encoder is None else feature_name(encoder),
            ks=ks,
            seen=seen_option(seen, exclude_seen),
            device=device,
            keep_top=max(
                0 if save_top_k is None else top_k,
                0 if save_users is None else TOP,
                BEYOND_K if beyond else 0,
            ),
            progress=RichProgress(),
            rules=rules,
        )
    found = every[0]
    for note in dict.fromkeys(note for each in every for note in each.notes):
        message(note)
    if save_top_k is not None:
        processes().on_first(lambda: write_top_k(save_top_k, found.found, found.dataset, top_k))
        message(
            f"best items written to {save_top_k} (for measuring: each history stops before the "
            "held-out item)"
        )
    if save_users is not None:
        processes().on_first(lambda: write_user_results(save_users, found))
        message(f"user results written to {save_users}")
    more = beyond_accuracy(found) if beyond else None
    names = labels(paths)
    checks = _checked(names, every, len(run), base, bounds, metrics)
    if junit is not None:
        processes().on_first(lambda: write_junit(junit, checks))
        message(f"{len(checks)} test cases written to {junit}")
    if as_json:
        summaries = [{"run": str(p), **e.summary()} for p, e in zip(paths, every, strict=True)]
        document: dict[str, Any] = found.summary() if len(run) == 1 else {"runs": summaries}
        if more is not None:
            document["beyond"] = more.summary()
        print_json({**document, **({"checks": [c.summary() for c in checks]} if checks else {})})
    elif len(every) == 1:
        show_run(found)
    else:
        show_runs(names, every)
    if more is not None and not as_json:
        from miracle_cli.beyond import show_beyond

        show_beyond(more)
    if checks and not as_json:
        show_checks(checks)
    failed = [check for check in checks if check.failed]
    for check in failed:
        message(f"fails: {check.detail}")
    if failed:
        raise typer.Exit(1)


def _asked(
    fail_under: list[str], against: Path | None, fail_if_worse: list[str], ks: list[int]
) -> tuple[list[Bound], list[str]]:
    """The bounds, and the metrics in which no run may be worse than the base.

    Raises:
        InputError: one is no metric of the runs, or half of a comparison is missing.
    """
    from miracle_core.evaluation.checks import Bound, known_metric

    bounds = [Bound.parse(text, ks) for text in fail_under]
    metrics = [known_metric(name, ks, f"--fail-if-worse {name}") for name in fail_if_worse]
    if against is None and metrics:
        raise InputError(
            "worse than what?", where=f"--fail-if-worse {metrics[0]}", remedy="add --against BASE"
        )
    if against is not None and not metrics:
        raise InputError(
            "compared by what?",
            where=f"--against {against}",
            remedy="add --fail-if-worse recall@10",
        )
    return bounds, metrics


def _place(against: Path, paths: list[Path]) -> int:
    """The place of the base among the runs, which it is added to where it is none of them.

    Raises:
        InputError: it is the only run.
    """
    there = [path.resolve() for path in paths]
    if against.resolve() not in there:
        paths.append(against)
        return len(paths) - 1
    if len(paths) == 1:
        raise InputError(
            "is the run itself", where=f"--against {against}", remedy="name another run as the base"
        )
    return there.index(against.resolve())


def _checked(
    names: list[str],
    runs: list[RunEvaluation],
    n_named: int,
    base: int | None,
    bounds: list[Bound],
    metrics: list[str],
) -> list[Check]:
    """Every demand on the first ``n_named`` runs; ``base`` is the place of the base, if any."""
    from miracle_core.evaluation.checks import check_bound, check_not_worse

    checks = []
    for place, (name, run) in enumerate(zip(names[:n_named], runs, strict=False)):
        checks += [check_bound(name, run.found, bound) for bound in bounds]
        if base is not None and place != base:
            other = names[base], runs[base].found
            checks += [check_not_worse(name, run.found, *other, metric) for metric in metrics]
    return checks
