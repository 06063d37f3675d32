"""Reading by key, a few hundred at a time, in the order in which they will be asked for.

A query for each key costs more than what it finds: Python's lock is given up and taken again around it,
and the node's other threads want that as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from ..encoding import Digest

T = TypeVar("T")

AT_ONCE: Final = 256


class ReadAhead(Generic[T]):
    """What ``read`` finds for each key. ``keys`` are those that will be asked for, in about this order;
    another one is read by itself. For as long as nothing is written."""

    def __init__(
        self, keys: Iterable[Digest], read: Callable[[Sequence[Digest]], Mapping[Digest, T]]
    ) -> None:
        self._keys = iter(keys)
        self._read = read
        self._found: dict[Digest, T | None] = {}

    def value(self, key: Digest) -> T | None:
        """`StateReader`, where ``read`` gives the state's values."""
        if key not in self._found:
            self._fetch(dict.fromkeys(islice(self._keys, AT_ONCE)))
        if key not in self._found:
            self._fetch({key: None})
        return self._found[key]

    def _fetch(self, keys: dict[Digest, None]) -> None:
        new = [each for each in keys if each not in self._found]
        if new:
            self._found.update(dict.fromkeys(new))
            self._found.update(self._read(new))
