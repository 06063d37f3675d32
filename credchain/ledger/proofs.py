"""Proofs of the state map, and their verification: all that a verifier needs of the map.

Left or right is derived from the key, never taken from the proof; order, prefixes and lengths are
checked.
"""

from __future__ import annotations

from functools import cache
from operator import ge
from typing import Annotated, Final

from msgspec import Meta

from ..encoding import Digest, Record, decode_record, hasher
from ..errors import InvalidInput, ProofError
from ..limits import LIMITS


def bit(key: bytes, depth: int) -> int:
    """The key's ``depth``-th bit, the first being the highest of its first byte."""
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


bucket_digest: Final = hasher("bucket")
"""Of sorted pairs of key (32 bytes) and value digest (32 bytes); of none for the empty bucket."""


inner_digest: Final = hasher("inner")
"""The digest of an inner node, of its children's digests joined."""


root_digest: Final = hasher("root")
"""The state root, of the topmost node's digest."""


class StateProof(Record, frozen=True):
    """The siblings' digests from the top down (32 bytes each), then the bucket where the key would be."""

    path: Annotated[bytes, Meta(max_length=32 * LIMITS.proof_depth)]
    bucket: Annotated[bytes, Meta(max_length=64 * LIMITS.bucket_entries)]

    def check_form(self) -> None:
        """InvalidInput unless both parts are of whole digests."""
        if len(self.path) % 32 or len(self.bucket) % 64:
            raise InvalidInput("a state proof is of whole digests", field="proof")

    @staticmethod
    def decode(data: bytes) -> StateProof:
        proof = decode_record(data, StateProof, "proof", max_bytes=16 * 1024)
        proof.check_form()
        return proof


class Hashes:
    """The digests of nodes, each computed once: the proofs of one answer share the upper ones."""

    def __init__(self) -> None:
        self.inner = cache(inner_digest)
        self.root = cache(root_digest)


def check_state_proof(
    proof: StateProof, root: Digest, key: Digest, hashes: Hashes | None = None
) -> Digest | None:
    """The digest of the key's value under this root; None if the key is proved absent.

    ProofError if the proof shows neither. ``hashes`` is shared by the proofs of one answer.
    """
    path, bucket = proof.path, proof.bucket
    depth = len(path) // 32
    if len(key) != 32 or len(path) % 32 or depth > LIMITS.proof_depth:
        raise ProofError("the path of the state proof has a wrong length", field="proof.path")
    # The key's leading bits, as many as the path has siblings: the last is the turn into the bucket.
    turns = int.from_bytes(key, "big") >> (256 - depth)
    value = _find(bucket, key, depth, turns)
    inner, topmost = (inner_digest, root_digest) if hashes is None else (hashes.inner, hashes.root)
    current = bucket_digest(bucket)
    for end in range(len(path), 0, -32):
        sibling = path[end - 32 : end]
        current = inner(sibling + current if turns & 1 else current + sibling)
        turns >>= 1
    if topmost(current) != root:
        raise ProofError("the state proof does not lead to the header's state root", field="proof")
    return value


def _find(bucket: bytes, key: Digest, depth: int, prefix: int) -> Digest | None:
    """The key's value digest in a bucket that is sorted and belongs at this depth of the key's path."""
    if len(bucket) % 64 or len(bucket) > 64 * LIMITS.bucket_entries:
        raise ProofError("the bucket of the state proof has a wrong length", field="proof.bucket")
    keys = [bucket[at : at + 32] for at in range(0, len(bucket), 64)]
    if any(map(ge, keys, keys[1:])):
        raise ProofError("the bucket of the state proof is not sorted", field="proof.bucket")
    # Of sorted keys, all begin as the first and the last do.
    for each in (*keys[:1], *keys[-1:]):
        if int.from_bytes(each, "big") >> (256 - depth) != prefix:
            raise ProofError("the bucket of the state proof is in another place", field="proof.bucket")
    if key not in keys:
        return None
    at = 64 * keys.index(key) + 32
    return Digest(bucket[at : at + 32])
