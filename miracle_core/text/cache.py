"""Encoded chunks of texts on disk: an interrupted encoding goes on where it stopped.

One file a chunk, named by the encoder (and what does its arithmetic) and the chunk's texts:

    <cache>/text/<encoder>/<texts>.f16    32 bytes SHA-256 of the rest, then float16 [texts, width]

A file that does not match its hash, such as one that was cut short, counts as absent and is written
again. All of it may be removed at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from miracle_core.errors import MiracleError
from miracle_core.files import replacing
from miracle_core.paths import cache_folder
from miracle_core.text.base import TextEncoder

_LAYOUT = 1
_DIGEST_BYTES = 32


class ChunkCache:
    """The cached chunks of one encoder.

    Args:
        encoder: its identity and engine tell its chunks from others.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        identity = encoder.identity
        # Without the name: renaming an encoder's folder changes no vector.
        parts = (_LAYOUT, identity.revision, identity.pooling, identity.max_length)
        key = "\n".join(map(str, (*parts, identity.width, encoder.engine)))
        self._width = identity.width
        self._folder = cache_folder() / "text" / hashlib.sha256(key.encode()).hexdigest()[:32]

    def read(self, texts: Sequence[str]) -> npt.NDArray[np.float16] | None:
        """The vectors of a chunk, float16 [texts, width]; None if the file is missing or damaged.

        Raises:
            MiracleError: the file is there but may not be read.
        """
        path = self._path(texts)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, error) from error
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        fits = len(payload) == 2 * len(texts) * self._width
        if not fits or hashlib.sha256(payload).digest() != digest:
            return None
        return np.frombuffer(payload, dtype="<f2").reshape(len(texts), self._width)

    def write(self, texts: Sequence[str], vectors: npt.NDArray[np.float16]) -> None:
        """Keep the vectors of a chunk.

        Raises:
            MiracleError: the cache's folder can't be written.
        """
        payload = np.ascontiguousarray(vectors, dtype="<f2").tobytes()
        path = self._path(texts)
        try:
            with replacing(path) as beside:
                beside.write_bytes(hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            raise _unusable(path, error) from error

    def _path(self, texts: Sequence[str]) -> Path:
        digest = hashlib.sha256()
        for text in texts:
            content = text.encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        return self._folder / f"{digest.hexdigest()[:40]}.f16"


def _unusable(path: Path, error: OSError) -> MiracleError:
    return MiracleError(
        f"the cache of encoded texts can't be used: {error.strerror or error}",
        where=str(path),
        remedy="name a folder that can be written in the environment variable MIRACLE_CACHE",
    )
