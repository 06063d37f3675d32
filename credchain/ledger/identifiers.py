"""The ids of what is on the ledger, for those who need none of the operations."""

from __future__ import annotations

from .. import keys
from ..encoding import Digest, Record, check_text, digest
from ..keys import Did


class _Identified(Record, frozen=True):
    """What the id of an attestation is the digest of."""

    network: Digest
    issuer: Did
    category: str
    subject: Digest
    credential: Digest

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)
        keys.check_did(self.issuer, "issuer")


def attestation_id(
    network: Digest, issuer: Did, category: str, subject: Digest, credential: Digest
) -> Digest:
    """The id of an attestation: the same credential attested again has the same id."""
    named = _Identified(network, issuer, category, subject, credential)
    return digest("attestation", named.encode_checked())
