"""Words and paths of a command, taken as they were typed.

Typer converts every value by pydantic, whose import takes longer than Typer's own; text needs no
conversion. What does, Typer converts as ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer._click import Context
from typer._coercion import RuntimeParam, build_runtime_param
from typer._param_types import coerce_cli_path
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class _AsTyped(RuntimeParam):
    """What Typer asks to convert a parameter's value."""

    def _coerce_value(self, value: Any, param: Any, ctx: Context) -> Any:
        if self.parameter_info.parser is None:
            if self.annotation is str and type(value) is str:
                return value
            if self.annotation == list[str]:
                return [*value]
            if self.annotation is Path and type(value) is str:
                # Typer's own look at it: a file that is there must be readable.
                coerce_cli_path(value, self.parameter_info, path_type=None, param=param, ctx=ctx)
                return Path(value)
        return build_runtime_param(param.type_descriptor)._coerce_value(value, param, ctx)


def _take_as_typed(command: TyperCommand | TyperGroup, ctx: Context) -> None:
    for each in command.get_params(ctx):
        if isinstance(each, TyperArgument | TyperOption):
            told = each.type_descriptor
            each._runtime_param = _AsTyped(told.parameter_info, told.annotation)


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
