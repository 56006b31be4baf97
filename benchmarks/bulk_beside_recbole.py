"""Lists for all users beside RecBole's full-sort prediction, in turn, on one thread each.

    python benchmarks/bulk_beside_recbole.py DATA --python PYTHON [--runs RUN ...] [--pairs 3]

    DATA      a Dataset; both sides read it
    PYTHON    the interpreter of an environment that holds RecBole 1.2 (`pip install recbole`)
    RUN       runs of ours on DATA; none: a SASRec with weights drawn at random

Ours is what ``miracle recommend RUN --users all --out FILE.parquet`` does once it is loaded: the
ten best items of each user with titles, written to a file. Theirs is the prediction alone, a SASRec
of the same width, layers and heads with weights drawn at random: scores of the whole catalogue and
their ten best, in the batches of its own loader; and once more by ``full_sort_topk``, as its
documentation shows it. Printed are users a second of processor time, and the ratios' geometric mean
with its 95 % interval.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.beside_recbole import (
    EVAL_BATCH,
    HEADS,
    INNER,
    LAYERS,
    LENGTH,
    WIDTH,
    Side,
    Task,
    compare,
    serve,
    write_split,
)

MODEL = "sasrec"
THEIRS = ("lists", "lists by user")


def our_tasks(run: str) -> dict[str, Task]:
    """The lists of all users of a run."""
    from miracle_core.batch import all_users, recommend_batch
    from miracle_core.recommender import Recommender

    recommender = Recommender.load(run)
    out = Path(tempfile.mkdtemp()) / "lists.parquet"
    return dict.fromkeys(THEIRS, lambda: recommend_batch(recommender, all_users(recommender), out))


def untrained(data: Path, out: Path) -> Path:
    """A run of SASRec whose weights are as drawn."""
    from miracle_core.config import make_settings
    from miracle_core.training.finetuning import finetune

    sizes = {"kind": MODEL, "width": WIDTH, "layers": LAYERS[MODEL], "heads": HEADS}
    sizes |= {"inner": INNER, "max_length": LENGTH}
    given = {"data": str(data), "seen": "as-printed", "model": sizes, "train": {"epochs": 1}}
    # The first question whether to stop comes after the first step.
    finetune(make_settings(given), out, should_stop=lambda: True)
    return out


def main() -> None:
    """Time both sides."""
    import orjson

    from miracle_core.data.dataset import Dataset

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--python", required=True)
    parser.add_argument("--runs", nargs="+", type=Path, default=[])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.pairs < 2:
        parser.error("an interval needs two pairs or more")
    found = {}
    users = Dataset.open(asked.data).n_users
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "split"
        folder.mkdir()
        write_split(asked.data, folder)
        runs = asked.runs or [untrained(asked.data.resolve(), Path(room) / "sasrec")]
        python = str(Path(asked.python).absolute())
        theirs = Side(python, room, "theirs", str(folder), MODEL, str(EVAL_BATCH))
        for run in runs:
            ours = Side(sys.executable, room, "ours", str(run.resolve()), script=__file__)
            found[run.name] = {
                task: compare(ours, theirs, task, users, asked.pairs) for task in THEIRS
            }
            ours.close()
        theirs.close()
    if asked.json:
        print(orjson.dumps(found).decode())
        return
    for name, tasks in found.items():
        for task, row in tasks.items():
            print(
                f"{name}: {row['ours']:,.0f} users/s, RecBole ({task}) {row['recbole']:,.0f}: "
                f"{row['ratio']:.2f} times (95 %: {row['low']:.2f} to {row['high']:.2f})"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        serve(our_tasks(sys.argv[3]))
    else:
        main()
