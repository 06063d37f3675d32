"""What a node keeps beside the ledger: published documents, and sealed ones that wait for their recipients.

Nothing here is part of the state, so all of it can be erased. Both live in the ledger's database, so that a
block which erases an attestation takes its documents along in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..certificates import Millis
from ..credentials.sdjwt import parse as parse_credential
from ..encoding import Digest
from ..errors import InvalidInput
from ..keys import Did
from ..ledger.records import Dossier, Entry
from ..mailbox import Item
from .sqlite import storage_errors, transaction


class Documents:
    """Published documents, one an attestation."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def store(self, documents: Sequence[tuple[Digest, Digest, str]]) -> None:
        """(attestation, credential digest, text) of each; one that is there stays."""
        with storage_errors("cannot store documents"), transaction(self._conn):
            self._conn.executemany("insert or ignore into documents values (?, ?, ?)", documents)

    def of_attestation(self, attestation: Digest) -> str | None:
        return self._text("select text from documents where attestation = ?", attestation)

    def of_credential(self, credential: Digest) -> str | None:
        return self._text("select text from documents where credential = ?", credential)

    def _text(self, query: str, digest: Digest) -> str | None:
        with storage_errors("cannot read documents"):
            row = self._conn.execute(query, (digest,)).fetchone()
        return None if row is None else str(row[0])

    def erase(self, attestations: Sequence[Digest]) -> None:
        """Within the caller's transaction."""
        self._conn.executemany(
            "delete from documents where attestation = ?", [(each,) for each in attestations]
        )


class Mailbox:
    """Sealed documents that wait for their recipients, one an attestation."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def use(self, sender: Did, replaced: Sequence[Digest], now: Millis) -> tuple[int, int]:
        """(items, bytes) of a sender that wait for collection, without those that are replaced."""
        query = (
            "select count(*), coalesce(sum(length(sealed)), 0) from mailbox where sender = ? and expires >= ?"
        )
        with storage_errors("cannot read the mailbox"):
            count, size = self._conn.execute(query, (sender, now)).fetchone()
            for each in replaced:
                row = self._conn.execute(query + " and attestation = ?", (sender, now, each)).fetchone()
                count, size = count - row[0], size - row[1]
        return count, size

    def store(self, sender: Did, items: Sequence[Item], now: Millis, lifetime: int) -> None:
        """A later one replaces an attestation's earlier one; expired ones are dropped."""
        rows = [
            (
                each.attestation,
                each.recipient,
                sender,
                each.category,
                each.subject,
                each.sealed,
                now + lifetime,
            )
            for each in items
        ]
        with storage_errors("cannot store sealed documents"), transaction(self._conn):
            self._conn.execute("delete from mailbox where expires < ?", (now,))
            # In its place: who collects goes on after an item, and must not find it at the end.
            self._conn.executemany(
                "insert into mailbox values (?, ?, ?, ?, ?, ?, ?) on conflict (attestation) do update set "
                "recipient = excluded.recipient, sender = excluded.sender, category = excluded.category, "
                "subject = excluded.subject, sealed = excluded.sealed, expires = excluded.expires",
                rows,
            )

    def waiting(self, recipient: Did, now: Millis, at_most: int, after: Digest | None = None) -> list[Item]:
        """What waits for a recipient, oldest first; after one attestation's document, if that waits."""
        query = (
            "select category, subject, attestation, sealed from mailbox "
            "where recipient = ? and expires >= ? and rowid > coalesce("
            "(select rowid from mailbox where attestation = ? and recipient = ?), 0) "
            "order by rowid limit ?"
        )
        values: tuple[Any, ...] = (recipient, now, after, recipient, at_most)
        with storage_errors("cannot read the mailbox"):
            rows = self._conn.execute(query, values).fetchall()
        return [Item(recipient, row[0], Digest(row[1]), Digest(row[2]), row[3]) for row in rows]

    def drop(self, recipient: Did, attestations: Sequence[Digest]) -> None:
        """Delete what a recipient has collected."""
        with storage_errors("cannot delete sealed documents"), transaction(self._conn):
            self._conn.executemany(
                "delete from mailbox where attestation = ? and recipient = ?",
                [(each, recipient) for each in attestations],
            )

    def erase(self, attestations: Sequence[Digest]) -> None:
        """Within the caller's transaction."""
        self._conn.executemany(
            "delete from mailbox where attestation = ?", [(each,) for each in attestations]
        )


def check_document(text: str, dossier: Dossier, entry: Entry) -> None:
    """InvalidInput unless this is the whole published document of that entry.

    Its issuer, category and subject must be the entry's: another member that attests the same digest
    has no say over the document.
    """
    parsed = parse_credential(text)
    if parsed.digest != entry.credential:
        raise InvalidInput("the document has another digest", field="document")
    found = (parsed.issuer, parsed.category, parsed.subject)
    if found != (entry.issuer, dossier.category, dossier.subject):
        raise InvalidInput("the document is not its attestation's", field="document")
    if parsed.hidden:
        raise InvalidInput("a published document discloses all its claims", field="document")
