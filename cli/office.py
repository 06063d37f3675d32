"""An issuer's workplace: its database under lock, its outbox, and what an earlier run left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .output import note, printable
from .session import Session

if TYPE_CHECKING:
    from credchain.client import Client
    from credchain.issuing.outbox import Outbox, Sent
    from credchain.ledger.network import Network
    from credchain.storage.member_store import MemberStore


@dataclass(frozen=True)
class Office:
    """What an issuing command works with, under the home's lock."""

    store: MemberStore
    client: Client
    outbox: Outbox
    resumed: tuple[Sent, ...]


@asynccontextmanager
async def open_office(session: Session) -> AsyncIterator[Office]:
    """Open the home's database, and first finish what an earlier run left."""
    from credchain.issuing.outbox import Outbox
    from credchain.storage.files import exclusive
    from credchain.storage.member_store import MemberStore

    home = session.home
    keys = session.keys
    with exclusive(home.member_lock, "this home"):
        store = MemberStore(home.member_database, session.network.id)
        try:
            async with session.client() as client:
                outbox = Outbox(store, client, keys, session.now)
                resumed = await outbox.resume()
                if resumed.sent:
                    note(f"finished {len(resumed.sent)} envelopes of an earlier run")
                for problem in resumed.refused:
                    note(f"warning: an envelope of an earlier run was refused: {printable(problem.message)}")
                yield Office(store, client, outbox, resumed.sent)
        finally:
            store.close()


def receipt_json(network: Network, envelope: Any, receipt: Any) -> dict[str, Any]:
    """The receipt's keys of the contract."""
    import base64

    from credchain.credentials.dates import rfc3339

    header, certificate = receipt.certified.header, receipt.certified.certificate
    return {
        "transaction": envelope.transaction_id.hex(),
        "height": header.height,
        "time": rfc3339(header.time),
        "certificate": {
            "view": certificate.view,
            "signatures": [
                {"validator": network.validators.members[index].did, "signature": signature.hex()}
                for index, signature in certificate.signatures
            ],
        },
        "receipt": base64.b64encode(receipt.encode()).decode(),
    }


def id_prefix(text: str) -> str:
    """8 to 64 hexadecimal digits, lower case; InvalidInput otherwise."""
    from credchain.errors import InvalidInput

    digits = text.lower()
    if not (8 <= len(digits) <= 64 and all(each in "0123456789abcdef" for each in digits)):
        raise InvalidInput(
            f"{text[:70]!r} is not an id", field="attestation", hint="an id is 8 to 64 of the digits 0-9 a-f"
        )
    return digits
