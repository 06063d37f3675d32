"""Mailbox messages: how sealed documents reach their holder through the nodes.

A deposit names a committed attestation and is signed by its issuer; a collection and an acknowledgement
are signed by the recipient. Each carries the time of its making, and counts for a minute around it. What
is sealed the node cannot read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from . import keys
from .certificates import Millis
from .encoding import Digest, Fields, Value, decode, digest, encode
from .errors import InvalidInput
from .keys import Did, PublicKey, SigningKey
from .limits import LIMITS, MINUTE

WINDOW: Final = MINUTE
"""How far a request's time may be from the node's clock, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Item:
    """One sealed document, for the attestation that it is of."""

    recipient: Did
    category: str
    subject: Digest
    attestation: Digest
    sealed: bytes

    def fields(self) -> dict[str, Value]:
        return {
            "recipient": self.recipient,
            "category": self.category,
            "subject": self.subject,
            "attestation": self.attestation,
            "sealed": self.sealed,
        }

    @staticmethod
    def read(fields: Fields) -> Item:
        return Item(
            recipient=keys.check_did(fields.text("recipient"), "recipient"),
            category=fields.text("category", max_bytes=64),
            subject=fields.digest("subject"),
            attestation=fields.digest("attestation"),
            sealed=fields.binary("sealed", at_most=LIMITS.sealed_bytes),
        )


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
        return encode(_fields(self))

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

    def read(fields: Fields) -> Request:
        return Request(
            purpose=purpose,
            network=fields.digest("network"),
            member=keys.check_did(fields.text("member"), "member"),
            key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
            time=Millis(fields.integer("time")),
            items=fields.maps("items", Item.read, at_most=LIMITS.documents_per_deposit),
            attestations=fields.items("attestations", _digest, at_most=LIMITS.documents_per_deposit),
            signature=signature,
        )

    return decode(body, read, _fields, "request", max_bytes=LIMITS.message_bytes)


def _digest(item: Any, field: str) -> Digest:
    if type(item) is not bytes or len(item) != 32:
        raise InvalidInput(f"{field} must be 32 bytes", field=field)
    return Digest(item)


def _fields(request: Request) -> Value:
    return {
        "network": request.network,
        "member": request.member,
        "key": request.key,
        "time": request.time,
        "items": [each.fields() for each in request.items],
        "attestations": list(request.attestations),
    }
