"""MIND: one vector an interest, by dynamic routing from behaviours to interests."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from miracle_core.data.packed import Packed
from miracle_core.layers.linear import near_identity
from miracle_core.layers.routing import Routed, route
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Sizes
from miracle_core.systems.explanation import Routing
from miracle_core.systems.mind.settings import MindSettings
from miracle_core.systems.several import Made, SeveralInterests

if TYPE_CHECKING:
    from miracle_core.config import Settings


class Mind(SeveralInterests):
    """Li et al., *Multi-Interest Network with Dynamic Routing ... at Tmall*, CIKM 2019.

    Behaviour-to-interest routing (section 4.3) sends an item's vector through one bilinear map S,
    shared by all pairs of items and interests; the first logits are random, so that interests
    differ, and stay as they were drawn. A user has K'_u = max(1, min(K, log2 |I_u|)) interests.
    Each, squashed, goes through two ReLU layers. In training label-aware attention (section 4.4)
    makes one vector of them, v_u = V_u softmax(pow(V_u^T e, p)), e being the item that came next;
    ranking takes their maximum.

    Differences:

    - By default the softmax of the loss is over the whole catalogue; theirs is over sampled items,
      which is better on Scientific (docs/decisions/0106).
    - S and the ReLU layers start near the identity: docs/decisions/0070 says what it is worth.
    - Users and items have no profile, category or brand here: an item is its id, and the ReLU
      layers see the interest alone. They have no bias, so that a score is exactly a sum over the
      history's items; both are d wide.
    - A power of a negative number keeps its sign. An even power would else make the farthest
      interest the nearest.
    - log2 is rounded down, and |I_u| counts only the items that are read.
    - The first logits are one number for each interest and place, counted from the newest item, in
      a buffer saved with the weights: a history then has the same interests each time. (The paper
      draws them; ComiRec's authors' MIND draws new ones for every batch.)
    - Scores are cosines with a temperature by default. A ReLU output has no bound, and of several
      interests under inner products the longest wins everywhere, whatever it points to.
    """

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        s = settings.model
        if not isinstance(s, MindSettings) or sizes.items is None:
            raise ValueError("MIND needs its own settings and a catalogue")
        super().__init__(s, sizes.items, gain=settings.seen == "gain")
        self.settings = s
        self.bilinear = nn.Parameter(near_identity(s.width))
        self.first = nn.Parameter(near_identity(s.width))
        self.second = nn.Parameter(near_identity(s.width))
        self.logits: Tensor
        self.register_buffer("logits", torch.randn(s.interests, s.max_length))

    def count(self, length: int) -> int:
        """K'_u of a history of which ``length`` items are read."""
        return max(1, min(self.settings.interests, length.bit_length() - 1))

    def active(self, lengths: Tensor) -> Tensor:
        """Which of the K interests histories of these lengths have: int64 [n] to bool [n, K]."""
        least = 2 ** torch.arange(1, self.n_interests + 1, device=lengths.device)
        least[0] = 1
        return lengths.unsqueeze(1) >= least

    def routed(self, tokens: Tensor, packed: Packed) -> list[Routed]:
        """The routing of each run of histories of one length."""
        if packed.valid is not None:
            ((length, n),) = packed.groups
            q = (tokens @ self.bilinear.T).view(n, 1, length, -1)
            items, active = packed.valid.view(n, length), self.active(packed.lengths())
            iterations = self.settings.iterations
            return [route(q, self.logits, iterations, items=items, active=active)]
        sent = (tokens @ self.bilinear.T).split(packed.token_counts)
        start = self.logits.unbind(0)
        found = []
        for q, (length, n) in zip(sent, packed.groups, strict=True):
            own = torch.stack(start[: self.count(length)])[:, -length:]
            found.append(route(q.view(n, 1, length, -1), own, self.settings.iterations))
        return found

    def interests(self, tokens: Tensor, packed: Packed) -> Interests:
        """The routed interests, squashed and through the ReLU layers; K'_u of each history."""
        found = self.routed(tokens, packed)
        users = torch.arange(packed.n_histories, device=tokens.device)
        if packed.valid is not None:
            k, n = self.n_interests, packed.n_histories
            which = torch.arange(k, device=tokens.device).repeat(n)
            vectors = self._through(found[0].squashed().flatten(0, 1))
            active = self.active(packed.lengths()).flatten()
            return Interests(vectors, which, users, ((k, n),), active)
        capsules = torch.cat([each.squashed().flatten(0, 1) for each in found])
        runs = [(self.count(length), n) for length, n in packed.groups]
        # Packed histories are in order of length, and so of the number of their interests.
        groups = tuple((k, sum(n for _, n in run)) for k, run in groupby(runs, lambda run: run[0]))
        device = tokens.device
        which = torch.cat([torch.arange(k, device=device).repeat(n) for k, n in groups])
        return Interests(self._through(capsules), which, users, groups)

    def _through(self, capsules: Tensor) -> Tensor:
        """The two ReLU layers."""
        return torch.relu(torch.relu(capsules @ self.first.T) @ self.second.T)

    def chosen(self, vectors: Tensor, targets: Tensor, active: Tensor | None = None) -> Tensor:
        """Label-aware attention: [n, k, d] and [n, d] to [n, d]."""
        scores = (vectors @ targets.unsqueeze(2)).squeeze(2) / self.temperature
        raised = scores.sign() * scores.abs() ** self.settings.power
        if active is not None:
            raised = raised.masked_fill(~active, -torch.inf)
        return (raised.softmax(1).unsqueeze(1) @ vectors).squeeze(1)

    def made(self, tokens: Tensor, packed: Packed) -> Made:
        """An interest is a sum over items: for one input the ReLU layers are linear maps."""
        (routed,) = self.routed(tokens, packed)
        q, weights, sums = routed.q[0, 0], routed.weights[0], routed.sums[0]
        capsules = routed.squashed()[0]
        strengths = torch.linalg.vector_norm(capsules, dim=-1)
        length = torch.linalg.vector_norm(sums, dim=-1).clamp_min(torch.finfo(q.dtype).tiny)
        parts = weights.T.unsqueeze(2) * q.unsqueeze(1) * (strengths / length).unsqueeze(1)
        hidden = capsules @ self.first.T
        parts = (parts @ self.first.T) * (hidden > 0)
        out = hidden.relu() @ self.second.T
        parts = (parts @ self.second.T) * (out > 0)
        routing = Routing(
            similarity=routed.logits[0].T,
            routing=weights.T,
            importance=q.new_full((len(q),), 1 / len(q)),
            agreement=q @ capsules.T,
        )
        return Made(out.relu(), parts, strengths, routing)
