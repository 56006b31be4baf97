"""How fast one answer is: load, first request, then many; beside a plain torch loop.

    python benchmarks/serving.py RUN [RUN ...] [--requests 500] [--fresh 5] [--threads 2] [--json]

Each of ``--fresh`` processes imports the package, opens the run and answers one request, as a
server does when it starts; the best and the median are told, of which the best is what the machine
can do when nobody else is on it. The last one answers many requests: each a user's whole history,
ten items, with the interests, titles and what each item of the history adds. Memory is the
process's at its peak. The plain loop is the same network in the same process without this package's
door: the history as a tensor in, ten best items out, no titles, nothing explained.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def serve(run: str, requests: int, threads: int) -> dict[str, Any]:
    """Load a run and answer, in this process."""
    wall, processor = time.perf_counter(), time.process_time()
    from miracle_core import Recommender

    recommender = Recommender.load(run)
    loaded, loaded_processor = time.perf_counter() - wall, time.process_time() - processor
    import torch

    torch.set_num_threads(threads)
    users = [recommender.user_id(user) for user in range(min(requests, recommender.n_users))]
    histories = [recommender.user_history(user).items for user in users]
    begun = time.perf_counter()
    recommender.recommend(histories[0], 10)
    found: dict[str, Any] = {
        "load_s": loaded,
        "load_processor_s": loaded_processor,
        "first_ms": 1000 * (time.perf_counter() - begun),
    }
    if requests > 1:
        plain = _plain(recommender)
        ours = []
        theirs = []
        for history in histories:
            ours.append(_milliseconds(lambda h=history: recommender.recommend(h, 10)))
            theirs.append(_milliseconds(lambda h=history: plain(h)))
        found |= {"answer_ms": _spread(ours), "plain_ms": _spread(theirs)}
    from benchmarks.harness import _status

    found["peak_mib"] = _status("VmHWM") / 2**20
    return found


def torch_alone() -> dict[str, float]:
    """What importing PyTorch takes, the collector of garbage paused as the package does."""
    wall, processor = time.perf_counter(), time.process_time()
    gc.disable()
    import torch  # noqa: F401

    seconds, busy = time.perf_counter() - wall, time.process_time() - processor
    return {"torch_s": seconds, "torch_processor_s": busy}


def _plain(recommender: Any) -> Any:
    """The network alone: a history's best items, by what anybody would write with torch."""
    import numpy as np
    import torch

    from miracle_core.data.packed import pack

    scorer = recommender._scorer
    system, inputs, items = scorer.system, scorer.inputs, scorer.items

    @torch.inference_mode()
    def answer(history: Any) -> Any:
        tokens = np.asarray(history, dtype=np.int64)
        packed = pack(tokens, np.array([0]), np.array([len(tokens)]), scorer.max_length)
        interests = system.encode(inputs[packed.items], packed).interests
        return (interests.vectors @ items.T).amax(0).topk(10)

    return answer


def _milliseconds(action: Any) -> float:
    begun = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begun)


def _best(starts: list[dict[str, float]], name: str) -> dict[str, float]:
    values = [start[name] for start in starts]
    return {"best": min(values), "median": statistics.median(values)}


def _spread(values: list[float]) -> dict[str, float]:
    import numpy as np

    return {"median": float(np.median(values)), "95 %": float(np.percentile(values, 95))}


def main() -> None:
    """Start processes, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--fresh", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        alone = asked.runs == ["torch"]
        found = torch_alone() if alone else serve(asked.runs[0], asked.requests, asked.threads)
        import orjson

        print(orjson.dumps(found).decode())
        return
    from benchmarks.harness import in_fresh_process, show

    imports = [
        in_fresh_process("benchmarks.serving", "torch", "--child") for _ in range(asked.fresh)
    ]
    results: dict[str, Any] = {"torch": {name: _best(imports, name) for name in imports[0]}}
    rows = [(f"importing {name}", f"best {v['best']:.3g}") for name, v in results["torch"].items()]
    for run in map(str, map(Path.resolve, map(Path, asked.runs))):
        options = (run, "--child", "--threads", str(asked.threads))
        # The first start fills the system's file cache, and the run's own kept labels.
        starts = [
            in_fresh_process("benchmarks.serving", *options, "--requests", "1")
            for _ in range(asked.fresh + 1)
        ][1:]
        many = in_fresh_process("benchmarks.serving", *options, "--requests", str(asked.requests))
        names = ("load_s", "load_processor_s", "first_ms")
        result: dict[str, Any] = {name: _best(starts, name) for name in names}
        result |= {name: many[name] for name in ("answer_ms", "plain_ms", "peak_mib")}
        results[run] = result
        rows.append((Path(run).name, ""))
        for name, value in result.items():
            words = (
                ", ".join(f"{key} {number:.3g}" for key, number in value.items())
                if isinstance(value, dict)
                else f"{value:.0f}"
            )
            rows.append((f"  {name.replace('_', ' ')}", words))
    show("Serving", rows, results if asked.json else None)


if __name__ == "__main__":
    main()
