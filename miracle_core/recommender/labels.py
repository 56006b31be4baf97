"""Words that tell one capsule's items from the rest of the catalogue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.recommender.folding import fold, words
from miracle_core.recommender.word_index import WordIndex

WORDS = 3
TITLE_LENGTH = 32
# Words that say nothing of what an item is, whichever shop it lies in: grammar; what one buys of
# it; measures; sizes, colours, praise.
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

    A word w is as characteristic as P(w | members) log(P(w | members) / P(w)), P by titles: its
    part in how the members' words differ from the catalogue's. Numbers, short words and words that
    are common in any shop are left out, and so are those that one title alone holds.

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
        if _telling(word) and not any(_same_word(word, other) for other in chosen):
            chosen.append(word)
    return chosen


def spelling(word: str, title: str) -> str:
    """A folded word as a title that holds it spells it, accents and all, in lower case."""
    candidates = words(pl.Series([title.lower()]))[0].to_list()
    for candidate, folded in zip(candidates, fold(candidates), strict=True):
        if folded == word:
            return str(candidate)
    return word


def shortened(title: str) -> str:
    """A title cut to what fits where a label does."""
    line = " ".join(title.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


def _telling(word: str) -> bool:
    if not word.isalpha() or word in COMMON:
        return False
    # Scripts written without spaces come as single signs; elsewhere short words are units.
    return len(word) >= 3 or not word.isascii()


def _same_word(a: str, b: str) -> bool:
    """Whether two words differ in a short ending only: glove, gloves."""
    return abs(len(a) - len(b)) <= 2 and (a.startswith(b) or b.startswith(a))
