"""The `credchain` program: its commands, and the last word on errors and exit codes."""

from __future__ import annotations

import gc
import io
import os
import sys
from pathlib import Path

import typer
from typer.exceptions import TyperException

from .exit_codes import ExitCode
from .output import note, print_error, reader_gone
from .roles import Roles

app = typer.Typer(
    name="credchain",
    cls=Roles,
    help="Credentials of radiologists: attested once by their issuers, verified anywhere with proofs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_INTERRUPTED = 130
"""What shells and Typer say of a program that Ctrl-C ended."""


def _version(value: bool) -> None:
    if value:
        from credchain import __version__

        sys.stdout.write(f"credchain {__version__}\n")
        raise typer.Exit


@app.callback()
def _program(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_version
    ),
) -> None:
    """Credentials of radiologists: attested once by their issuers, verified anywhere with proofs."""


def _prepare_streams() -> None:
    """Somewhere to write even where there is none; what its encoding lacks is written as an escape."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as we run
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(arguments: list[str]) -> int:
    """The exit code of one call; no traceback reaches a user."""
    from credchain.errors import CredchainError, InvalidInput, StorageError

    _prepare_streams()
    as_json = "--json" in arguments
    result: int | None = None
    try:
        result = typer.main.get_command(app).main(arguments, "credchain", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as problem:
        message = problem.format_message()
        if type(problem).__name__ == "NoArgsIsHelpError":
            return ExitCode.USAGE
        hint = "credchain --help lists the commands, credchain COMMAND --help their options"
        return print_error(InvalidInput(message, field="arguments", hint=hint), as_json=as_json)
    except typer.Abort:
        note("stopped")
        return ExitCode.USAGE
    except (BrokenPipeError, SystemExit):
        reader_gone()
    except OSError as problem:
        failed = StorageError(f"cannot write the output: {problem.strerror or problem}")
        return print_error(failed, as_json=as_json)
    except KeyboardInterrupt:
        note("stopped")
        return _INTERRUPTED
    except Exception as problem:  # the top: a traceback helps no user
        if os.environ.get("CREDCHAIN_DEBUG"):
            raise
        unexpected = CredchainError(
            f"internal error: {type(problem).__name__}: {problem}",
            hint="please report it; CREDCHAIN_DEBUG=1 shows where it happened",
        )
        print_error(unexpected, as_json=as_json)
        return ExitCode.INTERNAL
    if result == _INTERRUPTED:
        note("stopped")
    return int(result or 0)


def main() -> None:
    """The console script."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            # Else Python would complain at its end, with an exit code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    # All is done and written: at its end Python need not search all that was imported for garbage.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
