"""The command line: which commands there are, and how a run begins and ends.

A command's file is imported when the command is called, and not before: ``miracle --help`` reads
this table and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from miracle_cli import verbosity
from miracle_cli.arguments import check_text, once, read_paths
from miracle_cli.output import INTERRUPTED, message, print_error, printing
from miracle_cli.start import not_whole
from miracle_cli.streams import let_go, open_streams
from miracle_core.disk import is_full
from miracle_core.errors import MiracleError, OtherProcessError
from miracle_core.version import __version__

# A command is one line: its name, the module that holds its `app`, what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "download": ("miracle_cli.download", "Download a public data set."),
    "preprocess": ("miracle_cli.preprocess", "Turn raw files into a Dataset folder."),
    "encode": ("miracle_cli.encode", "Add text features to a Dataset."),
    "data": ("miracle_cli.data", "Show, verify or export a Dataset."),
    "pretrain": ("miracle_cli.pretrain", "Train on several Datasets together."),
    "models": ("miracle_cli.models", "List the systems and their settings."),
    "check": ("miracle_cli.check", "Check that a system of your own keeps the contract."),
    "train": ("miracle_cli.train", "Train any system on one Dataset."),
    "finetune": ("miracle_cli.train", "The same command as train."),
    "tune": ("miracle_cli.tune", "Search a system's settings on validation data."),
    "update": ("miracle_cli.update", "Go on with a run on new data of the same shop."),
    "evaluate": ("miracle_cli.evaluate", "Evaluate a run: rank all items for every user."),
    "compare": ("miracle_cli.compare", "Compare systems: differences, and how sure they are."),
    "experiment": ("miracle_cli.experiment", "Run a table or figure of the paper, or your own."),
    "report": ("miracle_cli.report", "Write a page of one run or several systems."),
    "recommend": ("miracle_cli.recommend", "Recommend items for a history, by its interests."),
    "export": ("miracle_cli.export", "Write a run as files for other programs."),
    "index": ("miracle_cli.index", "Build an index for approximate search in a run."),
    "inspect": ("miracle_cli.inspect_command", "Show what a run's capsules stand for."),
    "tui": ("miracle_cli.tui", "Explore a run interactively in the terminal."),
    "demo": ("miracle_cli.demo", "Run all steps on a generated shop, in two minutes."),
    "doctor": ("miracle_cli.doctor", "Look at the installation: what works, what to mend."),
}
# These have nothing to tell while they work; all others take --quiet and --log-file.
SHORT = {"data", "models", "tui", "doctor"}
ALIASES: dict[str, str] = {"eval": "evaluate"}

# Which of the processes of one training this is, as torchrun says.
RANK = int(os.environ.get("RANK", "0")) if "WORLD_SIZE" in os.environ else 0
# By then a launcher whose first process failed has ended the others.
PATIENCE_SECONDS = 5.0
_ROOM = "make room on that disk (or in the quota), then run the command again"
# typer.BadParameter's parent: every complaint about how the command line was written.
UsageError: type[Any] = typer.BadParameter.__mro__[1]


class LazyGroup(typer.core.TyperGroup):
    """A group of commands that imports a command's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None if there is none of that name."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        found = import_module(COMMANDS[name][0]).app
        if name not in SHORT:
            verbosity.add_options(found)
        return once(typer.main.get_command(read_paths(found)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or say which one may be meant."""
        # The parent looks here, and only here, for names close to a misspelt one.
        names: Any = dict.fromkeys([*COMMANDS, *ALIASES])
        self.commands = names
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing any."""
        also = {name: alias for alias, name in ALIASES.items()}
        rows = [
            (name, text + (f" (alias: {also[name]})" if name in also else ""))
            for name, (_, text) in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    cls=LazyGroup,
    help="Train, evaluate and explain a multi-interest recommender (MIRACLE, SIGIR 2023).",
    epilog="miracle COMMAND --help shows a command's options.",
    context_settings={"help_option_names": ["-h", "--help"]},  # commands take them from here
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"miracle {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """The options that every command has."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; None takes the process's own.

    Returns:
        The exit code: 0, 1 (failed run), 2 (usage or input), 130 (interrupted).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    verbosity.start(args, muted=RANK != 0)
    code = 1
    try:
        code = _main(args)
    finally:
        verbosity.end(code)
    return code


def _main(args: list[str]) -> int:
    # Also after the command's name, where one adds it to a line that failed.
    options = args[: args.index("--")] if "--" in args else args
    debug = "--debug" in options
    if debug:
        args = [arg for arg in options if arg != "--debug"] + args[len(options) :]
    try:
        check_text(args)
        with only_first_talks():
            command = typer.main.get_command(app)
            code = command.main(args, prog_name="miracle", standalone_mode=False)
            with printing():
                sys.stdout.flush()
    except UsageError as error:
        if RANK == 0:
            error.show()
        return 2
    except BrokenPipeError:  # the reader of our output had enough (| head)
        let_go()
        return 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OtherProcessError as error:
        return error.exit_code
    except MiracleError as error:
        let_first_talk()
        if debug:
            traceback.print_exc()
        print_error(error)
        return error.exit_code
    except OSError as error:
        let_first_talk()
        if debug:
            traceback.print_exc()
        print_error(_surroundings(error))
        return 1
    except Exception as error:
        let_first_talk()
        if debug:
            traceback.print_exc()
        print_error(_unforeseen(error, debug))
        return 1
    if code == INTERRUPTED and RANK == 0:
        message("stopped")
    return code if isinstance(code, int) else 0


def _surroundings(error: OSError) -> MiracleError:
    """What the system refused, and where."""
    what = error.strerror or str(error)
    if is_full(error):
        return MiracleError(f"the disk is full: {what}", where=error.filename, remedy=_ROOM)
    return MiracleError(what, where=error.filename)


def _unforeseen(error: Exception, debug: bool) -> MiracleError:
    """An error that nothing below has explained: a full disk or memory, or else a bug."""
    what = f"{type(error).__name__}: {error}"
    if is_full(error):
        return MiracleError(f"the disk is full: {what}", remedy=_ROOM)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MiracleError(
            f"there is not enough memory: {what}",
            remedy="end other programs, or give less data or a smaller batch or model",
        )
    if isinstance(error, ImportError) and (damaged := not_whole(error)) is not None:
        return damaged
    remedy = "report it" if debug else "run again with --debug, and report what it shows"
    return MiracleError(f"a bug: {what}", remedy=remedy)


@contextlib.contextmanager
def only_first_talks() -> Iterator[None]:
    """Keep all but the first process of a training from writing to the terminal."""
    if RANK == 0:
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def let_first_talk() -> None:
    """Before another process tells of an error: mostly the first one has it too, and tells it."""
    if RANK:
        time.sleep(PATIENCE_SECONDS)
        verbosity.unmute()
        message(f"process {RANK}:")


def run() -> NoReturn:
    """The ``miracle`` program."""
    open_streams()
    code = main()
    let_go()
    sys.exit(code)
