"""From what a person types to catalogue items: exact, near, or completed while typing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from miracle_core.recommender.folding import fold, folded_words, words
from miracle_core.recommender.word_index import WordIndex

# A title may be the one meant from this similarity on (rapidfuzz's ratio over the words, in any
# order): a typo or a word left out passes, most other products of the same kind do not.
NEAR = 85.0
# Titles whose lengths differ by more than this can't be so similar (0.74 without punctuation).
LENGTH_RATIO = 0.6
# Words from this length on may hold one typing error, from the second on two.
ONE_ERROR, TWO_ERRORS = 4, 8
# So many words' titles are kept, a byte a title each.
KEPT_WORDS = 16
# How much a typed word says for a title: found whole, as a beginning, with a typing error.
_WHOLE, _PREFIX, _ERROR = 3, 2, 1


class TitleIndex:
    """Finds titles by text.

    Args:
        titles: the catalogue's titles, in item order.
        popularity: [items]; of equally good titles the more popular comes first.
    """

    def __init__(self, titles: Sequence[str], popularity: npt.NDArray[np.int64]) -> None:
        self._folded = fold(titles)
        self._lengths: npt.NDArray[np.int64] = (
            self._folded.str.len_chars().to_numpy().astype(np.int64)
        )
        self.index = WordIndex(self._folded)
        # Place of each item by falling popularity, then index: it makes every order total.
        self._standing: npt.NDArray[np.int64] = np.empty(len(titles), dtype=np.int64)
        self._standing[np.argsort(-popularity, kind="stable")] = np.arange(len(titles))
        self._by_title: npt.NDArray[np.int64] = self._folded.arg_sort().to_numpy().astype(np.int64)
        self._sorted_titles: list[str] = self._folded[self._by_title].to_list()
        # With every letter of the last word, the words before it are asked for again.
        self._of_word = lru_cache(maxsize=KEPT_WORDS)(self._points_of_word)
        self._misspelt = lru_cache(maxsize=256)(self._find_misspelt)

    def exact(self, query: str) -> list[int]:
        """Items whose title is the query but for case, spaces and accents; the popular first."""
        text = fold([query])[0]
        first = bisect_left(self._sorted_titles, text)
        last = bisect_left(self._sorted_titles, text + "\0", first)
        found: list[int] = self._by_title[first:last].tolist()
        return sorted(found, key=lambda item: int(self._standing[item]))

    def near(self, query: str, limit: int) -> list[int]:
        """Items whose title is the query with small differences, or the only one with its words.

        A number of the query that the title doesn't hold is no small difference: an M5 screw is
        no M4 screw.

        Args:
            query: a title as somebody remembers it.
            limit: how many at most.

        Returns:
            Items, the nearest first; empty where the query is not a title, however much it is about
            the same things.
        """
        typed = folded_words(query)
        if not typed:
            return []
        candidates = self._alike(query, typed)
        choices = words(self._folded[candidates]).list.sort().list.join(" ").to_list()
        wanted = " ".join(sorted(typed))
        hits = process.extract(wanted, choices, scorer=fuzz.ratio, score_cutoff=NEAR, limit=None)
        found = [(text, ratio, int(candidates[place])) for text, ratio, place in hits]
        numbers = {word for word in typed if word[0].isdigit()}
        found = [hit for hit in found if numbers <= set(hit[0].split())]
        found.sort(key=lambda hit: (-hit[1], self._standing[hit[2]]))
        near = [item for _, _, item in found[:limit]]
        only = self._only_title(typed)
        return near if only is None or only in near else [*near, only][:limit]

    def similarity(self, query: str, item: int) -> float:
        """How alike a text and an item's title are, 0 to 1 (rapidfuzz's WRatio, folded)."""
        return float(fuzz.WRatio(fold([query])[0], self._folded[item])) / 100

    def complete(self, typed: str, limit: int) -> list[int]:
        """Items whose title a person may be typing.

        Titles that hold every typed word, or a word that begins with it, come first; where there is
        none, words with typing errors count too, and then titles that hold most of the words.
        Titles that begin with the typed text lead, then those with more whole words, then the
        popular ones.

        Args:
            typed: what is in the box.
            limit: how many at most.
        """
        wanted = list(dict.fromkeys(folded_words(typed)))
        if not wanted or limit < 1:
            return []
        hits, points = self._count(wanted, errors=False)
        if hits.max(initial=0) < len(wanted):
            hits, points = self._count(wanted, errors=True)
        most = int(hits.max(initial=0))
        if 2 * most <= len(wanted) and most < len(wanted):
            return []
        key = points.astype(np.int64) << 32
        key[self._starting_with(typed)] += 1 << 48
        key -= self._standing
        candidates = np.flatnonzero(hits == most)
        if len(candidates) > limit:
            keys = key[candidates]
            candidates = candidates[np.argpartition(keys, -limit)[-limit:]]
        best: list[int] = candidates[np.argsort(-key[candidates])].tolist()
        return best

    def _count(
        self, wanted: list[str], errors: bool
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
        """Typed words that each title holds, and how well, each int16 [titles]."""
        hits = np.zeros(self.index.n_titles, dtype=np.int16)
        points = np.zeros(self.index.n_titles, dtype=np.int16)
        for word in wanted:
            of_word = self._of_word(word, errors)
            points += of_word
            hits += of_word > 0
        return hits, points

    def _points_of_word(self, word: str, errors: bool) -> npt.NDArray[np.int8]:
        """How well each title holds a typed word, int8 [titles]; 0 where it doesn't."""
        points = np.zeros(self.index.n_titles, dtype=np.int8)
        if errors:
            for prefix in self._misspelt(word):
                points[self.index.with_prefix(prefix)] = _ERROR
        points[self.index.with_prefix(word)] = _PREFIX
        points[self.index.with_word(word)] = _WHOLE
        return points

    def _find_misspelt(self, word: str) -> tuple[str, ...]:
        """Beginnings of catalogue words that ``word`` may stand for, but for its first letter.

        The first letter is taken to be right: the words to compare are then one run of the index.
        """
        if len(word) < ONE_ERROR or not word.isalpha():
            return ()
        allowed = 1 if len(word) < TWO_ERRORS else 2
        first, last = self.index.word_range(word[0])
        lengths = range(len(word) - 1, len(word) + 2)
        prefixes = {w[:n] for w in self.index.words[first:last] for n in lengths}
        close = process.extract(
            word, sorted(prefixes), scorer=OSA.distance, score_cutoff=allowed, limit=None
        )
        return tuple(prefix for prefix, _, _ in close)

    def _starting_with(self, typed: str) -> npt.NDArray[np.int64]:
        """Items whose title begins with the typed text."""
        text = fold([typed])[0]
        first = bisect_left(self._sorted_titles, text)
        last = bisect_left(self._sorted_titles, text + "\U0010ffff", first)
        return self._by_title[first:last]

    def _only_title(self, typed: list[str]) -> int | None:
        """The one item whose title holds all of at least two typed words, if there is just one."""
        wanted = set(typed)
        if len(wanted) < 2:
            return None
        having = sorted((self.index.with_word(word) for word in wanted), key=len)
        common = having[0]
        for titles in having[1:]:
            common = common[np.isin(common, titles, assume_unique=True)]
        return int(common[0]) if len(common) == 1 else None

    def _alike(self, query: str, typed: list[str]) -> npt.NDArray[np.int64]:
        """Titles of about the query's length with at least half of its words, errors allowed."""
        wanted = list(dict.fromkeys(typed))
        hits, _ = self._count(wanted, errors=True)
        length = len(fold([query])[0])
        shorter, longer = np.minimum(self._lengths, length), np.maximum(self._lengths, length)
        return np.flatnonzero((2 * hits >= len(wanted)) & (shorter >= LENGTH_RATIO * longer))
