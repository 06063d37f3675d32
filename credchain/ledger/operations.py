"""Operations: what a transaction can do, and their bytes.

Each is a map with ``op`` as its name. Reserved for later, with their own fields, so that adding them
changes no byte signed today: rotate_key, distrust_key, grant, withdraw_grant, record_access, amend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .. import keys
from ..certificates import Millis
from ..encoding import Digest, Fields, Value, digest, encode
from ..errors import InvalidInput
from ..limits import LIMITS
from .cards import CARD_BYTES
from .identifiers import attestation_id as attestation_id  # noqa: PLC0414  # offered here as well


@dataclass(frozen=True, slots=True)
class Attest:
    """The issuer stands behind a credential's digest, for a subject, in a category, for a window.

    Times are milliseconds, both ends included; ``renews`` is an earlier attestation of the same
    issuer and subject.
    """

    op: ClassVar[str] = "attest"
    category: str
    subject: Digest
    credential: Digest
    valid_from: Millis
    valid_until: Millis | None = None
    renews: Digest | None = None

    def fields(self) -> dict[str, Value]:
        result: dict[str, Value] = {
            "op": self.op,
            "category": self.category,
            "subject": self.subject,
            "credential": self.credential,
            "valid_from": self.valid_from,
        }
        if self.valid_until is not None:
            result["valid_until"] = self.valid_until
        if self.renews is not None:
            result["renews"] = self.renews
        return result

    @staticmethod
    def read(fields: Fields) -> Attest:
        until = fields.optional_integer("valid_until")
        return Attest(
            category=fields.text("category", max_bytes=64),
            subject=fields.digest("subject"),
            credential=fields.digest("credential"),
            valid_from=Millis(fields.integer("valid_from")),
            valid_until=None if until is None else Millis(until),
            renews=fields.optional_digest("renews"),
        )


@dataclass(frozen=True, slots=True)
class SetStatus:
    """A new status of an attestation; ``note`` is a salted digest of text kept by the sender."""

    op: ClassVar[str] = "set_status"
    category: str
    subject: Digest
    attestation: Digest
    status: str
    reason: str
    note: Digest | None = None

    def fields(self) -> dict[str, Value]:
        result: dict[str, Value] = {
            "op": self.op,
            "category": self.category,
            "subject": self.subject,
            "attestation": self.attestation,
            "status": self.status,
            "reason": self.reason,
        }
        if self.note is not None:
            result["note"] = self.note
        return result

    @staticmethod
    def read(fields: Fields) -> SetStatus:
        return SetStatus(
            category=fields.text("category", max_bytes=64),
            subject=fields.digest("subject"),
            attestation=fields.digest("attestation"),
            status=fields.text("status", max_bytes=64),
            reason=fields.text("reason", max_bytes=64),
            note=fields.optional_digest("note"),
        )


@dataclass(frozen=True, slots=True)
class Enroll:
    """A new member: its card's exact bytes, the card's signature, and what the member may do."""

    op: ClassVar[str] = "enroll"
    card: bytes
    proof: bytes
    roles: tuple[str, ...]
    categories: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()

    def fields(self) -> dict[str, Value]:
        return {
            "op": self.op,
            "card": self.card,
            "proof": self.proof,
            "roles": list(self.roles),
            "categories": list(self.categories),
            "jurisdictions": list(self.jurisdictions),
        }

    @staticmethod
    def read(fields: Fields) -> Enroll:
        return Enroll(
            card=fields.binary("card", at_most=CARD_BYTES),
            proof=fields.binary("proof", keys.SIGNATURE_BYTES),
            roles=fields.texts("roles", at_most=LIMITS.roles),
            categories=fields.texts("categories", at_most=LIMITS.categories),
            jurisdictions=fields.texts("jurisdictions", at_most=LIMITS.jurisdictions),
        )


@dataclass(frozen=True, slots=True)
class Erase:
    """Nodes must drop the document of this attestation, now and on catch-up."""

    op: ClassVar[str] = "erase"
    category: str
    subject: Digest
    attestation: Digest
    reason: str

    def fields(self) -> dict[str, Value]:
        return {
            "op": self.op,
            "category": self.category,
            "subject": self.subject,
            "attestation": self.attestation,
            "reason": self.reason,
        }

    @staticmethod
    def read(fields: Fields) -> Erase:
        return Erase(
            category=fields.text("category", max_bytes=64),
            subject=fields.digest("subject"),
            attestation=fields.digest("attestation"),
            reason=fields.text("reason", max_bytes=64),
        )


Operation = Attest | SetStatus | Enroll | Erase

_READERS = {each.op: each.read for each in (Attest, SetStatus, Enroll, Erase)}


def read_operation(fields: Fields) -> Operation:
    """Any operation, by its name; InvalidInput for a name that this version does not know."""
    name = fields.text("op", max_bytes=64)
    reader = _READERS.get(name)
    if reader is None:
        raise InvalidInput(
            f"the operation {name} is not known",
            field="op",
            hint=f"known are {', '.join(_READERS)}",
        )
    return reader(fields)


def note_digest(salt: bytes, text: str) -> Digest:
    """The salted digest (16 random bytes first) that stands for a free-text note."""
    return digest("note", encode({"salt": salt, "text": text}))
