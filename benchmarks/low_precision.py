"""How long the head of a ranking would be that low-precision scores leave open.

    python benchmarks/low_precision.py RUN [RUN ...] [--json]

Scores in bfloat16 or float16 can tell that an item is better or worse than the held-out one where
they differ by more than both can be wrong. All other items are the head: they would have to be
scored again in float32. Nothing is timed, and no GPU is needed: precision is a matter of rounding.

    share       the head, as a part of all (user, item) pairs
    mean, p99   items in the head of a user
    alone       users whose rank is another one by low-precision scores alone
    float32     users whose rank is another one where float32 adds up products in another order

A number is rounded by at most e = 2^-8 of it in bfloat16 and 2^-11 in float16, where what is near
0 is rounded by at most 2^-25 instead. So a sum of d products in float32 is wrong by at most

    s = (2 e + e^2 + d 2^-23) |u| |x| + 2^-24 sqrt(d) (|u| + |x|)

and, rounded, by s + e (|score| + s) + 2^-25. Vectors are scaled so that the longest is 1: a type's
range is then no matter. Users and items are those of a run's validation part.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from miracle_core.data.packed import pack
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import by_length
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.order import ranks, tie_order
from miracle_core.ranking.pieces import max_over_interests
from miracle_core.ranking.seen import HadItems
from miracle_core.runs.opening import TrainedRun, load_run
from miracle_core.systems.scorer import VectorScorer

TYPES = {"bfloat16": (torch.bfloat16, 2.0**-8), "float16": (torch.float16, 2.0**-11)}
USERS = 1024


def scored(
    interests: Interests, vectors: Tensor, items: Tensor, seen: HadItems | None, kind: torch.dtype
) -> Tensor:
    """Scores [users, items] of vectors, products and scores rounded to a type, sums in float32."""
    vectors, items = (each.to(kind).float() for each in (vectors, items))
    scores = max_over_interests((vectors @ items.T).to(kind).float(), interests.groups)
    if seen is not None:
        seen.add_to(scores)
    return scores


def wrong_by(
    interests: Interests, vectors: Tensor, items: Tensor, scores: Tensor, unit: float
) -> Tensor:
    """How far each low-precision score may lie from the float32 one, [users, items]."""
    d = items.shape[1]
    u, x = (torch.linalg.vector_norm(each, dim=1) for each in (vectors, items))
    u, x = u.unsqueeze(1), x.unsqueeze(0)
    small = 2.0**-24 * math.sqrt(d) * (u + x)
    each = (2 * unit + unit * unit + d * 2.0**-23) * u * x + small
    sums = max_over_interests(each, interests.groups)
    return sums + unit * (scores.abs() + sums) + 2.0**-25


def measured(run: TrainedRun) -> dict[str, Any]:
    """The head of a run's validation users in each type."""
    scorer, dataset = run.scorer(), run.dataset
    if not isinstance(scorer, VectorScorer):
        raise InputError("ranks without vectors", where=str(run.folder.path))
    examples = by_length(dataset, dataset.examples("valid"))
    starts, ends = np.asarray(dataset.offsets[examples.users]), examples.positions
    ties = tie_order(dataset.n_items)
    heads: dict[str, list[Tensor]] = {name: [] for name in TYPES}
    alone, again = dict.fromkeys(TYPES, 0), 0
    for first in range(0, len(examples), USERS):
        part = slice(first, first + USERS)
        packed = pack(dataset.sequences, starts[part], ends[part], scorer.max_length)
        interests = scorer.interests(packed)
        seen = scorer.system.seen(interests, packed)
        order = packed.order[interests.users].numpy()
        targets = torch.from_numpy(dataset.sequences[ends[part]][order].astype(np.int64))
        longest = max(float(each.norm(dim=1).max()) for each in (interests.vectors, scorer.items))
        vectors, items = interests.vectors / longest, scorer.items / longest
        if seen is not None:
            seen = seen.with_gain(seen.gain / longest**2)
        exact = scored(interests, vectors, items, seen, torch.float32)
        found = ranks(exact, targets, ties)
        turned = scored(interests, vectors.flip(1), items.flip(1), seen, torch.float32)
        again += int((ranks(turned, targets, ties) != found).sum())
        own = targets.unsqueeze(1)
        for name, (kind, unit) in TYPES.items():
            low = scored(interests, vectors, items, seen, kind)
            error = wrong_by(interests, vectors, items, exact, unit)
            if bool(((low - exact).abs() > error).any()):
                raise AssertionError(f"a score in {name} is wrong by more than it may be")
            near = (low - low.gather(1, own)).abs() <= error + error.gather(1, own)
            heads[name].append(near.sum(1) - 1)
            alone[name] += int((ranks(low, targets, ties) != found).sum())
    result: dict[str, Any] = {"users": len(examples), "items": dataset.n_items, "float32": again}
    for name, parts in heads.items():
        head = torch.cat(parts).double()
        result[name] = {
            "share": float(head.mean()) / dataset.n_items,
            "mean": float(head.mean()),
            "p99": float(head.quantile(0.99)),
            "alone": alone[name],
        }
    return result


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = {str(run): measured(load_run(run)) for run in options.runs}
    rows = []
    for run, found in result.items():
        rows.append((run, f"{found['float32']} of {found['users']:,} ranks follow float32's order"))
        rows += [
            (
                f"  {name}",
                f"head {own['share']:.2%}, {own['mean']:.0f} items a user (p99 {own['p99']:.0f}); "
                f"alone it changes {own['alone'] / found['users']:.0%} of the ranks",
            )
            for name, own in ((name, found[name]) for name in TYPES)
        ]
    harness.show("What low-precision scores leave open", rows, result if options.json else None)


if __name__ == "__main__":
    main()
