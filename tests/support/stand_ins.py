"""Stand-ins for the libraries, so that importing them takes no time."""

from __future__ import annotations

from pathlib import Path

from miracle_core.doctor.requirements import wanted

MODULES = sorted({each.module for each in wanted()} - {"packaging"})
A_TORCH = """
__version__ = "9.0"
def get_num_threads(): return 3
class cuda:
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    class get_device_properties:
        def __init__(self, number): self.name, self.total_memory = f"Card {number}", 8_000_000_000
class backends:
    class cpu: get_cpu_capability = staticmethod(lambda: "AVX2")
    class mps: is_available = staticmethod(lambda: False)
"""


def stand_ins(folder: Path, **contents: str) -> Path:
    """Put stand-ins for all required libraries in a folder, so that imports take no time."""
    folder.mkdir()
    for module in MODULES:
        text = contents.get(module, A_TORCH if module == "torch" else "")
        (folder / f"{module}.py").write_text(text)
    return folder
