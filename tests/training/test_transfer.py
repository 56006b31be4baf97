"""Fine-tuning from a run: what is transferred, what stays, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from miracle_core.config import Settings, make_settings, nested
from miracle_core.errors import InputError
from miracle_core.runs.tensors import load_tensors
from miracle_core.training import trainer
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import Listener
from miracle_core.training.pretraining import pretrain
from miracle_core.training.transfer import settings_from
from tests.support.runs import other_shop, reencode
from tests.training.support import pretrain_settings
from tests.training.test_resume import assert_same_run, stop_at


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained run."""
    folder = tmp_path_factory.mktemp("transfer")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain(pretrain_settings(folder, train__epochs=1), folder / "run")
    torch.set_num_threads(threads)
    return folder / "run"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return other_shop(tmp_path / "new", items=25, name="new").folder


def settings_to(run: Path, data: Path, **changes: Any) -> Settings:
    given = {"train.batch_size": 8, "train.epochs": 2, "train.learning_rate": 0.01}
    given |= {name.replace("__", "."): value for name, value in changes.items()}
    return make_settings(settings_from(run), nested({"data": str(data), **given}))


class Told(Listener):
    """Keeps the report of the transfer."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []

    def transferred(self, report: dict[str, Any]) -> None:
        self.reports.append(report)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / "model.safetensors")[0]


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_report_and_what_is_frozen(
    pretrained: Path, data: Path, tmp_path: Path, mode: str, frozen: bool
) -> None:
    changes: dict[str, Any] = {} if frozen else {"train__freeze": False}  # frozen by default
    told = Told()
    settings = settings_to(pretrained, data, train__mode=mode, **changes)
    result = finetune(settings, tmp_path / "run", listeners=[told])
    before, after = weights_of(pretrained), weights_of(tmp_path / "run")
    report = result["transfer"]
    assert told.reports == [{**report, "run": str(pretrained.resolve())}]
    # The run stores a relative path, so that both can move together.
    assert (tmp_path / "run" / report["run"]).resolve() == pretrained.resolve()
    assert not Path(report["run"]).is_absolute()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["transfer"] == report
    assert set(report["loaded"]) == before.keys() - {"mask"}
    assert report["left_out"] == ["mask"]
    assert report["new"] == (["identity"] if mode == "transductive" else [])
    assert set(report["loaded"]) | set(report["new"]) == after.keys()
    assert (report["domains"], report["settings"]) == (["tiny", "other"], {})
    kept = {name for name in report["loaded"] if torch.equal(before[name], after[name])}
    kept.discard("capsules.attention.score.bias")  # never learns, since softmax cancels it
    assert kept == set(report["frozen"])
    if frozen:
        layers = {name for name in before if name.startswith("context.layers.")}
        assert layers and set(report["frozen"]) == layers | {"context.position"}


def test_without_training_it_starts_as_the_run_is(
    pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Training, "step", lambda self, chosen: _counted(self, chosen))
    finetune(settings_to(pretrained, data, train__epochs=1), tmp_path / "run")
    before, after = weights_of(pretrained), weights_of(tmp_path / "run")
    for name in before.keys() & after.keys():
        assert torch.equal(before[name], after[name]), name


def _counted(training: trainer.Training, chosen: Any) -> None:
    training.position.sums["examples"] = training.position.sums.get("examples", 0) + len(chosen)


def test_resumed_without_the_run_it_came_from(pretrained: Path, data: Path, tmp_path: Path) -> None:
    source = shutil.copytree(pretrained, tmp_path / "source")
    settings = settings_to(source, data)
    finetune(settings, tmp_path / "whole")
    run = tmp_path / "run"
    finetune(settings, run, should_stop=stop_at(2))
    shutil.rmtree(source)
    finetune(settings, run, resume=True)
    assert_same_run(run, tmp_path / "whole")


def test_killed_before_the_first_checkpoint(
    pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts again from the same weights, or reports that they have changed."""
    source = shutil.copytree(pretrained, tmp_path / "source")
    settings = settings_to(source, data)
    finetune(settings, tmp_path / "whole")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("run", "late"):
        with monkeypatch.context() as patch:
            patch.setattr(trainer.Training, "step", die)
            with pytest.raises(KeyboardInterrupt):
                finetune(settings, tmp_path / name)
    finetune(settings, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    weights = source / "model.safetensors"
    weights.write_bytes((tmp_path / "whole" / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="not those that the run was begun with"):
        finetune(settings, tmp_path / "late", resume=True)
    shutil.rmtree(source)
    with pytest.raises(InputError, match="not a run folder"):
        finetune(settings, tmp_path / "late", resume=True)


def test_from_a_fine_tuned_run(pretrained: Path, data: Path, tmp_path: Path) -> None:
    """Its item embeddings belong to its own catalogue, and are not transferred."""
    first = tmp_path / "first"
    finetune(settings_to(pretrained, data), first)
    other = other_shop(tmp_path / "third", items=25, users=12, name="third").folder
    report = finetune(settings_to(first, other), tmp_path / "second")["transfer"]
    assert (report["new"], report["left_out"]) == (["identity"], ["identity"])
    assert report["domains"] == ["new"]


def test_settings_that_differ_are_told_and_shapes_refused(
    pretrained: Path, data: Path, tmp_path: Path
) -> None:
    settings = settings_to(pretrained, data, model__agreement="q", model__positional=False)
    report = finetune(settings, tmp_path / "run")["transfer"]
    assert report["settings"] == {"model.agreement": ["h", "q"], "model.positional": [True, False]}
    assert all(name.startswith("capsules.attention.") or name == "mask"
               for name in report["left_out"])  # fmt: skip
    for changes, says in (
        ({"model__width": 8}, "width is 16 there and 8 here"),
        ({"model__capsules": 5}, "capsules is 4 there and 5 here"),
        ({"model__max_length": 9}, "max_length is 6 there and 9 here"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            finetune(settings_to(pretrained, data, **changes), tmp_path / "bad")
        assert caught.value.where == str(pretrained)
    with pytest.raises(InputError, match=r"'context\.layers\.1.*can't be frozen"):
        finetune(settings_to(pretrained, data, model__layers=2), tmp_path / "bad")
    more = settings_to(pretrained, data, model__layers=2, train__freeze=False, train__epochs=1)
    new = finetune(more, tmp_path / "more")["transfer"]["new"]
    assert "identity" in new and all("layers.1." in name for name in new if name != "identity")
    assert not (tmp_path / "bad").exists()


def test_another_encoder_is_refused(pretrained: Path, data: Path, tmp_path: Path) -> None:
    from miracle_core.data.dataset import Dataset

    renamed = reencode(Dataset.open(data), name="mine")
    settings = settings_to(pretrained, renamed.folder, train__epochs=1)
    finetune(settings, tmp_path / "run")  # one encoder under two names
    for changes in ({"width": 31}, {"revision": "f" * 64}):
        other = reencode(Dataset.open(data), name="bert", **changes)
        with pytest.raises(InputError, match=r"'bert' .* the run reads those of 'hashing:32'"):
            finetune(settings_to(pretrained, other.folder), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_freezing_needs_a_run(data: Path) -> None:
    with pytest.raises(InputError, match="name a run with --from"):
        make_settings(nested({"data": str(data), "train.freeze": True}))


def test_a_run_without_weights(pretrained: Path, data: Path, tmp_path: Path) -> None:
    source = shutil.copytree(pretrained, tmp_path / "source")
    (source / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no weights yet"):
        finetune(settings_to(source, data), tmp_path / "run")
    with pytest.raises(InputError, match="not a run folder"):
        settings_from(tmp_path / "nowhere")
