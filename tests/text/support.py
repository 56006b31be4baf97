"""Shared by the tests of text encoders: a tiny BERT with random weights, counting encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from miracle_core.data.dataset import Dataset, EncoderIdentity
from miracle_core.data.writing import write_dataset
from miracle_core.progress import SILENT, Progress

WORDS = [
    *("red", "green", "blue", "glove", "drill", "filament", "nitrile", "large"),
    *("small", "pack", "of", "10", "the", "for", "and"),
]
# One text of every length, from one word to more than the tiny model's 32 tokens.
TEXTS = [" ".join(WORDS[(3 * n + i) % len(WORDS)] for i in range(n)) for n in range(1, 41)]


def save_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """Save a BERT of width 16 with random weights and a small WordPiece vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast.from_pretrained(str(folder), model_max_length=32)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_dataset(folder: Path, texts: Sequence[str]) -> Dataset:
    """A Dataset with one user and these items."""
    n = len(texts)
    items = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(n)],
            "title": list(texts),
            "text": list(texts),
            "domain": ["shop"] * n,
        },
        schema=dict.fromkeys(("item_id", "title", "text", "domain"), pl.String),
    )
    return write_dataset(
        folder,
        name="shop",
        items=items,
        user_ids=["u"],
        sequences=np.arange(n, dtype=np.int32),
        offsets=np.array([0, n], dtype=np.int64),
        sources=[],
        settings={},
        counts={},
    )


class FakeEncoder:
    """An encoder that hashes each text with its neighbours, counts calls, and stops on demand.

    The neighbours matter as in a real batch: encoding a text with other texts changes its vector.
    """

    engine = "fake"

    def __init__(self, width: int = 4, stop_after: int | None = None, revision: str = "1") -> None:
        self.identity = EncoderIdentity(
            name="fake", revision=revision, pooling="none", max_length=0, width=width
        )
        self.encoded: list[str] = []
        self._stop_after = stop_after

    def encode(self, texts: Sequence[str], progress: Progress = SILENT) -> np.ndarray:
        if self._stop_after is not None and len(self.encoded) >= self._stop_after:
            raise KeyboardInterrupt
        self.encoded.extend(texts)
        progress.advance(len(texts))
        seed = hashlib.sha256("\n".join(texts).encode()).digest()
        rows = [
            np.frombuffer(hashlib.sha256(seed + text.encode()).digest(), dtype=np.uint8)
            for text in texts
        ]
        return np.stack(rows)[:, : self.identity.width].astype(np.float32) / 255


class Recorder:
    """A progress listener that records what it is told."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int | None, str]] = []
        self.done = 0
        self.finished = 0

    def start(self, what: str, total: int | None, unit: str) -> None:
        self.started.append((what, total, unit))

    def advance(self, amount: int) -> None:
        self.done += amount

    def finish(self) -> None:
        self.finished += 1
