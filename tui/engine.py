"""The loaded run, and the threads that query it, so that no query blocks the interface's thread.

Each kind of work has a lane: a thread that does one thing at a time. A Textual worker awaits each
request. When a newer worker cancels it, a request that has not started yet is dropped.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from miracle_core.errors import MiracleError
from miracle_core.progress import Progress
from tui.exploration import DEPTH
from tui.on_disk import RELOAD, Files, News, Source, news_of, state_name

if TYPE_CHECKING:
    from pathlib import Path

    from miracle_core.config import SeenRule
    from miracle_core.recommender import Recommender
    from miracle_core.recommender.given import Known
    from miracle_core.recommender.results import (
        Activations,
        CapsuleSummary,
        CapsuleUse,
        Match,
        Neighbour,
        Recommendation,
        UserHistory,
        UserTable,
    )

P = ParamSpec("P")
T = TypeVar("T")


class Load(Protocol):
    """A function that loads a run."""

    def __call__(self, source: Source, progress: Progress, /) -> Recommender:
        """Load the run with the requested data and weights."""


@dataclass(frozen=True)
class Stage:
    """The progress of a long task.

    Attributes:
        what: the name of the task.
        done: how many units are done.
        total: how many units there are, or None if unknown.
    """

    what: str
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        if not self.total:
            return f"{self.what} …"
        return f"{self.what} {100 * self.done // self.total} %"


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The run is being closed. A long task stops when it next reports progress."""


class Lane:
    """A thread that does one thing at a time, in order."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function once all earlier requests are done.

        Raises:
            Stopped: the lane is closed.
        """
        try:
            future = self._pool.submit(function, *args, **kwargs)
        except RuntimeError as error:
            raise Stopped from error
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop the requests that have not started."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Reporter:
    """Passes the core's progress from a lane to the interface."""

    def __init__(self, tell: Callable[[Stage | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._stages = threading.local()
        self.stopped = False

    def start(self, what: str, total: int | None, unit: str) -> None:
        """A task starts."""
        self._say(Stage(what, 0, total))

    def advance(self, amount: int) -> None:
        """Some units of the task are done."""
        stage: Stage | None = getattr(self._stages, "now", None)
        if stage is not None:
            self._say(Stage(stage.what, stage.done + amount, stage.total))

    def finish(self) -> None:
        """The task has ended."""
        self._say(None)

    def _say(self, stage: Stage | None) -> None:
        if self.stopped:
            raise Stopped
        self._stages.now = stage
        self._loop.call_soon_threadsafe(self._tell, stage)


def load_recommender(source: Source, progress: Progress, device: str = "cpu") -> Recommender:
    """Load a run. PyTorch is imported here, after the first paint, because it takes seconds."""
    progress.start("starting PyTorch", None, "")
    from miracle_core import Recommender, Rules
    from miracle_core.devices import device_named

    progress.start("reading the run", None, "")
    recommender = Recommender.load(
        source.run,
        data=source.data,
        device=device_named(device),
        progress=progress,
        weights=source.weights,
        rules=source.rules,
    )
    # The first answer fills the caches that later answers use.
    recommender.recommend([0], DEPTH, rules=Rules())
    recommender.nearest(0)
    return recommender


class Engine:
    """A run and the queries that it answers.

    Args:
        source: the run folder, and what is read with it.
        tell: called on the interface's thread with the progress of long tasks.
        load: the function that loads the run.

    Attributes:
        source: the run folder, and what is read with it.
        files: the files in the folder when the run was loaded; None before that.
    """

    def __init__(self, source: Source, tell: Callable[[Stage | None], None], load: Load) -> None:
        self.source = source
        self.files: Files | None = None
        self._load = load
        self._reporter = Reporter(tell)
        self._recommender: Recommender | None = None
        # Three lanes: typing, answers and passes over all users never wait for each other.
        self._typing, self._answers, self._passes = Lane("typing"), Lane("answers"), Lane("passes")

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.source.run

    @property
    def ready(self) -> bool:
        """Whether the run is loaded."""
        return self._recommender is not None

    @property
    def model(self) -> Recommender:
        """The loaded run, for cheap look-ups only: titles, ids and sizes."""
        assert self._recommender is not None, "asked before it was loaded"
        return self._recommender

    @property
    def answering(self) -> str:
        """In words: the epoch whose weights give the answers."""
        return state_name(self.model.weights, self.model.epoch, fitted=self.fitted)

    @property
    def fitted(self) -> bool:
        """Whether the system is fitted in one go, without epochs."""
        return self.model.system.stages == ("fit",)

    def same_data(self, other: Engine) -> bool:
        """Whether items and users have the same indices in both runs."""
        return self.model.dataset.manifest.fingerprint == other.model.dataset.manifest.fingerprint

    async def load(self) -> None:
        """Load the run and its titles. Any error in loading is raised here."""
        self._recommender = await self._answers.run(self._load_all)

    def _load_all(self) -> Recommender:
        # Let Python free what an earlier run left behind; see gc.freeze below.
        gc.unfreeze()
        files = Files.of(self.source)
        recommender = self._load(self.source, self._reporter)
        self._reporter.start("reading the titles", None, "")
        recommender.complete("a", 1)
        if recommender.abilities.capsules:
            recommender.capsules()
        # Read everything now: the folder may later be gone, or belong to another run.
        if recommender.n_users:
            recommender.user_id(0)
        if not files.same_run(Files.of(self.source)):
            raise MiracleError(
                "was replaced while it was being read",
                where=str(self.run),
                remedy=f"load it again: {RELOAD}",
            )
        self.files = files
        # Python's garbage collector now and then scans all objects for cycles. With PyTorch's
        # objects among them, an edit at that moment would wait for 0.3 s. The loaded objects stay
        # alive anyway, so the collector can skip them.
        gc.freeze()
        self._reporter.finish()
        return recommender

    async def news(self) -> News:
        """What has changed in the folder since the run was loaded."""
        if self.files is None:
            return News()
        return await asyncio.to_thread(
            news_of, self.source, self.files, self.answering, self.model.weights
        )

    async def complete(self, typed: str, limit: int) -> list[int]:
        """Catalogue items whose titles match what was typed."""
        return await self._typing.run(self.model.complete, typed, limit)

    async def match(self, lines: Sequence[str]) -> list[Match]:
        """Find the item that each typed line means."""
        return await self._typing.run(lambda: [self.model.match(line)[0] for line in lines])

    async def recommend(
        self, history: Sequence[Known], top_k: int, seen: SeenRule | None, target: int | None
    ) -> Recommendation:
        """Answer a history: ``top_k`` items for each interest, and a longer list overall."""
        # With a quota or diversity, a longer list is a different list: ask for the exact length.
        depth = top_k if self.model.rules.of_lists else max(top_k, DEPTH)
        return await self._answers.run(
            self.model.recommend,
            history,
            depth,
            seen,
            target=target,
            of_each=top_k,
        )

    async def nearest(self, item: int, limit: int) -> list[Neighbour]:
        """The catalogue items nearest to an item."""
        return await self._typing.run(self.model.nearest, item, limit)

    async def user_history(self, user: int) -> UserHistory:
        """A user's history before the held-out item."""
        return await self._answers.run(
            lambda: self.model.user_history(self.model.user_id(user), "test")
        )

    async def capsules(self) -> tuple[CapsuleSummary, ...]:
        """What each capsule stands for."""
        return await self._answers.run(self.model.capsules)

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run any other function in turn with the answers."""
        return await self._answers.run(function, *args, **kwargs)

    async def users(self) -> UserTable:
        """The table of all users: one pass over them, cached by the Recommender."""
        return await self._passes.run(self.model.users)

    async def capsule_use(self) -> CapsuleUse:
        """How users use the capsules: one pass over all users, cached by the Recommender."""
        return await self._passes.run(self.model.capsule_use)

    async def activations(self) -> Activations:
        """The data of figure 6, for a sample of users."""
        return await self._answers.run(self.model.activations)

    def close(self) -> None:
        """Tell the threads to end as soon as they can."""
        self._reporter.stopped = True
        for lane in (self._typing, self._answers, self._passes):
            lane.close()
