"""MIRACLE with another head, everything else equal: what several interests gain over one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.processes import Processes
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Encoded, Objective, Sizes
from miracle_core.systems.contextual import ContextualSystem
from miracle_core.systems.heads.heads import make_head
from miracle_core.systems.heads.settings import HeadsSettings
from miracle_core.systems.miracle.capsules import CapsuleOutput, SparseCapsules
from miracle_core.systems.miracle.regularised import regularised

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.systems.explanation import VectorExplanation


class Heads(ContextualSystem):
    """One system for an experiment: interests of contextual items, made in five ways.

    Systems with one vector a user and with several differ in their papers by inputs, encoders and
    losses too. Here text, adaptor, item embedding, context encoder, score and loss are MIRACLE's
    (eq. 2-6, 17, 23), and ``model.head`` makes the interests. With ``capsules`` it is MIRACLE, to
    the bit, coverage and orthogonality (eq. 18-21) included; no other head has capsules to
    regularise.

    Every head is trained by the same softmax over the catalogue of the same score, the maximum over
    the user's interests. So ``attention`` and ``routing`` are not ComiRec and MIND: these train on
    the one vector that the target makes of the interests (:mod:`miracle_core.systems.comirec`,
    :mod:`miracle_core.systems.mind`).
    """

    settings: HeadsSettings

    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        s = settings.model
        if not isinstance(s, HeadsSettings) or sizes.text is None:
            raise ValueError("heads needs its own settings and text vectors")
        super().__init__(s, sizes.text)
        self.n_interests = s.capsules if s.head == "capsules" else s.interests
        self.head = make_head(s)
        self.learn_identity(sizes.items if settings.train.mode == "transductive" else None)
        if settings.seen == "gain":
            self.learn_gain()

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """Interests as eq. 17 multiplies them; with capsules the detail is their whole output."""
        made: Interests | CapsuleOutput = self.head(self.context(tokens, packed), packed)
        interests, detail = (
            (made.interests, made) if isinstance(made, CapsuleOutput) else (made, None)
        )
        return Encoded(interests.replace_vectors(self.scored(interests.vectors)), detail)

    def weighted(
        self, encoded: Encoded, packed: Packed, recommendation: Tensor, processes: Processes
    ) -> Objective:
        """The loss of the next item; with capsules, and the terms that keep them apart (eq. 24)."""
        if not isinstance(self.head, SparseCapsules):
            return super().weighted(encoded, packed, recommendation, processes)
        return regularised(
            self.settings, self.head, encoded.detail, packed, recommendation, processes
        )

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """One history's score, and what it loses without each item; the same for every head."""
        from miracle_core.systems.explanation import explained_by_leaving_out

        return explained_by_leaving_out(self, tokens, packed, candidates)
