"""The heads: from contextual items to interests.

All begin with eq. 10, q = LayerNorm(tanh(h W5 + b5) + h), which the capsules apply themselves. So
no head has more layers than another between the context and the interests.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from miracle_core.data.packed import Packed
from miracle_core.layers.linear import near_identity
from miracle_core.layers.routing import route
from miracle_core.ranking.interests import Interests
from miracle_core.systems.comirec.extractors import SelfAttention
from miracle_core.systems.heads.settings import HeadsSettings
from miracle_core.systems.miracle.capsules import InterestFeatures, SparseCapsules


def make_head(settings: HeadsSettings) -> nn.Module:
    """The head that the settings name, with fresh weights."""
    s = settings
    match s.head:
        case "last":
            return LastItem(s.width)
        case "mean":
            return MeanItem(s.width)
        case "attention":
            return Attention(s.width, s.interests, s.max_length)
        case "routing":
            return Routing(s.width, s.interests, s.max_length, s.iterations)
        case "capsules":
            return SparseCapsules.of(s)


class LastItem(nn.Module):
    """The newest item: u = q_n.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = InterestFeatures(width)

    def forward(self, H: Tensor, packed: Packed) -> Interests:
        """Contextual items [tokens, d] to one interest a history."""
        return Interests.single(self.features(H[packed.last_tokens()]))


class MeanItem(nn.Module):
    """The mean of a history's items: u = sum_i q_i / n.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = InterestFeatures(width)

    def forward(self, H: Tensor, packed: Packed) -> Interests:
        """Contextual items [tokens, d] to one interest a history."""
        q = self.features(H)
        if packed.valid is not None:
            sums = packed.filled(q, 0.0).view(packed.n_histories, -1, q.shape[1]).sum(1)
            return Interests.single(sums / packed.lengths().unsqueeze(1))
        return Interests.single(torch.segment_reduce(q, "mean", lengths=packed.lengths()))


class Attention(nn.Module):
    """K means of the items, each weighted by an attention of its own (Cen et al. 2020, eq. 6-8).

    Args:
        width: d.
        interests: K.
        max_length: N.
    """

    def __init__(self, width: int, interests: int, max_length: int) -> None:
        super().__init__()
        self.features = InterestFeatures(width)
        self.attention = SelfAttention(width, interests, max_length)
        self.interests = interests

    def forward(self, H: Tensor, packed: Packed) -> Interests:
        """Contextual items [tokens, d] to K interests a history."""
        return equally_many(self.attention(self.features(H), packed), self.interests)


class Routing(nn.Module):
    """Dynamic routing through one map S to K interests (Li et al. 2019, algorithm 1).

    MIND gives short histories fewer interests, and passes interests through two ReLU layers. Here
    all users have K, squashed, so that only the routing is MIND's.

    Args:
        width: d.
        interests: K.
        max_length: N.
        iterations: r, routing iterations.
    """

    def __init__(self, width: int, interests: int, max_length: int, iterations: int) -> None:
        super().__init__()
        self.features = InterestFeatures(width)
        self.iterations = iterations
        self.bilinear = nn.Parameter(near_identity(width))
        # Drawn once, so that interests differ, and kept with the weights.
        self.logits: Tensor
        self.register_buffer("logits", torch.randn(interests, max_length))

    def forward(self, H: Tensor, packed: Packed) -> Interests:
        """Contextual items [tokens, d] to K interests a history."""
        sent = (self.features(H) @ self.bilinear.T).split(packed.token_counts)
        found = []
        for q, (length, n) in zip(sent, packed.groups, strict=True):
            own = self.logits[:, -length:]
            items = None if packed.valid is None else packed.valid.view(n, length)
            routed = route(q.view(n, 1, length, -1), own, self.iterations, items=items)
            found.append(routed.squashed().flatten(0, 1))
        return equally_many(torch.cat(found), len(self.logits))


def equally_many(vectors: Tensor, interests: int) -> Interests:
    """Interests of users who all have equally many.

    Args:
        vectors: [users * interests, d], those of a user next to each other.
        interests: how many each user has.
    """
    n = len(vectors) // interests
    which = torch.arange(interests, device=vectors.device).repeat(n)
    users = torch.arange(n, device=vectors.device)
    return Interests(vectors, which, users, ((interests, n),))
