"""Rules over one catalogue: ids and attributes looked up, scores and lists changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.dataset import Dataset
from miracle_core.errors import did_you_mean, nearest
from miracle_core.ranking.diversity import diversified, marginal_relevance
from miracle_core.ranking.interests import Groups, Interests
from miracle_core.ranking.order import top_k
from miracle_core.ranking.quotas import with_quotas
from miracle_core.ranking.rules import TEXT, RuleError, Rules

# A diverse list of K items is chosen from the POOL * K best candidates, or LEAST_POOL if that is
# more.
POOL = 10
LEAST_POOL = 200
# How many unknown ids a message names.
NAMED = 3


@dataclass(frozen=True)
class Ability:
    """What a system offers that rules can be about.

    Attributes:
        name: the system's.
        capsules: how many interests mean the same for every user; 0 for none.
        several: whether a user may have several interests.
        text: [items, d_b], the text vectors it reads, or None.
    """

    name: str
    capsules: int
    several: bool
    text: Tensor | None


@dataclass(frozen=True)
class Applied:
    """Rules over a catalogue.

    Attributes:
        rules: what is asked.
        gone: bool [items], items that are no candidates; None: all items are candidates.
        labels: int64 [items], a label of each item for diversity by an attribute, or None.
        directions: [items, d_b], text vectors of length 1 for diversity by text, or None.
        notes: what a person should hear, such as ids that the catalogue doesn't hold.
    """

    rules: Rules
    gone: Tensor | None
    labels: Tensor | None
    directions: Tensor | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, rules: Rules, dataset: Dataset, ability: Ability, device: torch.device | str = "cpu"
    ) -> Applied:
        """Look the rules up.

        Args:
            rules: what is asked.
            dataset: whose items.
            ability: what the system has.
            device: where it ranks.

        Raises:
            RuleError: rules that leave no item, an attribute or value that no item has, or a rule
                about something that the system does not have.
        """
        _check_ability(rules, ability)
        notes: list[str] = []
        gone = _gone(rules, dataset, notes)
        labels = directions = None
        if rules.diversity and rules.diverse_by == TEXT:
            assert ability.text is not None
            directions = F.normalize(ability.text.to(device), dim=-1)
        elif rules.diversity:
            labels = torch.from_numpy(_labels(rules.diverse_by, dataset)).to(device)
        mask = None if gone is None else torch.from_numpy(gone).to(device)
        return cls(rules, mask, labels, directions, tuple(notes))

    def counting(self, which: Tensor, strengths: Tensor) -> Tensor:
        """Which interests count, bool [interests].

        Args:
            which: int64 [interests], their numbers.
            strengths: [interests].
        """
        kept = strengths >= self.rules.min_strength
        for muted in self.rules.mute:
            kept &= which != muted
        return kept

    def boosts(self, which: Tensor) -> Tensor:
        """What is added to the scores that each interest gives, [interests].

        Args:
            which: int64 [interests], their numbers.
        """
        added = torch.zeros(which.shape, device=which.device)
        for capsule, boost in self.rules.boost.items():
            added[which == capsule] = boost
        return added

    def interests(self, interests: Interests) -> tuple[Interests, Tensor | None]:
        """The interests that count, boosted.

        Returns:
            The interests, and the packed histories that have any, bool [histories]; None if the
            rules leave out no interest (see :meth:`Interests.only`).
        """
        if self.rules.boost:
            interests = replace(interests, added=self.boosts(interests.which))
        if not self.rules.of_interests:
            return interests, None
        return interests.only(self.counting(interests.which, interests.strengths()))

    def leave_out(self, scores: Tensor) -> None:
        """Take items that are no candidates out of scores [users, items], in place."""
        if self.gone is not None:
            scores.masked_fill_(self.gone, -torch.inf)

    def best(
        self,
        scores: Tensor,
        each: Tensor | None,
        groups: Groups,
        k: int,
        ties: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The list of every user: scores and items int64, [users, K].

        Args:
            scores: [users, items], after :meth:`leave_out`.
            each: [interests, items], the score under each interest with its boost, where places are
                kept for each.
            groups: (interests a user, users) of each run of users.
            k: at most the number of items.
            ties: int64 [items], the order of items with equal scores.

        Raises:
            ValueError: a quota without ``each``.
        """
        if self.rules.quota:
            if each is None:
                raise ValueError("quotas need the score under each interest")
            return with_quotas(scores, each, groups, self.rules.quota, k, ties)
        if not self.rules.diversity:
            return top_k(scores, k, ties)
        pool = min(max(POOL * k, LEAST_POOL), scores.shape[1])
        values, items = top_k(scores, pool, ties)
        if self.directions is not None:
            weight = self.rules.diversity
            return marginal_relevance(values, items, self.directions, k, weight)
        assert self.labels is not None
        return diversified(values, items, self.labels, k, self.rules.diversity)


def _check_ability(rules: Rules, ability: Ability) -> None:
    if rules.of_capsules and not ability.capsules:
        asked = {"mute": rules.mute, "boost": rules.boost, "min_strength": rules.min_strength}
        raise RuleError(
            f"interests of {ability.name} mean something within one history only: none can be "
            "muted or boosted, and their strengths can't be compared",
            *(name for name, given in asked.items() if given),
            remedy="leave it out, or take a system with capsules (miracle)",
        )
    for name, capsules in (("mute", rules.mute), ("boost", rules.boost)):
        for capsule in capsules:
            if not 0 <= capsule < ability.capsules:
                raise RuleError(
                    f"there is no capsule {capsule}",
                    name,
                    remedy=f"capsules go from 0 to {ability.capsules - 1} (miracle inspect names "
                    "them)",
                )
    if len(set(rules.mute)) == ability.capsules and rules.mute:
        raise RuleError("every interest is muted", "mute", remedy="keep some")
    if rules.quota and not ability.several:
        raise RuleError(
            f"{ability.name} has one interest a user, so there are no others to keep places for",
            "quota",
            remedy="leave it out, or take a system with several interests (miracle models)",
        )
    if rules.diverse_by == TEXT and ability.text is None:
        raise RuleError(
            f"{ability.name} reads no text, so texts can't be told apart",
            "diverse_by",
            remedy="name an attribute",
        )


def _gone(rules: Rules, dataset: Dataset, notes: list[str]) -> np.ndarray | None:
    """Which items are no candidates, bool [items]; None where all are."""
    asked = {"allow": rules.allow is not None, "deny": rules.deny, "where": rules.where}
    if not any(asked.values()):
        return None
    gone = np.zeros(dataset.n_items, dtype=bool)
    if rules.allow is not None:
        allowed = _named(rules.allow, dataset, "allow", notes)
        if not allowed.any():
            raise _none_known(rules.allow, dataset)
        gone |= ~allowed
    if rules.deny:
        gone |= _named(rules.deny, dataset, "deny", notes)
    for attribute, values in rules.where.items():
        gone |= ~_having(attribute, values, dataset)
    if gone.all():
        raise RuleError(
            f"the rules leave none of the {dataset.n_items:,} items",
            *(name for name, given in asked.items() if given),
            remedy="let more items through",
        )
    return gone


def _named(ids: Sequence[str], dataset: Dataset, name: str, notes: list[str]) -> np.ndarray:
    """The items of a list of ids, bool [items]; ids that the catalogue doesn't hold are noted."""
    asked = pl.Series(ids, dtype=pl.String).unique(maintain_order=True)
    known = dataset.items["item_id"]
    lost = asked.filter(~asked.is_in(known.implode()))
    if len(lost):
        # Lines that begin with # may be meant as comments, so other unknown ids are named first.
        hashed = lost.str.starts_with("#")
        shown = ", ".join(map(repr, pl.concat([lost.filter(~hashed), lost.filter(hashed)])[:NAMED]))
        more = f" and {len(lost) - NAMED:,} more" if len(lost) > NAMED else ""
        hint = " (a line that begins with # is an id, too)" if hashed.any() else ""
        notes.append(f"{name}: the catalogue has no item {shown}{more}{hint}")
    return known.is_in(asked.implode()).to_numpy()


def _none_known(allow: Sequence[str], dataset: Dataset) -> RuleError:
    """Why an allow list leaves nothing: its ids are not the catalogue's."""
    shown = ", ".join(map(repr, allow[:NAMED])) + (", ..." if len(allow) > NAMED else "")
    return RuleError(
        f"none of its {len(allow):,} ids is in the catalogue ({shown})",
        "allow",
        remedy=f"write ids as the catalogue has them, such as {dataset.items['item_id'][0]!r}; of "
        "a file each whole line is an id",
    )


def _attribute(name: str, rule: str, dataset: Dataset) -> pl.DataFrame:
    """The rows of an attribute that a rule names.

    Raises:
        RuleError: no item has it; the nearest name is suggested.
    """
    table = dataset.attributes
    rows = table.filter(pl.col("attribute") == name)
    if rows.height:
        return rows
    known = table["attribute"].unique().sort().to_list()
    remedy = "this Dataset has no attributes: preprocess it with --attribute-column"
    if known:
        remedy = did_you_mean(name, known, f"there are: {', '.join(known)}")
    raise RuleError(f"no item of {dataset.name} has an attribute {name!r}", rule, remedy=remedy)


def _having(attribute: str, values: Sequence[str], dataset: Dataset) -> np.ndarray:
    """The items that have one of the values, bool [items]."""
    rows = _attribute(attribute, "where", dataset)
    known = rows["value"].unique()
    for value in values:
        if value not in known:
            near = nearest(value, known)
            some = ", ".join(map(repr, known.sort().head(NAMED)))
            raise RuleError(
                f"no item of {dataset.name} has {attribute} {value!r}",
                "where",
                remedy=f"values look like {some}" if near is None else f"did you mean {near!r}?",
            )
    having = np.zeros(dataset.n_items, dtype=bool)
    having[rows.filter(pl.col("value").is_in(list(values)))["item"].to_numpy()] = True
    return having


def _labels(attribute: str, dataset: Dataset) -> np.ndarray:
    """One label an item, int64 [items]; two items have the same label if they have the same values.

    An item without a value has a label of its own, so it differs from all others.
    """
    rows = _attribute(attribute, "diverse_by", dataset)
    joined = rows.group_by("item").agg(pl.col("value").sort().str.join("\x1f"))
    labels = np.arange(dataset.n_items, dtype=np.int64) + dataset.n_items
    labels[joined["item"].to_numpy()] = joined["value"].rank("dense").to_numpy().astype(np.int64)
    return labels
