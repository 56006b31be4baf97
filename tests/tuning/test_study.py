"""Hyper-parameter search: validation only, the same table after any stop, several processes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.config import Settings, load_settings, make_settings, nested
from miracle_core.data.dataset import Dataset
from miracle_core.disk import DiskFullError
from miracle_core.errors import InputError, MiracleError
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.looks import LOOKS
from miracle_core.training.finetuning import finetune
from miracle_core.tuning.journal import JOURNAL, remove_torn_end
from miracle_core.tuning.records import BEST, STUDY, TRIALS, read_trials
from miracle_core.tuning.study import tune
from tests.support.runs import other_shop, tiny_shop
from tests.support.warm import Warm

pytest.importorskip("optuna", reason="optuna is not installed: pip install optuna")

from tests.tuning.jobs import SMALL, pretend, search, small


def table(out: Path) -> list[dict[str, Any]]:
    """The table of trials without durations."""
    rows: list[dict[str, Any]] = read_trials(out).drop(columns="seconds").to_dict("records")
    return [{name: value for name, value in row.items() if value == value} for row in rows]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_shop(tmp_path_factory.mktemp("data") / "shop").folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four trials that nothing interrupted. Treat as read-only."""
    out = tmp_path_factory.mktemp("whole") / "study"
    assert search(data, out, 4)["status"] == "finished"
    return out


def test_the_first_trial_is_where_the_search_begins(whole: Path) -> None:
    rows = table(whole)
    assert [row["trial"] for row in rows] == [0, 1, 2, 3]
    assert {row["state"] for row in rows} == {"finished"}
    first = load_settings(whole / "trials" / "0000" / "config.toml")
    assert (first.model.dropout, first.train.learning_rate) == (0.5, 0.001)  # type: ignore[attr-defined]
    assert len({row["train.learning_rate"] for row in rows}) == 4
    best = -1.0
    for row in rows:
        best = max(best, row["value"])
        assert row["best_so_far"] == best


def test_a_trial_is_a_training_with_its_settings(whole: Path, data: Path, tmp_path: Path) -> None:
    row = table(whole)[2]
    given = {name: row[name] for name in row if name.startswith(("model.", "train."))}
    settings = small(data, **{name.replace(".", "__"): value for name, value in given.items()})
    result = finetune(settings, tmp_path / "run")
    assert result["valid"]["recall@10"] == row["value"]
    assert result["best_epoch"] == row["best_epoch"]


def test_the_test_part_is_never_computed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[str] = []
    examples = Dataset.examples

    def watched(self: Dataset, split: Any) -> Any:
        parts.append(split)
        assert split != "test", "the test part was read"
        return examples(self, split)

    monkeypatch.setattr(Dataset, "examples", watched)
    out = tmp_path / "study"
    search(data, out, 2)
    assert set(parts) == {"train", "valid"}
    tune(make_settings({"model": {"kind": "itemknn"}, "data": str(data)}), tmp_path / "knn", 2)
    assert set(parts) == {"train", "valid"}
    for run in (*(out / "trials").iterdir(), *(tmp_path / "knn" / "trials").iterdir()):
        assert not (run / LOOKS).exists()
        if run.is_dir():
            assert "test" not in (RunFolder(run).read_result() or {})
    with pytest.raises(InputError, match="never computes the test part"):
        tune(small(data), tmp_path / "x", 1, fixed=[*SMALL, "train.test"])


def test_the_best_settings_train_as_they_are(whole: Path, data: Path, tmp_path: Path) -> None:
    rows = table(whole)
    best = max(rows, key=lambda row: (row["value"], -row["trial"]))
    settings = load_settings(whole / BEST)
    assert settings.train.test is True
    # The path of the data is relative, so that both can move together.
    assert '\ndata = "/' not in (whole / BEST).read_text()
    assert Path(settings.data) == data.resolve()
    assert main(["train", "--config", str(whole / BEST), "--out", str(tmp_path / "run")]) == 0
    result = RunFolder(tmp_path / "run").read_result()
    assert result is not None
    assert result["valid"]["recall@10"] == best["value"]
    assert "test" in result


def test_only_the_best_trial_keeps_weights(whole: Path) -> None:
    rows = table(whole)
    best = max(rows, key=lambda row: (row["value"], -row["trial"]))["trial"]
    for row in rows:
        run = RunFolder(whole / "trials" / f"{row['trial']:04}")
        assert run.config.is_file()
        assert run.history()
        assert (run.weights.is_file(), run.data.is_dir()) == (row["trial"] == best,) * 2
        assert not (run.path / "checkpoints").exists()


def test_more_trials_later_are_those_of_one_go(whole: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    for trials in (1, 3, 2, 4):
        search(data, out, trials)
    assert table(out) == table(whole)
    assert search(data, out, 4, train=_never)["status"] == "finished"


def _never(*_: Any) -> dict[str, Any]:
    raise AssertionError("nothing is left to train")


def test_ctrl_c_and_then_the_same_command(whole: Path, data: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "study", []

    def stopping(settings: Settings, folder: Path, resume: bool) -> dict[str, Any]:
        asked.append((folder.name, resume))
        steps = iter([False])
        return finetune(settings, folder, resume=resume, should_stop=lambda: next(steps, True))

    statuses = []
    while not statuses or statuses[-1] == "interrupted":
        statuses.append(search(data, out, 4, train=stopping)["status"])
    assert len(statuses) > 4
    assert asked[:2] == [("0000", False), ("0000", True)]
    assert table(out) == table(whole)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.tuning.jobs") as process:
        yield process


@pytest.mark.parametrize(("trial", "when"), [("0000", "start"), ("0001", "epoch"), ("0002", "end")])
def test_a_killed_study_ends_with_the_same_table(
    warm: Warm, whole: Path, data: Path, tmp_path: Path, trial: str, when: str
) -> None:
    out = tmp_path / "study"
    assert warm.run("kill_in_trial", str(data), str(out), trial, when) == -signal.SIGKILL
    states = [row["state"] for row in table(out)]
    assert states == ["finished"] * int(trial) + ["running"]
    search(data, out, 4)
    assert table(out) == table(whole)


def test_killed_at_any_call_of_the_system(warm: Warm, data: Path, tmp_path: Path) -> None:
    whole, counted = tmp_path / "whole", tmp_path / "count"
    assert warm.run("kill_at", str(data), str(whole), 0, str(counted)) == 0
    calls, rng = int(counted.read_text()), random.Random(3)
    out = tmp_path / "study"
    for _ in range(10):
        at = rng.randint(1, calls // 3)
        if warm.run("kill_at", str(data), str(out), at, str(counted)) == 0:
            # All trials are finished: start again from the beginning.
            assert table(out) == table(whole)
            shutil.rmtree(out)
    search(data, out, 4, train=pretend)
    assert table(out) == table(whole)


def test_two_processes_share_a_study(warm: Warm, data: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "study", tmp_path / "log"
    assert warm.together(2, "share", str(data), str(out), str(log)) == [0, 0]
    # Each trial was trained once, by one of the processes.
    assert sorted(log.read_text().split("\n")[:-1]) == [f"{n:04} False" for n in range(8)]
    rows = table(out)
    assert [row["state"] for row in rows] == ["finished"] * 8
    assert len({row["train.learning_rate"] for row in rows}) == 8


def test_a_trial_that_fails_counts(data: Path, tmp_path: Path) -> None:
    def failing(settings: Settings, folder: Path, resume: bool) -> dict[str, Any]:
        if folder.name == "0001":
            raise MiracleError("the loss is not finite in epoch 1")
        return finetune(settings, folder, resume=resume)

    out = tmp_path / "study"
    result = search(data, out, 3, train=failing)
    assert [row["state"] for row in result["trials"]] == ["finished", "failed", "finished"]
    assert table(out)[1]["why"] == "the loss is not finite in epoch 1"
    assert result["trials"][1]["best_so_far"] == result["trials"][0]["value"]
    assert result["best"]["trial"] != 1


def test_settings_that_do_not_fit_each_other_are_a_failed_trial(data: Path, tmp_path: Path) -> None:
    settings = small(data, model__width=5, model__heads=1)
    result = tune(settings, tmp_path / "study", 8, fixed=list(SMALL), train=pretend)
    assert len(result["trials"]) == 8
    failed = [row for row in result["trials"] if row["state"] == "failed"]
    assert failed
    for row in result["trials"]:
        assert (row in failed) == (row["model.heads"] > 1)
        assert ("not a multiple" in str(row["why"])) == (row in failed)


@pytest.mark.parametrize("error", [InputError, DiskFullError])
def test_what_is_no_fault_of_the_settings_ends_the_search_and_the_trial_goes_on_later(
    whole: Path, data: Path, tmp_path: Path, error: type[MiracleError]
) -> None:
    def refused(*_: Any) -> dict[str, Any]:
        raise error("no room here")

    out = tmp_path / "study"
    with pytest.raises(error, match="no room here"):
        search(data, out, 4, train=refused)
    search(data, out, 4)
    assert table(out) == table(whole)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"train__metric": "ndcg@10"}, "another metric: recall@10 there, ndcg@10 here"),
            ({"train__seed": 7}, "another setting train.seed: 2023 there, 7 here"),
            ({"model__width": 16}, "another setting model.width: 8 there, 16 here"),
            ({"model__kind": "gru4rec"}, "another system: sasrec there, gru4rec here"),
        ],
    )
    def test_another_study(
        self, whole: Path, data: Path, changes: dict[str, Any], says: str
    ) -> None:
        values = {name.replace("__", "."): value for name, value in changes.items()}
        own = {k: v for k, v in SMALL.items() if values.get("model.kind") is None or "train" in k}
        settings = make_settings(
            nested({"model.kind": "sasrec", "data": str(data), **own, **values})
        )
        with pytest.raises(InputError, match=says):
            tune(settings, whole, 4, fixed=list(SMALL))

    def test_another_search_space(self, whole: Path, data: Path) -> None:
        with pytest.raises(InputError, match=r"search space model.heads: 1 \| 2 \| 4 there, none"):
            tune(small(data), whole, 4, fixed=[*SMALL, "model.heads"])

    def test_another_dataset(self, whole: Path, tmp_path: Path) -> None:
        other = other_shop(tmp_path / "other")
        with pytest.raises(InputError, match=r"another Dataset or split: tiny \w+ there, other"):
            search(other.folder, whole, 4)

    def test_folders_that_hold_something_else(self, data: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match=r"no study \(notes.txt\)"):
            search(data, tmp_path, 1)
        with pytest.raises(InputError, match="is not a folder"):
            search(data, tmp_path / "notes.txt", 1)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_runs_that_are_not_from_scratch(self, data: Path, tmp_path: Path) -> None:
        settings = make_settings({"data": str(data), "pretrained": str(tmp_path)})
        with pytest.raises(InputError, match="only trainings from scratch"):
            tune(settings, tmp_path / "study", 1)

    def test_optuna_is_not_installed(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(InputError, match="needs optuna") as caught:
            search(data, tmp_path / "study", 1)
        assert "pip install" in str(caught.value.remedy)
        assert not (tmp_path / "study").exists()


class TestJournal:
    @pytest.fixture
    def copy(self, whole: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(whole, tmp_path / "study"))

    def test_a_last_line_that_a_kill_cut_off(self, copy: Path, data: Path) -> None:
        before = (copy / JOURNAL).read_bytes()
        (copy / JOURNAL).write_bytes(before + b'{"op_code":4,"worker')
        assert search(data, copy, 4, train=_never)["status"] == "finished"
        assert (copy / JOURNAL).read_bytes().startswith(before)
        assert len(search(data, copy, 5)["trials"]) == 5

    @pytest.mark.parametrize(
        ("content", "left"),
        [(b"", b""), (b"torn", b""), (b"a\nb\n", b"a\nb\n"), (b"a\n" + b"x" * 9000, b"a\n")],
    )
    def test_torn_ends(self, tmp_path: Path, content: bytes, left: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(content)
        remove_torn_end(path)
        assert path.read_bytes() == left

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text.replace(b"{", b"[", 1),
            lambda text: text[40:],
            lambda text: b"\x00" * 30 + b"\n" + text,
            lambda text: b"3\n" + text,
        ],
    )
    def test_a_damaged_journal_is_refused(
        self, copy: Path, data: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        (copy / JOURNAL).write_bytes(damage((copy / JOURNAL).read_bytes()))
        with pytest.raises(InputError, match="is damaged") as caught:
            search(data, copy, 4)
        assert caught.value.where == str(copy / JOURNAL)

    def test_a_journal_that_is_gone_is_no_new_study(self, copy: Path, data: Path) -> None:
        (copy / JOURNAL).unlink()
        with pytest.raises(InputError, match="the journal does not know"):
            search(data, copy, 4)

    @pytest.mark.parametrize("journal", [None, b""])
    def test_a_table_without_journal_and_runs_is_not_overwritten(
        self, copy: Path, data: Path, journal: bytes | None
    ) -> None:
        shutil.rmtree(copy / "trials")
        (copy / JOURNAL).unlink()
        if journal is not None:
            (copy / JOURNAL).write_bytes(journal)
        before = [(copy / name).read_bytes() for name in (STUDY, TRIALS, BEST)]
        with pytest.raises(InputError, match="has trials that the journal does not know") as caught:
            search(data, copy, 4)
        assert caught.value.where == str(copy / TRIALS)
        assert "name another --out" in str(caught.value.remedy)
        assert [(copy / name).read_bytes() for name in (STUDY, TRIALS, BEST)] == before

    def test_runs_that_are_gone_are_missed(self, copy: Path, data: Path) -> None:
        before = (copy / TRIALS).read_bytes()
        shutil.rmtree(copy / "trials" / "0001")
        with pytest.raises(InputError, match="is missing, and the journal has trial 1") as caught:
            search(data, copy, 5)
        assert caught.value.where == str(copy / "trials" / "0001" / "result.json")
        assert (copy / TRIALS).read_bytes() == before

    def test_a_journal_that_says_other_values_than_the_runs(self, copy: Path, data: Path) -> None:
        value = table(copy)[2]["value"]
        text = (copy / JOURNAL).read_text()
        for wrong in ("0.99", '"much"'):
            (copy / JOURNAL).write_text(text.replace(f"[{value}]", f"[{wrong}]"))
            with pytest.raises(InputError, match=f"has recall@10 {value}, and the journal "):
                search(data, copy, 4)

    def test_a_journal_of_another_study(self, copy: Path, data: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        tune(small(data), other, 4, fixed=[*SMALL, "model.heads"], train=pretend)
        shutil.copyfile(other / JOURNAL, copy / JOURNAL)
        with pytest.raises(InputError, match="has a trial 0 of another study"):
            search(data, copy, 4)

    def test_a_study_of_another_version(self, copy: Path, data: Path) -> None:
        told = json.loads((copy / STUDY).read_text())
        (copy / STUDY).write_text(json.dumps({**told, "format": 2}))
        with pytest.raises(InputError, match="this version reads format 1"):
            search(data, copy, 4)

    def test_a_study_of_before_a_setting_was_there(
        self, copy: Path, whole: Path, data: Path
    ) -> None:
        record = json.loads((copy / STUDY).read_text())
        settings = record["settings"]
        record["settings"] = {k: v for k, v in settings.items() if "cooccurrence" not in k}
        (copy / STUDY).write_text(json.dumps(record))
        search(data, copy, 4)
        assert table(copy) == table(whole)
        with pytest.raises(InputError, match=r"setting cooccurrence.weight: 0.0 there, 2.0 here"):
            tune(small(data, cooccurrence__weight=2.0), copy, 4, fixed=list(SMALL))
        record["settings"]["train.window"] = 5
        (copy / STUDY).write_text(json.dumps(record))
        with pytest.raises(InputError, match=r"setting train.window: 5 there, none here"):
            search(data, copy, 4)


class TestCommand:
    def command(self, data: Path, out: Path, *more: str) -> list[str]:
        fixed = [f"--set={name}={value}" for name, value in SMALL.items() if "epochs" not in name]
        return [
            *("tune", "--data", str(data), "--model", "sasrec", "--trials", "4"),
            *("--epochs", "2", "--out", str(out), *fixed, *more),
        ]

    def test_json_is_one_document(
        self, whole: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "study"
        assert main(self.command(data, out, "--json")) == 0
        said = capsys.readouterr()
        found = json.loads(said.out)
        assert table(out) == table(whole)
        assert found["best"]["value"] == max(row["value"] for row in found["trials"])
        assert found["config"] == str(out / BEST)
        assert "trial 0 (1 of 4)" in said.err
        assert f"miracle train --config {out / BEST} --seeds 5 --out RUN" in said.err
        assert (out / TRIALS).is_file()

    def test_the_table(self, whole: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(self.command(data, whole)) == 0
        said = capsys.readouterr().out
        assert "sasrec on tiny, validation (* best)" in said
        assert "learning_rate" in said

    def test_ctrl_c_exits_as_a_shell_expects(
        self,
        data: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from miracle_cli import training

        real = training.train_shown

        def pressed(train: Any, *args: Any, **options: Any) -> dict[str, Any]:
            def stopping(*own: Any, **more: Any) -> dict[str, Any]:
                more["should_stop"] = lambda: True
                return finetune(*own, **more)

            return real(stopping, *args, **options)

        monkeypatch.setattr(training, "train_shown", pressed)
        monkeypatch.setattr(sys, "argv", ["miracle", *self.command(data, tmp_path / "study")])
        assert main(self.command(data, tmp_path / "study")) == 130
        assert "to go on: miracle tune" in capsys.readouterr().err

    def test_models_shows_what_is_searched(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models", "sasrec"]) == 0
        assert "searched by miracle tune" in capsys.readouterr().out
        assert main(["models", "sasrec", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["search"]
        assert found["model.layers"] == {"kind": "choice", "values": [1, 2, 3]}
