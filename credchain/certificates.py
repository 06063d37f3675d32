"""Heights, views, quorums and commit certificates: what ledger and consensus both speak of.

It lies below both, because they do not import each other. The bytes that a COMMIT signs are made
here and nowhere else (Castro & Liskov, OSDI 1999, section 4.2; the height stands for the sequence
number, and the header digest for the request digest).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NewType

from msgspec import Meta

from . import keys
from .encoding import (
    BYTES_64,
    NATURAL,
    Digest,
    Fields,
    Record,
    Value,
    check_ascending,
    decode,
    decode_record,
    digest,
    encode,
)
from .errors import InvalidInput, ProofError
from .keys import Did, PublicKey
from .limits import LIMITS

Height = NewType("Height", int)
View = NewType("View", int)
Millis = NewType("Millis", int)
"""Milliseconds since 1970-01-01T00:00Z, or a duration in milliseconds."""


def faults(validators: int) -> int:
    """f = (n-1)//3: how many faulty validators n of them bear (Castro & Liskov, section 3)."""
    return (validators - 1) // 3


def quorum(validators: int) -> int:
    """q = ceil((n+f+1)/2): any two quorums share an honest validator, also where n is not 3f+1."""
    return (validators + faults(validators) + 2) // 2


@dataclass(frozen=True, slots=True)
class Validator:
    """A member that orders the ledger, and the key that its votes carry."""

    did: Did
    key: PublicKey

    def fields(self) -> dict[str, Value]:
        return {"did": self.did, "key": self.key}

    @staticmethod
    def read(fields: Fields) -> Validator:
        did = keys.check_did(fields.text("did"), "did")
        return Validator(did, PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)))


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """The validators of a height, ascending by DID: a validator's index is its place here."""

    members: tuple[Validator, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= LIMITS.validators:
            raise InvalidInput(f"a network has 1 to {LIMITS.validators} validators", field="validators")
        check_ascending([member.did.encode() for member in self.members], "validators")
        if len({member.key for member in self.members}) != len(self.members):
            raise InvalidInput("two validators have the same key", field="validators")

    @property
    def quorum(self) -> int:
        return quorum(len(self.members))

    def index_of(self, did: Did) -> int | None:
        return next((index for index, each in enumerate(self.members) if each.did == did), None)

    def fields(self) -> dict[str, Value]:
        return {"validators": [member.fields() for member in self.members]}

    def encode(self) -> bytes:
        return encode(self.fields())

    def digest(self) -> Digest:
        return _validators_digest(self)

    @staticmethod
    def read(fields: Fields) -> ValidatorSet:
        return ValidatorSet(fields.maps("validators", Validator.read, at_most=LIMITS.validators))

    @staticmethod
    @lru_cache(8)
    def decode(data: bytes) -> ValidatorSet:
        return decode(data, ValidatorSet.read, ValidatorSet.fields, "validators")


@lru_cache(8)
def _validators_digest(validators: ValidatorSet) -> Digest:
    """Each header names the same validators for a long time."""
    return digest("validators", validators.encode())


def commit_digest(network: Digest, height: Height, view: View, header: Digest) -> Digest:
    """What a COMMIT signs."""
    return digest(
        "commit",
        encode({"network": network, "height": height, "view": view, "header": header}),
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum's COMMIT signatures over one header: (validator's index, signature), ascending.

    Two valid certificates of one block may differ in view and signers: compare headers, never
    certificates.
    """

    view: View
    signatures: tuple[tuple[int, bytes], ...]

    def __post_init__(self) -> None:
        indexes = [-1, *(index for index, _ in self.signatures)]
        if any(left >= right for left, right in itertools.pairwise(indexes)):
            raise InvalidInput("a validator signs a certificate once, in order", field="signatures")

    def encode(self) -> bytes:
        return _encoded(self)

    @staticmethod
    def decode(data: bytes) -> Certificate:
        found = decode_record(data, _Certificate, "certificate")
        return Certificate(found.view, tuple((each.validator, each.signature) for each in found.signatures))


@lru_cache(64)
def _encoded(certificate: Certificate) -> bytes:
    """Each receipt of a block carries its certificate."""
    commits = tuple(_Commit(each, index) for index, each in certificate.signatures)
    return _Certificate(commits, certificate.view).encode()


class _Commit(Record, frozen=True):
    signature: Annotated[bytes, BYTES_64]
    validator: Annotated[int, Meta(ge=0, lt=LIMITS.validators)]


class _Certificate(Record, frozen=True):
    """The wire form."""

    signatures: Annotated[tuple[_Commit, ...], Meta(max_length=LIMITS.validators)]
    view: Annotated[View, NATURAL]


def certify(network: Digest, height: Height, view: View, header: Digest, signer: keys.SigningKey) -> bytes:
    """One validator's COMMIT signature."""
    return signer.sign(commit_digest(network, height, view, header))


def check_certificate(
    certificate: Certificate,
    validators: ValidatorSet,
    network: Digest,
    height: Height,
    header: Digest,
) -> None:
    """ProofError unless at least a quorum of these validators signed, and every signature holds."""
    signatures: Sequence[tuple[int, bytes]] = certificate.signatures
    if len(signatures) < validators.quorum:
        raise ProofError(
            f"the certificate of height {height} has {len(signatures)} signatures, "
            f"a quorum is {validators.quorum}",
            field="certificate",
        )
    message = commit_digest(network, height, certificate.view, header)
    for index, signature in signatures:
        if index >= len(validators.members):
            raise ProofError(f"the certificate names validator {index}, unknown here", field="certificate")
        if not keys.verify(validators.members[index].key, message, signature):
            raise ProofError(
                f"signature of validator {index} on height {height} does not hold",
                field="certificate",
            )
