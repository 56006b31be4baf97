"""The Recommender's answers: plain values, so that a screen or a report needs no torch.

Arrays are NumPy's. *Items* are places in the run's catalogue; *history places* count from 0, the
oldest item first; *k* is the number of a history's active capsules, C that of all capsules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from miracle_core.recommender.given import Known, NewTitle

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["exact", "id", "fuzzy", "new"]
Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Match:
    """What a typed text means.

    Attributes:
        query: what was typed.
        item: the catalogue item, or None for a new one.
        item_id: its id, or None.
        title: the item's title; of a new item what was typed, cleaned as a catalogue's titles are.
        kind: ``exact`` title (but for case, spaces and accents), exact ``id``, ``fuzzy``, ``new``.
        similarity: 0 to 1, how much the title is like the query
            (:meth:`miracle_core.recommender.titles.TitleIndex.similarity`); 1 for exact and id, 0
            for new.
    """

    query: str
    item: int | None
    item_id: str | None
    title: str
    kind: Kind
    similarity: float

    @property
    def given(self) -> Known:
        """The item as a history takes it: its index, or a new title."""
        # As it was typed: cleaning is done once, where it is used.
        return NewTitle(self.query) if self.item is None else self.item


@dataclass(frozen=True)
class HistoryItem:
    """One item of a history.

    Attributes:
        item: the catalogue item, or None for a new one.
        item_id: its id, or None.
        title: its title.
        capsule: the capsule it activates (eq. 8); None in a system whose items activate none, and
            for an item that is older than what the system reads.
    """

    item: int | None
    item_id: str | None
    title: str
    capsule: int | None

    @property
    def new(self) -> bool:
        """Whether the catalogue doesn't hold it."""
        return self.item is None


@dataclass(frozen=True)
class Recommended:
    """One item as the model ranks it for a history.

    Attributes:
        rank: from 1, among all candidates; 0 for an item that was left out of them.
        item: the catalogue item.
        item_id: its id.
        title: its title.
        score: max over the interests (eq. 17), plus ``repeat``, ``boost`` and ``cooccurrence``.
        capsule: the interest that won; None in a system with one a user.
        scores: under each interest, in the order of ``Recommendation.capsules``.
        contributions: how much of ``score`` comes from each history item, from the item at
            ``Recommendation.first`` on. With ``repeat``, ``boost`` and ``cooccurrence`` they sum to
            ``score``. If ``Recommendation.additive`` is false, each is instead what the score loses
            without that item. Empty where the system can't tell.
        repeat: what ``score`` gains because the history holds the item.
        boost: what a shop's rules add for the interest that won; not in ``scores``.
        cooccurrence: what ``score`` gains because the same users took it and the history's items.
    """

    rank: int
    item: int
    item_id: str
    title: str
    score: float
    capsule: int | None
    scores: tuple[float, ...]
    contributions: tuple[float, ...]
    repeat: float
    boost: float
    cooccurrence: float


@dataclass(frozen=True)
class ActiveCapsule:
    """One interest of a history.

    Attributes:
        capsule: which capsule.
        strength: how strong it is: in MIRACLE ||u||, the length of the interest vector, below 1
            (eq. 13).
        label: the capsule's words; in a system without capsules the title of the best item that
            the interest won, or ``interest N`` if it won none.
        items: history places of the items that activate it.
        best: the best of the items that it won, with their ranks among all.
    """

    capsule: int
    strength: float
    label: str
    items: tuple[int, ...]
    best: tuple[Recommended, ...]


@dataclass(frozen=True)
class Trace:
    """How the interests of a history came about; n is how many of its items are read.

    Attributes:
        first: the history place of row 0, above 0 where the history is longer than the model reads.
        similarity: s_ij [n, C] (eq. 7).
        routing: c_ij of the last iteration [n, k] (eq. 12); each row sums to 1.
        importance: o_i [n] (eq. 9); sums to 1.
        agreement: [n, k], the product of each item with each finished interest (eq. 14).
    """

    first: int
    similarity: Floats
    routing: Floats
    importance: Floats
    agreement: Floats


@dataclass(frozen=True)
class Abilities:
    """What can be asked of a system besides recommendations.

    Attributes:
        capsules: whether its interests mean the same for every user, so that they have labels.
        interests: whether a user may have several interests, so that an item has one that won it.
        new_titles: whether histories may hold items that the catalogue doesn't hold.
        neighbours: how the items near another one are found, by ``text`` or by the system's own
            ``vectors``; None if they can't be.
    """

    capsules: bool
    interests: bool
    new_titles: bool
    neighbours: Literal["text", "vectors"] | None


@dataclass(frozen=True)
class Recommendation:
    """The answer to one history.

    Attributes:
        history: every item given, oldest first.
        capsules: the active capsules, or other interests, strongest first; empty for a system with
            one interest a user.
        items: the top-K, best first.
        target: the item that was to be ranked as well, among the same candidates; None for none.
        first: the history place of the oldest item read, above 0 where the history is longer.
        trace: how the interests came about, columns in the order of ``capsules``; None where no
            routing made them.
        additive: whether the contributions of an item sum to its score.
    """

    history: tuple[HistoryItem, ...]
    capsules: tuple[ActiveCapsule, ...]
    items: tuple[Recommended, ...]
    target: Recommended | None
    first: int
    trace: Trace | None
    additive: bool

    def __repr__(self) -> str:
        items, given = len(self.items), len(self.history)
        return f"<Recommendation: {items:,} items for a history of {given:,}; see .frame()>"

    def frame(self) -> pd.DataFrame:
        """The top-K as a pandas DataFrame, best first.

        Columns: ``rank``, ``item`` (its place in the catalogue), ``item_id``, ``title``, ``score``,
        ``capsule`` (a nullable integer: missing in a system with one interest a user), ``repeat``,
        ``boost``, ``cooccurrence``.
        """
        import pandas as pd

        told = ("repeat", "boost", "cooccurrence")
        names = ("rank", "item", "item_id", "title", "score", "capsule", *told)
        columns = {name: [getattr(item, name) for item in self.items] for name in names}
        columns["capsule"] = pd.array(columns["capsule"], dtype="Int64")
        return pd.DataFrame(columns)

    def _repr_html_(self) -> str:
        import polars as pl

        from miracle_core.recommender.notebook import html_table

        labels: dict[int | None, str] = {each.capsule: each.label for each in self.capsules}
        rows = [
            (item.rank, item.item_id, item.title, item.score, labels.get(item.capsule))
            for item in self.items
        ]
        names = ["rank", "item_id", "title", "score", "interest"]
        return html_table(pl.DataFrame(rows, schema=names, orient="row"))


@dataclass(frozen=True)
class Neighbour:
    """A catalogue item near another text.

    Attributes:
        item: the catalogue item.
        similarity: cosine of the two text vectors, or of item vectors where no text is read.
    """

    item: int
    similarity: float


@dataclass(frozen=True)
class CapsuleSummary:
    """What a capsule stands for.

    Attributes:
        capsule: which.
        label: its most characteristic words, or a title where none stands out.
        words: those words.
        n_items: catalogue items that activate it when they are a history of their own.
        share: the same as a share of the catalogue.
        items: its most characteristic items, best first; where no item activates it, the nearest.
        neighbours: the capsules with the most similar base vectors and the cosine, nearest first.
    """

    capsule: int
    label: str
    words: tuple[str, ...]
    n_items: int
    share: float
    items: tuple[int, ...]
    neighbours: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class CapsuleUse:
    """How the users of the data set use the capsules, from their histories before the test item.

    Attributes:
        users: share of users with the capsule active [C].
        items: share of all histories' items that activate it [C]; sums to 1.
        mean: active capsules of a user, on average.
        histogram: number of active capsules to number of users, rising.
    """

    users: Floats
    items: Floats
    mean: float
    histogram: dict[int, int]


@dataclass(frozen=True)
class UserHistory:
    """A user of the data set.

    Attributes:
        user: index.
        user_id: id.
        items: catalogue items, oldest first.
        held_out: the item that came next, or None if nothing is held out.
    """

    user: int
    user_id: str
    items: tuple[int, ...]
    held_out: int | None


@dataclass(frozen=True)
class UserTable:
    """The users of the data set, in index order, as the test split sees them.

    Attributes:
        lengths: items before the held-out one [users].
        active: interests [users]; 0 for a user with nothing held out.
        held_out: held-out item [users]; -1 for none.
        ranks: its rank from 1 [users]; 0 for none, and where it was left out of the candidates.
    """

    lengths: Integers
    active: Integers
    held_out: Integers
    ranks: Integers


@dataclass(frozen=True)
class Activations:
    """The paper's figure 6: which capsules the items of some users activate.

    Attributes:
        users: user indices.
        user_ids: their ids.
        lengths: items of each user's sequence that the model reads [users].
        counts: how many of them activate each capsule [users, C].
    """

    users: tuple[int, ...]
    user_ids: tuple[str, ...]
    lengths: Integers
    counts: Integers
