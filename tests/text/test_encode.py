"""Encoding a Dataset: chunks, cache, resuming, bad texts."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError, MiracleError
from miracle_core.paths import cache_folder
from miracle_core.text import encode, encode_dataset, load_encoder
from miracle_core.text.cache import ChunkCache
from miracle_core.text.encode import encode_texts
from tests.text.support import TEXTS, FakeEncoder, Recorder, save_tiny_bert, tiny_dataset

NUMBERS = [f"item {'x' * (n % 7)} {n}" for n in range(50)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encode, "CHUNK", 8)
    return tmp_path / "cache"


def chunk_files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.f16"))


def test_rows_follow_the_texts_and_equal_texts_are_encoded_once() -> None:
    encoder = FakeEncoder()
    vectors = encode_texts([*NUMBERS, *NUMBERS[:9]], encoder)
    assert vectors.dtype == np.float16
    assert vectors.shape == (59, 4)
    assert np.array_equal(vectors[:9], vectors[50:])
    assert sorted(encoder.encoded) == sorted(NUMBERS)
    assert len(np.unique(vectors, axis=0)) == 50


def test_the_order_of_the_texts_changes_no_vector() -> None:
    first = encode_texts(NUMBERS, FakeEncoder())
    assert np.array_equal(encode_texts(NUMBERS[::-1], FakeEncoder())[::-1], first)


def test_interrupted_it_resumes_and_gives_the_same_bytes(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_texts(NUMBERS, FakeEncoder(stop_after=20))
    assert len(chunk_files(cache)) == 3  # in chunks of 8, 24 texts were done
    resumed = FakeEncoder()
    vectors = encode_texts(NUMBERS, resumed)
    assert len(resumed.encoded) == 50 - 24
    again = FakeEncoder()
    assert np.array_equal(encode_texts(NUMBERS, again), vectors)
    assert again.encoded == []
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "empty"))
    assert encode_texts(NUMBERS, FakeEncoder()).tobytes() == vectors.tobytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_chunk_is_encoded_again(cache: Path, damage: str) -> None:
    vectors = encode_texts(NUMBERS, FakeEncoder())
    victim = chunk_files(cache)[2]
    content = victim.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    victim.write_bytes({"cut": content[:-3], "flipped": flipped, "empty": b""}[damage])
    encoder = FakeEncoder()
    assert np.array_equal(encode_texts(NUMBERS, encoder), vectors)
    assert 0 < len(encoder.encoded) <= 8
    assert victim.read_bytes() == content


def test_nothing_is_shared_between_encoders() -> None:
    encode_texts(NUMBERS, FakeEncoder())
    for other in (FakeEncoder(revision="2"), FakeEncoder(width=5)):
        encode_texts(NUMBERS, other)
        assert len(other.encoded) == 50
    elsewhere = FakeEncoder()
    elsewhere.engine = "another device"
    encode_texts(NUMBERS, elsewhere)
    assert len(elsewhere.encoded) == 50


def test_texts_are_not_confused_by_their_borders() -> None:
    cache = ChunkCache(FakeEncoder())
    cache.write(["ab", "c"], np.zeros((2, 4), dtype=np.float16))
    assert cache.read(["a", "bc"]) is None
    assert cache.read(["ab", "c"]) is not None


def test_progress_counts_distinct_texts_cached_or_not() -> None:
    for _ in range(2):
        recorder = Recorder()
        encode_texts([*NUMBERS, NUMBERS[0]], FakeEncoder(), recorder)
        assert recorder.started == [("encode with fake", 50, "texts")]
        assert (recorder.done, recorder.finished) == (50, 1)


def test_beyond_float16_is_an_error_and_is_not_kept(cache: Path) -> None:
    class Loud(FakeEncoder):
        def encode(self, texts, progress=None):
            return np.full((len(texts), 4), 1e5, dtype=np.float32)

    with pytest.raises(MiracleError, match=r"'fake' gave a number .* for the text 'item"):
        encode_texts(NUMBERS, Loud())
    assert chunk_files(cache) == []


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MIRACLE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "miracle"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "miracle"


def test_a_cache_that_is_no_folder_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "file"))
    with pytest.raises(MiracleError, match="cache") as caught:
        encode_texts(NUMBERS, FakeEncoder())
    assert "MIRACLE_CACHE" in caught.value.remedy


def test_a_dataset_gets_its_features(tmp_path: Path) -> None:
    tiny_dataset(tmp_path / "data", NUMBERS)
    dataset = encode_dataset(tmp_path / "data", "hashing:32")
    features = dataset.features("hashing:32")
    assert features.shape == (50, 32)
    assert features.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(features.astype(float), axis=1), 1, atol=1e-3)
    written = (tmp_path / "data" / "features.hashing%3A32.npy").read_bytes()
    manifest = (tmp_path / "data" / "manifest.json").read_bytes()
    encode_dataset(tmp_path / "data", "hashing:32")
    assert (tmp_path / "data" / "features.hashing%3A32.npy").read_bytes() == written
    assert (tmp_path / "data" / "manifest.json").read_bytes() == manifest


def test_two_encoders_side_by_side(tmp_path: Path) -> None:
    bert = save_tiny_bert(tmp_path / "tiny")
    tiny_dataset(tmp_path / "data", TEXTS)
    encode_dataset(tmp_path / "data", "hashing:8")
    encode_dataset(tmp_path / "data", f"{bert}:cls")
    dataset = encode_dataset(tmp_path / "data", f"{bert}:mean")
    assert sorted(dataset.manifest.features) == ["hashing:8", "tiny:cls", "tiny:mean"]
    cls, mean = dataset.features("tiny:cls"), dataset.features("tiny:mean")
    assert not np.array_equal(cls, mean)


@pytest.mark.parametrize("text", ["", "  \t"])
def test_an_item_without_text_is_refused(tmp_path: Path, text: str) -> None:
    tiny_dataset(tmp_path / "data", ["one", text, "three"])
    with pytest.raises(InputError, match="item 'i1' has no text") as caught:
        encode_dataset(tmp_path / "data", "hashing")
    assert re.search(r"items\.parquet, row 1$", caught.value.where)
    assert "preprocess" in caught.value.remedy
    assert Dataset.open(tmp_path / "data").manifest.features == {}


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a Dataset folder"):
        encode_dataset(tmp_path, "hashing")


def test_cache_entries_say_what_they_hold(cache: Path) -> None:
    """Read the documented layout by hand."""
    encode_texts(NUMBERS[:3], FakeEncoder())
    (file,) = chunk_files(cache)
    content = file.read_bytes()
    assert hashlib.sha256(content[32:]).digest() == content[:32]
    assert len(content) == 32 + 3 * 4 * 2


@pytest.mark.real_data
def test_real_texts_are_encoded(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "CHUNK", 512)
    lines = (real_data / "scientific" / "Scientific.text").read_text(encoding="utf-8").splitlines()
    texts = [line.partition("\t")[2] for line in lines[1:]]
    vectors = encode_texts(texts, load_encoder("hashing")).astype(np.float32)
    assert vectors.shape == (4385, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
