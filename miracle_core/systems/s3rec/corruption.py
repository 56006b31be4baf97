"""What pre-training hides of sequences: single items, and segments that others take the place of.

All is drawn by (seed, epoch, example), so that several processes draw what one would. Values at
padding mean nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.processes import Processes
from miracle_core.ranking.draws import uniform


def draw_mask(stream: tuple[int, int], keys: Tensor, whole: Packed, probability: float) -> Tensor:
    """Items to mask: each with one probability, and every sequence's last one.

    Args:
        stream: the run's seed and the epoch.
        keys: int64 [tokens], what tells each item from all others of the epoch.
        whole: the sequences.
        probability: of an item that isn't the last.

    Returns:
        bool [tokens].
    """
    masked = uniform(stream, keys, "mask") < probability
    masked[whole.last_tokens()] = True
    return masked


def draw_segments(
    stream: tuple[int, int], examples: Tensor, whole: Packed, processes: Processes
) -> tuple[Tensor, Tensor]:
    """A segment of each sequence, and a negative segment of as many items to put in its place.

    The segment of a sequence of n items has 1 to n / 2 of them: all lengths are equally likely, and
    given the length all places. The negative segment is cut from the sequences of all processes,
    laid end to end in the order of their examples' numbers.

    Args:
        stream: the run's seed and the epoch.
        examples: int64 [histories], the examples' numbers.
        whole: the sequences, each of two items or more.
        processes: those that share the batch.

    Returns:
        Which tokens are in their sequence's segment, bool [tokens]; and the items of the negative
        segments, int64 [tokens], which mean nothing outside the segments.
    """
    by_length, by_start, by_negative = uniform(stream, examples, "segment", (3,)).unbind(1)
    lengths = whole.lengths()
    sizes = 1 + (by_length * (lengths // 2)).long()
    starts = (by_start * (lengths - sizes + 1)).long()
    history = whole.history_of_token()
    line, n_items = _end_to_end(examples[history], whole, processes)
    negative = (by_negative * (n_items - sizes + 1)).long()
    within = whole.places() - starts[history]
    inside = (within >= 0) & (within < sizes[history])
    return inside, line[negative[history] + within.where(inside, 0)]


def _end_to_end(
    examples: Tensor, whole: Packed, processes: Processes
) -> tuple[Tensor, int | Tensor]:
    """The items of all processes' sequences, in the order of their examples.

    Args:
        examples: int64 [tokens], the number of each token's example.
        whole: the sequences.
        processes: those that share the batch.

    Returns:
        int64 [tokens of all processes], padding last, and how many items there are; in a padded
        batch a scalar on the device.
    """
    if whole.valid is not None:
        examples = torch.where(whole.valid, examples, torch.iinfo(examples.dtype).max)
    (examples, _), (items, _) = processes.gather(examples), processes.gather(whole.items)
    line = items[examples.argsort(stable=True)]
    n_items = whole.n_items()
    return line, processes.sum(n_items) if isinstance(n_items, Tensor) else len(line)
