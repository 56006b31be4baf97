"""The one door to a trained model: titles or a user in; interests, capsules and a top-K out.

The names of the answers (``miracle_core.recommender.results``) can be imported without torch: a
screen draws before a model is loaded. :class:`Recommender` itself brings torch, and :class:`Rules`
pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miracle_core.recommender.given import ItemId, NewTitle

if TYPE_CHECKING:
    from miracle_core.ranking.rules import Rules
    from miracle_core.recommender.recommender import Recommender

__all__ = ["ItemId", "NewTitle", "Recommender", "Rules"]


def __getattr__(name: str) -> Any:
    if name == "Rules":
        from miracle_core.ranking.rules import Rules

        return Rules
    if name == "Recommender":
        from miracle_core.recommender.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
