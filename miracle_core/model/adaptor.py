"""Section 3.2.1: the mixture-of-experts adaptor from text vectors to item vectors (eq. 2-4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 (the name everybody knows)

from miracle_core.model.dropout import Mask
from miracle_core.model.precision import add_product, exact, product_type

INIT_STD = 0.02
# Rows of a block: enough for a matrix product's full rate, few enough to bound its memory.
BLOCK_ROWS = 1024


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

    Attributes:
        gate_weight: W1 [d_b, G].
        gate_bias: b1 [G].
        noise_weight: [d_b, G] (absent without noise).
        expert_bias: b2 [G, d_b]; printed as [d], but it is subtracted from t.
        expert_weight: W2 [d_b, G, d].
    """

    def __init__(
        self, text_width: int, width: int, experts: int, dropout: float = 0.3, noisy: bool = True
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.gate_weight = nn.Parameter(torch.zeros(text_width, experts))
        self.gate_bias = nn.Parameter(torch.zeros(experts))
        self.noise_weight = nn.Parameter(torch.zeros(text_width, experts)) if noisy else None
        self.expert_bias = nn.Parameter(torch.zeros(experts, text_width))
        self.expert_weight = nn.Parameter(torch.randn(text_width, experts, width) * INIT_STD)

    def gate(self, t: Tensor) -> Tensor:
        """The experts' weights g (eq. 3): [items, d_b] to [items, G]."""
        logits = torch.addmm(self.gate_bias, t, self.gate_weight)
        if self.training and self.noise_weight is not None:
            scale = F.softplus(t @ self.noise_weight) + 0.01
            logits = logits + torch.randn_like(logits) * scale
        return logits.softmax(-1)

    def forward(self, t: Tensor) -> Tensor:
        """Item vectors of text vectors (eq. 2, 4): [items, d_b] to [items, d].

        (t - b2_k) W2_k = t W2_k - b2_k W2_k, so all experts are one matrix product with t, and the
        second term is one vector an expert.
        """
        with exact(t):
            g = self.gate(t)
            offset = torch.einsum("kb,bkd->kd", self.expert_bias, self.expert_weight)
        product: Tensor = _GatedExperts.apply(  # type: ignore[no-untyped-call]
            t, g, self.expert_weight.flatten(1), self.dropout if self.training else 0.0
        )
        with exact(t):
            return torch.addmm(product, g, offset, alpha=-1.0)


class _GatedExperts(torch.autograd.Function):
    """sum_k g_k (dropout(t) W_k) in blocks of rows, with no gradient for t, which never changes.

    Of the dropped-out text only the mask is kept. The experts' outputs are kept for the gate's
    gradient when the catalogue is small, and computed again when it is not, so memory beyond the
    result stays bounded. Under autocast all products are made in its type and summed in float32.
    """

    KEEP_ELEMENTS = 1 << 25  # 128 MiB of float32

    @staticmethod
    def forward(ctx: Any, t: Tensor, g: Tensor, weight: Tensor, share: float) -> Tensor:
        items, experts = g.shape
        ctx.types = g.dtype, weight.dtype
        low = product_type(t)
        t, g, weight = t.to(low), g.to(low), weight.to(low)
        x = t.new_empty(items, weight.shape[1] // experts)
        keep = ctx.needs_input_grad[1] and items * weight.shape[1] <= _GatedExperts.KEEP_ELEMENTS
        masks: list[Tensor] = []
        kept: list[Tensor] = []
        for rows in _blocks(items):
            mask = Mask.draw(t[rows], share)
            outputs = (mask.apply(t[rows]) @ weight).unflatten(1, (experts, -1))
            torch.bmm(g[rows].unsqueeze(1), outputs, out=x[rows].unsqueeze(1))
            masks += mask.tensors
            if keep:
                kept.append(outputs)
        ctx.save_for_backward(t, g, weight, *masks, *kept)
        ctx.share, ctx.n_masks = share, len(masks)
        return x.to(ctx.types[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dx: Tensor) -> tuple[None, Tensor, Tensor, None]:
        t, g, weight, *rest = ctx.saved_tensors
        masks, kept = rest[: ctx.n_masks], rest[ctx.n_masks :]
        items, experts = g.shape
        dx = dx.to(t.dtype)
        dg = torch.empty_like(g)
        d_weight = torch.zeros_like(weight, dtype=ctx.types[1])
        # One buffer for every block: fresh memory costs more than filling it.
        buffer = t.new_empty(min(BLOCK_ROWS, items), experts, weight.shape[1] // experts)
        for number, rows in enumerate(_blocks(items)):
            text = Mask.saved(masks[number : number + 1], ctx.share).apply(t[rows])
            block = buffer[: rows.stop - rows.start]
            torch.mul(g[rows].unsqueeze(2), dx[rows].unsqueeze(1), out=block)
            add_product(d_weight, text.T, block.flatten(1))
            if kept:
                block = kept[number]
            else:
                torch.mm(text, weight, out=block.flatten(1))
            torch.bmm(block, dx[rows].unsqueeze(2), out=dg[rows].unsqueeze(2))
        return None, dg.to(ctx.types[0]), d_weight, None


def _blocks(items: int) -> list[slice]:
    return [slice(i, min(i + BLOCK_ROWS, items)) for i in range(0, items, BLOCK_ROWS)]
