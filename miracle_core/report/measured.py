"""The section of a page on what was measured: the data, the systems, and every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miracle_core.config import SeenRule, flat, make_settings
from miracle_core.data.manifest import Manifest, read_manifest
from miracle_core.errors import InputError
from miracle_core.evaluation.user_results import About, UserResults
from miracle_core.registry import SystemSpec, system
from miracle_core.report.charts import Study
from miracle_core.report.comparison import Comparison
from miracle_core.report.markup import folded, table, text
from miracle_core.report.systems import SystemRuns, rules_in_words
from miracle_core.report.words import metric_name, named, shown
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import read_result

NONE = "\N{EN DASH}"
_RANKED = {
    "as-printed": "history kept",
    "leave-out": "history left out",
    "gain": "gain of repeats added",
}
_TRAINED = {
    "as-printed": "history like any item",
    "leave-out": "history left out",
    "gain": "gain of repeats learned",
}
# Settings that are not listed: they are shown elsewhere on the page, don't influence the figures,
# or are paths.
_ELSEWHERE = ("seen", "encoder", "model.kind", "train.test", "pretrained")
_HELD_OUT = {
    "leave-one-out": (
        "The last item of each user is the test item, the one before it the validation item. In "
        "the test the validation item is part of the history; training sees neither of the two."
    ),
    "temporal": (
        "One moment for all users begins the validation part and one the test part. A user's first "
        "item after a moment is the held-out one, and all before that moment is the history, "
        "items of the validation part too. Training sees what lies before the first moment."
    ),
}


def measured(comparisons: Sequence[Comparison], studies: Sequence[Study]) -> str:
    """The section: the data, the systems with their settings, every run with its figures."""
    return (
        "<section><h2>What was measured</h2>"
        + _data(comparisons[0])
        + _systems(comparisons, studies)
        + "".join(_runs(each) for each in comparisons)
        + "</section>"
    )


def spec_of(own: SystemRuns) -> SystemSpec | None:
    """The registry's entry of a system; None if it is not registered here."""
    try:
        return system(own.about.model)
    except InputError:
        return None


def _folder(run: UserResults) -> RunFolder | None:
    """The run folder that keeps a file of user results; None for a separate file."""
    folder = RunFolder(run.where.parent)
    kept = run.where.name.startswith("users-") and folder.config.is_file()
    return folder if kept else None


def _manifest(systems: Sequence[SystemRuns]) -> Manifest | None:
    """The Dataset's manifest, from the first run that holds exactly the data of its results."""
    for run in (run for own in systems for run in own.runs):
        folder = _folder(run)
        if folder is None or not (folder.data / "manifest.json").is_file():
            continue
        manifest = read_manifest(folder.data / "manifest.json")
        if manifest.fingerprint == run.about.fingerprint:
            return manifest
    return None


def _data(comparison: Comparison) -> str:
    about = comparison.users.about
    manifest = _manifest(comparison.systems)
    heading = "<h3>The data</h3>"
    if manifest is None:
        return (
            f"{heading}<p>{text(about.dataset)}: {about.users:,} users were evaluated. This page "
            "was made of files of user results, which do not say where the data come from or how "
            "they were filtered.</p>"
        )
    counts = manifest.counts
    rows = [
        [
            text(step["step"]),
            *(
                f"{step[name]:,}" if isinstance(step.get(name), int) else NONE
                for name in ("users", "items", "interactions")
            ),
        ]
        for step in counts.get("steps", ())
    ]
    sources = named([f"{each.file} ({each.bytes:,} bytes)" for each in manifest.sources])
    return (
        f"{heading}<p>{text(about.dataset)} has {counts['interactions']:,} interactions of "
        f"{counts['users']:,} users with {counts['items']:,} items, of which "
        f"{counts.get('repeats', 0):,} are of an item that the user had before. "
        f"{about.users:,} users were evaluated, each with one held-out item.</p>"
        f"<p><b>Split: {text(manifest.split)}.</b> {_HELD_OUT[manifest.split]}</p>"
        + table(["step of the preparation", "users", "items", "interactions"], rows)
        + f'<p class="small">Read from {text(sources)}.</p>'
    )


def in_ranking(about: About) -> str:
    """The seen rule of the ranking in words, its name in brackets."""
    said = f"{_RANKED[about.seen]} ({about.seen})"
    return said if about.rules is None else f"{said}; rules of a shop: {rules_in_words(about)}"


def in_training(own: SystemRuns) -> str:
    """The seen rule of the training in words; ``none`` for a system that is fitted at once."""
    spec = spec_of(own)
    rule: SeenRule = own.about.trained_seen
    return "none" if spec is not None and spec.stages == ("fit",) else f"{_TRAINED[rule]} ({rule})"


def _systems(comparisons: Sequence[Comparison], studies: Sequence[Study]) -> str:
    rows = []
    for each in comparisons:
        for own in each.systems:
            spec = spec_of(own)
            title = "" if spec is None else spec.title
            encoder = encoder_of(own)
            kind = "" if shown(own) in (title, own.about.model) else f"{title}: "
            rows.append(
                [
                    f"<bdi>{text(shown(own))}</bdi>",
                    text(kind + ("" if spec is None else spec.paper)),
                    text(in_ranking(own.about)),
                    text(in_training(own)),
                    text(NONE if encoder is None else encoder or "not known"),
                    text(apart(own)),
                    text(_searched(own, studies)),
                ]
            )
    heads = ["system", "what it is", "in ranking", "in training", "text vectors"]
    heads += ["start, and settings other than its defaults", "search"]
    return (
        "<h3>The systems</h3>"
        + table(heads, rows, left=len(heads))
        + '<p class="small">Every run\'s folder holds all of its settings. A run does not record '
        "whether its settings were searched for: the last column knows the searches that this page "
        "was made with, and notes of an experiment stand at the top.</p>"
    )


def encoder_of(own: SystemRuns) -> str | None:
    """The text encoder whose vectors a system reads; None if it reads no text.

    Empty if the settings don't name it and the run's Dataset is not there to say.
    """
    spec = spec_of(own)
    if spec is None or "text" not in (*spec.needs, *spec.reads):
        return None
    name = str(own.about.settings.get("encoder") or "")
    manifest = _manifest([own])
    features = {} if manifest is None else manifest.features
    if not name and len(features) == 1:
        (name,) = features
    return name


def apart(own: SystemRuns) -> str:
    """What a system started from, and its settings that differ from its kind's defaults."""
    mine, spec = own.about.settings, spec_of(own)
    if not mine or spec is None:
        return "not known"
    defaults: dict[str, Any] = flat(
        make_settings({"model": {"kind": own.about.model}}).model_dump(mode="json")
    )
    other = [
        f"{name} = {value}"
        for name, value in sorted(mine.items())
        if name not in _ELSEWHERE and defaults.get(name) != value
    ]
    start = []
    if mine.get("pretrained"):
        start = ["starts from a pre-trained run"]
    elif "pretrain" in spec.stages and _manifest([own]) is not None:
        # Its folder holds the data that it learned from, which are the data of this page.
        start = ["from scratch: it learned from this Dataset alone"]
    return ", ".join([*start, *other]) or "none"


def _searched(own: SystemRuns, studies: Sequence[Study]) -> str:
    spec = spec_of(own)
    trials = [
        len(study.values)
        for study in studies
        if study.name in (shown(own), "" if spec is None else spec.title)
    ]
    return ", ".join(f"{count} trials" for count in trials) or NONE


def _runs(comparison: Comparison) -> str:
    """A row a run: its figures, its best epoch, and what its training took."""
    k = comparison.primary.partition("@")[2]
    metrics = list(dict.fromkeys([comparison.primary, f"recall@{k}", f"ndcg@{k}", f"mrr@{k}"]))
    rows = []
    chosen = set()
    for own in comparison.ranked():
        values = {metric: own.values(metric).mean(1) for metric in metrics}
        for place, run in enumerate(own.runs):
            folder = _folder(run)
            result = {} if folder is None else read_result(folder.path)
            if run.about.epoch:
                chosen.add(str(run.about.settings.get("train.metric", "")))
            rows.append(
                [
                    f"<bdi>{text(shown(own))}</bdi>",
                    str(run.about.seed) if run.about.seeded else "none",
                    *(f"{values[metric][place]:.4f}" for metric in metrics),
                    _best(run.about.epoch, result),
                    _time(result),
                ]
            )
    by = named(sorted(metric_name(name) for name in chosen if name)) if any(chosen) else ""
    heads = ["system", "seed", *(text(metric_name(metric)) for metric in metrics)]
    heads += ["best epoch", "an epoch took"]
    return folded(
        f"Every run ({len(rows)}), {comparison.column}",
        table(heads, rows)
        + '<p class="small">'
        + (f"The best epoch is the one with the highest validation {text(by)}. " if by else "")
        + "Time is that of the machine and its load at the time, validations included; a system "
        "without epochs has the time of its fitting. Of runs that others were copied from, or of "
        f"files alone, it is not known ({NONE}).</p>",
    )


def _best(epoch: int | None, result: Mapping[str, Any]) -> str:
    """The best epoch, of as many as there were."""
    if not epoch:  # fitted at once, or not said
        return NONE
    return f"{epoch} of {result['epochs']}" if result.get("epochs") else str(epoch)


def _time(result: Mapping[str, Any]) -> str:
    """What an epoch took, or the whole of a fitting."""
    seconds, epochs = result.get("seconds"), result.get("epochs")
    if not isinstance(seconds, (int, float)):
        return NONE
    if not isinstance(epochs, int) or not epochs:
        return f"{seconds:,.1f} s in all"
    return f"{seconds / epochs:,.1f} s"
