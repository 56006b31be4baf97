"""One training of a RecBole model on a Dataset's own split, to compare ours with (results.md).

    python docs/recbole_check.py DATA --python PYTHON [--model gru4rec] [--set hidden_size=64 ...]

DATA      a Dataset; RecBole reads its split
PYTHON    the interpreter of an environment that holds RecBole 1.2 (``pip install recbole``)

The best epoch is chosen by validation, Recall@10, with a patience of 10, and printed; the test part
is left unread. FDSA reads the brand that ends an item's text (``docs/brands.py``).
``docs/gru4rec_apart.py`` trains this project's GRU4Rec.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.beside_recbole import recbole, write_split  # noqa: E402

MODELS = ("gru4rec", "sasrec", "bert4rec", "fdsa")


def main() -> None:
    """Write the split, and have RecBole's interpreter train on it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--python", required=True)
    parser.add_argument("--model", choices=MODELS, default="gru4rec")
    parser.add_argument(
        "--items",
        choices=("own", "unit"),
        default="own",
        help="first item vectors: RecBole's own, or N(0, 1 / width) as in this project",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "split"
        folder.mkdir()
        write_split(asked.data, folder)
        if asked.model == "fdsa":
            write_brands(asked.data, folder)
        theirs = [asked.python, str(Path(__file__).resolve()), "--train", str(folder)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        subprocess.run(
            [*theirs, asked.model, asked.items, *asked.set],
            cwd=room,
            env={**os.environ, **threads},
            check=True,
        )


def write_brands(data: Path, folder: Path) -> None:
    """Write each item's brand as RecBole reads it, in one word; none for an item without one."""
    from docs.brands import brand
    from miracle_core.data.dataset import Dataset

    texts = Dataset.open(data).items_frame()["text"]
    with (folder / f"{folder.name}.item").open("w") as out:
        out.write("item_id:token\tbrand:token_seq\n")
        for item, text in enumerate(texts):
            out.write(f"{item}\t{re.sub(r'[^a-z0-9]+', '_', brand(text).lower()).strip('_')}\n")


def train(folder: str, model: str, items: str, settings: list[str]) -> None:
    """One training, by RecBole's interpreter."""
    given = {"hidden_size": 128} if model == "gru4rec" else {}
    given |= {
        name: json.loads(value) for name, _, value in (each.partition("=") for each in settings)
    }
    if model == "fdsa":
        columns = {"inter": ["user_id", "item_id_list", "item_id"], "item": ["item_id", "brand"]}
        given |= {"load_col": columns, "selected_features": ["brand"]}
    trainer, parts = recbole(folder, model, {"epochs": 100, **given})
    if items == "unit":
        table = trainer.model.item_embedding.weight
        table.data.normal_(std=table.shape[1] ** -0.5)
    scores: list[float] = []

    def told(_: int, score: float) -> None:
        scores.append(score)
        sys.stderr.write(f"epoch {len(scores)}: {score}\n")

    _, best = trainer.fit(
        parts["train"], parts["valid"], verbose=False, saved=False, callback_fn=told
    )
    found = {"best_epoch": scores.index(max(scores)) + 1, "epochs": len(scores), **best}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    else:
        main()
