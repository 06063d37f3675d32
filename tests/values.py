"""Values of the ledger in tests: one `replace` for dataclasses and for records."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def replace(value: T, /, **changes: Any) -> T:
    """The value with these fields changed."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    changed: T = dataclasses.replace(value, **changes)  # type: ignore[type-var]  # it is a dataclass
    return changed


def wire(record: msgspec.Struct) -> dict[str, Any]:
    """The record's map as it is encoded, to be altered."""
    fields: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    return {name: list(each) if isinstance(each, tuple) else each for name, each in fields.items()}
