"""The yardstick: the same method written densely, as a good engineer would from the paper.

Histories are padded to N places, all C capsules are computed for every user, and the loss works on
one [users, C, items] tensor of scores. Everything else is done well: the experts are one matrix
product, attention is torch's fused one, routing is two batched products a round (no tensor has
users x places x capsules x width elements), inactive capsules are masked by a bias inside the one
matrix product of the scores, and the max keeps only the winners' indices for the backward pass. The
last two were measured against ``masked_fill``, ``amax`` and items before capsules, and are the
fastest found.

Parameters have the names and shapes of ``miracle_core.systems.miracle.miracle.Miracle``, so one's
``state_dict`` loads into the other; no code is shared with it. Where two interests tie for an item
the first takes the gradient (``Miracle`` shares it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.systems.miracle.settings import MiracleSettings

EPS = 1e-12
COSINE_TEMPERATURE = 0.1
NOISE_SCALE, NOISE_FLOOR = 0.2, 0.01
REPEAT_SCALE = 50.0


def pad(
    sequences: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    max_length: int,
) -> tuple[Tensor, Tensor]:
    """Histories ``sequences[starts[i]:ends[i]]`` left-padded to ``max_length`` places.

    Returns:
        items int64 [users, N] (0 in padding) and valid bool [users, N]; the newest item is last.
    """
    places = ends[:, None] - np.arange(max_length, 0, -1)
    valid = places >= starts[:, None]
    items = np.where(valid, sequences[np.where(valid, places, 0)], 0)
    return torch.from_numpy(items.astype(np.int64)), torch.from_numpy(valid)


@dataclass(frozen=True)
class DenseOutput:
    """What eq. 5-14 say of a batch.

    Attributes:
        u: [users, C, d], every capsule's vector (zero where inactive).
        active: bool [users, C].
        similarity: [users, N, C].
        activated: int64 [users, N].
    """

    u: Tensor
    active: Tensor
    similarity: Tensor
    activated: Tensor


class DenseAdaptor(nn.Module):
    """Eq. 2-4."""

    def __init__(
        self, text_width: int, width: int, experts: int, dropout: float, noisy: bool
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.gate_weight = nn.Parameter(torch.zeros(text_width, experts))
        self.gate_bias = nn.Parameter(torch.zeros(experts))
        self.noise_weight = nn.Parameter(torch.zeros(text_width, experts)) if noisy else None
        self.expert_bias = nn.Parameter(torch.zeros(experts, text_width))
        self.expert_weight = nn.Parameter(torch.randn(text_width, experts, width) * 0.02)

    def forward(self, t: Tensor) -> Tensor:
        """[items, d_b] to [items, d]."""
        logits = t @ self.gate_weight + self.gate_bias
        if self.training and self.noise_weight is not None:
            scale = F.softplus(t @ self.noise_weight) + NOISE_FLOOR
            logits = logits + torch.randn_like(logits) * scale
        g = logits.softmax(-1)
        t = F.dropout(t, self.dropout, self.training)
        answers = (t @ self.expert_weight.flatten(1)).unflatten(1, self.expert_weight.shape[1:])
        offset = torch.einsum("kb,bkd->kd", self.expert_bias, self.expert_weight)
        return torch.bmm(g.unsqueeze(1), answers).squeeze(1) - g @ offset


class DenseLayer(nn.Module):
    """One post-norm Transformer layer on padded histories (eq. 6)."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=EPS)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.inner_norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, h: Tensor, valid: Tensor) -> Tensor:
        """[users, N, d] to [users, N, d]; ``valid`` [users, N] are the places attention may see."""
        p = self.dropout if self.training else 0.0
        q, k, v = self.query_key_value(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, valid[:, None, None], dropout_p=p)
        attended = self.output(mixed.transpose(1, 2).flatten(2))
        h = self.attention_norm(h + F.dropout(attended, p))
        out: Tensor = self.inner_norm(h + F.dropout(self.outer(F.gelu(self.inner(h))), p))
        return out


class DenseContext(nn.Module):
    """Eq. 5-6."""

    def __init__(
        self, width: int, max_length: int, layers: int, heads: int, inner: int, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.position = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.layers = nn.ModuleList(DenseLayer(width, heads, inner, dropout) for _ in range(layers))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """[users, N, d] to [users, N, d]."""
        h: Tensor = F.dropout(self.norm(x + self.position), self.dropout, self.training)
        for layer in self.layers:
            h = layer(h, valid)
        return h


class DensePositionAttention(nn.Module):
    """Eq. 9 before its softmax."""

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)

    def forward(self, H: Tensor) -> Tensor:
        """[users, N, d] to [users, N]."""
        score: Tensor = self.score(torch.tanh(self.hidden(H + self.position)))
        return score.squeeze(-1)


class DenseFeatures(nn.Module):
    """Eq. 10."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, H: Tensor) -> Tensor:
        """[users, N, d] to [users, N, d]."""
        q: Tensor = self.norm(torch.tanh(self.hidden(H)) + H)
        return q


class DenseCapsules(nn.Module):
    """Eq. 7-14 for all C capsules of every user."""

    def __init__(self, s: MiracleSettings) -> None:
        super().__init__()
        self.iterations, self.agreement = s.iterations, s.agreement
        self.noisy = s.activation_noise
        self.base = nn.Parameter(torch.randn(s.capsules, s.width) * 0.02)
        self.attention = DensePositionAttention(s.width, s.max_length) if s.positional else None
        self.features = DenseFeatures(s.width)

    def forward(self, H: Tensor, valid: Tensor) -> DenseOutput:
        """H [users, N, d] and valid [users, N]."""
        s = H @ self.base.T
        if self.training and self.noisy:
            s = s + torch.randn_like(s) * (s.detach().abs() * NOISE_SCALE + NOISE_FLOOR)
        capsules = s.shape[2]
        activated = s.detach().argmax(-1)
        # Padding activates a capsule C that is cut off again.
        chosen = activated.masked_fill(~valid, capsules)
        active = torch.zeros(len(s), capsules + 1, dtype=torch.bool, device=s.device)
        active = active.scatter_(1, chosen, True)[:, :capsules]

        scores = s.new_zeros(valid.shape) if self.attention is None else self.attention(H)
        o = scores.masked_fill(~valid, -torch.inf).softmax(-1).unsqueeze(-1)
        q = self.features(H)
        agreeing = H if self.agreement == "h" else q
        b = s.masked_fill(~active.unsqueeze(1), -torch.inf)
        for iteration in range(self.iterations):
            u = squash(torch.einsum("bnc,bnd->bcd", b.softmax(-1) * o, q))
            if iteration < self.iterations - 1:
                b = b + torch.einsum("bnd,bcd->bnc", agreeing, u)
        return DenseOutput(u, active, s, activated)


def squash(z: Tensor) -> Tensor:
    """Eq. 13; 0 at 0."""
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    u: Tensor = z * (norm / (1 + norm**2))
    return u


class DenseMiracle(nn.Module):
    """The whole method, dense. Takes the arguments of ``Miracle``."""

    def __init__(
        self,
        settings: MiracleSettings,
        text_width: int,
        n_items: int | None = None,
        *,
        gain: bool = True,
    ) -> None:
        super().__init__()
        s = self.settings = settings
        self.cosine, self.temperature = s.score == "cosine", s.temperature
        self.adaptor = DenseAdaptor(text_width, s.width, s.experts, s.adaptor_dropout, s.gate_noise)
        self.context = DenseContext(s.width, s.max_length, s.layers, s.heads, s.inner, s.dropout)
        self.capsules = DenseCapsules(s)
        self.identity = (
            None if n_items is None else nn.Parameter(torch.randn(n_items, s.width) * 0.02)
        )
        self.repeat = nn.Parameter(torch.zeros(())) if gain else None

    def catalogue(self, text: Tensor) -> Tensor:
        """x_v (+ e_v): [items, d_b] to [items, d]."""
        x: Tensor = self.adaptor(text)
        return x if self.identity is None else x + self.identity

    def forward(self, x: Tensor, items: Tensor, valid: Tensor) -> DenseOutput:
        """Interests of padded histories: x [items, d], items and valid [users, N]."""
        H = self.context(F.embedding(items, x), valid)
        output: DenseOutput = self.capsules(H, valid)
        return output

    def scores(self, output: DenseOutput, x: Tensor, items: Tensor, valid: Tensor) -> Tensor:
        """Eq. 17 for every item: [users, items], by way of [users, C, items]."""
        users, capsules, _ = output.u.shape
        u = output.u
        if self.cosine:
            u, x = F.normalize(u, dim=-1), F.normalize(x, dim=-1)
        inactive = torch.zeros_like(output.active, dtype=x.dtype)
        inactive.masked_fill_(~output.active, -torch.inf)
        full = torch.addmm(inactive.view(-1, 1), u.flatten(0, 1), x.T)
        best: Tensor = full.view(users, capsules, -1).max(1).values
        if self.repeat is None:
            return best
        had = torch.zeros_like(best, requires_grad=False)
        had[valid.nonzero()[:, 0], items[valid]] = 1.0
        return best + had * (self.repeat * REPEAT_SCALE * self.temperature)

    def losses(
        self, text: Tensor, items: Tensor, valid: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 24 and its terms before their weights, named as ``Miracle.objective`` does.

        Args:
            text: [items, d_b], scaled as the settings say (``Miracle.prepared``).
            items: int64 [users, N], padded histories.
            valid: bool [users, N].
            targets: int64 [users].
        """
        x = self.catalogue(text)
        output = self(x, items, valid)
        terms = {
            "recommendation": F.cross_entropy(
                self.scores(output, x, items, valid) / self.temperature, targets
            ),
            "coverage": coverage(output, valid),
            "orthogonality": orthogonality(self.capsules.base),
        }
        total = (
            terms["recommendation"]
            + self.settings.coverage * terms["coverage"]
            + self.settings.orthogonality * terms["orthogonality"]
        )
        return total, terms


def coverage(output: DenseOutput, valid: Tensor) -> Tensor:
    """Eq. 19-21 over the valid places."""
    w = output.similarity[valid].softmax(-1).mean(0)
    counts = torch.bincount(output.activated[valid], minlength=len(w)).to(w.dtype)
    return len(w) * (w @ counts) / counts.sum()


def orthogonality(base: Tensor) -> Tensor:
    """Eq. 18."""
    directions = F.normalize(base, dim=-1)
    return F.cross_entropy(
        directions @ directions.T / COSINE_TEMPERATURE, torch.arange(len(base), device=base.device)
    )


def training_step(
    model: DenseMiracle,
    optimizer: torch.optim.Optimizer,
    text: Tensor,
    items: Tensor,
    valid: Tensor,
    targets: Tensor,
    clip: float = 1.0,
) -> Tensor:
    """One whole step: losses, backward, clipping, update; returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    total, _ = model.losses(text, items, valid, targets)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total.detach()


@torch.inference_mode()
def target_ranks(
    model: DenseMiracle,
    text: Tensor,
    items: Tensor,
    valid: Tensor,
    targets: Tensor,
    batch_users: int = 1024,
) -> Tensor:
    """Full ranking of all users: each target's rank among all items, from 1, int64 [users].

    Items that tie with the target count as worse (float scores of a trained model seldom tie).
    """
    model.eval()
    x = model.catalogue(text)
    ranks = []
    for batch in torch.arange(len(items)).split(batch_users):
        padded = items[batch], valid[batch]
        scores = model.scores(model(x, *padded), x, *padded)
        ranks.append((scores > scores.gather(1, targets[batch, None])).sum(1) + 1)
    return torch.cat(ranks)
