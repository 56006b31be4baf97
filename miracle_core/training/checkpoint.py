"""All that a training needs to go on as if it had never stopped, in one file.

One safetensors file holds weights, optimiser state and the random stream as tensors, and the
position in the training as JSON in its metadata. It is written to another file and renamed, so a
kill leaves the checkpoint before it, whole. Of all this only the random streams differ between the
processes of a training. So the first process writes, with the streams of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.optim import Optimizer

from miracle_core.errors import InputError
from miracle_core.processes import ALONE, Processes
from miracle_core.registry import SystemSpec
from miracle_core.runs.opening import check_kind
from miracle_core.runs.tensors import load_tensors, load_weights, save_tensors
from miracle_core.systems.base import System
from miracle_core.training.running_mean import RunningMean

VERSION = "1"
# What AdamW keeps of each parameter.
_ADAMW = {"step", "exp_avg", "exp_avg_sq"}


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        epoch: epochs completed, their validation included.
        step: steps done of the epoch under way.
        best: the best validation metric so far, with its sign turned if lower is better.
        best_epoch: the epoch that reached it (0: none yet).
        sums: sums of each loss term over the examples of the epoch under way.
        counters: sums of each of the system's counters over the epoch under way.
        seconds: time spent training before this process.
        data: hash of all that training reads.
        scaler: the state of fp16's loss scaling, empty in another precision.
    """

    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counters: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0
    data: str = ""
    scaler: dict[str, int | float] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    model: System,
    optimiser: Optimizer,
    mean: RunningMean,
    position: Position,
    metadata: Mapping[str, str],
    processes: Processes = ALONE,
) -> None:
    """Write a checkpoint in place of the one before it.

    Args:
        path: where to.
        model: its weights.
        optimiser: its state.
        mean: of the weights.
        position: where the training stands.
        metadata: more entries for the file's metadata.
        processes: all call this; the first one writes.
    """
    streams = {"random.cpu": torch.get_rng_state()}
    if processes.device.type == "cuda":
        streams["random.cuda"] = torch.cuda.get_rng_state(processes.device)
    gathered = {
        name: processes.gather_array(stream.unsqueeze(0).numpy())
        for name, stream in streams.items()
    }
    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"mean.{k}": v for k, v in mean.state().items()}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimiser.{index}.{name}"] = value
    for name, rows in gathered.items():
        for rank, stream in enumerate(rows):
            tensors[_stream(name, rank)] = torch.from_numpy(stream)
    place = orjson.dumps(asdict(position)).decode()
    fixed = {
        "version": VERSION,
        "position": place,
        "data": position.data,
        "processes": str(processes.size),
    }
    processes.on_first(lambda: save_tensors(path, tensors, {**metadata, **fixed}))


def _stream(name: str, rank: int) -> str:
    """The name of a process's random stream in the file."""
    return f"{name}.{rank}" if rank else name


def _position(text: str) -> Position:
    """The position in a file's metadata; older files count the use of capsules under ``used``.

    Raises:
        ValueError: it is not one.
    """
    value = orjson.loads(text)
    if isinstance(value, dict) and "used" in value:
        value["counters"] = {"capsules": value.pop("used")}
    return TypeAdapter(Position).validate_python(value)


def load_checkpoint(
    path: Path,
    model: System,
    optimiser: Optimizer,
    mean: RunningMean,
    spec: SystemSpec,
    processes: Processes = ALONE,
) -> Position:
    """Load a checkpoint: weights and their mean, the optimiser's state, the random stream.

    Args:
        path: the file.
        model: gets the weights.
        optimiser: gets its state.
        mean: gets the mean of the weights.
        spec: which system ``model`` is.
        processes: all call this.

    Returns:
        The position.

    Raises:
        InputError: the file is damaged or of another version, system or settings, or was written
            by another number of processes: these would draw other random numbers.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("version") != VERSION:
        raise InputError("is not a checkpoint of this version", where=str(path))
    check_kind(metadata, spec, str(path))
    wrote = metadata.get("processes", "1")
    if wrote != str(processes.size):
        raise InputError(
            f"was written by {wrote} process(es), and this is {processes.size}",
            where=str(path),
            remedy=f"go on with as many: torchrun --nproc-per-node {wrote} -m miracle_cli ...",
        )
    state: dict[int, dict[str, Tensor]] = {}
    try:
        position = _position(metadata.get("position", ""))
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = value
        mean.load({k[5:]: v for k, v in tensors.items() if k.startswith("mean.")})
        torch.set_rng_state(tensors[_stream("random.cpu", processes.rank)])
        cuda = tensors.get(_stream("random.cuda", processes.rank))
        if cuda is not None and processes.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, processes.device)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError("is not a whole checkpoint", where=str(path)) from error
    weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
    load_weights(model, weights, where=str(path))
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number, kept in state.items():
        shapes = {value.shape for name, value in kept.items() if name != "step"}
        fits = 0 <= number < len(parameters) and shapes == {parameters[number].shape}
        if not fits or kept.keys() != _ADAMW:
            raise InputError("holds another optimiser's state", where=str(path))
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )
    return position
