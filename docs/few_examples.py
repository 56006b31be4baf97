"""Fine-tune on the training examples of a tenth of a Dataset's users: results.md's short table.

    python docs/few_examples.py DATA OUT --mode inductive --seed 2023 [--from RUN]

Only training loses the other users' examples; every user is ranked, as in any fine-tuning.
"""

from __future__ import annotations

import argparse

import numpy as np

from miracle_core.config import make_settings, nested
from miracle_core.data.dataset import Dataset
from miracle_core.data.examples import Examples
from miracle_core.training.finetuning import finetune
from miracle_core.training.transfer import settings_from


def of_a_tenth(dataset: Dataset) -> Examples:
    """The training examples of a tenth of the users, the same ones each time."""
    found = dataset.examples("train")
    users = np.unique(found.users)
    kept = np.random.default_rng(7).permutation(users)[: len(users) // 10]
    rows = np.isin(found.users, kept)
    return Examples(users=found.users[rows], positions=found.positions[rows])


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--mode", choices=("transductive", "inductive"), required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--from", dest="run", help="a pre-trained run; without it from scratch")
    asked = parser.parse_args()
    train = {"train.mode": asked.mode, "train.seed": asked.seed, "train.freeze": False}
    train |= {"train.batch_size": 256, "train.epochs": 24, "train.patience": 4}
    beneath = settings_from(asked.run) if asked.run else {}
    settings = make_settings(beneath, nested({"data": asked.data, **train}))
    finetune(settings, asked.out, examples=of_a_tenth(Dataset.open(asked.data)))


if __name__ == "__main__":
    main()
