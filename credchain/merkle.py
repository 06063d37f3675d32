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


def root(leaves: Sequence[Digest], tree: str = "tx") -> Digest:
    """The tree head (RFC 6962, 2.1); of no leaves, a digest of its own purpose."""
    if not leaves:
        return digest(f"{tree}-empty", b"")
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(tree, root(leaves[:split], tree), root(leaves[split:], tree))


def _split(count: int) -> int:
    """The largest power of two smaller than the count."""
    return 1 << ((count - 1).bit_length() - 1)


def path(leaves: Sequence[Digest], index: int, tree: str = "tx") -> tuple[Digest, ...]:
    """The audit path of one leaf (RFC 6962, 2.1.1), from the leaf up."""
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*path(leaves[:split], index, tree), root(leaves[split:], tree))
    return (*path(leaves[split:], index - split, tree), root(leaves[:split], tree))


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
    rest = list(siblings)

    def climb(start: int, size: int) -> Digest:
        if size == 1:
            return leaf_digest
        split = _split(size)
        if not rest:
            raise ProofError("the tree's proof is too short", field="path")
        sibling = rest.pop()
        if index - start < split:
            return _node(tree, climb(start, split), sibling)
        return _node(tree, sibling, climb(start + split, size - split))

    found = climb(0, count)
    if rest or found != expected:
        raise ProofError("the leaf is not in the tree as claimed", field="path")
