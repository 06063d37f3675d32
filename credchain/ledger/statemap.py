"""The state map: an authenticated map from 32-byte keys to values, its root a function of content.

A node of at most 64 entries is a bucket: its sorted (key, value digest) pairs. A larger one is an
inner node with sixteen children, by the next four bits of the key. So neither the order of insertion
nor the split into blocks can show in the root, and an attacker who grinds keys into one bucket only
deepens that bucket's path (each level 34 bytes where it is alone).

Values of this module are immutable: an update shares what it does not touch, so a block that is not
committed costs nothing to forget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ..encoding import Digest, digest
from ..limits import LIMITS
from .proofs import StateProof, bucket_digest, inner_digest, nibble, root_digest

Change = tuple[Digest, Digest]
"""A key, and the digest of its new value."""

_FANOUT: Final = 16
_PAIR: Final = 64


@dataclass(frozen=True, slots=True)
class _Bucket:
    pairs: bytes
    digest: Digest


@dataclass(frozen=True, slots=True)
class _Inner:
    children: tuple[_Node | None, ...]
    digest: Digest


_Node = _Bucket | _Inner


def value_digest(value: bytes) -> Digest:
    """What the map holds for a value."""
    return digest("state-value", value)


def _bucket(pairs: bytes) -> _Bucket:
    return _Bucket(pairs, bucket_digest(pairs))


def _inner(children: Sequence[_Node | None]) -> _Inner:
    return _Inner(tuple(children), inner_digest([None if each is None else each.digest for each in children]))


def _build(changes: Sequence[Change], depth: int) -> _Node:
    """A node of these pairs, which are sorted and distinct."""
    if len(changes) <= LIMITS.bucket_entries:
        return _bucket(b"".join(key + value for key, value in changes))
    children: list[_Node | None] = [None] * _FANOUT
    for branch, group in groupby(changes, key=lambda change: nibble(change[0], depth)):
        children[branch] = _build(list(group), depth + 1)
    return _inner(children)


def _update(node: _Node | None, changes: Sequence[Change], depth: int) -> _Node:
    if node is None:
        return _build(changes, depth)
    if isinstance(node, _Bucket):
        merged = dict(_pairs(node.pairs))
        merged.update(changes)
        return _build(sorted(merged.items()), depth)
    children = list(node.children)
    for branch, group in groupby(changes, key=lambda change: nibble(change[0], depth)):
        children[branch] = _update(children[branch], list(group), depth + 1)
    return _inner(children)


def _pairs(pairs: bytes) -> Iterable[Change]:
    for start in range(0, len(pairs), _PAIR):
        yield Digest(pairs[start : start + 32]), Digest(pairs[start + 32 : start + 64])


_EMPTY: Final = _bucket(b"")


@dataclass(frozen=True, slots=True)
class StateMap:
    """One version of the map. Only digests of values are held: 64 bytes a key, and the nodes."""

    _top: _Node = _EMPTY

    @property
    def root(self) -> Digest:
        return root_digest(self._top.digest)

    def update(self, changes: dict[Digest, Digest]) -> StateMap:
        """The map with these keys set; each touched path is hashed once. Keys are never removed."""
        return StateMap(_update(self._top, sorted(changes.items()), 0)) if changes else self

    def get(self, key: Digest) -> Digest | None:
        """The digest of the key's value."""
        node: _Node | None = self._top
        depth = 0
        while isinstance(node, _Inner):
            node = node.children[nibble(key, depth)]
            depth += 1
        return None if node is None else dict(_pairs(node.pairs)).get(key)

    def prove(self, key: Digest) -> StateProof:
        """What shows the key's value digest, or its absence, under the root."""
        path: list[bytes] = []
        node: _Node | None = self._top
        while isinstance(node, _Inner):
            own = nibble(key, len(path))
            bitmap = sum(1 << index for index, each in enumerate(node.children) if each is not None)
            siblings = (
                each.digest for index, each in enumerate(node.children) if each is not None and index != own
            )
            path.append(bitmap.to_bytes(2, "big") + b"".join(siblings))
            node = node.children[own]
        return StateProof(tuple(path), None if node is None else node.pairs)
