"""The loaded run and the threads that ask it: nothing here runs on the interface's own thread.

Each kind of work has a lane, a thread that does one thing at a time. A request is awaited by a
Textual worker; when a newer one cancels that worker, a request that has not begun is dropped.
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
    """What loads a run."""

    def __call__(self, source: Source, progress: Progress, /) -> Recommender:
        """Load it, with the data and the weights asked for."""


@dataclass(frozen=True)
class Stage:
    """A piece of longer work under way.

    Attributes:
        what: its name.
        done: units done.
        total: units in all, or None if that isn't known.
    """

    what: str
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        if not self.total:
            return f"{self.what} …"
        return f"{self.what} {100 * self.done // self.total} %"


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The run is being closed: longer work ends at its next sign of progress."""


class Lane:
    """A thread that does one thing after another."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it, when what was asked for before is done.

        Raises:
            Stopped: the lane is closed.
        """
        try:
            future = self._pool.submit(function, *args, **kwargs)
        except RuntimeError as error:
            raise Stopped from error
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Reporter:
    """Brings the core's progress from a lane to the interface."""

    def __init__(self, tell: Callable[[Stage | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._stages = threading.local()
        self.stopped = False

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Work begins."""
        self._say(Stage(what, 0, total))

    def advance(self, amount: int) -> None:
        """Some of it is done."""
        stage: Stage | None = getattr(self._stages, "now", None)
        if stage is not None:
            self._say(Stage(stage.what, stage.done + amount, stage.total))

    def finish(self) -> None:
        """It has ended."""
        self._say(None)

    def _say(self, stage: Stage | None) -> None:
        if self.stopped:
            raise Stopped
        self._stages.now = stage
        self._loop.call_soon_threadsafe(self._tell, stage)


def load_recommender(source: Source, progress: Progress, device: str = "cpu") -> Recommender:
    """Load a run; PyTorch is imported here, seconds after the first paint."""
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
    # The first answer makes what later ones find ready.
    recommender.recommend([0], DEPTH, rules=Rules())
    recommender.nearest(0)
    return recommender


class Engine:
    """A run, and what may be asked of it.

    Args:
        source: the run folder, and what is read with it.
        tell: hears of longer work, on the interface's thread.
        load: what loads it.

    Attributes:
        source: the same.
        files: what the folder held when the run was loaded; None before that.
    """

    def __init__(self, source: Source, tell: Callable[[Stage | None], None], load: Load) -> None:
        self.source = source
        self.files: Files | None = None
        self._load = load
        self._reporter = Reporter(tell)
        self._recommender: Recommender | None = None
        # Typing, answering and passes over all users never wait for each other.
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
        """The loaded run, for what costs nothing: titles, ids, sizes."""
        assert self._recommender is not None, "asked before it was loaded"
        return self._recommender

    @property
    def answering(self) -> str:
        """Which epoch's weights answer, in words."""
        return state_name(self.model.weights, self.model.epoch, fitted=self.fitted)

    @property
    def fitted(self) -> bool:
        """Whether the system learns at once, so that there are no epochs."""
        return self.model.system.stages == ("fit",)

    def same_data(self, other: Engine) -> bool:
        """Whether items and users have the same indices in both runs."""
        return self.model.dataset.manifest.fingerprint == other.model.dataset.manifest.fingerprint

    async def load(self) -> None:
        """Load the run and its titles; whatever goes wrong comes out here."""
        self._recommender = await self._answers.run(self._load_all)

    def _load_all(self) -> Recommender:
        # What a run closed before has left behind may go; see below.
        gc.unfreeze()
        files = Files.of(self.source)
        recommender = self._load(self.source, self._reporter)
        self._reporter.start("reading the titles", None, "")
        recommender.complete("a", 1)
        if recommender.abilities.capsules:
            recommender.capsules()
        # All that is read from the folder is read now: it may be gone, or another run's, later.
        if recommender.n_users:
            recommender.user_id(0)
        if not files.same_run(Files.of(self.source)):
            raise MiracleError(
                "was replaced while it was being read",
                where=str(self.run),
                remedy=f"load it again: {RELOAD}",
            )
        self.files = files
        # Python looks through all objects for cycles now and then; with PyTorch's among them an
        # edit in that moment would wait for 0.3 s. What is loaded stays, so it need not be looked
        # through.
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
        """Catalogue items whose title may be meant."""
        return await self._typing.run(self.model.complete, typed, limit)

    async def match(self, lines: Sequence[str]) -> list[Match]:
        """What each of some typed lines means."""
        return await self._typing.run(lambda: [self.model.match(line)[0] for line in lines])

    async def recommend(
        self, history: Sequence[Known], top_k: int, seen: SeenRule | None, target: int | None
    ) -> Recommendation:
        """The answer to a history: ``top_k`` items of each interest, more in all."""
        # Where places are kept in a list, one of another length is another list.
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
        """Catalogue items that are nearest."""
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
        """Whatever else takes its turn among the answers."""
        return await self._answers.run(function, *args, **kwargs)

    async def users(self) -> UserTable:
        """Every user, ranked: a pass over all of them, kept by the Recommender."""
        return await self._passes.run(self.model.users)

    async def capsule_use(self) -> CapsuleUse:
        """How the users use the capsules: a pass over all of them, kept by the Recommender."""
        return await self._passes.run(self.model.capsule_use)

    async def activations(self) -> Activations:
        """Figure 6 for a sample of users."""
        return await self._answers.run(self.model.activations)

    def close(self) -> None:
        """Let the threads end as soon as they can."""
        self._reporter.stopped = True
        for lane in (self._typing, self._answers, self._passes):
            lane.close()
