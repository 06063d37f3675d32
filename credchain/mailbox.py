"""Mailbox messages: how sealed documents reach their holder through the nodes.

A deposit names a committed attestation and is signed by its issuer; a collection and an acknowledgement
are signed by the recipient. Each carries the time of its making, and counts for a minute around it. What
is sealed the node cannot read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from . import keys
from .certificates import Millis
from .encoding import BYTES_32, NATURAL, Digest, Record, check_text, decode_record, digest
from .keys import Did, PublicKey, SigningKey
from .limits import LIMITS, MINUTE

WINDOW: Final = MINUTE
"""How far a request's time may be from the node's clock, in milliseconds."""


class Item(Record, frozen=True):
    """One sealed document, for the attestation that it is of."""

    recipient: Did
    category: str
    subject: Annotated[Digest, BYTES_32]
    attestation: Annotated[Digest, BYTES_32]
    sealed: Annotated[bytes, Meta(max_length=LIMITS.sealed_bytes)]

    def __post_init__(self) -> None:
        keys.check_did(self.recipient, "recipient")
        check_text(self.category, "category", max_bytes=64)


_MANY: Final = Meta(max_length=LIMITS.documents_per_deposit)


class _Body(Record, frozen=True, omit_defaults=False):
    """What is signed."""

    network: Annotated[Digest, BYTES_32]
    member: Did
    key: Annotated[PublicKey, BYTES_32]
    time: Annotated[Millis, NATURAL]
    items: Annotated[tuple[Item, ...], _MANY]
    attestations: Annotated[tuple[Annotated[Digest, BYTES_32], ...], _MANY]

    def __post_init__(self) -> None:
        keys.check_did(self.member, "member")


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request. ``purpose`` is the digest's: one of the three below."""

    purpose: str
    network: Digest
    member: Did
    key: PublicKey
    time: Millis
    items: tuple[Item, ...] = ()
    attestations: tuple[Digest, ...] = ()
    signature: bytes = b""

    def _body(self) -> bytes:
        return _Body(
            self.network, self.member, self.key, self.time, self.items, self.attestations
        ).encode_checked()

    @property
    def digest(self) -> Digest:
        return digest(self.purpose, self._body())

    def encode(self) -> bytes:
        return keys.encode_signed(self._body(), self.signature)

    def signature_holds(self) -> bool:
        return keys.verify(self.key, self.digest, self.signature)


DEPOSIT: Final = "mailbox-deposit"
COLLECT: Final = "mailbox-collect"
ACKNOWLEDGE: Final = "mailbox-acknowledge"


def sign_request(
    purpose: str,
    network: Digest,
    member: Did,
    signer: SigningKey,
    time: Millis,
    *,
    items: tuple[Item, ...] = (),
    attestations: tuple[Digest, ...] = (),
) -> Request:
    """A request of this purpose, signed now."""
    unsigned = Request(purpose, network, member, signer.public, time, items, attestations)
    signature = signer.sign(unsigned.digest)
    return Request(purpose, network, member, signer.public, time, items, attestations, signature)


def decode_request(purpose: str, data: bytes) -> Request:
    """From the wire; InvalidInput. Whether the signature holds and is the member's is asked apart."""
    body, signature = keys.decode_signed(data, "request", max_bytes=LIMITS.message_bytes)
    read = decode_record(body, _Body, "request")
    return Request(
        purpose, read.network, read.member, read.key, read.time, read.items, read.attestations, signature
    )
