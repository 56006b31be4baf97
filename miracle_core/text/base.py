"""What a text encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.errors import MiracleError
from miracle_core.progress import SILENT, Progress

Vectors = npt.NDArray[np.float32]


class TextEncoder(Protocol):
    """Turns texts into vectors; the same texts in the same order give the same vectors."""

    @property
    def identity(self) -> EncoderIdentity:
        """All that decides what a text's vector is."""

    @property
    def engine(self) -> str:
        """What does the arithmetic (library, version, device), which decides only the last bits.

        Two engines have separate entries in the cache, but make the same features of a Dataset.
        """

    def encode(self, texts: Sequence[str], progress: Progress = SILENT) -> Vectors:
        """One vector a text.

        Args:
            texts: any number of texts, in any order.
            progress: is advanced by the number of texts done; the caller has started it.

        Returns:
            float32 [texts, width], in the order of ``texts``.

        Raises:
            MiracleError: the encoder gave a number that is not finite.
        """


def require_finite(
    vectors: npt.NDArray[np.floating[Any]], texts: Sequence[str], encoder: str
) -> None:
    """Refuse vectors with a NaN or an infinity in them, as broken weights or an overflow give.

    Args:
        vectors: [texts, width].
        texts: what was encoded, to name the first bad one.
        encoder: the encoder's name.

    Raises:
        MiracleError: naming the first text whose vector is not finite.
    """
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        text = texts[int(np.argmin(finite))]
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise MiracleError(
            f"encoder {encoder!r} gave a number that is not finite (or beyond {vectors.dtype}) "
            f"for the text {shown!r}",
            remedy="its weights are damaged or unfit; name another encoder: minilm, hashing",
        )
