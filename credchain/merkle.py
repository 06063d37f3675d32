"""Merkle trees of RFC 6962, section 2.1, with our own digests for leaf, node and the empty tree.

``tree`` names whose tree it is, so that a leaf of one is never a leaf of another: "tx" for a block's
transactions, "subject" for a holder's subjects.
"""

from __future__ import annotations

from collections.abc import Sequence

from .encoding import Digest, digest
from .errors import ProofError


def leaf(data: bytes, tree: str = "tx") -> Digest:
    return digest(f"{tree}-leaf", data)


def _node(tree: str, left: bytes, right: bytes) -> Digest:
    return digest(f"{tree}-node", left + right)


class Tree:
    """A tree with all its levels, so that each path costs its own length only.

    Pairing each level from the left, an odd last node going up as it is, is the split at the largest
    power of two of RFC 6962, 2.1.
    """

    def __init__(self, leaves: Sequence[Digest], tree: str = "tx") -> None:
        self._empty = digest(f"{tree}-empty", b"")
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            above = [_node(tree, *pair) for pair in zip(below[::2], below[1::2], strict=False)]
            self._levels.append(above + below[2 * len(above) :])

    @property
    def root(self) -> Digest:
        """The tree head; of no leaves, a digest of its own purpose."""
        return self._levels[-1][0] if self._levels[-1] else self._empty

    def path(self, index: int) -> tuple[Digest, ...]:
        """The audit path of one leaf (RFC 6962, 2.1.1), from the leaf up."""
        siblings: list[Digest] = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                siblings.append(level[index ^ 1])
            index >>= 1
        return tuple(siblings)


def root(leaves: Sequence[Digest], tree: str = "tx") -> Digest:
    """The tree head (RFC 6962, 2.1); of no leaves, a digest of its own purpose."""
    return Tree(leaves, tree).root


def path(leaves: Sequence[Digest], index: int, tree: str = "tx") -> tuple[Digest, ...]:
    """The audit path of one leaf (RFC 6962, 2.1.1), from the leaf up."""
    return Tree(leaves, tree).path(index)


def check_path(
    expected: Digest,
    count: int,
    index: int,
    leaf_digest: Digest,
    siblings: Sequence[bytes],
    tree: str = "tx",
) -> None:
    """ProofError unless the leaf stands at this index of a tree of this size and root."""
    if not 0 <= index < count:
        raise ProofError(f"an index {index} in a tree of {count}", field="index")
    # RFC 9162, 2.1.3.2: the places of the node and of the last one, level by level.
    place, last = index, count - 1
    found = leaf_digest
    for sibling in siblings:
        if last == 0:
            raise ProofError("the leaf is not in the tree as claimed", field="path")
        if place & 1 or place == last:
            found = _node(tree, sibling, found)
            while place & 1 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _node(tree, found, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the tree's proof is too short", field="path")
    if found != expected:
        raise ProofError("the leaf is not in the tree as claimed", field="path")
