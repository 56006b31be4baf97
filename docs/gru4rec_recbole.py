"""One training of RecBole's GRU4Rec on a Dataset's own split: why ours is better (results.md).

    python docs/gru4rec_recbole.py DATA --python PYTHON [--items unit] [--set hidden_size=64 ...]

PYTHON is the interpreter of an environment that holds RecBole 1.2 (``pip install recbole``). The
best epoch is chosen by validation, Recall@10, with a patience of 10, and printed; the test part is
left unread. ``docs/gru4rec_apart.py`` trains this project's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.beside_recbole import recbole, write_split  # noqa: E402


def main() -> None:
    """Write the split, and have RecBole's interpreter train on it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--python", required=True)
    parser.add_argument(
        "--items",
        choices=("xavier", "unit"),
        default="xavier",
        help="first item vectors: RecBole's own, or N(0, 1 / width) as in this project",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "split"
        folder.mkdir()
        write_split(asked.data, folder)
        theirs = [asked.python, str(Path(__file__).resolve()), "--train", str(folder), asked.items]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        subprocess.run([*theirs, *asked.set], cwd=room, env={**os.environ, **threads}, check=True)


def train(folder: str, items: str, settings: list[str]) -> None:
    """One training, by RecBole's interpreter."""
    given = {
        name: json.loads(value) for name, _, value in (each.partition("=") for each in settings)
    }
    trainer, parts = recbole(folder, "gru4rec", {"hidden_size": 128, "epochs": 100, **given})
    if items == "unit":
        table = trainer.model.item_embedding.weight
        table.data.normal_(std=table.shape[1] ** -0.5)
    scores: list[float] = []
    _, best = trainer.fit(
        parts["train"],
        parts["valid"],
        verbose=False,
        saved=False,
        callback_fn=lambda _, score: scores.append(score),
    )
    found = {"best_epoch": scores.index(max(scores)) + 1, **best}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main()
