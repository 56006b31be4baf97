"""The assembly: item text to interests, and what is learned from them. Reads like section 3."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.config import LossSettings, ModelSettings
from miracle_core.data.packed import Packed
from miracle_core.model.adaptor import INIT_STD, MoEAdaptor
from miracle_core.model.capsules import CapsuleOutput, Interests, SparseCapsules
from miracle_core.model.context import ContextEncoder
from miracle_core.model.losses import coverage, interest_contrast, orthogonality
from miracle_core.model.radial import directions, rows_and_directions
from miracle_core.model.repeats import Repeats
from miracle_core.model.scoring import max_interest_cross_entropy
from miracle_core.processes import ALONE, Processes

# A score gains so many temperatures times its weight by being a repeat: the optimiser moves all
# weights by steps of one size, and with this one the gain gets where it belongs within an epoch or
# two.
REPEAT_SCALE = 50.0


@dataclass(frozen=True)
class Losses:
    """The terms of a training loss and their weighted sum, scalars.

    Where several processes share a batch, these are one's contributions: they, and their gradients,
    sum over the processes to the losses of the whole batch.

    Attributes:
        total: what is minimised.
        terms: each term by name, before its weight.
        activated: int64 [tokens], the capsule each item of this process's share activated.
    """

    total: Tensor
    terms: dict[str, Tensor]
    activated: Tensor


class Miracle(nn.Module):
    """MIRACLE (eq. 2-14 and 17).

    Args:
        settings: the network's settings.
        text_width: d_b, the text vectors' width.
        n_items: size of the catalogue whose items get an identity embedding e_v (transductive);
            None for none (inductive, pre-training).
        mask: whether there is a [MASK] vector, which only pre-training needs.
    """

    def __init__(
        self,
        settings: ModelSettings,
        text_width: int,
        n_items: int | None = None,
        *,
        mask: bool = False,
    ) -> None:
        super().__init__()
        s = settings
        self.settings = settings
        self.adaptor = MoEAdaptor(text_width, s.width, s.experts, s.adaptor_dropout, s.gate_noise)
        self.context = ContextEncoder(s.width, s.max_length, s.layers, s.heads, s.inner, s.dropout)
        self.capsules = SparseCapsules(
            s.width,
            s.capsules,
            s.max_length,
            s.iterations,
            s.agreement,
            s.activation_noise,
            s.positional,
            s.sparse,
        )
        self.identity = (
            None if n_items is None else nn.Parameter(torch.randn(n_items, s.width) * INIT_STD)
        )
        self.repeat = nn.Parameter(torch.zeros(())) if s.repeat else None
        self.mask = nn.Parameter(torch.randn(s.width) * INIT_STD) if mask else None
        # Whether Triton kernels compute eq. 16 and 23 (``train.kernels``).
        self.triton = False

    def scaled_text(self, text: Tensor) -> Tensor:
        """Text vectors as the methods below take them: [items, d_b] to [items, d_b].

        Done once for a catalogue, not once a step. A vector of zeros stays one.
        """
        if self.settings.text_scale == "raw":
            return text
        return F.normalize(text, dim=-1) * math.sqrt(text.shape[-1])

    def item_vectors(self, text: Tensor, identity: Tensor | None = None) -> Tensor:
        """x_v of items (eq. 2), plus e_v where given: [items, d_b] to [items, d].

        Args:
            text: [items, d_b], scaled.
            identity: [items, d], the items' rows of ``self.identity``.
        """
        x: Tensor = self.adaptor(text, identity)
        return x

    def catalogue(self, text: Tensor) -> Tensor:
        """x_v of the whole catalogue from its scaled text: [items, d_b] to [items, d]."""
        return self.item_vectors(text, self.identity)

    def candidates(self, items: Tensor) -> Tensor:
        """Item vectors as eq. 17 multiplies them: as they are, or their directions (cosine)."""
        return items if self.settings.score == "inner" else directions(items)

    def forward(self, items: Tensor, packed: Packed) -> CapsuleOutput:
        """Interests of histories (eq. 5-14).

        Args:
            items: [tokens, d], the item vector of each token of ``packed``.
            packed: the histories.
        """
        H = self.context(items, packed)
        output: CapsuleOutput = self.capsules(H, packed)
        return output

    def user_vectors(self, output: CapsuleOutput) -> Tensor:
        """Interests as eq. 17 multiplies them: as they are, or their directions (cosine)."""
        u = output.interests.vectors
        return u if self.settings.score == "inner" else directions(u)

    def repeats(
        self, interests: Interests, packed: Packed, candidates: Tensor | None = None
    ) -> Repeats | None:
        """What scores gain where the user has had the item; None without ``model.repeat``.

        Args:
            interests: of the histories.
            packed: the histories.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        if self.repeat is None:
            return None
        return Repeats.of(interests, packed, self._repeat_gain(self.repeat), candidates)

    def repeat_gain(self) -> float:
        """What a score gains where the user has had the item; 0 without ``model.repeat``."""
        return 0.0 if self.repeat is None else float(self._repeat_gain(self.repeat.detach()))

    def _repeat_gain(self, weight: Tensor) -> Tensor:
        return weight * (REPEAT_SCALE * self.settings.temperature)

    def finetune_losses(
        self,
        text: Tensor,
        packed: Packed,
        targets: Tensor,
        weights: LossSettings,
        processes: Processes = ALONE,
        among: Tensor | None = None,
    ) -> Losses:
        """The fine-tuning loss of a batch (eq. 23-24).

        The catalogue's vectors are computed once, for the histories' input and as candidates.

        Args:
            text: [items, d_b], the catalogue's scaled text vectors.
            packed: the batch's histories, item indices into the catalogue.
            targets: int64 [histories], the item each took next, in packed order.
            weights: theta_4 and theta_5.
            processes: those that share the batch; ``packed`` and ``targets`` are this one's share.
            among: int64 [candidates], rising, the items that compete, all targets among them; None
                for all.
        """
        if self.settings.score == "inner":
            candidates = self.catalogue(text)
            tokens = F.embedding(packed.items, candidates)
        else:
            tokens, candidates = rows_and_directions(self.catalogue(text), packed.items)
        output = self(tokens, packed)
        interests = output.interests.replace_vectors(self.user_vectors(output))
        if among is not None:
            candidates, targets = candidates[among], torch.searchsorted(among, targets)
        recommendation = max_interest_cross_entropy(
            interests,
            candidates,
            targets[interests.users],
            scale=1.0 / self.settings.temperature,
            repeats=self.repeats(interests, packed, among),
            triton=self.triton,
        )
        recommendation = recommendation * processes.fraction(packed.n_histories)
        return self._weighted(output, weights, processes, recommendation)

    def pretrain_losses(
        self,
        text: Tensor,
        packed: Packed,
        targets: Tensor,
        masked: Tensor | None,
        weights: LossSettings,
        names: Tensor | None = None,
        processes: Processes = ALONE,
        frequencies: Tensor | None = None,
    ) -> Losses:
        """The pre-training loss of a batch (eq. 15-22).

        Args:
            text: [items, d_b], scaled text vectors of the batch's own items, each item once.
            packed: the batch's histories, item indices into ``text``.
            targets: int64 [histories], the item each took next, in packed order.
            masked: bool [tokens], the items to mask (:func:`draw_mask`); None leaves the contrast
                out, and with it the second walk through the network.
            weights: theta_1, theta_2 and theta_3.
            names: int64 [items], what tells the items of ``text`` from those of other processes;
                None where there is but one.
            processes: those that share the batch; everything else is of this one's share.
            frequencies: [all items, by their names], how often an item is the target of an example
                that is drawn: corrects the candidates' scores for it (logQ). None leaves them.
        """
        x = self.item_vectors(text)
        items = F.embedding(packed.items, x)
        output = self(items, packed)
        interests = output.interests.replace_vectors(self.user_vectors(output))
        # Candidates are the batch's targets (eq. 16), an item once however many took it: a user's
        # own item is then never its negative, and another counts as often as it was taken.
        chosen, own, counts = targets.unique(return_inverse=True, return_counts=True)
        candidates = self.candidates(F.embedding(chosen, x))
        named = packed
        if names is not None:
            named = replace(packed, items=names[packed.items])
            chosen, candidates, own, counts = joined(
                names[chosen], candidates, own, counts, processes
            )
        item_bias = counts.to(x.dtype).log()
        if frequencies is not None:
            # Drawn so often for every time expected: the exponentials of the batch's candidates
            # then sum, on average, to those of all items, each once.
            item_bias = item_bias - (counts.sum() * frequencies[chosen]).to(x.dtype).log()
        recommendation = max_interest_cross_entropy(
            interests,
            candidates,
            own[interests.users],
            scale=1.0 / self.settings.temperature,
            item_bias=item_bias,
            target_bias=x.new_zeros(len(own)),
            repeats=self.repeats(interests, named, chosen),
            triton=self.triton,
        )
        recommendation = recommendation * processes.fraction(packed.n_histories)
        contrast = None
        if masked is not None:
            contrast = self._contrast(items, packed, masked, output, processes)
        return self._weighted(output, weights, processes, recommendation, contrast)

    def _contrast(
        self,
        items: Tensor,
        packed: Packed,
        masked: Tensor,
        output: CapsuleOutput,
        processes: Processes,
    ) -> Tensor:
        """l_i of a batch (eq. 15): only histories with a masked item are walked through again.

        Args:
            items: [tokens, d], the items' vectors.
            packed: the histories.
            masked: bool [tokens].
            output: what the capsules say of the histories as they are.
            processes: those that share the batch.
        """
        if self.mask is None:
            raise ValueError("only a model made for pre-training has a [MASK] vector")
        if not masked.any():
            none = output.interests.vectors[:0]
            return interest_contrast(none, none, processes)
        history = packed.history_of_token()
        chosen = torch.zeros(packed.n_histories, dtype=torch.bool, device=masked.device)
        chosen[history[masked]] = True
        copy, tokens = packed.select(chosen)
        x = torch.where(masked[tokens].unsqueeze(1), self.mask, F.embedding(tokens, items))
        again = self.capsules(self.context(x, copy), copy, output.activated[tokens])
        # One row a (user, capsule), however many of the user's masked items activate it.
        pairs = torch.stack([history[masked], output.activated[masked]], 1).unique(dim=0)
        users, capsules = pairs.unbind(1)
        in_copy = chosen.cumsum(0) - 1
        return interest_contrast(
            F.embedding(output.interests.rows_of(users, capsules), output.interests.vectors),
            F.embedding(again.interests.rows_of(in_copy[users], capsules), again.interests.vectors),
            processes,
        )

    def _weighted(
        self,
        output: CapsuleOutput,
        weights: LossSettings,
        processes: Processes,
        recommendation: Tensor,
        contrast: Tensor | None = None,
    ) -> Losses:
        """All terms and their weighted sum (eq. 22, 24)."""
        terms = {
            "recommendation": recommendation,
            "coverage": coverage(output.similarity, output.activated, processes),
            "orthogonality": orthogonality(self.capsules.base, processes),
        }
        total = (
            recommendation
            + weights.coverage * terms["coverage"]
            + weights.orthogonality * terms["orthogonality"]
        )
        if contrast is not None:
            terms["contrast"] = contrast
            total = total + weights.contrast * contrast
        return Losses(total, terms, output.activated)


def joined(
    names: Tensor, vectors: Tensor, own: Tensor, counts: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The candidates of all processes, an item once however many processes have it.

    Args:
        names: int64 [candidates], what tells one item from another; each once.
        vectors: [candidates, d].
        own: int64 [histories], the candidate that each history took.
        counts: int64 [candidates], by how many histories each was taken.
        processes: those that share the batch.

    Returns:
        The same for all candidates, names rising; ``own`` is still of this process's histories.
    """
    names, first = processes.gather(names)
    vectors, _ = processes.gather(vectors)
    counts, _ = processes.gather(counts)
    different, place = names.unique(return_inverse=True)
    # An item that several processes have is the first one's: all would compute the same vector.
    row = torch.arange(len(names), device=names.device)
    chosen = row.new_full((len(different),), len(names)).scatter_reduce(0, place, row, "amin")
    total = counts.new_zeros(len(different)).index_add(0, place, counts)
    return different, F.embedding(chosen, vectors), place[first + own], total
