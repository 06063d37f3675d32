"""PROTOCOL.md says the codes, names and kinds that the program has: a second one is written from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import credchain
from credchain.consensus import messages
from credchain.credentials.categories import RESERVED
from credchain.ledger.codes import ERASE_REASONS, PURPOSES, REASONS, ROLES, TRANSITIONS
from credchain.ledger.operations import NAMES

_TEXT = (Path(credchain.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")


def table(first: str) -> list[tuple[str, ...]]:
    """The rows of the table whose heading begins with these cells."""
    _, _, rest = _TEXT.partition(f"\n{first}")
    assert rest, first
    rows: list[tuple[str, ...]] = []
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            return rows
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


def section(number: int) -> str:
    return re.split(r"^## ", _TEXT, flags=re.MULTILINE)[number]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z_]+", text)


def test_reasons() -> None:
    said = {reason: set(words(gives)) for reasons, gives in table("| reason ") for reason in words(reasons)}
    assert said == {reason: set(gives) for reason, gives in REASONS.items()}


def test_transitions() -> None:
    said = {
        status: set(words(to)) - {"none"} for statuses, to in table("| from ") for status in words(statuses)
    }
    assert said == {status: set(to) for status, to in TRANSITIONS.items()}


def test_operations() -> None:
    assert {name for row in table("| op ") for name in words(row[0])} >= set(NAMES)


def test_messages() -> None:
    assert {name for row in table("| kind ") for name in words(row[0])} == set(messages._KINDS)


@pytest.mark.parametrize(
    ("number", "names"),
    [(3, RESERVED - {"..."}), (5, frozenset(ERASE_REASONS)), (7, frozenset(ROLES)), (8, frozenset(PURPOSES))],
)
def test_listed_names(number: int, names: frozenset[str]) -> None:
    assert names <= set(words(section(number)))
