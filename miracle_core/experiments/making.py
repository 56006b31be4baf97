"""An experiment expanded into its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core import registry
from miracle_core.config import SeenRule, Settings, make_settings, merge
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import SPLITS, Dataset
from miracle_core.errors import InputError
from miracle_core.experiments.definition import (
    MOST_SEEDS,
    NOT_OWN,
    Column,
    Experiment,
    SystemRow,
    slug,
)
from miracle_core.experiments.plan import RUNS, Data, Kind, Plan, Run, Unavailable, reasons
from miracle_core.experiments.tuned import Tuned, notes, read_tuned
from miracle_core.runs.opening import check_needs

Values = Mapping[str, Any]


def make_plan(
    experiment: Experiment,
    data: Sequence[str | Path],
    domains: Sequence[str | Path] = (),
    *,
    seeds: int | None = None,
    quick: bool = False,
    settings: Values | None = None,
    tuned: str | Path | None = None,
) -> Plan:
    """Expand an experiment; nothing is written.

    Args:
        experiment: of ``runs``.
        data: the Dataset folders.
        domains: the Dataset folders that systems are pre-trained on.
        seeds: runs of each system; None takes what the experiment says, or 1 if it is quick.
        quick: small systems, few epochs.
        settings: nested settings of every run, which override all others. A ``model`` setting goes
            to the systems that have it.
        tuned: a folder of studies of ``miracle tune``, see
            :func:`~miracle_core.experiments.tuned.read_tuned`. What they found overrides the
            experiment's settings. A row's own settings and those of ``quick`` override it.

    Raises:
        InputError: Datasets that can't be told apart or lack examples, one that is both pre-trained
            on and evaluated, settings that are wrong, studies that can't be used, or no system is
            left.
    """
    settings = settings or {}
    _refuse_not_own(settings)
    opened, sources = opened_data(data), opened_data(domains, "--pretrain")
    _refuse_overlap(opened, sources)
    for each in opened:
        each.dataset.require_examples(*SPLITS[: 3 if experiment.split == "test" else 2])
    rows: list[SystemRow] = []
    left_out: list[Unavailable] = []
    for row in experiment.system:
        why = _missing(row, sources)
        if why is None:
            rows.append(row)
        else:
            left_out.append(Unavailable(row.name, "", why))
    if not rows:
        raise InputError(
            f"none of its systems can be run: {'; '.join(reasons(left_out))}",
            where=experiment.name,
            remedy="see miracle models",
        )
    if seeds is not None and seeds > MOST_SEEDS:
        raise InputError(f"{seeds} seeds are more than {MOST_SEEDS}", where="--seeds")
    said = _check_common(experiment, settings, rows)
    studies: dict[str, Tuned] = {}
    if tuned is not None:
        studies = read_tuned(tuned, rows)
        prints = {each.label: each.dataset.manifest.fingerprint for each in opened}
        said.extend(notes(studies, rows, prints))
    if any(row.pretrain == "domains" for row in rows):
        encoder = settings.get("encoder") or experiment.settings.get("encoder")
        Corpus.open([each.dataset.folder for each in sources], encoder or None)
    runs: dict[str, Run] = {}
    for each in opened:
        for column in experiment.columns:
            for row in rows:
                why = _lacking(row, each)
                if why is not None:
                    if column == experiment.columns[0]:
                        left_out.append(Unavailable(row.name, each.label, why))
                    continue
                study = studies.get(row.name)
                found = {} if study is None else study.values
                maker = _Maker(experiment, row, column, found, settings, quick)
                for run in maker.runs(each, sources, seeds):
                    runs[run.name] = run
    return Plan(
        experiment,
        tuple(opened),
        tuple(sources),
        quick,
        tuple(runs.values()),
        tuple(left_out),
        tuple(said),
        {name: each.trials for name, each in studies.items()},
    )


@dataclass(frozen=True)
class _Maker:
    """Makes the runs of one row in one column."""

    experiment: Experiment
    row: SystemRow
    column: Column
    tuned: Values
    given: Values
    quick: bool

    @property
    def spec(self) -> registry.SystemSpec:
        return registry.system(self.row.kind)

    @property
    def rule(self) -> SeenRule:
        """The seen rule: as-printed; or if seen-aware, the gain, or leave-out without training."""
        if self.column == "as printed":
            return "as-printed"
        return "leave-out" if "fit" in self.spec.stages else "gain"

    def runs(self, data: Data, domains: Sequence[Data], seeds: int | None) -> Iterator[Run]:
        """The runs on a Dataset: for each seed the training, after what it starts from."""
        folder = str(data.dataset.folder)
        first = self.settings({"data": folder}).train.seed
        several = seeds or (1 if self.quick else self.experiment.seeds)
        for seed in range(first, first + (several if self.spec.seeded else 1)):
            place = f"{slug(self.column)}/{self.row.slug}"
            name = f"{data.label}/{place}/seed-{seed}"
            start: Run | None = None
            if self.row.pretrain:
                start = self.pretraining(data, domains, place, seed)
                yield start
            if not self.row.finetune:
                assert start is not None
                yield self.run(name, "zero-shot", data, seed, start.settings, start.name)
                continue
            beneath: dict[str, Any] = {}
            if start is not None:
                model = start.settings.model.model_dump(mode="json")
                beneath = {"pretrained": f"{RUNS}/{start.name}", "model": model}
            settings = self.settings({"data": folder, "train": {"seed": seed}}, beneath)
            if self.experiment.split == "test" and not settings.train.test:
                raise InputError(
                    "leaves the test part unread, and this experiment ranks it",
                    where=f"{self.experiment.name}: {self.row.name}: train.test",
                    remedy="leave it out",
                )
            needs = "" if start is None else start.name
            yield self.run(name, "train", data, seed, settings, needs)

    def pretraining(self, data: Data, domains: Sequence[Data], place: str, seed: int) -> Run:
        """The pre-training that a run starts from: one for all Datasets, or one on its own."""
        own = self.row.pretrain == "own"
        folders = [str(each.dataset.folder) for each in ([data] if own else domains)]
        name = f"{data.label if own else 'domains'}/pre-trained-{place}/seed-{seed}"
        ours = {"datasets": folders, "train": {"seed": seed}}
        settings = self.settings(ours, pretraining=True)
        return self.run(name, "pretrain", data if own else None, seed, settings)

    def run(
        self,
        name: str,
        kind: Kind,
        data: Data | None,
        seed: int,
        settings: Settings,
        needs: str = "",
    ) -> Run:
        """A run of this row and column."""
        ranked = kind != "pretrain"
        return Run(
            name,
            kind,
            self.row.name,
            "" if data is None else data.label,
            self.column,
            seed,
            self.rule,
            self.experiment.split if ranked else None,
            settings,
            needs,
            str(data.dataset.folder) if ranked and data is not None else "",
        )

    def settings(
        self, ours: Values, beneath: Values | None = None, *, pretraining: bool = False
    ) -> Settings:
        """The settings of one run.

        Args:
            ours: settings that the plan sets; they override all others.
            beneath: what is taken over from a pre-training; all others override it.
            pretraining: leave out the settings of ``train``, which are for the training that
                follows, except the epochs of a quick trial.
        """
        kind = self.row.kind
        layers = [
            _known(self.experiment.settings, kind),
            self.tuned,
            _known(self.experiment.quick, kind) if self.quick else {},
            self.row.settings,
            _known(self.given, kind),
        ]
        if pretraining:
            epochs = layers[2].get("train", {}).get("epochs")
            layers = [{k: v for k, v in each.items() if k != "train"} for each in layers]
            layers.append({} if epochs is None else {"train": {"epochs": epochs}})
        where = f"{self.experiment.name}: {self.row.name}"
        return make_settings(beneath or {}, *layers, {"seen": self.rule}, ours, where=where)


def opened_data(folders: Sequence[str | Path], option: str = "--data") -> list[Data]:
    """Open Datasets and give each a label.

    Raises:
        InputError: none can be opened, or two are the same or can't be told apart by name.
    """
    found: list[Data] = []
    for folder in folders:
        dataset = Dataset.open(folder)
        label = slug(dataset.name)
        if any(label == other.label for other in found):
            label = slug(dataset.folder.resolve().name)
        for other in found:
            both = f"{other.dataset.folder} and {dataset.folder}"
            if other.dataset.manifest.fingerprint == dataset.manifest.fingerprint:
                raise InputError(f"{option} names the same data twice", where=both)
            if other.label == label:
                raise InputError(
                    f"are both called {label!r}",
                    where=both,
                    remedy="give one of the folders another name",
                )
        found.append(Data(label, dataset))
    return found


def _refuse_overlap(data: Sequence[Data], domains: Sequence[Data]) -> None:
    for each in data:
        for domain in domains:
            if each.dataset.manifest.fingerprint == domain.dataset.manifest.fingerprint:
                raise InputError(
                    "is to be pre-trained on and to be evaluated",
                    where=f"--data {each.dataset.folder} and --pretrain {domain.dataset.folder}",
                    remedy="name it once",
                )


def _refuse_not_own(settings: Values) -> None:
    """Refuse ``--set`` of settings that the experiment itself sets."""
    for key, why in NOT_OWN.items():
        if key in settings:
            raise InputError("an experiment says itself what is set", where=key, remedy=why)
    model = settings.get("model")
    if isinstance(model, Mapping) and "kind" in model:
        raise InputError(
            "an experiment says itself what is set",
            where="model.kind",
            remedy="write a file of your own with the systems you want",
        )


def _missing(row: SystemRow, domains: Sequence[Data]) -> str | None:
    """Why a row can't be run on any Dataset."""
    if row.kind not in {spec.name for spec in registry.systems()}:
        return f"this version has no system {row.kind!r}"
    if row.pretrain == "domains" and not domains:
        return "it is pre-trained, and no domains are named: --pretrain DATA"
    return None


def _lacking(row: SystemRow, data: Data) -> str | None:
    """Why a row can't be run on one Dataset."""
    try:
        check_needs(registry.system(row.kind), data.dataset)
    except InputError as error:
        return f"{error.what} ({error.remedy})"
    return None


def _names(kind: str) -> set[str]:
    """The names of a system's own settings."""
    return set(registry.system(kind).settings_class().model_fields)


def _known(layer: Values, kind: str) -> dict[str, Any]:
    """A layer without the ``model`` settings that a system doesn't have."""
    model = layer.get("model")
    if not isinstance(model, Mapping):
        return dict(layer)
    names = _names(kind)
    return {**layer, "model": {key: value for key, value in model.items() if key in names}}


def _check_common(experiment: Experiment, given: Values, rows: Sequence[SystemRow]) -> list[str]:
    """Refuse a ``model`` setting of all runs that no system has.

    Returns:
        For each other ``model`` setting a note of the systems that don't have it.
    """
    common = merge(experiment.settings, given)
    model = common.get("model")
    notes = []
    for key in model if isinstance(model, Mapping) else ():
        without = [row.name for row in rows if key not in _names(row.kind)]
        if len(without) == len(rows):
            # Validating it as a setting of one system raises the error, with the nearest name.
            row = rows[-1]
            own = {"kind": row.kind, key: common["model"][key]}
            make_settings({"model": own}, where=f"{experiment.name}: {row.name}")
        elif without:
            notes.append(f"model.{key} is no setting of {', '.join(without)}, which run without it")
    return notes
