"""The Merkle tree over a block's transactions: RFC 6962, section 2.1, with our own prefixes."""

from __future__ import annotations

from collections.abc import Sequence

from ..encoding import Digest, digest
from ..errors import ProofError


def leaf(data: bytes) -> Digest:
    return digest("tx-leaf", data)


def _node(left: bytes, right: bytes) -> Digest:
    return digest("tx-node", left + right)


def root(leaves: Sequence[Digest]) -> Digest:
    """The tree head (RFC 6962, 2.1); of no leaves, a digest of its own purpose."""
    if not leaves:
        return digest("tx-empty", b"")
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(root(leaves[:split]), root(leaves[split:]))


def _split(count: int) -> int:
    """The largest power of two smaller than the count."""
    return 1 << ((count - 1).bit_length() - 1)


def path(leaves: Sequence[Digest], index: int) -> tuple[Digest, ...]:
    """The audit path of one leaf (RFC 6962, 2.1.1), from the leaf up."""
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*path(leaves[:split], index), root(leaves[split:]))
    return (*path(leaves[split:], index - split), root(leaves[:split]))


def check_path(
    expected: Digest, count: int, index: int, leaf_digest: Digest, siblings: Sequence[bytes]
) -> None:
    """ProofError unless the leaf stands at this index of a tree of this size and root."""
    if not 0 <= index < count:
        raise ProofError(f"a transaction index {index} of {count}", field="index")
    rest = list(siblings)

    def climb(start: int, size: int) -> Digest:
        if size == 1:
            return leaf_digest
        split = _split(size)
        if not rest:
            raise ProofError("the transaction's proof is too short", field="path")
        sibling = rest.pop()
        if index - start < split:
            return _node(climb(start, split), sibling)
        return _node(sibling, climb(start + split, size - split))

    found = climb(0, count)
    if rest or found != expected:
        raise ProofError("the transaction is not in the block as claimed", field="path")
