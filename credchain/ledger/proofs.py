"""Proofs of the state map, and their verification: all that a verifier needs of the map.

The path is derived from the key, never taken from the proof; order, prefixes and lengths are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..encoding import Digest, Fields, Value, decode, digest, encode
from ..errors import InvalidInput, ProofError
from ..limits import LIMITS


def nibble(key: bytes, depth: int) -> int:
    """The key's ``depth``-th four bits, the first being the high half of its first byte."""
    byte = key[depth // 2]
    return byte & 15 if depth % 2 else byte >> 4


def bucket_digest(pairs: bytes) -> Digest:
    """Of sorted pairs of key (32 bytes) and value digest (32 bytes)."""
    return digest("bucket", pairs)


def inner_digest(children: Sequence[bytes | None]) -> Digest:
    """Of sixteen children: a bitmap of those there are (2 bytes, bit i for child i), then theirs."""
    bitmap = sum(1 << index for index, each in enumerate(children) if each is not None)
    return digest("inner", bitmap.to_bytes(2, "big") + b"".join(each for each in children if each))


def root_digest(top: Digest) -> Digest:
    return digest("root", top)


@dataclass(frozen=True, slots=True)
class StateProof:
    """The inner nodes from the top down, then the bucket.

    An inner node is its bitmap (2 bytes) and the digests of its children except the key's own, in
    order. Without a bucket the last inner node has no child where the key would be.
    """

    path: tuple[bytes, ...]
    bucket: bytes | None

    def fields(self) -> dict[str, Value]:
        bucket: dict[str, Value] = {} if self.bucket is None else {"bucket": self.bucket}
        return {"path": list(self.path), **bucket}

    def encode(self) -> bytes:
        return encode(self.fields())

    @staticmethod
    def read(fields: Fields) -> StateProof:
        def step(item: object, field: str) -> bytes:
            if type(item) is not bytes or len(item) % 32 != 2 or len(item) > 2 + 16 * 32:
                raise InvalidInput(f"{field} is not a bitmap and digests", field=field)
            return item

        path = fields.items("path", step, at_most=LIMITS.proof_depth)
        at_most = LIMITS.bucket_entries * 64
        bucket = fields.binary("bucket", at_most=at_most) if fields.has("bucket") else None
        return StateProof(path, bucket)

    @staticmethod
    def decode(data: bytes) -> StateProof:
        return decode(data, StateProof.read, StateProof.fields, "proof", max_bytes=64 * 1024)


def check_state_proof(proof: StateProof, root: Digest, key: Digest) -> Digest | None:
    """The digest of the key's value under this root; None if the key is proved absent.

    ProofError if the proof shows neither.
    """
    value, current = _check_bucket(proof.bucket, key, len(proof.path))
    for depth in reversed(range(len(proof.path))):
        current = _climb(proof.path[depth], nibble(key, depth), current)
    if current is None or root_digest(current) != root:
        raise ProofError("the state proof does not lead to the header's state root", field="proof")
    return value


def _check_bucket(bucket: bytes | None, key: Digest, depth: int) -> tuple[Digest | None, Digest | None]:
    """(value digest or None, the bucket's digest or None where there is no bucket)."""
    if bucket is None:
        return None, None
    if len(bucket) % 64:
        raise ProofError("a bucket of the state proof has a wrong length", field="proof.bucket")
    pairs = [(bucket[at : at + 32], bucket[at + 32 : at + 64]) for at in range(0, len(bucket), 64)]
    prefix = [nibble(key, place) for place in range(depth)]
    for position, (each, _) in enumerate(pairs):
        if position and pairs[position - 1][0] >= each:
            raise ProofError("a bucket of the state proof is not sorted", field="proof.bucket")
        if [nibble(each, place) for place in range(depth)] != prefix:
            raise ProofError("a bucket of the state proof is in another place", field="proof.bucket")
    found = next((Digest(value) for each, value in pairs if each == key), None)
    return found, bucket_digest(bucket)


def _climb(step: bytes, own: int, current: Digest | None) -> Digest:
    """The digest of an inner node, from its siblings in the proof and the child below."""
    bitmap = int.from_bytes(step[:2], "big")
    siblings = [step[at : at + 32] for at in range(2, len(step), 32)]
    present = bool(bitmap >> own & 1)
    if present != (current is not None) or bitmap.bit_count() - present != len(siblings):
        raise ProofError("an inner node of the state proof is not whole", field="proof.path")
    children = iter(siblings)
    filled = [
        None if not bitmap >> index & 1 else current if index == own else next(children)
        for index in range(16)
    ]
    return inner_digest(filled)
