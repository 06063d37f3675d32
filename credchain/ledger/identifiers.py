"""The ids of what is on the ledger, for those who need none of the operations."""

from __future__ import annotations

from ..encoding import Digest, digest, encode
from ..keys import Did


def attestation_id(
    network: Digest, issuer: Did, category: str, subject: Digest, credential: Digest
) -> Digest:
    """The id of an attestation: the same credential attested again has the same id."""
    return digest(
        "attestation",
        encode(
            {
                "network": network,
                "issuer": issuer,
                "category": category,
                "subject": subject,
                "credential": credential,
            }
        ),
    )
