"""From what a person types to catalogue items: exact, near, or completed while typing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA, Indel

from miracle_core.recommender.folding import fold, folded_words, words
from miracle_core.recommender.word_index import WordIndex

# A title may be the one meant from this similarity on (0 to 1): a typo or a plural passes, most
# other products of the same kind do not.
NEAR = 0.85
# The least similarity of a title that holds every typed word.
HOLDS_ALL = 0.95
# Words of at least ONE_ERROR letters may hold one typing error, of at least TWO_ERRORS two.
ONE_ERROR, TWO_ERRORS = 4, 8
# For how many typed words the points of all titles are cached, a byte a title each.
KEPT_WORDS = 16
# Points of a title for a typed word: found whole, as a beginning, with a typing error.
_WHOLE, _PREFIX, _ERROR = 3, 2, 1
# Likeness of two texts, 0 to 1: 1 - insertions and deletions / both lengths.
_ratio = Indel.normalized_similarity


class TitleIndex:
    """Finds titles by text.

    Args:
        titles: the catalogue's titles, in item order.
        popularity: [items]; of equally good titles the more popular comes first.
    """

    def __init__(self, titles: Sequence[str], popularity: npt.NDArray[np.int64]) -> None:
        self._folded = fold(titles)
        self.index = WordIndex(self._folded)
        self._sorted_words: list[str] = words(self._folded).list.sort().list.join(" ").to_list()
        # Place of each item by falling popularity, then index: it makes every order total.
        self._standing: npt.NDArray[np.int64] = np.empty(len(titles), dtype=np.int64)
        self._standing[np.argsort(-popularity, kind="stable")] = np.arange(len(titles))
        self._by_title: npt.NDArray[np.int64] = self._folded.arg_sort().to_numpy().astype(np.int64)
        self._sorted_titles: list[str] = self._folded[self._by_title].to_list()
        # With every letter of the last word, the words before it are asked for again.
        self._of_word = lru_cache(maxsize=KEPT_WORDS)(self._points_of_word)
        self._misspelt = lru_cache(maxsize=256)(self._find_misspelt)

    def exact(self, query: str) -> list[int]:
        """Items whose title is the query but for case, spaces and accents; popular ones first."""
        text = fold([query])[0]
        first = bisect_left(self._sorted_titles, text)
        last = bisect_left(self._sorted_titles, text + "\0", first)
        found: list[int] = self._by_title[first:last].tolist()
        return sorted(found, key=lambda item: int(self._standing[item]))

    def near(self, query: str, limit: int) -> list[int]:
        """Items whose :meth:`similarity` to the query is at least :data:`NEAR`.

        Args:
            query: a title as somebody remembers it.
            limit: how many at most.

        Returns:
            Items, the most similar first; of equally similar ones those with the smaller difference
            in words, then the more popular. Empty if no item has nearly this title, even if some
            are about the same things.
        """
        typed = folded_words(query)
        # Every title is compared: a shorter list of candidates could miss the most similar one.
        # The cut-off is a little lower, so that rounding takes none away; NEAR is checked below.
        hits = process.extract(
            _joined(typed), self._sorted_words, scorer=_ratio, score_cutoff=NEAR - 0.01, limit=None
        )
        ratios = {place: ratio for _, ratio, place in hits}
        for item in self._only_title(typed):
            ratios.setdefault(item, _ratio(_joined(typed), self._sorted_words[item]))
        found = [(self._similarity(typed, item), ratios[item], item) for item in ratios]
        found = [hit for hit in found if hit[0] >= NEAR]
        found.sort(key=lambda hit: (-hit[0], -hit[1], self._standing[hit[2]]))
        return [item for _, _, item in found[:limit]]

    def similarity(self, query: str, item: int) -> float:
        """How similar an item's title is to a query, 0 to 1.

        It is rapidfuzz's normalised Indel similarity of the two texts' words, folded and in sorted
        order, so that neither case nor word order counts. Two rules go beyond it:

        - A title that lacks a number of the query has 0: an M5 screw is no M4 screw.
        - A title that holds every word of the query has at least :data:`HOLDS_ALL` if its ratio is
          at least :data:`NEAR`, or if the query has two words or more and no other title holds all
          of them.
        """
        return self._similarity(folded_words(query), item)

    def _similarity(self, typed: list[str], item: int) -> float:
        title = self._sorted_words[item]
        own, wanted = set(title.split()), set(typed)
        if not wanted or any(word[0].isdigit() and word not in own for word in wanted):
            return 0.0
        ratio = _ratio(_joined(typed), title)
        if wanted <= own and (ratio >= NEAR or item in self._only_title(typed)):
            return max(ratio, HOLDS_ALL)
        return ratio

    def complete(self, typed: str, limit: int) -> list[int]:
        """Items whose title a person may be typing.

        These are titles that hold every typed word, or a word that begins with it. If there is
        none, words with typing errors count too, and if there is still none, titles that hold most
        of the words. Titles that begin with the typed text come first, then those with more whole
        words, then the popular ones.

        Args:
            typed: what has been typed so far.
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
        """Beginnings of catalogue words that ``word`` may be a misspelling of.

        The first letter is taken to be right, so the words to compare are one run of the index.
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

    def _only_title(self, typed: list[str]) -> list[int]:
        """The items whose title is the only one that holds all typed words, of which there are two.

        Several items may have that title. No items if there are fewer words, no such title or
        several.
        """
        wanted = set(typed)
        if len(wanted) < 2:
            return []
        having = sorted((self.index.with_word(word) for word in wanted), key=len)
        common = having[0]
        for titles in having[1:]:
            common = common[np.isin(common, titles, assume_unique=True)]
        items: list[int] = common.tolist()
        return items if len({self._sorted_words[item] for item in items}) == 1 else []


def _joined(found: list[str]) -> str:
    """Words in sorted order, as in the index."""
    return " ".join(sorted(found))
