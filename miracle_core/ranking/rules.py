"""Rules of a shop: what may be recommended, and what a list must hold.

Two kinds. *Who competes*: allowed and denied items, values of attributes, muted, weak and boosted
interests. They act on scores before anything is chosen, so a list holds the best of what is left.
*What a list holds*: places for each interest, or items that differ. They choose among the
candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from miracle_core.config.problems import in_words
from miracle_core.errors import InputError, did_you_mean

TEXT = "text"
# The most that a boost adds and that diversity weighs. Scores are float32: with this much added,
# they still differ in their fourth digit after the point; with far more they would all be equal.
LARGEST = 1000.0


class RuleError(InputError):
    """Rules that make no sense, that a system can't follow, or that leave nothing.

    The text names no attribute of :class:`Rules`. Those are in ``rules`` and ``missing``, so that
    the command line can name the options that were typed.

    Args:
        what: one sentence saying what was wrong.
        rules: the attributes of :class:`Rules` that it is about.
        missing: those that have to be given as well.
        remedy: how to fix it; None says what is missing, if something is.
    """

    def __init__(
        self,
        what: str,
        *rules: str,
        missing: Iterable[str] = (),
        remedy: str | None = None,
    ) -> None:
        self.rules, self.missing = rules, tuple(missing)
        if self.missing and remedy is None:
            remedy = f"give {', '.join(self.missing)} as well"
        place = ", ".join(rules)
        super().__init__(what, where=f"rules: {place}" if place else "rules", remedy=remedy)


class Rules(BaseModel):
    """What a shop asks of every list; the same for a user, a batch, the explorer, an evaluation.

    What becomes of items that a history holds is the seen rule (:mod:`miracle_core.ranking.seen`).

    Attributes:
        allow: ids of the items that may be recommended; None allows all.
        deny: ids of items that may not.
        where: attribute to values: only items that have one of the values, for each attribute.
        mute: interests that don't count, by the number of their capsule.
        boost: number of a capsule to what is added to the scores that its interest gives, before an
            item takes the best of its scores; below 0 it counts less. At most :data:`LARGEST`
            either way.
        min_strength: interests that are weaker don't count; from 0 to below 1, as strengths are.
        quota: how many places of a list each interest of a user gets, as far as it won so many
            items and places are left; 0 reserves none.
        diversity: the weight of differences between the items of a list; 0 for none.
        diverse_by: in what they are to differ: an attribute (ComiRec's controllable aggregation, a
            weight of at most :data:`LARGEST`) or ``text`` (maximal marginal relevance, a weight of
            at most 1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    where: dict[str, tuple[str, ...]] = {}
    mute: tuple[int, ...] = ()
    boost: dict[int, Annotated[float, Field(allow_inf_nan=False)]] = {}
    min_strength: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    quota: int = Field(default=0, ge=0)
    diversity: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    diverse_by: str = ""

    @classmethod
    def make(cls, **given: object) -> Self:
        """Rules from what a person gave.

        Raises:
            RuleError: a value that makes no sense, or two rules that don't go together.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "extra_forbidden":
                unknown = str(first["loc"][0])
                known = f"known: {', '.join(cls.model_fields)}"
                remedy = did_you_mean(unknown, cls.model_fields, known)
                raise RuleError("there is no such rule", unknown, remedy=remedy) from error
            raise RuleError(in_words(first), *map(str, first["loc"][:1])) from error

    @field_validator("boost")
    @classmethod
    def _boosts_not_too_large(cls, boost: dict[int, float]) -> dict[int, float]:
        for capsule, added in boost.items():
            if abs(added) > LARGEST:
                raise RuleError(
                    f"a boost is between -{LARGEST:g} and {LARGEST:g}, and capsule {capsule} is "
                    f"given {added} (mute one that isn't to count)",
                    "boost",
                )
        return boost

    @field_validator("diversity")
    @classmethod
    def _diversity_not_too_large(cls, weight: float) -> float:
        if weight > LARGEST:
            what = f"diversity is at most {LARGEST:g}, and is given as {weight}"
            raise RuleError(what, "diversity")
        return weight

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.diversity and not self.diverse_by:
            what = "nothing says by what items are to differ"
            raise RuleError(what, "diversity", missing=["diverse_by"])
        if self.diverse_by and not self.diversity:
            what = "nothing says how much it counts that items differ (a number above 0)"
            raise RuleError(what, "diverse_by", missing=["diversity"])
        both = sorted(set(self.mute) & set(self.boost))
        if both:
            raise RuleError(f"capsule {both[0]} is muted and boosted: choose one", "mute", "boost")
        if self.quota and self.diversity:
            what = "a list has places for each interest, or items that differ: not both"
            raise RuleError(what, "quota", "diversity")
        if self.diverse_by == TEXT and self.diversity > 1:
            what = "by text, diversity is a weight from 0 to 1"
            raise RuleError(what, "diversity", "diverse_by")
        return self

    @property
    def empty(self) -> bool:
        """Whether nothing is asked."""
        return self == type(self)()

    @property
    def of_interests(self) -> bool:
        """Whether some interests may not count."""
        return bool(self.mute) or self.min_strength > 0

    @property
    def of_capsules(self) -> bool:
        """Whether the rules name capsules or strengths, which must mean the same for every user."""
        return self.of_interests or bool(self.boost)

    @property
    def of_lists(self) -> bool:
        """Whether a list is more than the items with the best scores."""
        return self.quota > 0 or self.diversity > 0

    def record(self) -> dict[str, object]:
        """:meth:`summary`, and a hash of the whole rules, with every id: equal rules have one."""
        whole = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return self.summary() | {"sha256": whole}

    def summary(self) -> dict[str, object]:
        """The rules that are not defaults, for a record; of lists of ids only how many they are."""
        given = self.model_dump(exclude_defaults=True)
        if self.boost:
            given["boost"] = {str(capsule): added for capsule, added in self.boost.items()}
        return given | {name: len(given[name]) for name in ("allow", "deny") if name in given}
