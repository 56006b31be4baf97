"""What one training step dispatches in each layout: operators, and what the host reads back.

    python benchmarks/launches.py [--json] [--model miracle] [--pretrain] [--data DATA] [--batch 32]

A GPU waits for launches, not for arithmetic. How many there are can be counted where no GPU is:
by a ``TorchDispatchMode`` around one step of a training as it is (batch, forward, backward,
clipping, optimiser, running mean), at the system's default settings.

    operators   that compute. Views are not counted. An operator of our own counts as what it calls
    syncs       reads of a device value by the host: ``_local_scalar_dense``, ``nonzero``, copies to
                the host. A step that makes one waits for the device
    kernels     launches that a profile of the step saw; only on a GPU

The data is DATA, or generated in the shape of Scientific. A system that can't take a padded batch
has null for it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from miracle_core import registry
from miracle_core.config import make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.manifest import EncoderIdentity
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.processes import processes
from miracle_core.runs.folder import RunFolder
from miracle_core.training.finetuning import Finetuning
from miracle_core.training.pretraining import begun
from miracle_core.training.trainer import Training

LAYOUTS = ("packed", "padded")
HOST_READS = {"aten::_local_scalar_dense", "aten::nonzero"}
COPIES = {"aten::_to_copy", "aten::copy_"}


class Launches(TorchDispatchMode):
    """Counts what is dispatched within the block.

    Attributes:
        operators: by name, those that compute.
        syncs: by name, reads of the device by the host.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count one operator and call it."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        if name.startswith("aten::") and not func.is_view:
            self.operators[name] += 1
        if name in HOST_READS or (name in COPIES and _to_host(args, result)):
            self.syncs[name] += 1
        return result


def _to_host(args: Sequence[Any], result: Any) -> bool:
    """Whether a copy goes from a device to the host."""
    source = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else args[0]
    return not source.is_cpu and result.is_cpu


def shaped_like_scientific(folder: Path) -> Path:
    """A generated Dataset of Scientific's shape, with text vectors and attributes."""
    sequences, offsets, n_items = harness.scientific_sequences()
    names = [f"I{item}" for item in range(n_items)]
    write_dataset(
        folder,
        name="scientific-shaped",
        items=pl.DataFrame(
            {"item_id": names, "title": names, "text": names, "domain": ["generated"] * n_items}
        ),
        user_ids=[f"U{user}" for user in range(len(offsets) - 1)],
        sequences=sequences,
        offsets=offsets.astype(np.int64),
        sources=[],
        settings={},
        counts={},
        attributes=pl.DataFrame(
            {
                "item_id": names,
                "attribute": ["category"] * n_items,
                "value": [f"C{item % 50}" for item in range(n_items)],
            }
        ),
    )
    width = harness.SCIENTIFIC_TEXT_WIDTH
    vectors = np.random.default_rng(0).standard_normal((n_items, width), dtype=np.float32)
    encoder = EncoderIdentity(
        name="generated", revision="0", pooling="none", max_length=0, width=width
    )
    write_features(folder, vectors, encoder)
    return folder


def training_of(
    data: Path, system: str, layout: str, more: Mapping[str, Any], *, pretrain: bool = False
) -> Training:
    """A training, or pre-training, at the system's default settings."""
    source = {"datasets": [str(data)]} if pretrain else {"data": str(data)}
    settings = make_settings(
        {**source, "model": {"kind": system}, "train": {"layout": layout}}, more
    )
    beside = RunFolder(Path(tempfile.mkdtemp()) / "run")
    if pretrain:
        return begun(settings, beside, processes())
    return Finetuning(settings, beside, Dataset.open(data), None, processes())


def counted(training: Training) -> Launches:
    """What one step dispatches; one of few examples has made what is made once."""
    size = training.settings.train.batch_size
    order = training.order(1)
    training.system.train()
    training.step(order[: min(size, 8)])
    launches = Launches()
    with launches:
        training.step(order[size : 2 * size])
    return launches


def kernels(training: Training) -> int | None:
    """Kernels that a profile of one step saw on a GPU; None without one."""
    if training.device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    size = training.settings.train.batch_size
    order = training.order(1)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        training.step(order[:size])
        torch.cuda.synchronize()
    return int(sum(event.count for event in seen.key_averages()))


def measured(
    data: Path, system: str, more: Mapping[str, Any], *, pretrain: bool = False
) -> dict[str, dict[str, int] | None]:
    """The counts of each layout; None for a layout that the system can't take."""
    found: dict[str, dict[str, int] | None] = dict.fromkeys(LAYOUTS)
    takes = registry.system(system, where="--model").system_class().padded
    for layout in LAYOUTS if takes else LAYOUTS[:1]:
        training = training_of(data, system, layout, more, pretrain=pretrain)
        launches = counted(training)
        counts = {"operators": launches.operators.total(), "syncs": launches.syncs.total()}
        seen = kernels(training)
        found[layout] = counts if seen is None else {**counts, "kernels": seen}
    return found


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", "--system", default="miracle", help="which system")
    parser.add_argument("--pretrain", action="store_true", help="a step of its pre-training")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--batch", type=int, help="examples a step, in place of the default")
    options = parser.parse_args()
    spec = registry.system(options.model, where="--model")
    if options.pretrain and "pretrain" not in spec.stages:
        parser.error(f"{spec.name} is not pre-trained")
    more = {} if options.batch is None else {"train": {"batch_size": options.batch}}
    with tempfile.TemporaryDirectory() as beside:
        data = options.data or shaped_like_scientific(Path(beside) / "data")
        result = measured(data, options.model, more, pretrain=options.pretrain)
    rows = [
        (f"{layout}, {name}", f"{value:,}")
        for layout, counts in result.items()
        for name, value in (counts or {}).items()
    ]
    step = "pre-training step" if options.pretrain else "training step"
    harness.show(f"A {step} of {options.model}", rows, result if options.json else None)


if __name__ == "__main__":
    main()
