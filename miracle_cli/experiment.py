"""``miracle experiment``: the paper's tables and figures, or one's own, as one command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import INTERRUPTED, message, print_json, print_table
from miracle_cli.training import Assignments, Encoder, Threads
from miracle_core.errors import InputError, MiracleError

if TYPE_CHECKING:
    from miracle_core.experiments.definition import Experiment
    from miracle_core.experiments.plan import Plan
    from miracle_core.experiments.whole import Conducted

VERIFY = "verify"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def experiment(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="An experiment, or a TOML file of your own; verify DIR checks a folder. Without "
            "one: the list of experiments.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Of verify: the experiment's folder.")
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="A Dataset folder (repeatable).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The experiment's folder, new or to go on with."),
    ] = None,
    pretrain: Annotated[
        list[Path] | None,
        typer.Option(help="A Dataset folder that systems are pre-trained on (repeatable)."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each system [default: the experiment's].")
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of studies of miracle tune, each named like its row or system: their "
            "best settings are used.",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only this table: as-printed or seen-aware. The other may follow later.",
        ),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="The folder of another experiment (repeatable): runs of it that are the same are "
            "copied.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small systems, one epoch, one seed: a trial.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, a process each.")] = 1,
    threads: Threads = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do only this share of the runs, such as 1/4."),
    ] = None,
    encoder: Encoder = None,
    assignments: Assignments = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the runs, and how long they take.")
    ] = False,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Of --dry-run: take the time of epochs from the runs in this folder, too "
            "(repeatable).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run an experiment: many systems and seeds on one or more Datasets, and its tables.

    The same command again does what is missing and goes on with what was cut off. Ctrl-C loses
    nothing. Every run is a folder of its own, so miracle compare reads them.
    """
    if name is None:
        _list(as_json)
        return
    if name == VERIFY:
        _verify(folder, as_json)
        return
    if folder is not None:
        raise InputError(
            "is one argument too many",
            where=str(folder),
            remedy="name Datasets with --data and the folder with --out",
        )
    from miracle_cli.training import assigned, named_as_typed, set_threads
    from miracle_core.config import nested
    from miracle_core.experiments.definition import only_column, read_experiment
    from miracle_core.experiments.making import make_plan
    from miracle_core.experiments.running import check_shard

    own = read_experiment(name)
    share = (1, 1) if shard is None else check_shard(shard)
    if not data:
        raise InputError("no Dataset is named", where="--data", remedy="say --data DATA")
    if recorded and not dry_run:
        raise InputError(
            "only --dry-run asks for it", where="--recorded", remedy="leave it out, or --dry-run"
        )
    if own.kind == "statistics":
        _refuse_for_statistics(
            own, {"--pretrain": pretrain, "--seeds": seeds, "--quick": quick, "--shard": shard,
                  "--set": assignments, "--tuned": tuned, "--dry-run": dry_run,
                  "--encoder": encoder, "--column": column, "--reuse": reuse}
        )  # fmt: skip
        _count(own, data, out, as_json)
        return
    given = {} if encoder is None else {"encoder": encoder}
    if column is not None:
        own = only_column(own, column)
    settings = nested(assigned(assignments or [], given))
    rows = [f"{own.name}: {row.name}" for row in own.system]
    with named_as_typed(given, assignments or [], rows):
        plan = make_plan(
            own, data, pretrain or (), seeds=seeds, quick=quick, settings=settings, tuned=tuned
        )
    if dry_run:
        _dry_run(plan, out, recorded or [], reuse or [], jobs, share, as_json)
        return
    if out is None:
        raise InputError(
            "no folder is named",
            where="--out",
            remedy="say --out DIR, or --dry-run",
        )
    set_threads(threads if jobs == 1 else None)
    _conduct(plan, out, jobs, threads, share, reuse or [], as_json)


def _list(as_json: bool) -> None:
    """Every experiment that comes along."""
    from miracle_core.experiments.definition import library, read_experiment

    found = [read_experiment(name) for name in library()]
    if as_json:
        print_json([{"name": each.name, "title": each.title} for each in found])
        return
    print_table(["name", "what"], [[each.name, each.title] for each in found])


def _verify(folder: Path | None, as_json: bool) -> None:
    if folder is None:
        raise InputError(
            "no folder is named", where="verify", remedy="miracle experiment verify DIR"
        )
    from miracle_core.experiments.verify import verify_experiment

    wrong, read = verify_experiment(folder)
    if as_json:
        print_json({"folder": str(folder), "good": not wrong, "files": read, "wrong": wrong})
    elif not wrong:
        print_table(
            ["folder", "files of ranks", "verdict"],
            [[str(folder), read, "every figure is what a second computation gives"]],
        )
    if wrong:
        for sentence in wrong:
            message(sentence)
        raise MiracleError(
            f"{len(wrong)} figure(s) are not what a second computation gives",
            where=str(folder),
            remedy="a file was changed after the experiment: run the same command again, or begin "
            "anew",
        )


def _refuse_for_statistics(own: Experiment, options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value:
            raise InputError(
                f"{own.name} trains nothing, so there is nothing to choose",
                where=option,
                remedy="leave it out",
            )


def _count(own: Experiment, data: Sequence[Path], out: Path | None, as_json: bool) -> None:
    from miracle_core.experiments import statistics
    from miracle_core.experiments.making import opened_data
    from miracle_core.experiments.whole import count

    found = count(own, opened_data(data), out)
    if as_json:
        print_json(found)
        return
    print_table(
        list(statistics.COLUMNS),
        statistics.lines(found),
        title=found["title"],
        right=statistics.COLUMNS[2:],
    )
    for sentence in statistics.verdicts(found):
        typer.echo(sentence)


def _dry_run(
    plan: Plan,
    out: Path | None,
    recorded: Sequence[Path],
    reuse: Sequence[Path],
    jobs: int,
    share: tuple[int, int],
    as_json: bool,
) -> None:
    from miracle_cli.training_display import clock
    from miracle_core.experiments.estimate import estimate, total
    from miracle_core.experiments.reuse import done_elsewhere
    from miracle_core.experiments.running import shard

    runs = shard(plan.chains(), *share)
    elsewhere = done_elsewhere(plan, out, reuse)
    found = estimate(plan, out, [*recorded, *reuse], runs, elsewhere)
    whole = total(found)
    if as_json:
        print_json(
            {
                "experiment": plan.experiment.name,
                "quick": plan.quick,
                "runs": [each.document() for each in found],
                "unavailable": [
                    {"system": each.system, "data": each.data, "why": each.why}
                    for each in plan.unavailable
                ],
                "notes": list(plan.notes),
                "seconds": whole.seconds,
                "seconds_at_most": whole.most,
                "unknown": whole.unknown,
            }
        )
        return
    print_table(
        ["run", "kind", "model", "state", "epochs", "s an epoch", "time"],
        [
            [
                each.run.name,
                each.run.kind,
                each.run.settings.model.kind,
                each.state,
                f"{'up to ' if each.most else ''}{each.epochs}" if each.epochs else "",
                "" if each.epoch is None or not each.epochs else f"{each.epoch:.1f}",
                "not known" if each.seconds is None else clock(each.seconds),
            ]
            for each in found
        ],
        title=f"{plan.experiment.title or plan.experiment.name}: {len(found)} runs",
        right=("epochs", "s an epoch", "time"),
    )
    _tell_what_is_left_out(plan)
    known = len(found) - whole.unknown
    most = "at most " if whole.most else ""
    if known or not whole.unknown:  # a time of 0:00:00 for no run would read as an estimate
        together = f", {most}about {clock(whole.seconds / jobs)} with --jobs {jobs}"
        typer.echo(
            f"{known} of {len(found)} runs: {most}{clock(whole.seconds)} one after another"
            + (together if jobs > 1 else "")
            + "; training with its validations, by the epochs of recorded runs like them"
        )
    if whole.unknown:
        typer.echo(
            f"{whole.unknown} runs: not known, since no epoch of a run like them is recorded "
            "(--recorded DIR names more runs)"
        )


def _tell_what_is_left_out(plan: Plan) -> None:
    from miracle_core.experiments.plan import reasons

    for why in reasons(plan.unavailable):
        message(f"not available: {why}")
    for note in plan.notes:
        message(note)


def _conduct(
    plan: Plan,
    out: Path,
    jobs: int,
    threads: int | None,
    share: tuple[int, int],
    reuse: Sequence[Path],
    as_json: bool,
) -> None:
    from miracle_cli.experiment_display import Display
    from miracle_cli.training import until_interrupted
    from miracle_core.experiments.running import shard
    from miracle_core.experiments.whole import conduct

    _tell_what_is_left_out(plan)
    display = Display(shard(plan.chains(), *share), out)
    with display, until_interrupted(display.stopping) as should_stop:
        went = conduct(
            plan,
            out,
            jobs=jobs,
            threads=threads,
            share=share,
            should_stop=should_stop,
            watcher=display,
            reuse=reuse,
        )
    if went.taken:
        message(f"{len(went.taken)} runs were copied from {' and '.join(map(str, reuse))}")
    for failure in went.failures:
        message(f"failed: {failure.run}: {failure.why}")
    if went.found is not None:
        _draw(went.found, out)
    if as_json:
        print_json(went.found if went.found is not None else _part(went))
    elif went.found is not None:
        show(went.found)
        message(f"written to {out}: table.md, table.csv, table.tex, experiment.json")
    if went.interrupted:
        message("everything is saved; to go on: the same command again")
        raise typer.Exit(INTERRUPTED)
    if went.failures:
        raise MiracleError(
            f"{len(went.failures)} of {len(plan.runs)} runs failed",
            where=str(out),
            remedy="the same command again tries them again; the others stay",
        )
    if went.missing:
        message(
            f"{len(went.missing)} runs of other shares are missing; when they are done, the same "
            "command without --shard writes the tables"
        )
    elif not as_json:
        message(f"next: miracle experiment verify {out}")


def _part(went: Conducted) -> dict[str, Any]:
    """What ``--json`` says of an experiment that has not ended."""
    return {
        "status": "interrupted" if went.interrupted else "part",
        "missing": [run.name for run in went.missing],
        "failed": [{"run": each.run, "why": each.why} for each in went.failures],
    }


def _draw(found: Mapping[str, Any], out: Path) -> None:
    """The paper's figure 6 of each run that has capsules."""
    if not found["activations"]:
        return
    import numpy as np

    from miracle_cli.activation_figure import draw
    from miracle_core.experiments.definition import slug
    from miracle_core.recommender.results import Activations

    for each in found["activations"]:
        users = tuple(range(len(each["user_ids"])))
        lengths, counts = np.array(each["lengths"]), np.array(each["counts"])
        sample = Activations(users, tuple(each["user_ids"]), lengths, counts)
        path = out / f"capsules-{each['data']}-{slug(each['system'])}-{each['seed']}.svg"
        draw(sample, each["data"], path)
        message(f"figure written to {path}")


def show(found: Mapping[str, Any]) -> None:
    """The tables on the terminal; the best and the second of a column have a sign."""
    from miracle_core.experiments import tables

    # A terminal may show neither bold nor underlining: signs are seen everywhere.
    marks = tuple(lambda text, sign=sign: text + sign for sign in (" *", " +", "  "))
    for table in found["tables"]:
        names = tables.columns(found, table)
        print_table(
            names,
            tables.lines(found, table, marks, str),
            title=f"{tables.title(table)} (* best, + second)",
            right=names[2:],
        )
    for claim in found["claims"]:
        print_table(
            list(tables.CLAIM),
            tables.claim_rows(claim),
            title=tables.claim_title(claim),
            right=tables.CLAIM[2:-1],
        )
    if found["activations"]:
        print_table(list(tables.ACTIVATIONS), tables.activation_lines(found))
    for note in tables.notes(found):
        typer.echo(note)
