"""Which titles hold which words: an inverted index with its words in sorted order.

Sorted words make the titles of all words with one prefix a single run of the array.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.recommender.folding import words

# Sorts after every character that a word can hold.
_AFTER = "\U0010ffff"


class WordIndex:
    """The words of titles.

    Args:
        folded: the titles, folded, in item order.

    Attributes:
        n_titles: number of titles.
        words: the distinct words, sorted.
        offsets: int64 [words + 1]; titles ``titles[offsets[w]:offsets[w + 1]]`` hold word w.
        titles: int64 [word-title pairs], rising within each word.
    """

    def __init__(self, folded: pl.Series) -> None:
        self.n_titles = len(folded)
        pairs = (
            pl.DataFrame({"title": np.arange(len(folded)), "word": words(folded)})
            .explode("word")
            .drop_nulls()
            .unique()
            .sort("word", "title")
        )
        counts = pairs.group_by("word", maintain_order=True).len()
        self.words: list[str] = counts["word"].to_list()
        self.offsets: npt.NDArray[np.int64] = np.zeros(len(self.words) + 1, dtype=np.int64)
        np.cumsum(counts["len"].to_numpy(), out=self.offsets[1:])
        self.titles: npt.NDArray[np.int64] = pairs["title"].to_numpy()

    def word_range(self, prefix: str) -> tuple[int, int]:
        """The run of words that begin with ``prefix``, as a half-open range."""
        return bisect_left(self.words, prefix), bisect_left(self.words, prefix + _AFTER)

    def with_word(self, word: str) -> npt.NDArray[np.int64]:
        """Titles that hold exactly this word, rising."""
        place = bisect_left(self.words, word)
        if place == len(self.words) or self.words[place] != word:
            return self.titles[:0]
        return self._titles(place, place + 1)

    def with_prefix(self, prefix: str) -> npt.NDArray[np.int64]:
        """Titles that hold a word beginning with ``prefix``; a title may be repeated."""
        return self._titles(*self.word_range(prefix))

    def counts(self, members: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """How many of some titles hold each word: bool [titles] to int64 [words]."""
        found = np.concatenate([[0], np.cumsum(members[self.titles])])
        return np.asarray(found[self.offsets[1:]] - found[self.offsets[:-1]], dtype=np.int64)

    def _titles(self, first: int, last: int) -> npt.NDArray[np.int64]:
        return self.titles[self.offsets[first] : self.offsets[last]]
