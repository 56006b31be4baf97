"""The one writer of a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from miracle_core.files import remove_leftovers, restore
from miracle_core.locks import one_writer
from miracle_core.processes import Processes
from miracle_core.runs.folder import RunFolder


@contextmanager
def writing(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """Be the only training that writes to a run folder; the first process holds the lock.

    Args:
        folder: the run folder; what a kill left unfinished there is cleared away.
        processes: those that train together.

    Raises:
        InputError: another training is writing there; the message says which one.
    """
    with ExitStack() as held:

        def begin() -> None:
            held.enter_context(one_writer(folder.path))
            restore(folder.path)
            remove_leftovers(folder.path)

        processes.on_first(begin)
        yield
