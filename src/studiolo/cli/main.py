"""The ``studiolo`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from .._version import __version__
from . import (
    bench,
    chats,
    complete,
    doctor,
    downloads,
    instances,
    log,
    model_files,
    pages,
    runtime,
    serve,
    server,
    tune,
)
from .chat import command as chat

_COMMANDS: dict[Callable[[typer.Typer], None], tuple[str, ...]] = {
    complete.register: ("complete",),
    chat.register: ("chat",),
    chats.register: ("chats",),
    downloads.register: ("get", "search"),
    model_files.register: ("ls", "show", "import", "rm"),
    instances.register: ("ps", "load", "unload", "status"),
    serve.register: ("serve",),
    server.register: ("server",),
    pages.register: ("ui",),
    log.register: ("log",),
    doctor.register: ("doctor",),
    bench.register: ("bench",),
    tune.register: ("tune",),
    runtime.register: ("runtime",),
}
"""The commands that each module registers, in the order of the help."""


# Typer's, whichever click it stands on.
_UsageError: Any = typer.BadParameter.__base__


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"studiolo {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and what the parts say.")] = False,
) -> None:
    if debug:
        import logging

        os.environ["STUDIOLO_DEBUG"] = "1"
        logging.basicConfig(level=logging.DEBUG)


def command_line(words: Sequence[str] = ()) -> typer.Typer:
    """The command line, or as much of it as the command among ``words`` needs.

    Typer examines every option of every command that is registered, which takes longer than most commands do
    themselves. All commands are there where ``words`` name none, for the help and for a name that is misspelled.
    """
    app = typer.Typer(
        name="studiolo",
        help="Run language models on your own machine.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    command = next((word for word in words if not word.startswith("-")), None)
    registers = [register for register, names in _COMMANDS.items() if command in names] or list(_COMMANDS)
    for register in registers:
        register(app)
    return app


def main() -> None:
    """Run the command line. Exit status: 0 good, 1 failed, 2 wrong usage, 130 interrupted."""
    from .standard_streams import prepare_standard_streams

    prepare_standard_streams()
    sys.exit(_run())


def _run() -> int:
    from ..errors import StudioloError
    from .output import say
    from .standard_streams import OutputError, discard_output

    try:
        status = command_line(sys.argv[1:])(standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        error.show()
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # the reader has closed the pipe; flushing at exit must not complain
        discard_output()
        return 1
    except StudioloError as error:
        if isinstance(error, OutputError):
            discard_output()
        if "STUDIOLO_DEBUG" in os.environ:
            raise
        say(str(error))
        return 1
    except Exception as error:
        if "STUDIOLO_DEBUG" in os.environ:
            raise
        say(f"{type(error).__name__}: {error}. Run again with --debug for the details.")
        return 1
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    main()
