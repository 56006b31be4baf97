"""The settings of the systems that differ in their head alone."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from miracle_core.config import Choice, SearchSpace, Uniform
from miracle_core.systems.miracle.settings import NetworkSettings

Head = Literal["last", "mean", "attention", "routing", "capsules"]


class HeadsSettings(NetworkSettings):
    """MIRACLE's network and presets, with a choice of what makes interests of contextual items.

    Of MIRACLE's settings ``capsules``, ``activation_noise``, ``agreement``, ``positional``,
    ``sparse``, ``coverage`` and ``orthogonality`` are read by the head ``capsules`` alone, and
    ``iterations`` by it and ``routing``.

    Attributes:
        head: what makes the interests: the ``last`` item, the ``mean`` of the items, K heads of
            ``attention`` (ComiRec-SA), ``routing`` to K interests (MIND), or MIRACLE's sparse
            ``capsules``.
        interests: K, how many ``attention`` and ``routing`` make. The other heads leave it at 1:
            ``last`` and ``mean`` make one interest, and ``capsules`` as many as the history
            activates.
    """

    kind: Literal["heads"] = "heads"
    head: Head = "last"
    interests: int = Field(1, ge=1)

    # Only what every head reads. With the same space, equally many trials are an equal chance.
    SEARCH: ClassVar[SearchSpace] = {
        "train.learning_rate": Uniform(1e-4, 1e-2, log=True),
        "train.weight_decay": Choice((0.0, 1e-4, 1e-2)),
        "model.layers": Choice((1, 2, 3)),
        "model.dropout": Uniform(0.0, 0.6),
        "model.adaptor_dropout": Uniform(0.0, 0.6),
        "model.temperature": Uniform(0.03, 0.2, log=True),
    }

    @model_validator(mode="after")
    def _only_some_heads_are_told_how_many(self) -> HeadsSettings:
        if self.interests > 1 and self.head not in ("attention", "routing"):
            many = "as many as the history activates" if self.head == "capsules" else "one"
            raise ValueError(
                f"interests {self.interests} is for the heads attention and routing: of "
                f"{self.head} there is {many}"
            )
        return self
