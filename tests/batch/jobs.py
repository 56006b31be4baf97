"""Jobs that the tests of kills and of several processes run in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import polars as pl
import torch

from miracle_core.batch import all_users, parts, recommend_batch, sources
from miracle_core.errors import InputError
from miracle_core.processes import processes
from miracle_core.recommender import Recommender
from tests.support.killed import killed

torch.set_num_threads(1)


def batch(run: str, out: str, kill_at: int) -> int:
    """Write lists for all users, five per part, and get killed before a part is put in place.

    Args:
        run: the run folder.
        out: the output file.
        kill_at: the number of the part to kill before, in this process; 0 for never.

    Returns:
        0, or 5 if parts of an earlier attempt were reused.
    """
    sources.PART = 5
    written = iter(range(1, 1_000))
    record = parts.write_json

    def killing(path: object, value: object) -> None:
        if "part-" in str(path) and next(written) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        record(path, value)  # type: ignore[arg-type]

    parts.write_json = killing  # type: ignore[assignment]
    recommender = Recommender.load(run)
    found = recommend_batch(
        recommender, all_users(recommender), out, top_k=4, processes=processes()
    )
    return 5 if found.resumed else 0


def lists(out: str, word: str, at: int, counted: str) -> None:
    """Write two parts that hold a word, put the output in its place, and get killed."""

    def work() -> None:
        own = parts.Parts(Path(out))
        own.begin(word)
        for number in range(2):
            if not own.has(number):
                table = pl.DataFrame({"word": [word]})
                own.write(table, parts.PartRecord(number, 1, 1, 1, ()))
        own.finish()

    killed(work, at, counted)


def refused(run: str, out: str, users: str) -> int:
    """An unknown user in one process's share: return 2 where it is reported, 3 elsewhere."""
    sources.PART = 2
    recommender = Recommender.load(run)
    try:
        recommend_batch(
            recommender, sources.named_users(recommender, users), out, processes=processes()
        )
    except InputError:
        return 2
    except Exception:
        return 3
    return 0
