"""What a system is: the contract with training, evaluation, recommending and the explorer.

A system says how items and histories become vectors, and what it learns from a batch. The rest is
provided: the loss over the catalogue, the epochs, the run folder, the ranking. docs/systems.md
writes a system in thirty lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.config.sections import Layout, LossSettings
from miracle_core.data.packed import Packed
from miracle_core.processes import Processes
from miracle_core.ranking.draws import others
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.loss import max_interest_cross_entropy
from miracle_core.ranking.sampled import sampled_loss
from miracle_core.ranking.seen import HadItems, Seen, SeenTable
from miracle_core.systems.attributes import ItemAttributes

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.data.dataset import Dataset
    from miracle_core.systems.cooccurrence import Cooccurrence
    from miracle_core.systems.explanation import Explanation
    from miracle_core.systems.scorer import Scorer

# Where the history holds an item, its score gains the learned weight times this many temperatures.
# The optimiser moves all weights by steps of about one size. With this factor the gain reaches its
# value within an epoch or two.
GAIN_SCALE = 50.0


@dataclass(frozen=True)
class Sizes:
    """The sizes that a system is built for.

    Attributes:
        items: items of the catalogue; None where no item has weights of its own (pre-training).
        text: d_b, the text vectors' width; None where no text is read.
        attributes: how many values each attribute of the catalogue has, attributes in the order of
            their names; empty where there are none, or none are read.
    """

    items: int | None = None
    text: int | None = None
    attributes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ItemSide:
    """What a system reads of some items: by default of all items of the catalogue, in order.

    Attributes:
        text: [items, d_b], their text vectors as ``System.prepared`` gives them, or None.
        rows: int64 [items], their rows of the catalogue that the system was built for (while
            pre-training over several Datasets, their numbers in all of them); None: all, in order.
        new: whether they are outside the catalogue that the system knows, such as a title typed
            just now.
        attributes: their attributes, or None where there are none or none are read.
    """

    text: Tensor | None = None
    rows: Tensor | None = None
    new: bool = False
    attributes: ItemAttributes | None = None

    def required_text(self) -> Tensor:
        """The text vectors, for a system that needs them.

        Raises:
            ValueError: there are none.
        """
        if self.text is None:
            raise ValueError("this system needs text vectors")
        return self.text

    def of_table(self, table: Tensor) -> Tensor:
        """Their rows of a table with one row an item of the catalogue, [items, any]."""
        return table if self.rows is None else F.embedding(self.rows, table)

    def to(self, device: torch.device | str) -> ItemSide:
        """The same on another device."""
        return ItemSide(
            None if self.text is None else self.text.to(device),
            None if self.rows is None else self.rows.to(device),
            self.new,
            None if self.attributes is None else self.attributes.to(device),
        )


@dataclass(frozen=True)
class Encoded:
    """What a system makes of a batch of histories.

    Attributes:
        interests: one to many vectors a history, as candidates multiply them.
        detail: anything else that the system's own objective needs.
    """

    interests: Interests
    detail: Any = None


@dataclass(frozen=True)
class Batch:
    """Some examples to learn from.

    Attributes:
        packed: the histories, item indices into the :class:`ItemSide` that comes with the batch.
        targets: int64 [histories], the item each took next, in packed order.
        examples: int64 [histories], the examples' numbers, in packed order. Every random choice
            about an example (masks, negatives) follows from its number and ``stream``, so that
            several processes choose as one would.
        stream: the run's seed and the epoch.
        frequencies: [all items, by number], how often an item is the target of an example that is
            drawn; None where candidates are not corrected for it.
        among: int64 [candidates], rising, the items that compete to be the next one; all targets
            are among them. None: all. Unsold items don't compete (docs/decisions/0013).
    """

    packed: Packed
    targets: Tensor
    examples: Tensor
    stream: tuple[int, int] = (0, 0)
    frequencies: Tensor | None = None
    among: Tensor | None = None

    def following(self) -> Tensor:
        """The item that came after each token, int64 [tokens]: within a history the next one."""
        after = self.packed.items.roll(-1)
        after[self.packed.last_tokens()] = self.targets
        return after


@dataclass(frozen=True)
class Rows:
    """Predictions to learn from: a row for each history, or for each item of a history.

    Attributes:
        interests: of each row.
        targets: int64 [rows], the item to predict, in the order of ``interests.users``.
        seen: the items before each row, if the gain is learned; never those after it.
        keys: int64 [rows], unique in the epoch: a row's negatives are drawn by its key.
        counted: bool [rows], which rows of a padded batch count; None: all do.
    """

    interests: Interests
    targets: Tensor
    seen: HadItems | None
    keys: Tensor
    counted: Tensor | None = None

    def number(self) -> int | Tensor:
        """How many rows count; in a padded batch a scalar on the device, never read by the host."""
        return len(self.targets) if self.counted is None else self.counted.sum()


@dataclass(frozen=True)
class Objective:
    """The terms of a training loss and their weighted sum, scalars.

    Where several processes share a batch, these are the contributions of one process. Summed over
    the processes, they and their gradients are those of the whole batch.

    Attributes:
        total: what is minimised.
        terms: each term by name, before its weight.
        counters: whole numbers by name, int64 [any], summed over steps and processes.
    """

    total: Tensor
    terms: dict[str, Tensor]
    counters: dict[str, Tensor] = field(default_factory=dict)


class System(nn.Module):
    """A recommender.

    Attributes:
        max_length: N, the newest items of a history that are read; None for all of them.
        temperature: what scores are divided by in the loss.
        loss: the settings of that loss; set when a system is built from a run's settings.
        layout: ``train.layout``, set in the same way.
        repeat: the learned gain of items that a history holds, in units of
            :data:`GAIN_SCALE` temperatures; None under another seen rule.
        cooccurrence: what scores gain by items that the same users took; None without it. Set when
            a system is built from a run's settings.
        n_interests: the most interests a user can have.
        examples: what an example of training is: a history and the item that came next, for every
            ``prefixes`` of a training sequence; or whole ``sequences``, whose every item is a
            target.
        frozen: prefixes of the names of weights that ``train.freeze`` keeps as pre-trained.
        own: prefixes of weights that belong to one catalogue, or to pre-training only. They are not
            taken over into another run.
        by_vectors: whether scores are inner products of vectors, and :meth:`inputs` gives them.
        data_sized: names of buffers whose size depends on the data that a system was fitted to.
        text_side: prefixes of weights that make vectors of text; ``pretrain.encoder_rate`` slows
            their learning down.
        padded: whether it gives the same results for padded histories as for packed ones
            (``miracle check`` tests this). If not, histories are packed on every device.
    """

    max_length: int | None = None
    temperature: float = 1.0
    loss: LossSettings = LossSettings()
    layout: Layout = "auto"
    repeat: nn.Parameter | None
    cooccurrence: Cooccurrence | None
    n_interests: int = 1
    examples: ClassVar[Literal["prefixes", "sequences"]] = "prefixes"
    frozen: ClassVar[tuple[str, ...]] = ()
    own: ClassVar[tuple[str, ...]] = ()
    text_side: ClassVar[tuple[str, ...]] = ()
    by_vectors: ClassVar[bool] = True
    data_sized: ClassVar[tuple[str, ...]] = ()
    padded: ClassVar[bool] = False

    @classmethod
    def build(cls, settings: Settings, sizes: Sizes) -> Self:
        """A system with fresh weights.

        Args:
            settings: the whole run; ``settings.model`` is the system's own section.
            sizes: of the catalogue and the text vectors.

        Raises:
            ValueError: ``settings.model`` is another system's section, or a size that the system
                needs is None.
        """
        return cls(settings, sizes)

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.register_parameter("repeat", None)
        self.register_module("cooccurrence", None)

    def pads(self, device: torch.device | str) -> bool:
        """Whether histories are padded on this device, in training and in evaluation."""
        if not self.padded or self.max_length is None or self.layout == "packed":
            return False
        return self.layout == "padded" or torch.device(device).type != "cpu"

    # Items.

    def prepared(self, text: Tensor) -> Tensor:
        """Text vectors as the other methods take them, [items, d_b]; called once a catalogue."""
        return text

    def inputs(self, items: ItemSide) -> Tensor:
        """Items as the tokens of a history: [items, w]; the system chooses w."""
        raise NotImplementedError(f"{type(self).__name__}.inputs")

    def candidates(self, inputs: Tensor) -> Tensor:
        """Items as scores multiply them: [items, w] to [items, d]."""
        return inputs

    # Histories.

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """The interests of histories.

        Args:
            tokens: [tokens, w], the input of each token of ``packed``.
            packed: the histories.
        """
        raise NotImplementedError(f"{type(self).__name__}.encode")

    # Learning.

    def objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """What is learned from a batch: by default the next item among the whole catalogue.

        Args:
            items: the catalogue.
            batch: this process's share.
            processes: those that share the batch.
        """
        inputs = self.inputs(items)
        encoded = self.encode(F.embedding(batch.packed.items, inputs), batch.packed)
        loss = self.next_item(encoded.interests, self.candidates(inputs), batch, processes)
        return Objective(loss, {"recommendation": loss})

    def pretrain_objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """The same in pre-training: ``items`` are those of the batch, by number and text."""
        raise NotImplementedError(f"{type(self).__name__}.pretrain_objective")

    def fit(self, dataset: Dataset, seed: int) -> None:
        """Learn without gradients, by filling the buffers."""
        raise NotImplementedError(f"{type(self).__name__}.fit")

    def check(self) -> None:
        """Refuse buffers that were read from a file and are inconsistent.

        Raises:
            ValueError: what is wrong.
        """

    def next_item(
        self, interests: Interests, candidates: Tensor, batch: Batch, processes: Processes
    ) -> Tensor:
        """The loss of each history's next item among those that compete, a scalar.

        This process's part of the mean over the whole batch.
        """
        seen = self.seen(interests, batch.packed, batch.among)
        users = interests.users
        rows = Rows(interests, batch.targets[users], seen, batch.examples[users])
        return self.recommendation(rows, candidates, batch, processes)

    def recommendation(
        self, rows: Rows, candidates: Tensor, batch: Batch, processes: Processes
    ) -> Tensor:
        """The loss of the items that were taken, among all that compete, a scalar.

        The setting ``loss.recommendation`` names the loss; by default it is the softmax over all
        items. This process's part of the mean over the rows of all processes.

        Args:
            rows: the interests and their targets.
            candidates: [items, d], the whole catalogue.
            batch: where the rows are from.
            processes: those that share the batch.
        """
        targets = rows.targets
        if batch.among is not None:
            candidates = candidates[batch.among]
            targets = torch.searchsorted(batch.among, targets)
        scale = 1.0 / self.temperature
        if self.loss.recommendation == "softmax":
            loss = max_interest_cross_entropy(
                rows.interests,
                candidates,
                targets,
                scale=scale,
                seen=rows.seen,
                counted=rows.counted,
            )
        else:
            count = self.loss.negatives
            negatives = others(batch.stream, rows.keys, targets, len(candidates), count)
            loss = sampled_loss(
                self.loss,
                rows.interests,
                candidates,
                targets,
                negatives,
                scale=scale,
                seen=rows.seen,
                counted=rows.counted,
            )
        return loss * processes.fraction(rows.number())

    # The seen rule.

    def learn_gain(self) -> None:
        """Add the weight of the learned gain; a system calls this in its constructor."""
        # Added anew, so that it has the same place among the weights as in older files.
        del self.repeat
        self.repeat = nn.Parameter(torch.zeros(()))

    def gain(self) -> Tensor | None:
        """What is added to the scores of items that the history holds; None: not learned."""
        if self.repeat is None:
            return None
        return self.repeat * (GAIN_SCALE * self.temperature)

    def seen(
        self, interests: Interests, packed: Packed, candidates: Tensor | None = None
    ) -> HadItems | None:
        """The items of histories, with the learned gain; None if none is learned.

        Args:
            interests: of the histories.
            packed: the histories.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        gain = self.gain()
        if gain is None:
            return None
        if packed.valid is not None:
            return SeenTable.of(packed, gain, candidates).ordered(interests.users)
        return Seen.of(interests, packed, gain, candidates)

    def seen_by_every_token(
        self, packed: Packed, candidates: Tensor | None = None
    ) -> HadItems | None:
        """The items that each token of histories could see; None if no gain is learned.

        These are the token's own item and those before it. Users are places of tokens.

        Args:
            packed: the histories.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        gain = self.gain()
        if gain is None:
            return None
        if packed.valid is not None:
            return SeenTable.of_every_token(packed, gain, candidates)
        return Seen.of_every_token(packed, gain, candidates)

    # Asking.

    def scorer(self, items: ItemSide, *, gain: bool = True, inputs: Tensor | None = None) -> Scorer:
        """What ranks a catalogue.

        Args:
            items: the catalogue.
            gain: add the learned gain, if there is one.
            inputs: [items, w], the result of :meth:`inputs`, if it has been computed already.
        """
        from miracle_core.systems.scorer import VectorScorer

        return VectorScorer(self, items, gain=gain, inputs=inputs)

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> Explanation:
        """One history's interests, and what explains them.

        Args:
            tokens: [n, w], the inputs of the history's items, oldest first.
            packed: the history.
            candidates: [items, d].
        """
        from miracle_core.systems.explanation import VectorExplanation

        return VectorExplanation.of(self.encode(tokens, packed).interests, candidates)


@runtime_checkable
class HasCapsules(Protocol):
    """A system whose interests mean the same for every user, such as MIRACLE's capsules.

    Attributes:
        n_interests: C.
    """

    n_interests: int

    def affinities(self, tokens: Tensor, packed: Packed) -> Tensor:
        """How near each item of a history is to each capsule, [tokens, C] (eq. 7).

        An item activates the nearest.
        """

    def capsule_vectors(self) -> Tensor:
        """The capsules' base vectors, [C, d]."""
