"""``hashing``: text vectors without any weights.

Words and pairs of neighbouring words are hashed (MurmurHash3) to a place in the vector and a sign;
the vector is divided by its Euclidean norm. Texts that share words are close, texts that only mean
the same are not. Nothing depends on the machine or on Python's own (randomised) hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.progress import SILENT, Progress
from miracle_core.text.base import Vectors

DEFAULT_WIDTH = 384
# Change this with anything that changes a vector.
_ALGORITHM = "words and word pairs, lower case, murmurhash3 signed, l2, version 1"
# Texts a step: sparse rows are small, dense ones are width x 4 bytes.
_STEP = 4096


class HashingEncoder:
    """Signed hashing of words and word pairs, float32 [texts, width], each row of norm 1.

    A text without a letter or digit has no words: its vector is zero.

    Args:
        width: numbers a vector has.
        name: what the person typed.
    """

    def __init__(self, width: int = DEFAULT_WIDTH, name: str = "hashing") -> None:
        self.identity = EncoderIdentity(
            name=name,
            revision=hashlib.sha256(_ALGORITHM.encode()).hexdigest(),
            pooling="none",
            max_length=0,
            width=width,
        )
        self.engine = "exact"
        self._vectorizer = HashingVectorizer(
            n_features=width,
            ngram_range=(1, 2),
            # scikit-learn's own pattern drops words of one character: sizes, "5 V", "C".
            token_pattern=r"(?u)\b\w+\b",
            alternate_sign=True,
            norm="l2",
        )

    def encode(self, texts: Sequence[str], progress: Progress = SILENT) -> Vectors:
        """One vector a text (see :class:`miracle_core.text.base.TextEncoder`)."""
        vectors = np.zeros((len(texts), self.identity.width), dtype=np.float32)
        for start in range(0, len(texts), _STEP):
            part = texts[start : start + _STEP]
            vectors[start : start + len(part)] = self._vectorizer.transform(part).toarray()
            progress.advance(len(part))
        return vectors
