"""Where the program starts: the doctor is called before anything that it may find broken."""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

from miracle_cli.output import INTERRUPTED, print_error
from miracle_cli.streams import let_go, open_streams
from miracle_core.errors import MiracleError

_IMPORTERS = ("importlib", "_frozen_importlib", "_frozen_importlib_external")


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
    except KeyboardInterrupt:  # main handles all later ones
        sys.exit(INTERRUPTED)
    except ImportError as error:
        found = not_whole(error)
        if found is None:
            raise
        print_error(found)
        sys.exit(1)
    run_command()


def not_whole(error: ImportError) -> MiracleError | None:
    """What to say of a library that is missing or damaged.

    Returns:
        The error; None where the failed import has nothing to do with a library that the project
        asks for: that is a mistake in its code, or in a system of the user's own.
    """
    from importlib.metadata import PackageNotFoundError

    from miracle_core.doctor.requirements import wanted

    # A damaged library names itself, another one, or nothing: then it counts whose code told it.
    names = {name.partition(".")[0] for name in (error.name or "", _teller(error))}
    try:
        if names.isdisjoint(each.module for each in wanted()):
            return None
    except PackageNotFoundError:
        pass  # the list of libraries is missing: that is not whole either
    return MiracleError(
        f"the installation is not whole: {type(error).__name__}: {error}",
        remedy="miracle doctor says what to mend",
    )


def _teller(error: ImportError) -> str:
    """The module that an error comes from, but for Python's own ``importlib``."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    return next((n for n in reversed(names) if n.partition(".")[0] not in _IMPORTERS), "")
