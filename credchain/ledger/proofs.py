"""Proofs of the state map, and their verification: all that a verifier needs of the map.

Left or right is derived from the key, never taken from the proof; order, prefixes and lengths are
checked.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..encoding import Digest, Record, decode_record, digest
from ..errors import InvalidInput, ProofError
from ..limits import LIMITS


def bit(key: bytes, depth: int) -> int:
    """The key's ``depth``-th bit, the first being the highest of its first byte."""
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def bucket_digest(pairs: bytes) -> Digest:
    """Of sorted pairs of key (32 bytes) and value digest (32 bytes); of none for the empty bucket."""
    return digest("bucket", pairs)


def inner_digest(left: bytes, right: bytes) -> Digest:
    return digest("inner", left + right)


def root_digest(top: Digest) -> Digest:
    return digest("root", top)


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


def check_state_proof(proof: StateProof, root: Digest, key: Digest) -> Digest | None:
    """The digest of the key's value under this root; None if the key is proved absent.

    ProofError if the proof shows neither.
    """
    depth = len(proof.path) // 32
    if len(key) != 32 or len(proof.path) % 32 or depth > LIMITS.proof_depth:
        raise ProofError("the path of the state proof has a wrong length", field="proof.path")
    value = _find(proof.bucket, key, depth)
    current = bucket_digest(proof.bucket)
    for level in reversed(range(depth)):
        sibling = proof.path[32 * level : 32 * level + 32]
        current = inner_digest(sibling, current) if bit(key, level) else inner_digest(current, sibling)
    if root_digest(current) != root:
        raise ProofError("the state proof does not lead to the header's state root", field="proof")
    return value


def _find(bucket: bytes, key: Digest, depth: int) -> Digest | None:
    """The key's value digest in a bucket that is sorted and belongs at this depth of the key's path."""
    if len(bucket) % 64 or len(bucket) > 64 * LIMITS.bucket_entries:
        raise ProofError("the bucket of the state proof has a wrong length", field="proof.bucket")
    unused = 256 - depth
    prefix = int.from_bytes(key, "big") >> unused
    found = None
    previous = b""
    for at in range(0, len(bucket), 64):
        each = bucket[at : at + 32]
        if each <= previous:
            raise ProofError("the bucket of the state proof is not sorted", field="proof.bucket")
        if int.from_bytes(each, "big") >> unused != prefix:
            raise ProofError("the bucket of the state proof is in another place", field="proof.bucket")
        if each == key:
            found = Digest(bucket[at + 32 : at + 64])
        previous = each
    return found
