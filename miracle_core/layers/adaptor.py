"""The mixture-of-experts adaptor from text vectors to item vectors.

MIRACLE's section 3.2.1 (eq. 2-4) takes it from UniSRec (Hou et al. 2022). There each expert is
called a *parametric whitening*, and the gate has no bias.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 (the name everybody knows)

from miracle_core.launches import at_once
from miracle_core.layers.dropout import Mask
from miracle_core.layers.linear import INIT_STD
from miracle_core.ranking.precision import add_product, exact, product_type

# Rows of a block: enough for a matrix product's full rate, few enough to bound its memory.
BLOCK_ROWS = 1024


def scaled(text: Tensor, scale: Literal["unit", "raw"]) -> Tensor:
    """Text vectors with a root mean square of 1 (``unit``), or as they are (``raw``).

    A vector of zeros stays one. [items, d_b] to [items, d_b].
    """
    if scale == "raw":
        return text
    return F.normalize(text, dim=-1) * math.sqrt(text.shape[-1])


class MoEAdaptor(nn.Module):
    """x = sum_k g_k (t - b2_k) W2_k with g = softmax(t W1 + b1)   (eq. 2-4).

    In training the gate's logits get Gaussian noise of learned scale, softplus(t W_n) + 0.01, and t
    loses a share of its entries before the experts, as in the authors' settings.

    Args:
        text_width: d_b.
        width: d.
        experts: G.
        dropout: share of a text vector's entries dropped before the experts in training.
        noisy: whether the gate's logits get noise in training.
        gate_bias: whether the gate's logits have a bias.

    Attributes:
        gate_weight: W1 [d_b, G].
        gate_bias: b1 [G] (absent without one).
        noise_weight: [d_b, G] (absent without noise).
        expert_bias: b2 [G, d_b]; printed as [d], but it is subtracted from t.
        expert_weight: W2 [d_b, G, d].
    """

    def __init__(
        self,
        text_width: int,
        width: int,
        experts: int,
        dropout: float = 0.3,
        noisy: bool = True,
        *,
        gate_bias: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.gate_weight = nn.Parameter(torch.zeros(text_width, experts))
        self.gate_bias = nn.Parameter(torch.zeros(experts)) if gate_bias else None
        self.noise_weight = nn.Parameter(torch.zeros(text_width, experts)) if noisy else None
        self.expert_bias = nn.Parameter(torch.zeros(experts, text_width))
        self.expert_weight = nn.Parameter(torch.randn(text_width, experts, width) * INIT_STD)

    def gate(self, t: Tensor) -> Tensor:
        """The experts' weights g (eq. 3): [items, d_b] to [items, G]."""
        if not self.training or self.noise_weight is None:
            if self.gate_bias is None:
                return (t @ self.gate_weight).softmax(-1)
            return torch.addmm(self.gate_bias, t, self.gate_weight).softmax(-1)
        # A product this narrow takes no longer with twice the columns, and its gradient is faster
        # with the transposed weights.
        both = F.linear(t, torch.cat([self.gate_weight, self.noise_weight], 1).T)
        logits, spread = both.tensor_split(2, 1)
        if self.gate_bias is not None:
            logits = logits + self.gate_bias
        logits = logits + torch.randn_like(logits) * (F.softplus(spread) + 0.01)
        return logits.softmax(-1)

    def forward(self, t: Tensor, identity: Tensor | None = None) -> Tensor:
        """Item vectors of text vectors (eq. 2, 4): [items, d_b] to [items, d].

        (t - b2_k) W2_k = t W2_k - b2_k W2_k, so all experts are one matrix product with t, and the
        second term is one vector an expert.

        Args:
            t: [items, d_b].
            identity: [items, d], added to the result.
        """
        with exact(t):
            g = self.gate(t)
        x: Tensor = _GatedExperts.apply(  # type: ignore[no-untyped-call]
            t,
            g,
            self.expert_bias,
            self.expert_weight,
            identity,
            self.dropout if self.training else 0.0,
        )
        return x


class _GatedExperts(torch.autograd.Function):
    """e + sum_k g_k (dropout(t) W_k - b_k W_k) in blocks of rows.

    The text t is never learned, so it gets no gradient. Of the dropped-out text only the mask is
    kept. The experts' outputs are kept for the gate's gradient when the catalogue is small, and
    computed again when it is not, so memory beyond the result stays bounded. Under autocast the
    products with t are made in autocast's type and summed in float32.
    """

    KEEP_ELEMENTS = 1 << 25  # 128 MiB of float32

    @staticmethod
    def forward(
        ctx: Any,
        t: Tensor,
        g: Tensor,
        bias: Tensor,
        weight: Tensor,
        identity: Tensor | None,
        share: float,
    ) -> Tensor:
        items, experts = g.shape
        low = product_type(t)
        with exact(t):
            offset = torch.bmm(bias.unsqueeze(1), weight.transpose(0, 1)).squeeze(1)
        x = weight.new_empty(items, weight.shape[2])
        keep = ctx.needs_input_grad[1] and items * weight[0].numel() <= _GatedExperts.KEEP_ELEMENTS
        low_t, low_weight = t.to(low), weight.to(low).flatten(1)
        kept: list[Tensor] = []
        # The masks stay until the backward pass, so they are allocated first. Between buffers that
        # are freed earlier they would leave holes in memory of twenty times their size.
        blocks = _blocks(items, weight)
        masks = [Mask.draw(low_t[rows], share) for rows in blocks]
        for rows, mask in zip(blocks, masks, strict=True):
            outputs = (mask.keep(low_t[rows]) @ low_weight).unflatten(1, (experts, -1))
            # The experts' few weights are scaled in place of the text.
            weights = (g[rows] * mask.scale).to(low).unsqueeze(1)
            if low == x.dtype:
                torch.bmm(weights, outputs, out=x[rows].unsqueeze(1))
            else:
                x[rows] = torch.bmm(weights, outputs).squeeze(1)
            x[rows].addmm_(g[rows], offset, alpha=-1)
            if identity is not None:
                x[rows] += identity[rows]
            if keep:
                kept.append(outputs)
        drawn = [tensor for mask in masks for tensor in mask.tensors]
        ctx.save_for_backward(low_t, g, bias, weight, offset, *drawn, *kept)
        ctx.share, ctx.n_masks = share, len(drawn)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor | None, ...]:
        t, g, bias, weight, offset, *rest = ctx.saved_tensors
        masks, kept = rest[: ctx.n_masks], rest[ctx.n_masks :]
        items = len(g)
        low = t.dtype
        low_weight = weight.to(low).flatten(1)
        d_offset = (g.T @ dx).neg_()
        d_bias = torch.bmm(weight.transpose(0, 1), d_offset.unsqueeze(2)).squeeze(2)
        # The weights' gradient begins with the offset's part of it, not with zeros.
        d_weight = torch.empty_like(weight)
        torch.mul(bias.T.unsqueeze(2), d_offset, out=d_weight)
        dg = torch.empty_like(g)
        # One buffer for every block: fresh memory costs more than filling it.
        blocks = _blocks(items, weight)
        buffer = t.new_empty(blocks[0].stop if blocks else 0, *weight.shape[1:])
        for number, rows in enumerate(blocks):
            mask = Mask.saved(masks[number : number + 1], ctx.share)
            text = mask.keep(t[rows])
            low_dx = dx[rows].to(low)
            block = buffer[: rows.stop - rows.start]
            weights = (g[rows] * mask.scale).to(low)
            torch.mul(weights.unsqueeze(2), low_dx.unsqueeze(1), out=block)
            add_product(d_weight.flatten(1), text.T, block.flatten(1))
            if kept:
                block = kept[number]
            else:
                torch.mm(text, low_weight, out=block.flatten(1))
            products = torch.bmm(block, low_dx.unsqueeze(2)).squeeze(2).to(g.dtype)
            dg[rows] = products.mul_(mask.scale).addmm_(dx[rows], offset.T, alpha=-1)
        d_identity = dx if ctx.needs_input_grad[4] else None
        return None, dg, d_bias, d_weight, d_identity, None


def _blocks(items: int | torch.SymInt, weight: Tensor) -> list[slice]:
    """Blocks of rows that are computed together; larger ones where the number of launches counts.

    Such a block has as many rows as may be kept (``_GatedExperts.KEEP_ELEMENTS``).
    """
    if isinstance(items, torch.SymInt):
        return [slice(0, items)]  # an export: how many there will be is not known
    size = BLOCK_ROWS
    if at_once(weight):
        size = max(_GatedExperts.KEEP_ELEMENTS // weight[0].numel(), BLOCK_ROWS)
    return [slice(i, min(i + size, items)) for i in range(0, items, size)]
