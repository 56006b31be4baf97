"""A program's own encoder, passed as an object, never by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from miracle_core import NewTitle, encode, train
from miracle_core.data.dataset import Dataset, EncoderIdentity
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress
from miracle_core.text import huggingface, load_encoder
from tests.support.runs import SMALL_MODEL, tiny_shop


class Letters:
    """An encoder that counts letters."""

    engine = "python"

    def __init__(self, name: str = "own:letters", revision: str = "1") -> None:
        self.identity = EncoderIdentity(
            name=name, revision=revision, pooling="none", max_length=0, width=26
        )

    def encode(self, texts: Sequence[str], progress: Progress = SILENT) -> np.ndarray:
        progress.advance(len(texts))
        letters = "abcdefghijklmnopqrstuvwxyz"
        return np.array([[t.lower().count(c) for c in letters] for t in texts], dtype=np.float32)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))

    def no_hub(*_: object) -> object:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr(huggingface, "load_hub", no_hub)
    return tiny_shop(tmp_path / "data")


def test_from_texts_to_answers(shop: Dataset, tmp_path: Path) -> None:
    data = encode(shop, Letters())
    assert np.allclose(data.features("own:letters"), Letters().encode(data.items["text"].to_list()))
    settings = {**SMALL_MODEL, "encoder": "own:letters", "train.epochs": 1}
    run = train(data, tmp_path / "run", settings=settings)
    known = run.recommender().recommend([0, 1])
    with pytest.raises(InputError, match="can't be found by its name") as error:
        run.recommender().recommend([NewTitle("A mug")])
    assert "encoder=" in str(error.value)
    answers = run.recommender(encoder=Letters())
    assert answers.recommend([0, 1]).items == known.items
    assert len(answers.recommend([NewTitle("A mug")]).items) == 10
    with pytest.raises(InputError, match="another revision"):
        run.recommender(encoder=Letters(revision="2"))


def test_a_name_that_could_be_anothers_is_refused(shop: Dataset) -> None:
    with pytest.raises(InputError, match="called 'letters'") as error:
        encode(shop, Letters("letters"))
    assert "begin with own:" in str(error.value)


def test_its_name_is_never_looked_up(shop: Dataset) -> None:
    with pytest.raises(InputError, match="one of your own"):
        load_encoder("own:letters")
