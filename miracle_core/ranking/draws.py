"""Random numbers that depend on their purpose, and not on what was drawn before.

A number is a function of (seed, epoch, key of an example, purpose, place). So an example gets the
same negatives, masks or drops in whatever batch, order or process it comes. The generator is
splitmix64 (Steele, Lea and Flood 2014), in int64 whose arithmetic wraps around.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

# The next multiple of the golden ratio, and the two multipliers of the mixing function.
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
SECOND = 0x94D049BB133111EB - (1 << 64)
# One bit less than a float64 holds, so that even the largest number times n is rounded below n.
BITS = 52


def mixed(z: Tensor) -> Tensor:
    """Splitmix64's mixing function: int64 to int64, each bit depends on all."""
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills up with zeros, as that of unsigned numbers does."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def keys_within(examples: Tensor, places: Tensor) -> Tensor:
    """One key for each (example, place within it).

    Args:
        examples: int64 [any], examples' numbers.
        places: int64 [any], places, such as those of a history's items.

    Returns:
        int64 [any].
    """
    return mixed(examples + GOLDEN) + places


def uniform(
    stream: tuple[int, int], keys: Tensor, purpose: str, shape: tuple[int, ...] = ()
) -> Tensor:
    """Independent numbers from 0 to below 1 for each key.

    Args:
        stream: the run's seed and the epoch.
        keys: int64 [n], what tells one example from all others of the epoch.
        purpose: what the numbers are for; another purpose gets other numbers.
        shape: the shape of the numbers of one key.

    Returns:
        float64 [n, *shape].
    """
    start = torch.zeros((), dtype=torch.int64, device=keys.device)
    for number in (*stream, zlib.crc32(purpose.encode())):
        start = mixed(start + number + GOLDEN)
    own = mixed(start + mixed(keys + GOLDEN))
    count = torch.arange(1, math.prod(shape) + 1, device=keys.device)
    bits = mixed(own.unsqueeze(1) + count * GOLDEN)
    drawn = _shifted(bits, 64 - BITS).to(torch.float64) * 2.0**-BITS
    return drawn.view(len(keys), *shape)


def others(
    stream: tuple[int, int], keys: Tensor, targets: Tensor, n_items: int, count: int
) -> Tensor:
    """Negatives: for each key items other than its target, each equally likely, with repetition.

    Args:
        stream: the run's seed and the epoch.
        keys: int64 [n].
        targets: int64 [n], the item of each that is never drawn.
        n_items: items of the catalogue, at least two.
        count: how many are drawn for each key.

    Returns:
        int64 [n, count].
    """
    drawn = uniform(stream, keys, "negatives", (count,)).mul_(n_items - 1).long()
    return drawn.add_(drawn >= targets.unsqueeze(1))
