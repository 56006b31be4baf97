"""The items of a generated shop: titles composed from the shop's words, each in one interest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl

from miracle_core.data.synthetic.stream import IntArray, Stream
from miracle_core.data.synthetic.vocabulary import ROLES, Interest, Vocabulary
from miracle_core.errors import InputError

LINES_PER_INTEREST = 4
"""Product lines sold for one interest; others have them too, so that a line alone says little."""

_ROLE_SHARES = (0.25, 0.65)
"""Below the first: a device; below the second: a supply; else an accessory."""

_COMMON_SHARE = 0.15
_TRIES_PER_ITEM = 40
_DRAWS = 13

T = TypeVar("T")


@dataclass(frozen=True)
class Catalogue:
    """Items, and what was planted in them.

    Attributes:
        table: item_id, title, categories, brand, all strings; row number = item index.
        interest: int64 [items], index into the shop's interests.
        role: int64 [items], index into ``ROLES``.
        line: int64 [items], which of its interest's product lines an item belongs to.
    """

    table: pl.DataFrame
    interest: IntArray
    role: IntArray
    line: IntArray


@dataclass(frozen=True)
class _Item:
    title: str
    words: str  # the title without punctuation and case
    categories: str
    brand: str
    role: int
    line: int


def compose_catalogue(words: Vocabulary, n_items: int, stream: Stream) -> Catalogue:
    """Compose the items of a shop; no two titles have the same words.

    Raises:
        InputError: fewer items than interests, or more than the words can name.
    """
    sizes = _interest_sizes(n_items, len(words.interest), stream, shop=words.name)
    seen: set[str] = set()
    items: list[_Item] = []
    for interest, size in zip(words.interest, sizes, strict=True):
        items.extend(_compose_interest(words, interest, size, seen, stream))
    order = stream.permutation(n_items)  # an item's place in the catalogue tells nothing
    interest_of = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    chosen = [items[i] for i in order.tolist()]
    prefix = words.name[:3].upper()
    table = pl.DataFrame(
        {
            "item_id": [f"{prefix}{i:05d}" for i in range(n_items)],
            "title": [item.title for item in chosen],
            "categories": [item.categories for item in chosen],
            "brand": [item.brand for item in chosen],
        }
    )
    return Catalogue(
        table=table,
        interest=interest_of[order],
        role=np.array([item.role for item in chosen], dtype=np.int64),
        line=np.array([item.line for item in chosen], dtype=np.int64),
    )


def _interest_sizes(n_items: int, n_interests: int, stream: Stream, *, shop: str) -> list[int]:
    """Share the items out: each interest gets one, the rest by weights between 1 and 2."""
    if n_items < n_interests:
        raise InputError(
            f"{n_items} items are too few for the {n_interests} interests of shop {shop!r}",
            where="n_items",
            remedy=f"ask for at least {n_interests} items",
        )
    weights = (1000 + stream.uniform(n_interests) * 1000).astype(np.int64)
    rest = n_items - n_interests
    bounds = np.concatenate([[0], np.cumsum(weights)]) * rest // int(weights.sum())
    return [1 + int(size) for size in np.diff(bounds)]


def _compose_interest(
    words: Vocabulary, interest: Interest, size: int, seen: set[str], stream: Stream
) -> Iterator[_Item]:
    makers = words.makers()
    names = list(makers)
    lines = [names[i] for i in stream.permutation(len(names))[:LINES_PER_INTEREST].tolist()]
    found = 0
    for _ in range(_TRIES_PER_ITEM):
        for draws in stream.uniform(size, _DRAWS).tolist():
            if found == size:
                return
            item = _compose_item(words, interest, lines, makers, draws)
            if item.words in seen:
                continue
            seen.add(item.words)
            found += 1
            yield item
    if found < size:
        raise InputError(
            f"the words of shop {words.name!r} make only {found} of {size} titles "
            f"for {interest.name!r}",
            where="n_items",
            remedy="ask for fewer items",
        )


def _chooser(draws: Iterator[float]) -> Callable[[Sequence[T]], T]:
    def choose(options: Sequence[T]) -> T:
        return options[int(next(draws) * len(options))]

    return choose


def _compose_item(
    words: Vocabulary,
    interest: Interest,
    lines: list[str],
    makers: dict[str, list[str]],
    draws: list[float],
) -> _Item:
    """One item from ``_DRAWS`` uniform numbers, each with one use, so that streams never shift."""
    by_role, by_common, by_word, by_line, by_tail, by_form = draws[:6]
    choose: Callable[[Sequence[str]], str] = _chooser(iter(draws[6:]))
    role = sum(by_role >= share for share in _ROLE_SHARES)
    common = ROLES[role] == "accessory" and by_common < _COMMON_SHARE
    nouns = words.common if common else interest.nouns(ROLES[role])
    noun = choose(list(nouns))
    spec = choose(nouns[noun])
    line = choose(lines)
    brand = choose(makers[line])
    own, general = choose(interest.words), choose(words.adjectives)
    tail = choose(words.packs if ROLES[role] == "supply" else words.finishes)

    word = own if by_word < 0.4 and not common else general if by_word < 0.75 else ""
    if by_line < 0.2:  # the line is known from behaviour only
        head = [brand, word, noun]
    elif ROLES[role] == "accessory" and by_line < 0.5:
        head = [brand, word, noun, "for", line]
    else:
        head = [brand, line, word, noun]
    details = [spec] if by_tail < 0.35 else [spec, tail]
    title = " ".join(part for part in head if part)
    if by_form < 0.6:
        title = ", ".join([title, *details])
    elif by_form < 0.8:
        title = f"{title} ({', '.join(details)})"
    else:
        title = " - ".join([title, *details])
    return _Item(
        title=title,
        words=" ".join(part for part in [*head, *details] if part).casefold(),
        categories=f"{words.department}, {interest.group}",
        brand=brand,
        role=role,
        line=lines.index(line),
    )
