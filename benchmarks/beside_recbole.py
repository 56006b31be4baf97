"""Training and ranking beside RecBole, in turn, on one thread each.

    python benchmarks/beside_recbole.py DATA --python PYTHON [--models sasrec gru4rec] [--pairs 3]
                                        [--tasks epoch ranking] [--eval-batch 512]

    DATA      a Dataset; both sides read its own split
    PYTHON    the interpreter of an environment that holds RecBole 1.2 (`pip install recbole`)

Both train one epoch over the same targets with the same width, layers, heads, softmax over the
catalogue and number of targets a step, then rank the whole catalogue for each validation user.
They take turns, so that both see the same machine. Printed are targets and users a second of
processor time, and the ratios' geometric mean with its 95 % interval.

A ranking is a whole validation on both sides, from the split in memory to the metrics: batches of
histories, the network, all scores, Recall and NDCG at 10 and 50. RecBole's is ``Trainer.evaluate``;
``--eval-batch`` says how many users it takes at a time, 512 where nothing is said, which is what it
is fastest with here (its own default is 4,096). This project's is what a training calls after each
epoch. RecBole finds each user's 50 best items, this project the rank of the held-out one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

WIDTH, HEADS, INNER, LENGTH, TARGETS = 64, 2, 256, 20, 1024
EVAL_BATCH = 512
LAYERS = {"sasrec": 2, "gru4rec": 1}
NAMES = {
    "sasrec": "SASRec",
    "gru4rec": "GRU4Rec",
    "bert4rec": "BERT4Rec",
    "fdsa": "FDSA",
}
PARTS: tuple[Literal["train", "valid", "test"], ...] = ("train", "valid", "test")
# What is timed, and whose examples it goes through.
TASKS = {"epoch": "train", "ranking": "valid"}
Task = Callable[[], object]


def serve(tasks: dict[str, Task]) -> None:
    """Do each task that is named on stdin, and answer with its processor seconds.

    A line of its own marks an answer: the other side may print what it likes.
    """
    for line in sys.stdin:
        task = tasks[line.strip()]
        started = time.process_time()
        task()
        print(f"seconds {time.process_time() - started}", flush=True)


def our_tasks(data: str, model: str) -> dict[str, Task]:
    """An epoch and a validation of this project."""
    from miracle_core.config import make_settings
    from miracle_core.data.dataset import Dataset
    from miracle_core.memory import keep_freed_memory
    from miracle_core.processes import ALONE
    from miracle_core.runs.folder import RunFolder
    from miracle_core.training.finetuning import Finetuning

    keep_freed_memory()  # as every training does
    dataset = Dataset.open(data)
    targets = len(dataset.examples("train"))
    sizes: dict[str, Any] = {
        "kind": model,
        "width": WIDTH,
        "layers": LAYERS[model],
        "max_length": LENGTH,
    }
    if model == "sasrec":
        sizes |= {"heads": HEADS, "inner": INNER}
    else:
        sizes |= {"hidden": WIDTH}
    given: dict[str, Any] = {"data": data, "seen": "as-printed", "model": sizes}
    training = Finetuning(
        make_settings(given), RunFolder(Path(tempfile.mkdtemp())), dataset, None, ALONE
    )
    order = training.order(1)
    # So many sequences hold about as many targets as one of the other side's batches.
    batch = max(round(TARGETS * len(order) / targets), 1)

    def epoch() -> None:
        training.system.train()
        for start in range(0, len(order), batch):
            training.step(order[start:][:batch])

    return {"epoch": epoch, "ranking": training.validate}


def recbole(folder: str, model: str, changed: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """RecBole's trainer of a model, and its data by part.

    Args:
        folder: a split that :func:`write_split` wrote.
        model: by this project's name.
        changed: settings by RecBole's names, on top of those that make both sides alike.
    """
    import torch

    read = torch.load
    # It reads its own checkpoints with a default that newer versions of PyTorch changed.
    torch.load = lambda *args, **named: read(*args, **{**named, "weights_only": False})
    config_module, data_module, utils = (
        import_module(f"recbole.{name}") for name in ("config", "data", "utils")
    )
    path = Path(folder)
    config = config_module.Config(
        model=NAMES[model],
        dataset=path.name,
        config_dict={
            "data_path": str(path.parent),
            "benchmark_filename": list(PARTS),
            "alias_of_item_id": ["item_id_list"],
            "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "TIME_FIELD": None,
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "train_batch_size": TARGETS,
            "eval_batch_size": EVAL_BATCH,
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "order": "TO",
                "mode": "full",
            },
            "metrics": ["Recall", "NDCG"],
            "topk": [10, 50],
            "valid_metric": "Recall@10",
            "use_gpu": False,
            "state": "WARNING",
            "show_progress": False,
            "hidden_size": WIDTH,
            "embedding_size": WIDTH,
            "num_layers": LAYERS.get(model, 2),
            "n_layers": LAYERS.get(model, 2),
            "n_heads": HEADS,
            "inner_size": INNER,
            "checkpoint_dir": str(path.parent / "saved"),
            **changed,
        },
    )
    utils.init_seed(config["seed"], reproducibility=True)
    created = data_module.create_dataset(config)
    parts = dict(zip(PARTS, data_module.data_preparation(config, created), strict=True))
    network = utils.get_model(NAMES[model])(config, parts["train"].dataset)
    trainer = utils.get_trainer(config["MODEL_TYPE"], NAMES[model])(config, network)
    return trainer, parts


def their_tasks(folder: str, model: str, eval_batch: str) -> dict[str, Task]:
    """An epoch, a validation and lists of RecBole, whose interpreter runs this."""
    import numpy as np
    import torch

    case_study = import_module("recbole.utils.case_study")
    trainer, parts = recbole(folder, model, {"eval_batch_size": int(eval_batch)})
    network, test = trainer.model, parts["test"]

    def lists() -> None:
        """The ten best items of every test user, by full-sort prediction: their fastest way."""
        network.eval()
        with torch.no_grad():
            for batch in test:
                scores = network.full_sort_predict(batch[0]).view(-1, network.n_items)
                scores[:, 0] = -torch.inf
                torch.topk(scores, 10)

    def lists_by_user() -> None:
        """The same as their documentation shows it: users by their ids, so many at a time."""
        users = np.unique(test.dataset.inter_feat[test.dataset.uid_field].numpy())
        for start in range(0, len(users), 2048):
            case_study.full_sort_topk(users[start:][:2048], network, test, 10)

    return {
        "epoch": lambda: trainer._train_epoch(parts["train"], 0),
        "ranking": lambda: trainer.evaluate(parts["valid"], load_best_model=False),
        "lists": lists,
        "lists by user": lists_by_user,
    }


def write_split(data: Path, folder: Path) -> dict[str, int]:
    """Write a Dataset's split as RecBole reads it; how many examples each part has."""
    import numpy as np

    from miracle_core.data.dataset import Dataset

    dataset = Dataset.open(data)
    counts: dict[str, int] = {}
    for part in PARTS:
        examples = dataset.examples(part)
        starts = np.asarray(dataset.offsets[examples.users])
        with (folder / f"{folder.name}.{part}.inter").open("w") as out:
            out.write("user_id:token\titem_id_list:token_seq\titem_id:token\n")
            for user, start, end in zip(examples.users, starts, examples.positions, strict=True):
                history = " ".join(map(str, dataset.sequences[start:end][-LENGTH:]))
                out.write(f"{user}\t{history}\t{dataset.sequences[end]}\n")
        counts[part] = len(examples)
    return counts


class Side:
    """A process that works on one side.

    Args:
        python: its interpreter.
        room: where it runs.
        mode: ``ours`` or ``theirs``.
        arguments: what makes its tasks is given these.
        script: what knows the tasks.
    """

    def __init__(
        self, python: str, room: str, mode: str, *arguments: str, script: str = __file__
    ) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
        here = Path(script).resolve()
        self._process = subprocess.Popen(
            [python, str(here), "--side", mode, *arguments],
            cwd=room,
            env={**os.environ, **threads, "PYTHONPATH": str(here.parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, task: str) -> float:
        """Processor seconds of a task."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise SystemExit("one side ended early: see its message above")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(ours: Side, theirs: Side, task: str, count: int, pairs: int) -> dict[str, float]:
    """Rates of both sides and their ratio, of tasks done in turn; the first is not counted."""
    from benchmarks.pairs import interval

    seconds: list[tuple[float, float]] = []
    for pair in range(pairs + 1):
        if pair % 2:
            mine, their = ours.do(task), theirs.do(task)
        else:
            their, mine = theirs.do(task), ours.do(task)
        seconds.append((mine, their))
    counted = seconds[1:]
    ratio, low, high = interval([their / mine for mine, their in counted])
    return {
        "ours": count * len(counted) / sum(mine for mine, _ in counted),
        "recbole": count * len(counted) / sum(their for _, their in counted),
        "ratio": ratio,
        "low": low,
        "high": high,
    }


def main() -> None:
    """Time both sides."""
    import orjson

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--python", required=True)
    parser.add_argument("--models", nargs="+", choices=sorted(LAYERS), default=sorted(LAYERS))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--eval-batch", type=int, default=EVAL_BATCH)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.pairs < 2:
        parser.error("an interval needs two pairs or more")
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "split"
        folder.mkdir()
        counts = write_split(asked.data, folder)
        for model in asked.models:
            ours = Side(sys.executable, room, "ours", str(asked.data.resolve()), model)
            python, eval_batch = str(Path(asked.python).absolute()), str(asked.eval_batch)
            theirs = Side(python, room, "theirs", str(folder), model, eval_batch)
            found[model] = {
                task: compare(ours, theirs, task, counts[TASKS[task]], asked.pairs)
                for task in asked.tasks
            }
            ours.close()
            theirs.close()
    if asked.json:
        print(orjson.dumps(found).decode())
        return
    for model, tasks in found.items():
        for task, row in tasks.items():
            unit = "targets/s" if task == "epoch" else "users/s"
            print(
                f"{NAMES[model]:<8} {task:<8} {row['ours']:>9,.0f} {unit}, RecBole "
                f"{row['recbole']:>9,.0f}: {row['ratio']:.2f} times "
                f"(95 %: {row['low']:.2f} to {row['high']:.2f})"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        make = our_tasks if sys.argv[2] == "ours" else their_tasks
        serve(make(*sys.argv[3:]))
    else:
        main()
