"""The state map: an authenticated map from 32-byte keys to values, its root a function of content.

A binary tree over the keys' bits, first bit first. A node of at most 8 entries is a bucket: its sorted
(key, value digest) pairs. A larger one is an inner node with a left child (next bit 0) and a right one
(next bit 1), either of which may be the empty bucket. So neither the order of insertion nor the split
into blocks can show in the root, and an attacker who grinds keys into one bucket only deepens that
bucket's path, by 32 bytes of proof a bit.

Values of this module are immutable: an update shares what it does not touch, so a block that is not
committed costs nothing to forget. A node refers to nodes below it only, so there are no cycles, and the
garbage collector need not walk through a large map (``gc=False``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ..encoding import Digest, hasher
from ..limits import LIMITS
from .proofs import StateProof, bit, bucket_digest, inner_digest, root_digest

Change = tuple[Digest, Digest]
"""A key, and the digest of its new value."""

_PAIR: Final = 64


class _Bucket(msgspec.Struct, frozen=True, gc=False):
    pairs: bytes
    digest: Digest


class _Inner(msgspec.Struct, frozen=True, gc=False):
    left: _Node
    right: _Node
    left_digest: Digest
    right_digest: Digest
    digest: Digest
    """The children's digests are held here as well: a proof touches the nodes on its path only."""


_Node = _Bucket | _Inner


value_digest: Final = hasher("state-value")
"""What the map holds for a value."""


def _bucket(pairs: bytes) -> _Bucket:
    return _Bucket(pairs, bucket_digest(pairs))


_EMPTY: Final = _bucket(b"")


def _inner(left: _Node, right: _Node) -> _Inner:
    return _Inner(left, right, left.digest, right.digest, inner_digest(left.digest + right.digest))


def _split(changes: Sequence[Change], depth: int) -> int:
    """Where the keys with a 1 at this bit begin: keys are sorted and share the bits before."""
    low, high = 0, len(changes)
    place, mask = depth >> 3, 0x80 >> (depth & 7)  # as `bit` finds it
    while low < high:
        middle = (low + high) // 2
        if changes[middle][0][place] & mask:
            high = middle
        else:
            low = middle + 1
    return low


def _build(changes: Sequence[Change], depth: int) -> _Node:
    """A node of these pairs, which are sorted and distinct."""
    if not changes:
        return _EMPTY
    if len(changes) <= LIMITS.bucket_entries:
        return _bucket(b"".join(key + value for key, value in changes))
    middle = _split(changes, depth)
    return _inner(_build(changes[:middle], depth + 1), _build(changes[middle:], depth + 1))


def _update(node: _Node, changes: Sequence[Change], depth: int) -> _Node:
    if not changes:
        return node
    if len(changes) == 1:
        return _set(node, *changes[0], depth)
    if isinstance(node, _Bucket):
        merged = dict(_pairs(node.pairs))
        merged.update(changes)
        return _build(sorted(merged.items()), depth)
    middle = _split(changes, depth)
    return _inner(
        _update(node.left, changes[:middle], depth + 1),
        _update(node.right, changes[middle:], depth + 1),
    )


def _set(node: _Node, key: Digest, value: Digest, depth: int) -> _Node:
    """`_update` with one change: most of a large map's nodes on the way to a key lead to no other."""
    passed: list[tuple[_Inner, int]] = []
    turns = int.from_bytes(key, "big")
    turn = 1 << (255 - depth)
    while isinstance(node, _Inner):
        right = turns & turn
        passed.append((node, right))
        node = node.right if right else node.left
        turn >>= 1
    node = _insert(node.pairs, key, value, depth + len(passed))
    for inner, right in reversed(passed):
        node = _inner(inner.left, node) if right else _inner(node, inner.right)
    return node


def _insert(pairs: bytes, key: Digest, value: Digest, depth: int) -> _Node:
    """A bucket's pairs with this one among them, or in the place of its key's."""
    at = 0
    while at < len(pairs) and pairs[at : at + 32] < key:
        at += _PAIR
    known = pairs[at : at + 32] == key
    pairs = b"".join((pairs[:at], key, value, pairs[at + _PAIR if known else at :]))
    if len(pairs) <= LIMITS.bucket_entries * _PAIR:
        return _bucket(pairs)
    return _build(list(_pairs(pairs)), depth)


def _pairs(pairs: bytes) -> Iterable[Change]:
    for start in range(0, len(pairs), _PAIR):
        yield Digest(pairs[start : start + 32]), Digest(pairs[start + 32 : start + 64])


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
        node = self._top
        depth = 0
        while isinstance(node, _Inner):
            node = node.right if bit(key, depth) else node.left
            depth += 1
        return dict(_pairs(node.pairs)).get(key)

    def prove(self, key: Digest) -> StateProof:
        """What shows the key's value digest, or its absence, under the root."""
        siblings: list[Digest] = []
        node = self._top
        turns = int.from_bytes(key, "big")
        turn = 1 << 255  # the key's first bit
        while isinstance(node, _Inner):
            if turns & turn:
                siblings.append(node.left_digest)
                node = node.right
            else:
                siblings.append(node.right_digest)
                node = node.left
            turn >>= 1
        return StateProof(b"".join(siblings), node.pairs)
