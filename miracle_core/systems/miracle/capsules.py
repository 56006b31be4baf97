"""Section 3.3: the sparse interest capsule network (eq. 7-14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.linear import INIT_STD
from miracle_core.layers.radial import squash
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.precision import exact

if TYPE_CHECKING:
    from miracle_core.systems.miracle.settings import NetworkSettings

Agreement = Literal["h", "q"]
NOISE_SCALE = 0.2
NOISE_FLOOR = 0.01


@dataclass(frozen=True)
class GroupTrace:
    """How the interests of one group of equally long histories came about.

    ``k`` is the most capsules any history of the group activates (:func:`active_capsules` says
    what it is for padded histories); slots beyond a history's own are not ``valid`` and have no
    routing weight.

    Attributes:
        slots: int64 [histories, k], the active capsules, rising; any number where not valid.
        valid: bool [histories, k].
        routing: [histories, length, k], c_ij of the last iteration (eq. 12).
        importance: [histories, length], o_i (eq. 9).
    """

    slots: Tensor
    valid: Tensor
    routing: Tensor
    importance: Tensor


@dataclass(frozen=True)
class CapsuleOutput:
    """The capsule network's result for a batch.

    Attributes:
        interests: the active interests.
        similarity: [tokens, C], s_ij (eq. 7), with noise in training.
        activated: int64 [tokens], the capsule each item activates (eq. 8).
        trace: one entry a group of ``Packed.groups``.
    """

    interests: Interests
    similarity: Tensor
    activated: Tensor
    trace: tuple[GroupTrace, ...]


class SparseCapsules(nn.Module):
    """Items activate capsules; position-wise routing among the active ones builds interests.

    Args:
        width: d.
        capsules: C.
        max_length: N.
        iterations: tau, routing iterations.
        agreement: what agrees with an interest in eq. 14: the contextual item ``h``, as printed,
            or its interest features ``q``, as in the authors' settings.
        noisy: whether similarities get noise in training (eq. 7).
        positional: whether items are weighted by eq. 9; without it (section 4.4, "w/o PW") all
            items of a history weigh the same.
        sparse: whether items activate capsules (eq. 8); without it (section 4.4) all capsules are
            active for every user.
        eps: floor inside the layer norm.

    Attributes:
        base: A [C, d], the base vectors.
        attention: the weights of positions (eq. 9); None without them.
        features: the interest features (eq. 10).
    """

    def __init__(
        self,
        width: int,
        capsules: int,
        max_length: int,
        iterations: int = 3,
        agreement: Agreement = "h",
        noisy: bool = True,
        positional: bool = True,
        sparse: bool = True,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.sparse = sparse
        self.iterations = iterations
        self.agreement = agreement
        self.noisy = noisy
        self.base = nn.Parameter(torch.randn(capsules, width) * INIT_STD)
        self.attention = PositionAttention(width, max_length) if positional else None
        self.features = InterestFeatures(width, eps)

    @classmethod
    def of(cls, settings: NetworkSettings) -> Self:
        """The capsule network of the settings."""
        s = settings
        return cls(
            s.width,
            s.capsules,
            s.max_length,
            s.iterations,
            s.agreement,
            s.activation_noise,
            s.positional,
            s.sparse,
        )

    def forward(self, H: Tensor, packed: Packed, forced: Tensor | None = None) -> CapsuleOutput:
        """Interests of each history (eq. 7-14).

        Args:
            H: [tokens, d], contextual item vectors.
            packed: the histories they lie in.
            forced: int64 [tokens], capsules to activate in place of eq. 8 (the masked copy of a
                history takes those of the original, section 3.4.1).
        """
        s = self.similarity(H)
        activated = s.detach().argmax(-1) if forced is None else forced
        q = self.features(H)
        scores = None if self.attention is None else self.attention(H, packed)
        traces, sums, start = [], [], 0
        sizes = packed.token_counts
        parts = zip(packed.groups, H.split(sizes), q.split(sizes), s.split(sizes), strict=True)
        if scores is not None:
            scores = packed.filled(scores, -torch.inf)
        for (length, count), h_g, q_g, s_g in parts:
            tokens = slice(start, start + length * count)
            shape = (count, length)
            valid = None if packed.valid is None else packed.valid.view(shape)
            if scores is None and valid is not None:
                importance = valid / valid.sum(1, keepdim=True, dtype=H.dtype)
            elif scores is None:
                importance = H.new_full(shape, 1.0 / length)
            else:
                importance = scores[tokens].view(shape).softmax(-1)
            with exact(H):
                trace, z = self._route(
                    h_g.unflatten(0, shape),
                    q_g.unflatten(0, shape),
                    s_g.unflatten(0, shape),
                    activated[tokens].view(shape),
                    importance,
                    valid,
                )
            traces.append(trace)
            sums.append(z.flatten(0, 1))
            start = tokens.stop
        gather = _gather_interests if packed.valid is None else _all_places
        interests = gather(sums, traces)
        return CapsuleOutput(interests, s, activated, tuple(traces))

    def similarity(self, H: Tensor) -> Tensor:
        """s_ij = <h_i, a_j> with exploration noise in training (eq. 7): [tokens, d] to [tokens, C].

        The noise's standard deviation is 0.2 |<h_i, a_j>| + 0.01.
        """
        with exact(H):
            s = H @ self.base.T
        if self.training and self.noisy:
            s = s + torch.randn_like(s) * (s.detach().abs() * NOISE_SCALE + NOISE_FLOOR)
        return s

    def _route(
        self,
        h: Tensor,
        q: Tensor,
        s: Tensor,
        activated: Tensor,
        o: Tensor,
        items: Tensor | None,
    ) -> tuple[GroupTrace, Tensor]:
        """Dynamic routing of one group of equally long histories (eq. 11-14).

        z_j is a combination of the history's own q_i, so ||z_j||^2 and <h_i, u_j> follow from the
        [length, length] products of items; interest vectors are built once, at the end.

        Args:
            h: [histories, length, d].
            q: [histories, length, d].
            s: [histories, length, C].
            activated: int64 [histories, length].
            o: [histories, length]; 0 at padding, so that it adds nothing to any interest.
            items: bool [histories, length], which places hold items; None: all.

        Returns:
            The trace, and the last z [histories, k, d] (eq. 11).
        """
        if self.sparse and h.shape[1] == 1:
            # One item has one capsule and all the weight: z = q.
            only = torch.ones_like(o)
            return GroupTrace(activated, only.bool(), only.unsqueeze(-1), o), q
        if self.sparse:
            slots, valid = active_capsules(activated, items, s.shape[2])
        else:
            slots = torch.arange(s.shape[2], device=s.device).expand(h.shape[0], -1)
            valid = torch.ones_like(slots, dtype=torch.bool)
        agreeing = torch.bmm(h if self.agreement == "h" else q, q.transpose(1, 2))
        lengths = agreeing if self.agreement == "q" else torch.bmm(q, q.transpose(1, 2))
        b = s.gather(2, slots.unsqueeze(1).expand(-1, s.shape[1], -1))
        inactive = ~valid.unsqueeze(1)
        b = b.masked_fill(inactive, -torch.inf)
        for iteration in range(self.iterations):
            c = b.softmax(-1)
            w = c * o.unsqueeze(-1)
            if iteration < self.iterations - 1:
                squared = (w * torch.bmm(lengths, w)).sum(1, keepdim=True)
                b = b + torch.bmm(agreeing, w) * _squash_scale(squared)
        z = torch.bmm(w.transpose(1, 2), q)
        return GroupTrace(slots, valid, c, o), z


def _squash_scale(squared: Tensor) -> Tensor:
    """||z|| / (||z||^2 + 1), the factor between z and squash(z), from ||z||^2.

    The floor keeps the root's gradient finite where rounding leaves nothing of a norm.
    """
    squared = squared.clamp_min(1e-12)
    return squared.sqrt() / (squared + 1)


def active_capsules(
    activated: Tensor, items: Tensor | None, capsules: int
) -> tuple[Tensor, Tensor]:
    """The set I_u of each history (eq. 8) as rising slots.

    Args:
        activated: int64 [histories, length], the capsule each item activates.
        items: bool [histories, length], which places hold items; None: all.
        capsules: C.

    Returns:
        slots: int64 [histories, k] and valid: bool [histories, k]. k is the most that any history
        has. To find it the host would have to wait for the device, so for padded histories k is the
        most that one can have, min(length, C).
    """
    if items is not None:
        # The padding's number comes after all others, and so does its slot.
        ordered = activated.masked_fill(~items, capsules).sort(1).values
        new = ordered.diff(dim=1, prepend=ordered.new_full((ordered.shape[0], 1), -1)) > 0
        slot = (new.cumsum(1) - 1).clamp_max_(k := min(activated.shape[1], capsules))
        slots = activated.new_full((ordered.shape[0], k + 1), capsules).scatter_(1, slot, ordered)
        slots = slots[:, :k]
        return slots.clamp_max(capsules - 1), slots < capsules
    ordered = activated.sort(1).values
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    slot = new.cumsum(1) - 1
    k = int(slot[:, -1].max()) + 1
    slots = activated.new_zeros(activated.shape[0], k).scatter_(1, slot, ordered)
    valid = torch.arange(k, device=slots.device) <= slot[:, -1:]
    return slots, valid


def _gather_interests(sums: list[Tensor], traces: list[GroupTrace]) -> Interests:
    """Drop the empty slots, order users by how many interests they have, squash (eq. 13)."""
    counts = torch.cat([trace.valid.sum(1) for trace in traces])
    users = counts.argsort(stable=True)
    per_user = counts[users]
    # Where each history's first slot lies in the concatenation of all groups' slots.
    strides = torch.cat([counts.new_full((len(t.valid),), t.valid.shape[1]) for t in traces])
    first = (strides.cumsum(0) - strides)[users]
    run_start = per_user.cumsum(0) - per_user
    rows = torch.repeat_interleave(first - run_start, per_user)
    rows = rows + torch.arange(rows.numel(), device=rows.device)
    capsules = torch.cat([trace.slots.flatten() for trace in traces])[rows]
    sizes, numbers = torch.unique_consecutive(per_user, return_counts=True)
    groups = tuple(zip(sizes.tolist(), numbers.tolist(), strict=True))
    vectors = squash(F.embedding(rows, torch.cat(sums)))
    return Interests(vectors, capsules, users, groups)


def _all_places(sums: list[Tensor], traces: list[GroupTrace]) -> Interests:
    """All slots of a padded batch as interests; those without a capsule are vectors of 0."""
    ((z,), (trace,)) = sums, traces
    n, k = trace.slots.shape
    users = torch.arange(n, device=z.device)
    active = trace.valid.flatten()
    return Interests(squash(z), trace.slots.flatten(), users, ((k, n),), active)


class PositionAttention(nn.Module):
    """The logits of the items' weights by position (eq. 9), before the softmax over a history.

    Args:
        width: d.
        max_length: N.
    """

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(max_length, width) * INIT_STD)
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        for layer in (self.hidden, self.score):
            nn.init.normal_(layer.weight, std=INIT_STD)
            nn.init.zeros_(layer.bias)

    def forward(self, H: Tensor, packed: Packed) -> Tensor:
        """tanh((H + P~) W3 + b3) W4 + b4: [tokens, d] to [tokens]."""
        # (H + P~) W3 = H W3 + P~ W3, and P~ has only N rows.
        at_position = F.embedding(packed.positions, F.linear(self.position, self.hidden.weight))
        score: Tensor = self.score(torch.tanh(self.hidden(H) + at_position))
        return score.squeeze(-1).to(H.dtype)


class InterestFeatures(nn.Module):
    """q = LayerNorm(tanh(h W5 + b5) + h)   (eq. 10).

    Args:
        width: d.
        eps: floor inside the layer norm.
    """

    def __init__(self, width: int, eps: float = 1e-12) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        nn.init.normal_(self.hidden.weight, std=INIT_STD)
        nn.init.zeros_(self.hidden.bias)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, H: Tensor) -> Tensor:
        """[tokens, d] to [tokens, d]."""
        q: Tensor = self.norm(torch.tanh(self.hidden(H)) + H)
        return q
