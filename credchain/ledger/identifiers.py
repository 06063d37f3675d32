"""The ids of what is on the ledger, for those who need none of the operations."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from .. import keys
from ..encoding import DIGEST_BYTES, NO_DIGEST, Digest, Value, check_text, encode, hasher
from ..keys import Did

_attestation: Final = hasher("attestation")


def attestation_id(
    network: Digest, issuer: Did, category: str, subject: Digest, credential: Digest
) -> Digest:
    """The id of an attestation: the same credential attested again has the same id.

    It is the digest of {category, credential, issuer, network, subject}.
    """
    before, between = _around(network, issuer, category)
    return _attestation(before + credential + between + subject)


@lru_cache(1024)
def _around(network: Digest, issuer: Did, category: str) -> tuple[bytes, bytes]:
    """What the encoding has before the credential, and between it and the subject, which comes last: an
    issuer attests thousands of credentials in one category."""
    check_text(category, "category", max_bytes=64)
    keys.check_did(issuer, "issuer")
    named: dict[str, Value] = {
        "category": category,
        "credential": NO_DIGEST,
        "issuer": issuer,
        "network": network,
        "subject": NO_DIGEST,
    }
    # Of five keys as of two, a map's encoding begins with one byte.
    before = len(encode({"category": category, "credential": NO_DIGEST})) - DIGEST_BYTES
    whole = encode(named)
    return whole[:before], whole[before + DIGEST_BYTES : -DIGEST_BYTES]
