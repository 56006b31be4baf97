"""Where the program starts: the doctor is called before anything that it may find broken."""

from __future__ import annotations

import sys
from typing import NoReturn

from miracle_cli.output import print_error
from miracle_cli.streams import let_go, open_streams
from miracle_core.errors import MiracleError


def run() -> NoReturn:
    """The ``miracle`` program.

    The command line needs libraries itself. ``miracle doctor`` has to answer where they don't work,
    so it is called without them.
    """
    if sys.argv[1:] in (["doctor"], ["doctor", "--json"]):
        from miracle_cli.doctor_shown import look

        open_streams()
        code = look("--json" in sys.argv)
        let_go()
        sys.exit(code)
    try:
        from miracle_cli.main import run as run_command
    except ImportError as error:
        print_error(not_whole(error))
        sys.exit(1)
    run_command()


def not_whole(error: ImportError) -> MiracleError:
    """The error of a library that is missing or damaged."""
    return MiracleError(
        f"the installation is not whole: {type(error).__name__}: {error}",
        remedy="miracle doctor says what to mend",
    )
