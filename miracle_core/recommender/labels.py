"""Words that are characteristic of one capsule's items."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.recommender.folding import fold, words
from miracle_core.recommender.word_index import WordIndex

WORDS = 3
TITLE_LENGTH = 32
# Words that don't say what an item is, in any shop: grammar; packages; measures; sizes, colours,
# praise.
_COMMON = """
and the for with from not all any are can does each has have into more most new non off one only
other out over per plus set sets that this two use used uses using very was which will without you
your
assorted bag bags box boxed boxes case cases count pack packs package packaged pair pairs pcs piece
pieces qty quantity roll rolls unit units value
approx cubic deg degree degrees dia diameter feet foot gal gallon gallons gram grams height inch
inches length lbs liter liters litre litres long max meter meters metre metres mil millimeter
millimeters min ounce ounces pound pounds size sizes square thick thickness volt volts watt watts
wide width yard yards
black blue brown clear extra gold gray great green grey heavy large light medium mini orange pink
premium professional purple quality red silver small standard super white yellow
"""
COMMON = frozenset(_COMMON.split())


def characteristic_words(index: WordIndex, members: npt.NDArray[np.bool_]) -> list[str]:
    """The words that are frequent in some titles and rare in the others, best first.

    A word w scores P(w | members) log(P(w | members) / P(w)), where P counts titles: its part of
    the divergence between the members' words and the catalogue's. Numbers, short words, words that
    are common in any shop and words that only one of several members has are left out.

    Args:
        index: the words of the catalogue's titles.
        members: bool [items].

    Returns:
        At most :data:`WORDS` words, folded; none where nothing stands out.
    """
    n_members = int(members.sum())
    if n_members == 0:
        return []
    inside = index.counts(members)
    often = np.flatnonzero(inside >= min(2, n_members))
    p = inside[often] / n_members
    overall = np.diff(index.offsets)[often] / index.n_titles
    worth = p * np.log(p / overall)
    chosen: list[str] = []
    for place in np.argsort(-worth, kind="stable"):
        word = index.words[often[place]]
        if worth[place] <= 0 or len(chosen) == WORDS:
            break
        if _is_descriptive(word) and not any(_same_word(word, other) for other in chosen):
            chosen.append(word)
    return chosen


def spelling(word: str, title: str) -> str:
    """A folded word as the title spells it, with its accents, in lower case."""
    candidates = words(pl.Series([title.lower()]))[0].to_list()
    for candidate, folded in zip(candidates, fold(candidates), strict=True):
        if folded == word:
            return str(candidate)
    return word


def shortened(title: str) -> str:
    """A title on one line, cut to the length of a label."""
    line = " ".join(title.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


def _is_descriptive(word: str) -> bool:
    """Whether a word may say what an item is."""
    if not word.isalpha() or word in COMMON:
        return False
    # Scripts written without spaces give single signs as words; elsewhere short words are units.
    return len(word) >= 3 or not word.isascii()


def _same_word(a: str, b: str) -> bool:
    """Whether two words differ in a short ending only: glove, gloves."""
    return abs(len(a) - len(b)) <= 2 and (a.startswith(b) or b.startswith(a))
