"""ComiRec: several interests by dynamic routing or by self-attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Sizes
from miracle_core.systems.comirec.extractors import DynamicRouting, SelfAttention
from miracle_core.systems.comirec.settings import ComiRecSettings
from miracle_core.systems.several import Made, SeveralInterests

if TYPE_CHECKING:
    from miracle_core.config import Settings


class ComiRec(SeveralInterests):
    """Cen et al., *Controllable Multi-Interest Framework for Recommendation*, KDD 2020.

    K interests of each user, by dynamic routing with a bilinear map W_ij for each place and
    interest (``dr``, eq. 1-5) or by self-attention with K heads (``sa``, eq. 6-8). In training the
    interest nearest to the item that came next is the user (eq. 9), and the loss is a softmax (eq.
    10-11). Serving takes the best items of every interest and orders all of them by their best
    score (eq. 12): over a whole catalogue that is the order by the maximum, which ranking has. The
    controllable aggregation (eq. 13-14) is :func:`miracle_core.ranking.diversity.diversified`.

    Published: d 64, K 4, 3 iterations, 20 items, Adam at 0.001, batches of 128, 10 negatives for
    each example, which their code shares in a batch: the preset ``paper``. Differences:

    - By default the softmax is over the whole catalogue; theirs over sampled items.
    - Places count from the newest item, theirs from the oldest that is read. So the newest item,
      which says most, always goes through the same maps.
    - W_ij start near the identity, theirs at N(0, 1): docs/decisions/0070 says what it is worth.
    - The attention's layers have no bias, as printed; their code gives them one.
    - Scores are cosines with a temperature by default. Squashed interests are shorter than 1: under
      inner products all scores are then bounded by the items' lengths, and of several interests the
      longest wins, whatever it points to. ``model.score=inner`` is as printed.
    """

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        s = settings.model
        if not isinstance(s, ComiRecSettings) or sizes.items is None:
            raise ValueError("ComiRec needs its own settings and a catalogue")
        super().__init__(s, sizes.items, gain=settings.seen == "gain")
        self.extractor: DynamicRouting | SelfAttention
        if s.routing == "dr":
            self.extractor = DynamicRouting(s.width, s.interests, s.max_length, s.iterations)
        else:
            self.extractor = SelfAttention(s.width, s.interests, s.max_length)

    def interests(self, tokens: Tensor, packed: Packed) -> Interests:
        """K of every history."""
        n, k = packed.n_histories, self.n_interests
        users = torch.arange(n, device=tokens.device)
        which = torch.arange(k, device=tokens.device).repeat(n)
        return Interests(self.extractor(tokens, packed), which, users, ((k, n),))

    def chosen(self, vectors: Tensor, targets: Tensor, active: Tensor | None = None) -> Tensor:
        """The interest nearest to the target (eq. 9): [n, k, d] and [n, d] to [n, d]."""
        with torch.no_grad():
            nearest = (vectors @ targets.unsqueeze(2)).squeeze(2).argmax(1)
        return vectors[torch.arange(len(vectors), device=vectors.device), nearest]

    def made(self, tokens: Tensor, packed: Packed) -> Made:
        """How the interests of one history came about."""
        return self.extractor.made(tokens, packed)
