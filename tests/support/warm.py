"""A process that has imported everything, and forks to run functions in new processes.

Starting Python with torch takes seconds, but forking this process takes almost no time. It has
computed nothing yet, so there are no threads that a fork would lose.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class Warm:
    """Runs functions in forked processes; use it in a ``with`` block.

    Args:
        module: the module of the functions.
    """

    def __init__(self, module: str) -> None:
        self.module = module

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)

    def run(self, function: str, *arguments: Any) -> int:
        """Call the function in a new process; return its exit code, or minus the signal."""
        (code,) = self._run(1, function, arguments)
        return code

    def together(self, size: int, function: str, *arguments: Any) -> list[int]:
        """Do the same in several processes that know of each other, as under ``torchrun``."""
        return self._run(size, function, arguments)

    def _run(self, size: int, function: str, arguments: tuple[Any, ...]) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"size": size, "function": function, "arguments": arguments}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        codes: list[int] = json.loads(self._process.stdout.readline())
        return codes


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _environment(rank: int, size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _child(module: Any, job: dict[str, Any], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.dup2(2, 1)  # the parent's stdout carries results for the test
    code = 1
    try:
        code = getattr(module, job["function"])(*job["arguments"]) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Fork once per line of stdin."""
    module = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        job = json.loads(line)
        port = free_port()
        children = []
        for rank in range(job["size"]):
            child = os.fork()
            if child == 0:
                several = job["size"] > 1
                _child(module, job, _environment(rank, job["size"], port) if several else {})
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)
    os._exit(0)  # exit at once, without any clean-up


if __name__ == "__main__":
    main()
