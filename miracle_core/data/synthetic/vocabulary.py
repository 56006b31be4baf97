"""The words a generated shop is made of: one TOML file a shop in ``shops/``, written by us."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from miracle_core.errors import InputError

SHOPS = ("workshop", "outdoor", "kitchen", "atelier", "garden", "pets")
"""The shops there are words for."""

ROLES = ("device", "supply", "accessory")
"""What an item is within its interest: bought once, used up, or added."""

Words = Annotated[list[str], Field(min_length=1)]
Nouns = Annotated[dict[str, Words], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interest(_Strict):
    """One planted interest: what is sold for it.

    Attributes:
        name: unique in its shop.
        group: the part of the shop it is in; several interests share one.
        words: attributes that belong to the interest.
        device: nouns and, for each, the sizes or kinds it comes in.
        supply: likewise.
        accessory: likewise.
    """

    name: str
    group: str
    words: Words
    device: Nouns
    supply: Nouns
    accessory: Nouns

    def nouns(self, role: str) -> dict[str, list[str]]:
        """The nouns of one of the :data:`ROLES`."""
        return {"device": self.device, "supply": self.supply, "accessory": self.accessory}[role]


class Vocabulary(_Strict):
    """All words of one shop.

    Attributes:
        name: the shop's name.
        department: the first category of every item.
        adjectives: attributes that any item may have.
        finishes: colours and materials that any device or accessory may have.
        packs: how many come in a pack of supplies.
        brands: each brand's product lines; a line may be made by several brands.
        common: accessories that every interest sells, so that their noun says nothing.
        interest: the planted interests.
    """

    name: str
    department: str
    adjectives: Words
    finishes: Words
    packs: Words
    brands: Annotated[dict[str, Words], Field(min_length=1)]
    common: Nouns
    interest: Annotated[list[Interest], Field(min_length=1)]

    def makers(self) -> dict[str, list[str]]:
        """Each product line's brands, in the order of the file."""
        makers: dict[str, list[str]] = {}
        for brand, lines in self.brands.items():
            for line in lines:
                makers.setdefault(line, []).append(brand)
        return makers


def load_vocabulary(shop: str) -> Vocabulary:
    """Read one shop's words.

    Raises:
        InputError: there is no such shop.
    """
    if shop not in SHOPS:
        raise InputError(
            f"there is no shop {shop!r}", where="shops", remedy=f"name some of: {', '.join(SHOPS)}"
        )
    file = resources.files(__package__).joinpath("shops", f"{shop}.toml")
    return Vocabulary.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
