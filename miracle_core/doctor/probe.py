"""Imports libraries one after another, and says how each went: a program of its own.

    python -P probe.py MODULE...

A library that is damaged may end the process; the last line then names it.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

MARK = "miracle-doctor "


def tell(module: str, state: str, **more: Any) -> None:
    """A line that the caller finds among what libraries print."""
    line = MARK + json.dumps({"module": module, "state": state, **more})
    os.write(1, f"\n{line}\n".encode())


def of_torch(torch: Any) -> dict[str, Any]:
    """The devices that PyTorch finds."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    every = [torch.cuda.get_device_properties(number) for number in range(cards)]
    return {
        "build": torch.__version__,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cuda": [{"name": card.name, "bytes": card.total_memory} for card in every],
        "mps": torch.backends.mps.is_available(),
    }


def main(modules: list[str]) -> None:
    """Import each."""
    for module in modules:
        tell(module, "begins")
        try:
            imported = import_module(module)
            more = of_torch(imported) if module == "torch" else {}
        except BaseException as error:  # whatever it is, the next library's turn comes
            words = str(error).strip().splitlines() or [""]
            tell(module, "failed", why=f"{type(error).__name__}: {words[0]}")
        else:
            tell(module, "works", **more)


if __name__ == "__main__":
    main(sys.argv[1:])
