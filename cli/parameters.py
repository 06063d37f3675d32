"""Words and paths of a command, taken as they were typed.

Typer converts every value by pydantic, whose import takes longer than Typer's own; text needs no
conversion. What does, Typer converts as ever.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from typer._click import Context
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class _AsTyped:
    """In the place of Typer's own conversion, which it calls for what is not text."""

    def coerce(self, value: Any, *, param: TyperArgument | TyperOption, ctx: Context) -> Any:
        told = param.type_descriptor
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if told.parameter_info.parser is None:
            if told.annotation is str and type(value) is str:
                return value
            if told.annotation == list[str] and type(value) in (list, tuple):
                return [*value]
            if told.annotation is Path and type(value) is str and _is_readable_or_new(value):
                return Path(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_readable_or_new(path: str) -> bool:
    return os.access(path, os.R_OK) or not os.access(path, os.F_OK)


def _take_as_typed(command: TyperCommand | TyperGroup, ctx: Context) -> None:
    for each in command.get_params(ctx):
        if isinstance(each, TyperArgument | TyperOption):
            each._runtime_param = _AsTyped()  # type: ignore[assignment]  # Typer calls `coerce` alone


class Command(TyperCommand):
    """A command whose words and paths are taken as they were typed."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        _take_as_typed(self, ctx)
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """The same for a group's own options."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        _take_as_typed(self, ctx)
        return super().parse_args(ctx, args)
