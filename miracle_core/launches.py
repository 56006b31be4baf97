"""Whether work is done a part at a time, or all at once.

A processor is fast if its data stays in its caches, so passes over large arrays are cut into parts.
On a GPU each part is a launch, and launches take time, so all is done at once. A padded step is
meant for a GPU. So it works all at once wherever it runs, and never reads a value back: on a
processor it dispatches the same operations as on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_few = False


def at_once(x: Tensor) -> bool:
    """Whether work on a tensor is done all at once, with no value read back by the host."""
    return _few or not x.is_cpu


@contextmanager
def few_launches(on: bool = True) -> Iterator[None]:
    """Within the block all work is done at once, on a processor too.

    Args:
        on: without it nothing changes.
    """
    global _few
    before, _few = _few, _few or on
    try:
        yield
    finally:
        _few = before
