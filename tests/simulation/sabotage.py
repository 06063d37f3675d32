"""Sabotage: each guard of the protocol switched off in turn, and the oracle that must notice.

A guard is switched off in the source of its function: one text in the place of another, the rest as it
is. A guard that other guards cover is shown twice: alone it changes nothing, together with those that
cover it, it does. If the source changes so that a text is no longer there, the test says so.
"""

from __future__ import annotations
import __future__

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from unittest import mock

from .schedule import Script, run_schedule


@dataclass(frozen=True)
class Edit:
    """``before``, which is once in the function's source, becomes ``after``."""

    function: Callable[..., object]
    before: str
    after: str


@dataclass(frozen=True)
class Constant:
    """A module's constant becomes another value."""

    module: ModuleType
    name: str
    value: object


Change = Edit | Constant


@dataclass(frozen=True)
class Sabotage:
    """``guard`` is the rule in words (PROTOCOL, section 12, or DESIGN, section 7); ``off`` switches it off;
    ``oracle`` is a regular expression for what must be noticed, in ``script`` or in one of ``seeds``;
    ``covered_by`` switches off the other guards that would hide it."""

    name: str
    guard: str
    off: tuple[Change, ...]
    oracle: str
    script: Script | None = None
    validators: int = 4
    start: int = 1
    seeds: Iterable[int] = ()
    covered_by: tuple[Change, ...] = field(default=())


def switched_off(changes: Iterable[Change]) -> ExitStack:
    """In force until the stack is closed."""
    stack = ExitStack()
    by_function: dict[FunctionType, list[Edit]] = {}
    for change in changes:
        if isinstance(change, Constant):
            stack.enter_context(mock.patch.object(change.module, change.name, change.value))
        else:
            assert isinstance(change.function, FunctionType)
            by_function.setdefault(change.function, []).append(change)
    for function, edits in by_function.items():
        # The code, not the name: every room that has imported the function runs the edited one.
        stack.callback(setattr, function, "__code__", function.__code__)
        function.__code__ = _edited(function, edits)
    return stack


def _edited(function: FunctionType, edits: list[Edit]) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        if source.count(edit.before) != 1:
            raise AssertionError(f"{function.__qualname__} has not once: {edit.before}")
        source = source.replace(edit.before, edit.after)
    flags = __future__.annotations.compiler_flag
    module = compile(source, inspect.getfile(function), "exec", flags=flags, dont_inherit=True)
    return next(
        each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__
    )


def violation(sabotage: Sabotage, changes: Iterable[Change]) -> str | None:
    """What is noticed while these are in force."""
    edits = tuple(changes)
    if sabotage.script is not None:
        report = run_schedule(
            0,
            sabotage.validators,
            script=sabotage.script,
            start=sabotage.start,
            patch=lambda: switched_off(edits),
        )
        return report.violation
    for seed in sabotage.seeds:
        report = run_schedule(seed, sabotage.validators, patch=lambda: switched_off(edits))
        if report.violation is not None:
            return report.violation
    return None


def check(sabotage: Sabotage) -> None:
    """The test: with the guard nothing is broken, without it the named oracle speaks."""
    assert violation(sabotage, ()) is None
    if sabotage.covered_by:
        assert violation(sabotage, sabotage.off) is None, "it is not covered"
        assert violation(sabotage, sabotage.covered_by) is None, "it does not hold alone"
    noticed = violation(sabotage, (*sabotage.off, *sabotage.covered_by))
    assert noticed is not None, f"nobody notices that it is off: {sabotage.guard}"
    assert re.search(sabotage.oracle, noticed), noticed
