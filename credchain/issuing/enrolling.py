"""Enrolling: a radiologist's member card and its identity, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..certificates import Millis
from ..client import Client
from ..credentials.categories import canonical_json, check_claims
from ..credentials.npi import Npi
from ..credentials.sdjwt import SALT_BYTES, issue
from ..credentials.subjects import npi_subject
from ..encoding import Digest, digest, encode
from ..errors import InvalidInput
from ..keys import check_sealable
from ..ledger.cards import MemberCard
from ..ledger.codes import IDENTITY, RADIOLOGIST
from ..ledger.operations import Attest, Enroll, Operation, attestation_id
from ..storage.keyfile import KeyPair
from ..storage.member_store import COMMITTED, Issued, MemberStore
from .outbox import Outbox


@dataclass(frozen=True, slots=True)
class Enrollment:
    """Whom to enrol: the card and its signature, the NPI, and the identity's claims and dates."""

    card: MemberCard
    proof: bytes
    npi: Npi
    claims: Mapping[str, Any]
    valid_from: Millis
    valid_until: Millis | None


class Enrolling:
    """Enrols for one identity issuer."""

    def __init__(
        self,
        store: MemberStore,
        client: Client,
        outbox: Outbox,
        keys: KeyPair,
        now: Callable[[], Millis],
    ) -> None:
        self._store = store
        self._client = client
        self._outbox = outbox
        self._keys = keys
        self._now = now

    async def run(self, enrollment: Enrollment) -> Issued:
        """Enrol the member and attest its identity; the sealed document goes to its mailbox.

        A member that is enrolled already is only attested; one that is attested already gets its document
        once more. Errors: InvalidInput, Rejected.
        """
        issued = self._issued(enrollment)
        other = self._store.other_npi(enrollment.card.did, enrollment.npi)
        if other is not None:
            raise InvalidInput(
                f"this card was enrolled with NPI {other}", field="npi", hint="check the card and the NPI"
            )
        if issued.state == COMMITTED:
            self._store.redeliver(issued.row)
        else:
            operations = await self._operations(enrollment, issued)
            await self._outbox.send(self._outbox.enqueue(operations, [issued]))
        await self._outbox.deliver()
        return self._store.issued(issued.row) or issued

    async def _operations(self, enrollment: Enrollment, issued: Issued) -> list[Operation]:
        card = enrollment.card
        attest = Attest(
            category=IDENTITY,
            subject=issued.subject,
            credential=issued.credential,
            valid_from=issued.valid_from,
            valid_until=issued.valid_until,
        )
        member = await self._client.member(card.did)
        if member is None:
            return [Enroll(card.encode(), enrollment.proof, (RADIOLOGIST,)), attest]
        if (member.subjects_root, member.private_categories) != (card.subjects_root, card.private_categories):
            raise InvalidInput(
                "the member is enrolled with another subjects_root",
                field="card",
                hint="ask for its first card",
            )
        return [attest]

    def _issued(self, enrollment: Enrollment) -> Issued:
        card = enrollment.card
        if card.subjects_root is None or card.name is not None:
            raise InvalidInput(
                "the card is not a radiologist's",
                field="card",
                hint="the radiologist makes it with credchain init --radiologist",
            )
        check_sealable(card.encryption_key, "card")
        category = self._client.network.category(IDENTITY)
        stated = {"holder": str(card.did), "subjects_root": card.subjects_root.hex()}
        claims = check_claims(category, {**enrollment.claims, **stated})
        row = _row(self._client.network.id, enrollment, dict(claims))
        known = self._store.issued(row)
        if known is not None:
            return known
        subject = npi_subject(IDENTITY, enrollment.npi)
        credential = issue(
            self._keys.signing,
            issuer=self._keys.did,
            category=IDENTITY,
            subject=subject,
            issued_at=self._now(),
            valid_from=enrollment.valid_from,
            valid_until=enrollment.valid_until,
            claims=claims,
            salts=[secrets.token_bytes(SALT_BYTES) for _ in claims],
            holder=card.key,
        )
        identifier = attestation_id(
            self._client.network.id, self._keys.did, IDENTITY, subject, credential.digest
        )
        return Issued(
            row=row,
            envelope=None,
            state="",
            attestation=identifier,
            category=IDENTITY,
            npi=enrollment.npi,
            subject=subject,
            credential=credential.digest,
            document=credential.text,
            claims=claims,
            matching=category.matching_key(claims),
            valid_from=enrollment.valid_from,
            valid_until=enrollment.valid_until,
            recipient=card.did,
            encryption_key=card.encryption_key,
        )


def _row(network: Digest, enrollment: Enrollment, claims: dict[str, Any]) -> Digest:
    """The same for the same card, NPI and claims."""
    return digest(
        "row",
        encode(
            {
                "network": network,
                "category": IDENTITY,
                "npi": enrollment.npi,
                "card": enrollment.card.digest(),
                "claims": canonical_json(claims),
            }
        ),
    )
