"""Two trainings, a resume, an overwrite and readers on one folder: only one may write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from miracle_core.config import dump_settings
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import Recommender
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import Listener
from miracle_core.training.pretraining import pretrain
from miracle_core.training.seeds import finetune_seeds
from tests.support.warm import Warm
from tests.training.support import pretrain_settings, quick_settings, same_tensors


class Meanwhile(Listener):
    """Runs a function in another thread after the first epoch, like another user."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.error: BaseException | None = None
        self.done = False

    def epoch(self, record: dict[str, Any]) -> None:
        if not self.done:
            thread = threading.Thread(target=self._try)
            thread.start()
            thread.join()

    def _try(self) -> None:
        self.done = True
        try:
            self.work()
        except BaseException as error:
            self.error = error


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("what", ["again", "resume", "overwrite", "seeds", "pretrain"])
def test_the_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path, what: str) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=2)
    run, before = tmp_path / "runs" / "a", {}
    finetune(settings, tmp_path / "alone")

    def second() -> None:
        before.update(files(run))
        work: dict[str, Callable[[], object]] = {
            "again": lambda: finetune(settings, run),
            "resume": lambda: finetune(settings, str(run), resume=True),
            "overwrite": lambda: finetune(settings, run, overwrite=True),
            "seeds": lambda: finetune_seeds(settings, run, 2, overwrite=True),
            "pretrain": lambda: pretrain(pretrain_settings(tmp_path), run, overwrite=True),
        }
        work[what]()

    listener = Meanwhile(second)
    finetune(settings, run, listeners=[listener])
    assert isinstance(listener.error, InputError)
    said = str(listener.error)
    assert "is writing here" in said
    assert "process" in said and "since" in said
    # The first training ends undisturbed.
    assert before["config.toml"] == files(run)["config.toml"]
    assert same_tensors(run / "model.safetensors", tmp_path / "alone" / "model.safetensors")
    assert [path.name for path in run.parent.iterdir()] == ["a"]


def test_readers_go_on(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=2)
    run, found = tmp_path / "run", []

    def read() -> None:
        explorer = Recommender.load(run)
        found.append(evaluate_run(run).found.metrics)
        found.append(explorer.recommend([0]))

    listener = Meanwhile(read)
    finetune(settings, run, listeners=[listener])
    assert listener.error is None
    assert len(found) == 2


def test_what_a_reader_has_open_stays_whole_when_the_run_is_replaced(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=1)
    finetune(settings, tmp_path / "run")
    explorer = Recommender.load(tmp_path / "run")
    before = explorer.recommend([0])
    finetune(quick_settings(tmp_path / "data", train__epochs=2), tmp_path / "run", overwrite=True)
    assert [each.item for each in explorer.recommend([0]).items] == [
        each.item for each in before.items
    ]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.training.jobs") as process:
        yield process


def test_a_second_process_is_refused_too(warm: Warm, tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=2)
    config, run = tmp_path / "config.toml", tmp_path / "run"
    config.write_text(dump_settings(settings))
    arguments = (str(config), str(run), str(tmp_path / "said"))
    listener = Meanwhile(lambda: warm.run("refused", *arguments))
    finetune(settings, run, listeners=[listener])
    assert listener.error is None
    assert (tmp_path / "said.0").read_text().startswith("input: another process (")


def test_of_several_processes_only_the_first_holds_the_lock(warm: Warm, tmp_path: Path) -> None:
    """Otherwise the processes would refuse each other."""
    settings = quick_settings(tmp_path / "data", train__epochs=1)
    config = tmp_path / "config.toml"
    config.write_text(dump_settings(settings))
    run = tmp_path / "run"
    assert warm.together(2, "train", str(config), str(run), "new", {}) == [0, 0]
    assert (run / "result.json").is_file()
    assert not list(tmp_path.glob(".*"))
