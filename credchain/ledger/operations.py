"""Operations: what a transaction can do, and their bytes.

Each is a map with ``op`` as its name. Reserved for later, with their own fields, so that adding them
changes no byte signed today: rotate_key, distrust_key, grant, withdraw_grant, record_access, amend.
"""

from __future__ import annotations

from typing import Annotated, Final, get_args

from msgspec import Meta

from ..certificates import Millis
from ..encoding import (
    BYTES_32,
    BYTES_64,
    NATURAL,
    Digest,
    Record,
    check_text,
    check_texts,
    digest,
    encode,
)
from ..limits import LIMITS
from .cards import CARD_BYTES
from .identifiers import attestation_id as attestation_id  # noqa: PLC0414  # offered here as well

_Digest = Annotated[Digest, BYTES_32]
_Millis = Annotated[Millis, NATURAL]


class Attest(Record, frozen=True, tag_field="op", tag="attest"):
    """The issuer stands behind a credential's digest, for a subject, in a category, for a window.

    Times are milliseconds, both ends included; ``renews`` is an earlier attestation of the same
    issuer and subject.
    """

    category: str
    subject: _Digest
    credential: _Digest
    valid_from: _Millis
    valid_until: _Millis | None = None
    renews: _Digest | None = None

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)


class SetStatus(Record, frozen=True, tag_field="op", tag="set_status"):
    """A new status of an attestation; ``note`` is a salted digest of text kept by the sender."""

    category: str
    subject: _Digest
    attestation: _Digest
    status: str
    reason: str
    note: _Digest | None = None

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)
        check_text(self.status, "status", max_bytes=64)
        check_text(self.reason, "reason", max_bytes=64)


class Enroll(Record, frozen=True, tag_field="op", tag="enroll", omit_defaults=False):
    """A new member: its card's exact bytes, the card's signature, and what the member may do."""

    card: Annotated[bytes, Meta(max_length=CARD_BYTES)]
    proof: Annotated[bytes, BYTES_64]
    roles: Annotated[tuple[str, ...], Meta(max_length=LIMITS.roles)]
    categories: Annotated[tuple[str, ...], Meta(max_length=LIMITS.categories)] = ()
    jurisdictions: Annotated[tuple[str, ...], Meta(max_length=LIMITS.jurisdictions)] = ()

    def __post_init__(self) -> None:
        check_texts(self.roles, "roles")
        check_texts(self.categories, "categories")
        check_texts(self.jurisdictions, "jurisdictions")


class Erase(Record, frozen=True, tag_field="op", tag="erase"):
    """Nodes must drop the document of this attestation, now and on catch-up."""

    category: str
    subject: _Digest
    attestation: _Digest
    reason: str

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)
        check_text(self.reason, "reason", max_bytes=64)


Operation = Attest | SetStatus | Enroll | Erase

NAMES: Final = tuple(str(each.__struct_config__.tag) for each in get_args(Operation))
"""The operations that this version knows."""


def note_digest(salt: bytes, text: str) -> Digest:
    """The salted digest (16 random bytes first) that stands for a free-text note."""
    return digest("note", encode({"salt": salt, "text": text}))
