"""A Dataset's texts to its ``features.<encoder>.npy``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_features
from miracle_core.errors import InputError
from miracle_core.locks import one_writer
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.text.base import TextEncoder, require_finite
from miracle_core.text.cache import ChunkCache
from miracle_core.text.load import check_own, load_encoder

# Texts in one chunk, the unit of the cache. A kill loses at most one (2 s of MiniLM on two cores).
CHUNK = 512


def encode_dataset(
    folder: str | Path, encoder: str | TextEncoder, progress: Progress = SILENT
) -> Dataset:
    """Encode every item's text and add the vectors to the Dataset, as float16.

    The same Dataset and encoder give the same bytes, however often the encoding was interrupted.

    Args:
        folder: the Dataset's folder.
        encoder: the encoder, or its name as :func:`miracle_core.text.load.load_encoder` takes it.
        progress: shows the texts encoded.

    Returns:
        The Dataset, opened again.

    Raises:
        InputError: no such Dataset or encoder, an item has no text, or another process is writing
            to the Dataset.
        MiracleError: the encoder gave a number that is not finite, or the cache can't be used.
    """
    folder = as_path(folder)
    # The lock is held to the end, so that another Dataset can't take this one's place meanwhile.
    with one_writer(folder):
        dataset = Dataset.open(folder)
        if not dataset.manifest.text:
            raise InputError(
                "its items have ids only, no text to encode",
                where=str(folder),
                remedy="preprocess it from files with titles; systems that need no text (miracle "
                "models) can be trained on it as it is",
            )
        texts = item_texts(dataset)
        if isinstance(encoder, str):
            encoder = load_encoder(encoder, progress)
        check_own(encoder)
        return write_features(folder, encode_texts(texts, encoder, progress), encoder.identity)


def item_texts(dataset: Dataset) -> list[str]:
    """Every item's text, in the order of the items.

    Raises:
        InputError: an item has no text, naming the first.
    """
    texts: list[str] = []
    for row, (item_id, text) in enumerate(dataset.items.select("item_id", "text").iter_rows()):
        if text is None or not text.strip():
            raise InputError(
                f"item {item_id!r} has no text to encode",
                where=f"{dataset.folder / 'items.parquet'}, row {row}",
                remedy="give it a title or text in the source and preprocess again",
            )
        texts.append(text)
    return texts


def encode_texts(
    texts: Sequence[str], encoder: TextEncoder, progress: Progress = SILENT
) -> npt.NDArray[np.float16]:
    """Encode texts chunk by chunk, taking from the cache what is there.

    Equal texts are encoded once. Which texts share a chunk depends on the texts alone, never on
    the cache: a vector's last bits may depend on its neighbours in a batch.

    Returns:
        float16 [texts, width], in the order of ``texts``.

    Raises:
        MiracleError: the encoder gave a number that is not finite or beyond float16, or the cache
            can't be used.
    """
    # By length, so that batches hold texts of about equal length. The longest come first, so that
    # the estimated time left is never too low.
    distinct = sorted(set(texts), key=lambda text: (-len(text), text))
    vectors = np.empty((len(distinct), encoder.identity.width), dtype=np.float16)
    cache = ChunkCache(encoder)
    with stage(progress, f"encode with {encoder.identity.name}", len(distinct), "texts"):
        for start in range(0, len(distinct), CHUNK):
            chunk = distinct[start : start + CHUNK]
            encoded = cache.read(chunk)
            if encoded is None:
                with np.errstate(over="ignore"):  # reported below, with the text
                    encoded = encoder.encode(chunk, progress).astype(np.float16)
                require_finite(encoded, chunk, encoder.identity.name)
                cache.write(chunk, encoded)
            else:
                progress.advance(len(chunk))
            vectors[start : start + len(chunk)] = encoded
    position = {text: row for row, text in enumerate(distinct)}
    return vectors[[position[text] for text in texts]]
