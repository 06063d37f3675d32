"""Reading the kept vectors (tests/vectors), and one test a vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from credchain.encoding import Digest

_FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_FOLDER / name).read_text(encoding="utf-8"))
    return found


def named(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    """One test a vector, under the vector's name."""
    return pytest.mark.parametrize("vector", vectors, ids=[each["name"] for each in vectors])


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def as_digest(text: str) -> Digest:
    return Digest(raw(text))
