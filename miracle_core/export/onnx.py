"""A run's networks as ONNX: histories to interests, and texts of new items to item vectors.

history.onnx   history int64 [batch, length], padded in front with -1, to
               interests float32 [batch, k, d], active bool [batch, k], numbers int64 [batch, k]
items.onnx     text float32 [items, d_b], vectors of the run's encoder, to
               vectors float32 [items, d]; of systems that know items by their text

What is exported is the system's own padded form, traced. Batch and length may be any.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.errors import InputError, MiracleError
from miracle_core.launches import few_launches
from miracle_core.systems.base import ItemSide, System
from miracle_core.systems.scorer import VectorScorer

# The number at the places before a history.
PADDING = -1
# How far numbers of the exported network may be from the run's.
TOLERANCE = 1e-4
# How many histories of each length are tried, and how many texts.
TRIED = 4


class History(nn.Module):
    """Histories of a catalogue's items to interests, as scores multiply them.

    Args:
        system: a system that takes padded histories.
        inputs: [items, w], the catalogue's items as the tokens of a history take them.
        max_length: N, the newest items that are read.
    """

    def __init__(self, system: System, inputs: Tensor, max_length: int) -> None:
        super().__init__()
        self.system, self.max_length = system, max_length
        self.catalogue: Tensor
        self.register_buffer("catalogue", inputs)

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The interests of histories.

        Args:
            history: int64 [batch, length], oldest first; :data:`PADDING` before the first item.

        Returns:
            Interests [batch, k, d], which of them are active, bool [batch, k], and their numbers,
            int64 [batch, k].
        """
        batch, n = history.shape[0], self.max_length
        # Padded or cut to N whatever the length is, since a graph has no "if".
        items = F.pad(history, (n, 0), value=PADDING)[:, -n:]
        valid = items != PADDING
        items = torch.where(valid, items, items[:, -1:])
        packed = Packed(
            items.flatten(),
            torch.arange(n, device=items.device).repeat(batch),
            ((n, batch),),
            torch.arange(batch, device=items.device),
            valid.flatten(),
        )
        found = self.system.encode(F.embedding(packed.items, self.catalogue), packed).interests
        ((k, _),) = found.groups
        shape = (batch, k)
        active = found.active
        if active is None:
            active = torch.ones_like(found.which, dtype=torch.bool)
        return found.vectors.unflatten(0, shape), active.view(shape), found.which.view(shape)


class Items(nn.Module):
    """Text vectors of new items, as the encoder gives them, to item vectors."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system

    def forward(self, text: Tensor) -> Tensor:
        """[items, d_b] to [items, d]."""
        system = self.system
        return system.candidates(system.inputs(ItemSide(system.prepared(text), new=True)))


def check_exportable(name: str, system: System) -> int:
    """N, the newest items that are read of a history.

    Raises:
        InputError: the system has no padded form, or a library is missing.
    """
    if not system.padded or system.max_length is None:
        raise InputError(
            f"{name} has no form for histories that are padded to one length, which ONNX needs",
            where="--to onnx",
            remedy="export its vectors: --to numpy or faiss",
        )
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"an export to ONNX needs {error.name}, which is not installed",
            where="--to onnx",
            remedy="install it with: pip install onnx onnxruntime onnxscript (in a checkout, make "
            "install does)",
        ) from error
    return system.max_length


@torch.no_grad()
def write_history(scorer: VectorScorer, max_length: int, path: Path) -> float:
    """Write history.onnx.

    Args:
        scorer: what ranks the run's catalogue.
        max_length: N.
        path: the file to write.

    Returns:
        The largest difference to the run's interests over histories of every length.

    Raises:
        MiracleError: it is more than :data:`TOLERANCE`, or the system can't be traced.
    """
    inputs = scorer.inputs.detach().float().cpu().clone()
    model = History(_on_cpu(scorer.system), inputs, max_length)
    example = torch.tensor([[PADDING, 0, 0], [0, 0, 0]])
    names = ["interests", "active", "numbers"]
    _write(model, "history", example, names, {0: "batch", 1: "length"}, path)
    return _checked(max(_history_differences(scorer, max_length, path)), path)


@torch.no_grad()
def write_items(scorer: VectorScorer, width: int, path: Path) -> float:
    """Write items.onnx.

    Args:
        scorer: of a system that knows items by their text.
        width: d_b, of the text vectors.
        path: the file to write.

    Returns:
        The largest difference to the run's vectors of a few drawn texts.

    Raises:
        MiracleError: it is more than :data:`TOLERANCE`.
    """
    text = torch.randn(TRIED, width, generator=torch.Generator().manual_seed(0))
    _write(Items(_on_cpu(scorer.system)), "text", text[:2], ["vectors"], {0: "items"}, path)
    (found,) = _session(path).run(None, {"text": text.numpy()})
    own = Items(scorer.system)(text.to(scorer.items.device))
    return _checked(_difference(found, own.float().cpu().numpy()), path)


def _on_cpu(system: System) -> System:
    """A copy where examples are traced; the caller's may lie on a GPU, and stays there."""
    return copy.deepcopy(system).cpu()


def _write(
    model: nn.Module,
    given: str,
    example: Tensor,
    names: list[str],
    free: dict[int, str],
    path: Path,
) -> None:
    """Trace a network and write it; ``free`` are the axes of any size.

    Raises:
        MiracleError: it can't be traced, or with a fixed size alone.
    """
    sizes = {axis: torch.export.Dim(name) for axis, name in free.items()}
    with _quietly(), few_launches():
        try:
            program = torch.onnx.export(
                model.eval(),
                (example,),
                dynamo=True,
                dynamic_shapes={given: sizes},
                input_names=[given],
                output_names=names,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise _refused(path, str(error).strip().splitlines()[0]) from error
    assert program is not None
    # Each node says where in the code it comes from, with this machine's paths.
    graphs: list[Any] = [program.model.graph, *program.model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            node.metadata_props.clear()
    program.save(str(path))
    # Where a size can't be free, the exporter takes the example's without a word.
    shape = _session(path).get_inputs()[0].shape
    fixed = [name for axis, name in free.items() if isinstance(shape[axis], int)]
    if fixed:
        path.unlink()
        raise _refused(path, f"its form fixes the {fixed[0]} (sizes are to come from shape)")


def _refused(path: Path, why: str) -> MiracleError:
    return MiracleError(
        f"{path.name} can't be made of this system: {why}",
        where="--to onnx",
        remedy="export its vectors: --to numpy or faiss",
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of itself and of libraries that are not there."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _history_differences(scorer: VectorScorer, max_length: int, path: Path) -> Iterator[float]:
    """How far the file's interests are from the run's, length by length."""
    session = _session(path)
    rng = np.random.default_rng(0)
    for length in range(1, max_length + 2):
        # Next to each other: histories of this length, and a shorter one.
        own = [*[length] * TRIED, int(rng.integers(1, length + 1))]
        histories = [rng.integers(0, len(scorer.items), size).tolist() for size in own]
        padded = [[PADDING] * (length - len(each)) + each for each in histories]
        found, active, numbers = session.run(None, {"history": np.array(padded)})
        packed = pack_lists(histories, max_length)
        made = scorer.interests(packed)
        owners = packed.order[torch.repeat_interleave(made.users, made.counts()).cpu()]
        for row in range(len(histories)):
            mine = (owners == row).to(made.which.device)
            if numbers[row][active[row]].tolist() != made.which[mine].tolist():
                yield np.inf
                continue
            vectors = made.vectors[mine].float().cpu().numpy()
            yield _difference(found[row][active[row]], vectors)


def _difference(found: np.ndarray, own: np.ndarray) -> float:
    """The largest difference of two arrays; infinity where one of them isn't finite."""
    largest = np.abs(found - own).max()
    return float(largest) if np.isfinite(largest) else np.inf


def _checked(difference: float, path: Path) -> float:
    if not difference <= TOLERANCE:  # not even where it is no number
        how = f"they differ by {difference:.2g}"
        if not np.isfinite(difference):
            how = "some aren't finite, or are of other interests"
        raise MiracleError(
            f"{path.name} gives other numbers than the run: {how}",
            where="--to onnx",
            remedy="export its vectors: --to numpy or faiss",
        )
    return difference
