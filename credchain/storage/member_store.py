"""A member's own database: what it issued, and the outbox of what it has yet to see committed.

An envelope (a signed transaction) and the rows in it are written here before anything is sent. A row
is one credential to attest; its digest is made of what the user gave, so the same row in a later run
is known again, and its credential's bytes are used again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..certificates import Height, Millis
from ..credentials.categories import Claims
from ..encoding import Digest
from ..errors import StorageError
from ..keys import Did, EncryptionKey
from .sqlite import storage_errors, transaction

PENDING: Final = "pending"
COMMITTED: Final = "committed"
REFUSED: Final = "refused"

_SCHEMA_VERSION: Final = 1
_TABLES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "envelopes": (
        {
            "id": int,
            "network": bytes,
            "transaction_id": bytes,
            "bytes": bytes,
            "expiry": int,
            "state": str,
            "created": int,
            "height": int,
            "time": int,
            "receipt": bytes,
            "problem": str,
        },
        "id",
    ),
    "issued": (
        {
            "row": bytes,
            "network": bytes,
            "envelope": int,
            "state": str,
            "attestation": bytes,
            "category": str,
            "npi": str,
            "subject": bytes,
            "credential": bytes,
            "document": str,
            "claims": str,
            "matching": str,
            "valid_from": int,
            "valid_until": int,
            "created": int,
            "height": int,
            "time": int,
            "delivered": int,
            "recipient": str,
            "encryption_key": bytes,
        },
        "row",
    ),
    "notes": (
        {"digest": bytes, "salt": bytes, "text": str, "attestation": bytes, "created": int},
        "digest",
    ),
}
_VIEWS: Final = {
    "issued_list": """
        select lower(hex(attestation)) as attestation, category, npi, state, claims,
               date(valid_from / 1000, 'unixepoch') as valid_from,
               date(valid_until / 1000, 'unixepoch') as valid_until,
               height, delivered
        from issued""",
    "outbox_list": """
        select id, lower(hex(transaction_id)) as transaction_id, state, height, problem,
               datetime(created / 1000, 'unixepoch') as created_utc
        from envelopes""",
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed transaction in the outbox. ``height``, ``time`` and ``receipt`` are set when committed."""

    id: int
    transaction_id: Digest
    data: bytes
    expiry: Millis
    state: str
    height: Height | None
    time: Millis | None
    receipt: bytes | None


@dataclass(frozen=True, slots=True)
class Issued:
    """One credential that this home issued or is about to.

    ``recipient`` and ``encryption_key`` are its holder's where the document is sealed.
    """

    row: Digest
    envelope: int | None
    state: str
    attestation: Digest
    category: str
    npi: str | None
    subject: Digest
    credential: Digest
    document: str
    claims: Claims
    matching: str
    valid_from: Millis
    valid_until: Millis | None
    height: Height | None = None
    time: Millis | None = None
    delivered: bool = False
    recipient: Did | None = None
    encryption_key: EncryptionKey | None = None


class MemberStore:
    """Use from one thread, under the home's member lock."""

    def __init__(self, path: Path, network: Digest) -> None:
        """Open or create; everything read and written is of this network only."""
        import sqlite_utils

        self._network = network
        with storage_errors(f"cannot open {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._conn = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            self._conn.execute("pragma journal_mode = wal")
            self._conn.execute("pragma synchronous = full")
            database = sqlite_utils.Database(self._conn)
            with transaction(self._conn):
                version = self._conn.execute("pragma user_version").fetchone()[0]
                if version == 0:
                    _create(database)
                elif version != _SCHEMA_VERSION:
                    raise StorageError(f"{path} has the schema {version}, unknown here")

    def close(self) -> None:
        self._conn.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with storage_errors("cannot write the member database"), transaction(self._conn):
            yield self._conn

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with storage_errors("cannot read the member database"):
            return self._conn.execute(query, values).fetchall()

    # --- the outbox -----------------------------------------------------------------------

    def enqueue(
        self, transaction_id: Digest, data: bytes, expiry: Millis, created: Millis, rows: Sequence[Issued]
    ) -> Envelope:
        """Write an envelope and its rows, in one transaction, before it is sent."""
        with self._write() as conn:
            cursor = conn.execute(
                "insert into envelopes (network, transaction_id, bytes, expiry, state, created) "
                "values (?, ?, ?, ?, ?, ?)",
                (self._network, transaction_id, data, expiry, PENDING, created),
            )
            identifier = int(cursor.lastrowid or 0)
            conn.executemany(
                "insert or replace into issued (row, network, envelope, state, attestation, category, "
                "npi, subject, credential, document, claims, matching, valid_from, valid_until, created, "
                "delivered, recipient, encryption_key) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
                [
                    (
                        each.row,
                        self._network,
                        identifier,
                        PENDING,
                        each.attestation,
                        each.category,
                        each.npi,
                        each.subject,
                        each.credential,
                        each.document,
                        json.dumps(dict(each.claims), ensure_ascii=False),
                        each.matching,
                        each.valid_from,
                        each.valid_until,
                        created,
                        each.recipient,
                        each.encryption_key,
                    )
                    for each in rows
                ],
            )
        return Envelope(identifier, transaction_id, data, expiry, PENDING, None, None, None)

    def resign(self, envelope: Envelope, transaction_id: Digest, data: bytes, expiry: Millis) -> Envelope:
        """Put a newly signed transaction of the same operations in the place of a lost one."""
        with self._write() as conn:
            conn.execute(
                "update envelopes set transaction_id = ?, bytes = ?, expiry = ? where id = ?",
                (transaction_id, data, expiry, envelope.id),
            )
        return Envelope(envelope.id, transaction_id, data, expiry, PENDING, None, None, None)

    def commit(self, envelope: Envelope, height: Height, time: Millis, receipt: bytes) -> None:
        """The envelope is on the ledger, and so are its rows."""
        with self._write() as conn:
            conn.execute(
                "update envelopes set state = ?, height = ?, time = ?, receipt = ? where id = ?",
                (COMMITTED, height, time, receipt, envelope.id),
            )
            conn.execute(
                "update issued set state = ?, height = ?, time = ? where envelope = ?",
                (COMMITTED, height, time, envelope.id),
            )

    def refuse(self, envelope: Envelope, problem: str) -> None:
        """The rules refused it: nothing of it is on the ledger. Its rows keep their credentials."""
        with self._write() as conn:
            conn.execute(
                "update envelopes set state = ?, problem = ? where id = ?", (REFUSED, problem, envelope.id)
            )
            conn.execute(
                "update issued set state = ?, envelope = null where envelope = ?", (REFUSED, envelope.id)
            )

    def mark_committed(self, row: Digest, height: Height, time: Millis) -> None:
        """A row proved to be on the ledger by another envelope than the one at hand."""
        with self._write() as conn:
            conn.execute(
                "update issued set state = ?, height = ?, time = ? where row = ?",
                (COMMITTED, height, time, row),
            )

    def pending(self) -> list[Envelope]:
        """What was not seen committed or refused, oldest first."""
        return self._envelopes("network = ? and state = ? order by id", (self._network, PENDING))

    def envelope(self, identifier: int) -> Envelope | None:
        found = self._envelopes("id = ?", (identifier,))
        return found[0] if found else None

    def _envelopes(self, where: str, values: tuple[Any, ...]) -> list[Envelope]:
        query = f"select id, transaction_id, bytes, expiry, state, height, time, receipt from envelopes where {where}"  # noqa: S608, E501
        return [
            Envelope(
                row[0],
                Digest(row[1]),
                row[2],
                Millis(row[3]),
                row[4],
                None if row[5] is None else Height(row[5]),
                None if row[6] is None else Millis(row[6]),
                row[7],
            )
            for row in self._rows(query, values)
        ]

    # --- what was issued ------------------------------------------------------------------

    def issued(self, row: Digest) -> Issued | None:
        found = self._issued("row = ?", (row,))
        return found[0] if found else None

    def rows_of(self, envelope: Envelope) -> list[Issued]:
        """In the order of the envelope's operations (rows are inserted in that order)."""
        return self._issued("envelope = ? order by rowid", (envelope.id,))

    def undelivered(self, at_most: int) -> list[Issued]:
        """Committed rows whose document no node has taken yet."""
        return self._issued(
            "network = ? and state = ? and delivered = 0 order by rowid limit ?",
            (self._network, COMMITTED, at_most),
        )

    def redeliver(self, row: Digest) -> None:
        """Hand this row's document over once more: its holder may have lost it."""
        with self._write() as conn:
            conn.execute("update issued set delivered = 0 where row = ?", (row,))

    def mark_delivered(self, rows: Sequence[Digest]) -> None:
        with self._write() as conn:
            conn.executemany("update issued set delivered = 1 where row = ?", [(row,) for row in rows])

    def issued_list(self, npi: str | None = None) -> list[Issued]:
        """All that was attested or is pending, in order."""
        return self._issued(
            "network = ? and state != ? and (? is null or npi = ?) order by rowid",
            (self._network, REFUSED, npi, npi),
        )

    def other_npi(self, recipient: Did, npi: str) -> str | None:
        """Another NPI that this home attested to the same holder; None if there is none."""
        rows = self._rows(
            "select npi from issued where network = ? and state = ? and recipient = ? "
            "and npi is not null and npi != ? limit 1",
            (self._network, COMMITTED, recipient, npi),
        )
        return str(rows[0][0]) if rows else None

    def by_attestation(self, prefix: str) -> list[Issued]:
        """By the first digits of the attestation's id; at most two."""
        return self._issued(
            "network = ? and state != ? and lower(hex(attestation)) like ? limit 2",
            (self._network, REFUSED, prefix + "%"),
        )

    def _issued(self, where: str, values: tuple[Any, ...]) -> list[Issued]:
        query = f"select row, envelope, state, attestation, category, npi, subject, credential, document, claims, matching, valid_from, valid_until, height, time, delivered, recipient, encryption_key from issued where {where}"  # noqa: S608, E501
        return [
            Issued(
                row=Digest(each[0]),
                envelope=each[1],
                state=each[2],
                attestation=Digest(each[3]),
                category=each[4],
                npi=each[5],
                subject=Digest(each[6]),
                credential=Digest(each[7]),
                document=each[8],
                claims=json.loads(each[9]),
                matching=each[10],
                valid_from=Millis(each[11]),
                valid_until=None if each[12] is None else Millis(each[12]),
                height=None if each[13] is None else Height(each[13]),
                time=None if each[14] is None else Millis(each[14]),
                delivered=bool(each[15]),
                recipient=None if each[16] is None else Did(each[16]),
                encryption_key=None if each[17] is None else EncryptionKey(each[17]),
            )
            for each in self._rows(query, values)
        ]

    # --- notes ----------------------------------------------------------------------------

    def keep_note(self, digest: Digest, salt: bytes, text: str, attestation: Digest, created: Millis) -> None:
        """The text behind a note's digest on the ledger: it is kept here and nowhere else."""
        with self._write() as conn:
            conn.execute(
                "insert or ignore into notes values (?, ?, ?, ?, ?)",
                (digest, salt, text, attestation, created),
            )

    def note(self, digest: Digest) -> str | None:
        rows = self._rows("select text from notes where digest = ?", (digest,))
        return str(rows[0][0]) if rows else None


def _create(database: Any) -> None:
    for name, (columns, primary_key) in _TABLES.items():
        database.table(name).create(columns, pk=primary_key)
    database.table("issued").create_index(["envelope"])
    database.table("issued").create_index(["npi"])
    database.table("issued").create_index(["state", "delivered"])
    database.table("envelopes").create_index(["state"])
    for name, query in _VIEWS.items():
        database.create_view(name, query)
    database.conn.execute(f"pragma user_version = {_SCHEMA_VERSION}")
