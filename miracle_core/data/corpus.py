"""Several Datasets as one, for pre-training. They are read where they lie; nothing is copied.

An item's global index is its domain's offset plus its index there. Every example belongs to one
user of one Dataset; users of different Datasets are never joined, whatever their ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from miracle_core.data.dataset import Dataset, EncoderIdentity, FeatureSet
from miracle_core.data.packed import Packed, pack, pad
from miracle_core.data.ragged import ragged
from miracle_core.errors import InputError, command

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CorpusBatch:
    """Some examples of a corpus.

    Attributes:
        packed: their histories, item indices into ``items``.
        targets: int64 [histories], the item each took next, an index into ``items``, in packed
            order.
        items: int64 [items], global indices of the batch's items, each once, rising.
    """

    packed: Packed
    targets: Integers
    items: Integers


class Corpus:
    """Datasets with text features of one encoder.

    Args:
        datasets: the domains.
        encoder: the text features' name; None takes the first Dataset's only ones.

    Attributes:
        datasets: the domains, in the order given.
        encoder: the text encoder of the features that are read.
        sizes: training examples of each domain.

    Raises:
        InputError: one Dataset twice, features of different encoders, or nothing to train on.
    """

    def __init__(self, datasets: Sequence[Dataset], encoder: str | None = None) -> None:
        self.datasets = tuple(datasets)
        self._check_distinct()
        self._entries = self._matching_features(encoder)
        self.encoder: EncoderIdentity = self._entries[0].encoder
        self._features = [
            dataset.features(entry.encoder.name, verify=True)
            for dataset, entry in zip(self.datasets, self._entries, strict=True)
        ]
        for dataset in self.datasets:
            dataset.require_examples("train", "valid")
        self._examples = [dataset.examples("train") for dataset in self.datasets]
        self.sizes = [len(examples) for examples in self._examples]
        self._first_example = np.concatenate([[0], np.cumsum(self.sizes)])
        items = [dataset.n_items for dataset in self.datasets]
        self._first_item = np.concatenate([[0], np.cumsum(items)])

    @classmethod
    def open(cls, folders: Sequence[str | Path], encoder: str | None = None) -> Corpus:
        """Open Dataset folders as one corpus."""
        return cls([Dataset.open(folder) for folder in folders], encoder)

    def __len__(self) -> int:
        """Training examples of all domains together."""
        return int(self._first_example[-1])

    @property
    def hash(self) -> str:
        """One hash for all that training reads, in the order of the domains."""
        parts = [
            f"{dataset.manifest.fingerprint} {entry.sha256}"
            for dataset, entry in zip(self.datasets, self._entries, strict=True)
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def names(self) -> list[str]:
        """A name for each domain; equal ones get their place added."""
        plain = [dataset.name for dataset in self.datasets]
        return [
            name if plain.count(name) == 1 else f"{name} ({place})"
            for place, name in enumerate(plain, 1)
        ]

    def feature_name(self, domain: int) -> str:
        """The name of the encoder's text features in a domain."""
        return self._entries[domain].encoder.name

    def order(self, seed: int, epoch: int, temperature: float) -> Integers:
        """The examples of an epoch, in the order they are taken: a function of the arguments alone.

        An epoch has as many examples as there are in all. Each domain gives its share. If a share
        is larger than the domain, all its examples are taken as often as they fit whole, and the
        rest of the share without repetition.

        Args:
            seed: of the run.
            epoch: from 1.
            temperature: shares are proportional to size ** temperature.
        """
        rng = np.random.default_rng([seed, epoch])
        parts = []
        for first, size, share in zip(
            self._first_example, self.sizes, shares(self.sizes, temperature), strict=False
        ):
            whole, rest = divmod(share, size)
            parts.append(np.tile(np.arange(size), whole) + first)
            if rest:
                parts.append(rng.permutation(size)[:rest] + first)
        return rng.permutation(np.concatenate(parts))

    def target_frequencies(self, temperature: float) -> npt.NDArray[np.float64]:
        """How often an item is the target of an example that an epoch takes.

        Args:
            temperature: as for :meth:`order`.

        Returns:
            float64 [items], by global index; they sum to 1.
        """
        parts = []
        for dataset, examples, size, share in zip(
            self.datasets,
            self._examples,
            self.sizes,
            shares(self.sizes, temperature),
            strict=True,
        ):
            taken = np.bincount(dataset.sequences[examples.positions], minlength=dataset.n_items)
            parts.append(taken * (share / size / len(self)))
        return np.concatenate(parts)

    def batch(self, chosen: Integers, max_length: int, *, padded: bool = False) -> CorpusBatch:
        """Gather examples by number, of whatever domains.

        Args:
            chosen: int64 [histories], numbers of examples, from 0 to ``len(self)``.
            max_length: N, the newest items kept of a history.
            padded: histories are padded, not packed.
        """
        histories, lengths, targets = [], [], []
        domains = np.searchsorted(self._first_example, chosen, side="right") - 1
        for domain in np.unique(domains):
            dataset, examples = self.datasets[domain], self._examples[domain]
            local = chosen[domains == domain] - self._first_example[domain]
            ends = examples.positions[local]
            starts = np.maximum(dataset.offsets[examples.users[local]], ends - max_length)
            length = ends - starts
            first_item = self._first_item[domain]
            histories.append(dataset.sequences[ragged(starts, length)[1]] + first_item)
            targets.append(dataset.sequences[ends] + first_item)
            lengths.append(length)
        flat, wanted = np.concatenate(histories), np.concatenate(targets)
        items, places = np.unique(np.concatenate([flat, wanted]), return_inverse=True)
        ends = np.cumsum(np.concatenate(lengths))
        starts = ends - np.concatenate(lengths)
        lay_out = pad if padded else pack
        packed = lay_out(places[: len(flat)], starts, ends, max_length)
        return CorpusBatch(packed, places[len(flat) :][packed.order.numpy()], items)

    def text(self, items: Integers) -> npt.NDArray[np.floating[Any]]:
        """Text vectors of items by global index, float16 or float32 [items, width]."""
        domains = np.searchsorted(self._first_item, items, side="right") - 1
        dtype = np.result_type(*self._features)
        vectors = np.empty((len(items), self.encoder.width), dtype=dtype)
        for domain in np.unique(domains):
            mine = domains == domain
            vectors[mine] = self._features[domain][items[mine] - self._first_item[domain]]
        return vectors

    def _check_distinct(self) -> None:
        seen: dict[str, Path] = {}
        for dataset in self.datasets:
            before = seen.get(dataset.manifest.fingerprint)
            seen[dataset.manifest.fingerprint] = dataset.folder
            if before is not None:
                raise InputError(
                    f"is the same Dataset as {before}",
                    where=str(dataset.folder),
                    remedy="name each Dataset once",
                )

    def _matching_features(self, encoder: str | None) -> list[FeatureSet]:
        first = self.datasets[0]
        entries = [first.feature_set(encoder)]
        wanted = entries[0].encoder
        for dataset in self.datasets[1:]:
            have = dataset.manifest.features
            alike = [e for e in have.values() if e.encoder.same_vectors(wanted)]
            if not alike:
                dataset.feature_set(encoder)  # without such features its error says more
                found = "; ".join(entry.encoder.describe() for entry in have.values())
                raise InputError(
                    f"has text features of {found}, but {first.folder} has those of "
                    f"{wanted.describe()}: pre-training needs one encoder",
                    where=str(dataset.folder),
                    remedy="make them with: "
                    + command("miracle", "encode", dataset.folder, "--encoder", wanted.name),
                )
            entries.append(next((e for e in alike if e.encoder.name == wanted.name), alike[0]))
        return entries


def shares(sizes: Sequence[int], temperature: float) -> list[int]:
    """How many examples of an epoch each domain gives: proportional to size ** temperature.

    Whole numbers that sum to the sum of sizes (the largest remainders are rounded up).
    """
    weights = (np.array(sizes, dtype=np.float64) / max(sizes)) ** temperature
    exact = weights / weights.sum() * sum(sizes)
    given = np.floor(exact).astype(np.int64)
    up = np.argsort(given - exact, kind="stable")[: sum(sizes) - int(given.sum())]
    given[up] += 1
    return [int(n) for n in given]
