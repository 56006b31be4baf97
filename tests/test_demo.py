"""The shrunken demo: the whole way from generated files to recommendations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from miracle_core.data.dataset import Dataset
from miracle_core.demo import Demo, DemoFolder, demo, demo_settings
from miracle_core.errors import InputError
from miracle_core.recommender import Recommender
from miracle_core.training.listeners import Listener
from tests.support.demos import small_demo


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return small_demo(tmp_path_factory.mktemp("demo") / "demo")


def test_it_leaves_raw_files_a_dataset_and_a_run(found: Demo) -> None:
    folder = found.folder
    assert {path.name for path in folder.path.iterdir()} == {"demo.json", "raw", "data", "run"}
    assert {path.suffix for path in folder.raw.iterdir()} == {".inter", ".item", ".json"}
    dataset = Dataset.open(folder.data)
    assert (dataset.name, set(dataset.manifest.features)) == ("workshop", {"hashing"})
    assert [source.file for source in dataset.manifest.sources] == [
        "workshop.inter",
        "workshop.item",
    ]
    again = Recommender.load(folder.run)
    assert np.array_equal(again.item_capsules(), found.recommender.item_capsules())
    history = [match.given for match in found.matches]
    assert again.recommend(history).items == found.recommendation.items


def test_it_beats_popularity_and_finds_planted_interests(found: Demo) -> None:
    recall = found.evaluation.found.metrics["recall@10"]
    assert recall > 1.5 * found.evaluation.references["popularity"].metrics["recall@10"]
    assert found.recovery.items == found.recommender.n_items
    assert found.recovery.adjusted_mutual_information > 0.3
    assert found.recovery.same_interest > 3 * found.recovery.different_interest


def test_recovery_compares_each_items_own_interest(found: Demo) -> None:
    planted = json.loads((found.folder.raw / "truth.json").read_text())["items"]
    capsule = found.recommender.item_capsules()
    interest = np.array([planted[found.recommender.item_id(i)] for i in range(len(capsule))])
    same = interest[:, None] == interest
    together = capsule[:, None] == capsule
    others = ~np.eye(len(capsule), dtype=bool)
    assert found.recovery.same_interest == pytest.approx(together[same & others].mean())
    assert found.recovery.different_interest == pytest.approx(together[~same].mean())


def test_the_same_seed_gives_the_same_figures_and_replaces_the_demo(
    found: Demo, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    shutil.copytree(found.folder.path, out)
    mine = out / "notes.txt"
    mine.write_text("kept")
    (out / "run" / "result.json").unlink()
    again = small_demo(out)
    assert again.evaluation.found.metrics == found.evaluation.found.metrics
    assert again.recovery == found.recovery
    assert again.recommendation.items == found.recommendation.items
    assert (out / "run" / "result.json").is_file()
    assert mine.read_text() == "kept"


def test_an_interrupted_demo_can_be_begun_again(tmp_path: Path) -> None:
    class Impatient(Listener):
        def start(self, total_epochs: int, steps_per_epoch: int, n_examples: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_demo(tmp_path, listeners=[Impatient()])
    DemoFolder(tmp_path).check_free()


def test_another_seed_is_another_shop(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, seed=5)
    assert settings.train.seed == 5
    assert settings.data == str(tmp_path / "data")
    with pytest.raises(InputError, match="seed"):
        demo_settings(tmp_path, seed=-1)


@pytest.mark.parametrize("name", ["notes.txt", "demo.json", "data", "run"])
def test_what_is_no_demo_is_left_alone(tmp_path: Path, name: str) -> None:
    if name in ("data", "run"):
        (tmp_path / "demo.json").write_text('{"demo": {}}')
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    else:
        (tmp_path / name).write_text('{"mine": 1}')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="overwritten"):
        demo(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    out.write_text("mine")
    with pytest.raises(InputError, match="is not a folder"):
        demo(out)
    assert out.read_text() == "mine"
