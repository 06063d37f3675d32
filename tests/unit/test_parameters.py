"""Words and paths of a command come as Typer's own conversion gives them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from credchain.cli.parameters import Command
from typer.core import TyperCommand
from typer.exceptions import TyperException
from typer.main import get_command


def told(kind: type[TyperCommand], *arguments: str, **variables: str) -> Any:
    """What a command gets from these arguments, or the message that refuses them."""
    app, found = typer.Typer(), []

    @app.command(cls=kind)
    def _run(
        word: str,
        rest: Annotated[list[str] | None, typer.Argument()] = None,
        other: Annotated[str | None, typer.Option()] = None,
        many: Annotated[list[str] | None, typer.Option()] = None,
        place: Annotated[Path | None, typer.Option(envvar="PLACE")] = None,
        places: Annotated[list[Path] | None, typer.Option()] = None,
        count: Annotated[int, typer.Option()] = 7,
        upper: Annotated[str, typer.Option(parser=str.upper)] = "x",
        flag: Annotated[bool, typer.Option("--flag")] = False,
    ) -> None:
        found.append((word, rest, other, many, place, places, count, upper, flag))

    with pytest.MonkeyPatch.context() as patched:
        for name, value in variables.items():
            patched.setenv(name, value)
        try:
            get_command(app).main([*arguments], "test", standalone_mode=False)
        except TyperException as problem:
            return type(problem), str(problem)
    return found


CALLS = [
    ("word",),
    ("",),
    ("word", "a", "b"),
    ("a\udcffb", "--other", "\udcff", "--place", "\udcff"),
    ("word", "--other", "", "--many", "a", "--many", "b", "--flag"),
    ("word", "--place", "nowhere/at/all", "--places", "a", "--places", "b"),
    ("word", "--place", ""),
    ("word", "--place", "-"),
    ("word", "--place", "long" * 2000),
    ("word", "--place", "."),
    ("word", "--count", "9", "--upper", "abc"),
    ("word", "--count", "nine"),
    ("word", "--nope"),
    (),
]


@pytest.mark.parametrize("arguments", CALLS)
def test_as_typer_has_it(arguments: tuple[str, ...]) -> None:
    assert told(Command, *arguments) == told(TyperCommand, *arguments)


def test_a_variable_is_a_path_as_well() -> None:
    assert told(Command, "word", PLACE="a/b") == told(TyperCommand, "word", PLACE="a/b")


def test_a_path_that_is_there_must_be_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    refused = told(Command, "word", "--place", str(tmp_path))
    assert refused == told(TyperCommand, "word", "--place", str(tmp_path))
    assert "not readable" in refused[1]
