"""Devices by name, and the messages for devices that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from miracle_cli.main import main
from miracle_core.config import load_settings, make_settings
from miracle_core.devices import device_named
from miracle_core.errors import InputError
from miracle_core.processes import processes
from miracle_core.training.finetuning import finetune
from tests.support.runs import tiny_shop
from tests.training.support import quick_settings


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("cards")
def test_where_there_are_gpus() -> None:
    for name in ("cpu", "cuda", "cuda:1"):
        assert device_named(name) == torch.device(name)
    assert device_named("auto") == torch.device("cuda")
    with pytest.raises(InputError, match="there is no cuda:2: there are 2, counted from 0"):
        device_named("cuda:2")


@pytest.mark.usefixtures("none")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_where_there_are_none(name: str) -> None:
    assert device_named("auto") == device_named("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match=f"there is no {name}") as caught:
        device_named(name, "here")
    assert (caught.value.where, caught.value.remedy) == ("here", "take cpu")


def test_mps_is_not_refused_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_named("mps") == torch.device("mps")


WRONG = ["gpu", "", "cuda:", "cuda:x", "cpu:1", "mps:0", "CUDA", "cuda:\u0661"]


@pytest.mark.parametrize("name", WRONG)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a device"):
        device_named(name)
    with pytest.raises(InputError, match="is not a device"):
        make_settings({"train": {"devices": name}})


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize("name", ["cuda:1"])
def test_several_processes_share_no_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="can't share cuda:1"):
        processes(name)


@pytest.mark.usefixtures("none")
def test_every_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    data = tiny_shop(tmp_path / "data")
    finetune(quick_settings(tmp_path / "data", train__epochs=1), run)
    commands = [
        ["train", "--data", str(data), "--out", str(tmp_path / "new")],
        ["finetune", "--data", str(data), "--out", str(tmp_path / "new")],
        ["pretrain", "--data", str(data), "--out", str(tmp_path / "new")],
        ["evaluate", run],
        ["recommend", run, "--title", "x"],
        ["inspect", run],
        ["tui", run],
    ]
    for words in commands:
        assert main([*words, "--device", "cuda"]) == 2, words
        said = capsys.readouterr().err
        assert "there is no cuda" in said and "take cpu" in said, words
    assert not (tmp_path / "new").exists()


def test_a_run_may_go_on_elsewhere(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = quick_settings(tmp_path / "data", train__epochs=1, train__devices="cpu")
    finetune(settings, run)
    config = run / "config.toml"
    config.write_text(config.read_text().replace('devices = "cpu"', 'devices = "cuda:7"'))
    words = ["train", "--out", str(run), "--resume"]
    assert main(words) == 2
    assert main([*words, "--device", "cpu"]) == 0
    assert load_settings(config).train.devices == "cuda:7"  # as the run was started
