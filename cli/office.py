"""An issuer's workplace: its database under lock, its outbox, and what an earlier run left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .output import note, printable
from .session import Session

if TYPE_CHECKING:
    from credchain.client import Client
    from credchain.errors import NetworkError
    from credchain.issuing.outbox import Outbox, Sent
    from credchain.ledger.network import Network
    from credchain.storage.member_store import MemberStore

_A_MOMENT = 5.0
"""Seconds."""


@dataclass(frozen=True)
class Office:
    """What an issuing command works with, under the home's lock."""

    store: MemberStore
    client: Client
    outbox: Outbox
    resumed: tuple[Sent, ...]


@asynccontextmanager
async def open_office(session: Session, *, has_progress: bool = False) -> AsyncIterator[Office]:
    """Open the home's database, and first finish what an earlier run left.

    A NetworkError while something is not committed says so, and that the next run goes on with it.
    """
    from credchain.errors import NetworkError
    from credchain.issuing.outbox import Outbox
    from credchain.storage.files import exclusive
    from credchain.storage.member_store import MemberStore

    home = session.home
    keys = session.keys
    with exclusive(home.member_lock, "this home"):
        store = MemberStore(home.member_database, session.network.id)
        try:
            async with session.client() as client, _told_if_slow(silent=has_progress):
                outbox = Outbox(store, client, keys, session.now)
                resumed = await outbox.resume()
                if resumed.sent:
                    note(f"finished {len(resumed.sent)} envelopes of an earlier run")
                for problem in resumed.refused:
                    note(f"warning: an envelope of an earlier run was refused: {printable(problem.message)}")
                yield Office(store, client, outbox, resumed.sent)
        except NetworkError as problem:
            waiting = len(store.pending())
            if waiting:
                raise _not_committed(waiting, problem) from problem
            raise
        finally:
            store.close()


def _not_committed(waiting: int, problem: NetworkError) -> NetworkError:
    from credchain.errors import NetworkError

    what = "1 transaction is" if waiting == 1 else f"{waiting} transactions are"
    return NetworkError(
        f"{what} not committed yet, so nothing in it counts: {problem.message}",
        field=problem.field,
        hint="run the same command again later: it goes on, and does nothing twice;"
        " credchain node status says why nothing commits",
    )


@asynccontextmanager
async def _told_if_slow(*, silent: bool) -> AsyncIterator[None]:
    """Whoever waits at a terminal for more than a moment is told for what."""
    if silent or not sys.stderr.isatty():
        yield
        return
    told = asyncio.get_running_loop().call_later(
        _A_MOMENT, note, "still waiting for the ledger; credchain node status says what it waits for"
    )
    try:
        yield
    finally:
        told.cancel()


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
