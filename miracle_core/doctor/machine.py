"""The machine: devices, disks, memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from miracle_core.disk import free, size_text
from miracle_core.doctor.findings import Finding, State
from miracle_core.doctor.imports import Tried
from miracle_core.paths import cache_folder

# Below so much a Dataset with its vectors, and a run with its checkpoint, may not find room.
LITTLE_DISK = 1_000_000_000
# A training of a small shop holds about half of it.
LITTLE_MEMORY = 1_000_000_000
_BUILDS = "https://pytorch.org/get-started/locally"


def devices(tried: Tried) -> list[Finding]:
    """The processor, and the GPUs that PyTorch finds."""
    torch = tried.get("torch", {})
    if torch.get("state") != "works":
        unknown = "unknown: PyTorch can't be imported"
        return [
            Finding("processor", "ok", f"{_cores()} cores", None, {"cores": _cores()}),
            Finding("GPU", "warning", unknown, "mend torch first (see libraries)"),
        ]
    processor = Finding(
        "processor",
        "ok",
        f"{_cores()} cores, {torch['threads']} threads, {torch['instructions']}",
        None,
        {"cores": _cores(), "threads": torch["threads"], "instructions": torch["instructions"]},
    )
    cards = [
        Finding(
            f"cuda:{number}",
            "ok",
            f"{card['name']}, {size_text(card['bytes'])}",
            None,
            {"bytes": card["bytes"]},
        )
        for number, card in enumerate(torch["cuda"])
    ]
    if torch["mps"]:
        cards.append(Finding("mps", "ok", "a GPU of Apple's"))
    return [processor, *(cards or [_no_gpu(torch)])]


def _no_gpu(torch: dict[str, Any]) -> Finding:
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    if not driver:
        return Finding("GPU", "ok", "none; everything works without one")
    return Finding(
        "GPU",
        "warning",
        f"a driver of NVIDIA's is there, but PyTorch {torch['build']} finds no GPU",
        f"install a build of PyTorch for it ({_BUILDS}), or look at CUDA_VISIBLE_DEVICES",
    )


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def disks() -> list[Finding]:
    """Where runs, vectors and temporary files go: whether it can be written to, and its room."""
    remedy = "set MIRACLE_CACHE to a folder that you may write to"
    return [
        _disk("this folder", Path.cwd, "warning", "go to a folder that you may write to"),
        _disk("cache", cache_folder, "broken", remedy),
        _disk("temporary", _temporary, "broken", "set TMPDIR to a folder that you may write to"),
    ]


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


def _disk(name: str, find: Callable[[], Path], unusable: State, remedy: str) -> Finding:
    try:
        folder = find()
    except (OSError, RuntimeError) as error:  # it is gone, or there is no home
        return Finding(name, unusable, f"can't be found: {error}", remedy)
    facts: dict[str, Any] = {"path": str(folder), "free_bytes": free(folder)}
    why = _why_not_written(folder)
    if why is not None:
        return Finding(name, unusable, f"{folder} can't be used: {why}", remedy, facts)
    room = facts["free_bytes"]
    words = f"{folder}, " + ("free room unknown" if room is None else f"{size_text(room)} free")
    if room is not None and room < LITTLE_DISK:
        return Finding(name, "warning", words, "make room on that disk", facts)
    return Finding(name, "ok", words, None, facts)


def _why_not_written(folder: Path) -> str | None:
    """Why no file can be read and written in a folder, or made where there is none yet."""
    try:
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not nearest.is_dir():
            return f"{nearest} is a file"
        if nearest == folder:
            with os.scandir(folder) as entries:
                next(entries, None)
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return error.strerror or str(error)
    return None


def memory() -> list[Finding]:
    """All of it, and what is free for programs; a container's limit counts."""
    total, available = _memory()
    facts = {"total_bytes": total, "available_bytes": available}
    if total is None:
        return [Finding("memory", "ok", "unknown on this system", None, facts)]
    words = size_text(total)
    if available is None:
        return [Finding("memory", "ok", words, None, facts)]
    words = f"{size_text(available)} of {words} free"
    if available < LITTLE_MEMORY:
        return [Finding("memory", "warning", words, "end other programs", facts)]
    return [Finding("memory", "ok", words, None, facts)]


def _memory() -> tuple[int | None, int | None]:
    total = available = None
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
        cgroup = Path("/sys/fs/cgroup")
        limit = int((cgroup / "memory.max").read_text())  # "max" without a limit
        used = int((cgroup / "memory.current").read_text())
        total = min(total, limit)
        available = min(total if available is None else available, max(limit - used, 0))
    except (OSError, ValueError):
        pass  # what the system doesn't say stays as it is
    return total, available
