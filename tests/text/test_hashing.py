"""Hashed text vectors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from miracle_core.text.hashing import HashingEncoder

TITLES = [
    "Nitrile Gloves, Large (100)",
    "nitrile gloves small",
    "1.75 mm PLA filament",
    "Größe 5 V",
]


def test_shape_norm_and_meaning() -> None:
    vectors = HashingEncoder().encode(TITLES)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.3 > abs(similar[0, 2])


def test_signs_are_both() -> None:
    vectors = HashingEncoder(64).encode(TITLES)
    assert (vectors > 0).any()
    assert (vectors < 0).any()


def test_one_character_words_and_word_pairs_count() -> None:
    encoder = HashingEncoder(4096)
    five, six = encoder.encode(["size 5", "size 6"])
    assert not np.array_equal(five, six)
    here, there = encoder.encode(["red blue green", "green red blue"])
    assert not np.array_equal(here, there)
    assert np.count_nonzero(encoder.encode(["red blue green"])) == 5


def test_case_and_punctuation_do_not_matter() -> None:
    first, second = HashingEncoder().encode(["Red, GLOVE!", "red glove"])
    assert np.array_equal(first, second)


def test_a_text_without_words_is_zero() -> None:
    assert not HashingEncoder().encode(["?!"]).any()


def murmur3(data: bytes) -> int:
    """MurmurHash3 (32 bits, x86, seed 0) as a signed number, from its public description."""

    def rotate(x: int, by: int) -> int:
        return ((x << by) | (x >> (32 - by))) & 0xFFFFFFFF

    def scramble(k: int) -> int:
        return rotate(k * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF

    h, whole = 0, len(data) - len(data) % 4
    for i in range(0, whole, 4):
        h ^= scramble(int.from_bytes(data[i : i + 4], "little"))
        h = (rotate(h, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= scramble(int.from_bytes(data[whole:], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = (h ^ (h >> shift)) * factor & 0xFFFFFFFF
    return h - (1 << 32) if h >> 31 else h


@pytest.mark.parametrize("width", [8, 384])
def test_values_are_those_of_the_definition(width: int) -> None:
    """Computed without scikit-learn, so that a change in a later version is noticed."""
    expected = np.zeros((len(TITLES), width))
    for row, title in enumerate(TITLES):
        words = re.findall(r"\w+", title.lower())
        for gram in [*words, *(f"{a} {b}" for a, b in pairwise(words))]:
            value = murmur3(gram.encode())
            expected[row, abs(value) % width] += 1 if value >= 0 else -1
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(HashingEncoder(width).encode(TITLES), expected, atol=1e-7)


@pytest.mark.parametrize("seed", ["0", "12345"])
def test_python_hash_seed_does_not_matter(seed: str) -> None:
    code = (
        "import sys; from miracle_core.text.hashing import HashingEncoder;"
        f"sys.stdout.buffer.write(HashingEncoder(64).encode({TITLES!r}).tobytes())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert done.stdout == HashingEncoder(64).encode(TITLES).tobytes()
