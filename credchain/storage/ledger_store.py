"""A node's ledger in SQLite: a block, its state and its certificate in one transaction.

Tables hold the bytes that count (header, certificate, transaction, state value) beside columns that
people read; every column can be recomputed from the blocks, and `audit` does. Hot paths use the
connection; schema and views go through sqlite-utils. Use from one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlite_utils

from ..certificates import Certificate, Height, Millis
from ..credentials.sdjwt import parse as parse_credential
from ..encoding import Digest
from ..errors import InvalidInput, StorageError
from ..keys import Did
from ..ledger.blocks import Block, CertifiedHeader, Header
from ..ledger.execution import ExecutedBlock, StateChange, Tip, genesis_tip
from ..ledger.network import Genesis, Network
from ..ledger.records import Dossier, Entry, Member
from ..ledger.state import State, key_of_record
from ..ledger.statemap import StateMap, value_digest
from ..ledger.transactions import Transaction
from ..mailbox import Item
from ..merkle import leaf, path
from .sqlite import insert, select_in, storage_errors, transaction

SCHEMA_VERSION: Final = 1
_CACHE_KIB: Final = 16 * 1024
_LOG_PAGES: Final = 8_192
"""32 MiB of log at most, but for what one block adds."""

_TABLES: Final[dict[str, tuple[dict[str, Any], str | tuple[str, ...]]]] = {
    "blocks": (
        {
            "height": int,
            "time": int,
            "proposer": str,
            "view": int,
            "transactions": int,
            "header": bytes,
            "certificate": bytes,
        },
        "height",
    ),
    "transactions": (
        {
            "height": int,
            "position": int,
            "id": bytes,
            "sender": str,
            "expiry": int,
            "operations": int,
            "bytes": bytes,
        },
        ("height", "position"),
    ),
    "state": (
        {"key": bytes, "kind": str, "name": str, "height": int, "value": bytes},
        "key",
    ),
    "attestations": (
        {
            "id": bytes,
            "height": int,
            "category": str,
            "subject": bytes,
            "issuer": str,
            "credential": bytes,
            "valid_from": int,
            "valid_until": int,
            "renews": bytes,
            "status": str,
            "changed": int,
            "erased": int,
        },
        "id",
    ),
    "status_changes": (
        {
            "attestation": bytes,
            "number": int,
            "height": int,
            "time": int,
            "status": str,
            "reason": str,
            "by": str,
            "note": bytes,
        },
        ("attestation", "number"),
    ),
    "members": (
        {
            "did": str,
            "name": str,
            "height": int,
            "roles": str,
            "categories": str,
            "jurisdictions": str,
        },
        "did",
    ),
    "documents": ({"attestation": bytes, "credential": bytes, "text": str}, "attestation"),
    "mailbox": (
        {
            "attestation": bytes,
            "recipient": str,
            "sender": str,
            "category": str,
            "subject": bytes,
            "sealed": bytes,
            "expires": int,
        },
        "attestation",
    ),
    "about": ({"name": str, "value": str}, "name"),
}

AUDITED: Final = ("blocks", "transactions", "state", "attestations", "status_changes", "members")
"""Tables that follow from the blocks, column by column."""

_VIEWS: Final = {
    "block_list": """
        select height, datetime(time / 1000, 'unixepoch') as time_utc, proposer, view, transactions,
               length(header) as header_bytes, length(certificate) as certificate_bytes
        from blocks""",
    "attestation_list": """
        select lower(hex(a.id)) as attestation, a.height, a.category, lower(hex(a.subject)) as subject,
               m.name as issuer_name, a.issuer, a.status,
               date(a.valid_from / 1000, 'unixepoch') as valid_from,
               date(a.valid_until / 1000, 'unixepoch') as valid_until,
               lower(hex(a.renews)) as renews, a.erased as erased_at_height,
               d.attestation is not null as document_here
        from attestations a
        left join members m on m.did = a.issuer
        left join documents d on d.attestation = a.id""",
    "status_list": """
        select lower(hex(attestation)) as attestation, number, height,
               datetime(time / 1000, 'unixepoch') as time_utc, status, reason, "by"
        from status_changes""",
    "transaction_list": """
        select height, position, lower(hex(id)) as id, sender, operations, length(bytes) as bytes
        from transactions""",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction is: its block and its position there."""

    height: Height
    position: int


@dataclass(frozen=True, slots=True)
class Location:
    """Which dossier an attestation is in."""

    attestation: Digest
    category: str
    subject: Digest
    issuer: Did


class LedgerStore:
    """The database of one node. Reading methods see the last committed block."""

    def __init__(self, path: Path, network: Network, *, durable: bool = True) -> None:
        """Open or create; StorageError if it cannot be, or is another network's."""
        self.network = network
        with storage_errors(f"cannot open {path}"):
            self._conn = sqlite3.connect(path, isolation_level=None, check_same_thread=True)
        try:
            with storage_errors(f"cannot open {path}"):
                self._conn.execute("pragma journal_mode = wal")
                self._conn.execute(f"pragma synchronous = {'full' if durable else 'off'}")
                # Keys are digests, so each block touches pages everywhere: keep them in memory, and copy
                # them from the log to the database once for many blocks.
                self._conn.execute(f"pragma cache_size = -{_CACHE_KIB}")
                self._conn.execute(f"pragma wal_autocheckpoint = {_LOG_PAGES}")
                self._create()
            self._check_network()
        except BaseException:
            self._conn.close()
            raise

    def close(self) -> None:
        self._conn.close()

    # --- schema ---------------------------------------------------------------------------

    def _create(self) -> None:
        """Tables, views and the state at height 0, in one transaction."""
        with transaction(self._conn):
            database = sqlite_utils.Database(self._conn)
            if "about" in database.table_names():
                return
            create_schema(self._conn)
            about = [("network", self.network.id.hex()), ("schema", str(SCHEMA_VERSION))]
            self._conn.executemany("insert into about values (?, ?)", about)
            self._write_changes(genesis_changes(self.network.genesis), Height(0))

    def _check_network(self) -> None:
        with storage_errors("cannot read the ledger"):
            about = dict(self._conn.execute("select name, value from about"))
        if about.get("network") != self.network.id.hex():
            raise StorageError(
                "the ledger in this home is of another network", hint="use another --home for this network"
            )
        if about.get("schema") != str(SCHEMA_VERSION):
            raise StorageError(f"the ledger has the schema {about.get('schema')}, unknown here")

    # --- writing --------------------------------------------------------------------------

    def commit(self, executed: ExecutedBlock, certificate: Certificate) -> None:
        """Block, state and certificate, all or nothing. After StorageError, stop and open anew:
        whether it was stored is then what the database says."""
        block = executed.block
        header = block.header
        with storage_errors(f"cannot store block {header.height}"), transaction(self._conn):
            self._conn.execute(
                "insert into blocks values (?, ?, ?, ?, ?, ?, ?)",
                (
                    header.height,
                    header.time,
                    header.proposer,
                    header.view,
                    header.transaction_count,
                    header.encoded,
                    certificate.encode(),
                ),
            )
            insert(
                self._conn,
                "transactions",
                [
                    (
                        header.height,
                        position,
                        each.id,
                        each.sender,
                        each.expiry,
                        len(each.operations),
                        each.encoded,
                    )
                    for position, each in enumerate(block.transactions)
                ],
            )
            self._write_changes(executed.changes, header.height)

    def _write_changes(self, changes: tuple[StateChange, ...], height: Height) -> None:
        insert(
            self._conn,
            "state",
            [(each.key.key, each.key.kind, _name(each), height, each.value) for each in changes],
            "on conflict (key) do update set height = excluded.height, value = excluded.value",
        )
        changed = [
            (each.record, entry)
            for each in changes
            if isinstance(each.record, Dossier)
            for entry in each.record.entries
            if _changed_at(entry) == height
        ]
        self._write_entries(changed, height)
        for change in changes:
            if isinstance(change.record, Member):
                self._write_member(change.record, height)

    def _write_entries(self, changed: list[tuple[Dossier, Entry]], height: Height) -> None:
        """What a block changed in dossiers, a statement for each table."""
        insert(
            self._conn,
            "attestations",
            [_attestation_row(dossier, entry, height) for dossier, entry in changed],
            "on conflict (id) do update set status = excluded.status, "
            "changed = excluded.changed, erased = excluded.erased",
        )
        insert(
            self._conn,
            "status_changes",
            [
                (entry.id, number, each.height, each.time, each.status, each.reason, each.by, each.note)
                for _, entry in changed
                for number, each in enumerate(entry.history)
                if each.height == height
            ],
        )
        erased = [(entry.id,) for _, entry in changed if entry.erased == height]
        self._conn.executemany("delete from documents where attestation = ?", erased)
        self._conn.executemany("delete from mailbox where attestation = ?", erased)

    def _write_member(self, member: Member, height: Height) -> None:
        def names(terms: tuple[Any, ...]) -> str:
            return ", ".join(member.names_at(terms, height))

        self._conn.execute(
            "insert into members values (?, ?, ?, ?, ?, ?) on conflict (did) do update set "
            "height = excluded.height, roles = excluded.roles, categories = excluded.categories, "
            "jurisdictions = excluded.jurisdictions",
            (
                member.did,
                member.name,
                height,
                names(member.roles),
                names(member.categories),
                names(member.jurisdictions),
            ),
        )

    # --- documents ------------------------------------------------------------------------

    def store_documents(self, documents: list[tuple[Digest, Digest, str]]) -> None:
        """Published documents: (attestation, credential digest, text); one that is there stays."""
        with storage_errors("cannot store documents"), transaction(self._conn):
            self._conn.executemany("insert or ignore into documents values (?, ?, ?)", documents)

    def document(self, attestation: Digest) -> str | None:
        row = self._one("select text from documents where attestation = ?", (attestation,))
        return None if row is None else str(row[0])

    def document_by_digest(self, credential: Digest) -> str | None:
        row = self._one("select text from documents where credential = ?", (credential,))
        return None if row is None else str(row[0])

    # --- mailbox --------------------------------------------------------------------------

    def mailbox_use(self, sender: Did, replaced: Sequence[Digest], now: Millis) -> tuple[int, int]:
        """(items, bytes) of a sender that wait for collection, without those that are replaced."""
        query = (
            "select count(*), coalesce(sum(length(sealed)), 0) from mailbox where sender = ? and expires >= ?"
        )
        row = self._one(query, (sender, now))
        count, size = int(row[0]), int(row[1])
        for each in replaced:
            row = self._one(query + " and attestation = ?", (sender, now, each))
            count, size = count - int(row[0]), size - int(row[1])
        return count, size

    def store_mail(self, sender: Did, items: Sequence[Item], now: Millis, lifetime: int) -> None:
        """Sealed documents, one an attestation (a later one replaces it); expired ones are dropped."""
        with storage_errors("cannot store sealed documents"), transaction(self._conn):
            self._conn.execute("delete from mailbox where expires < ?", (now,))
            self._conn.executemany(
                "insert or replace into mailbox values (?, ?, ?, ?, ?, ?, ?)",
                [
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
                ],
            )

    def mail_for(self, recipient: Did, now: Millis, at_most: int, after: Digest | None = None) -> list[Item]:
        """What waits for a recipient, oldest first; after one attestation's document, if that waits."""
        rows = self._all(
            "select category, subject, attestation, sealed from mailbox "
            "where recipient = ? and expires >= ? and rowid > coalesce("
            "(select rowid from mailbox where attestation = ? and recipient = ?), 0) "
            "order by rowid limit ?",
            (recipient, now, after, recipient, at_most),
        )
        return [Item(recipient, row[0], Digest(row[1]), Digest(row[2]), row[3]) for row in rows]

    def drop_mail(self, recipient: Did, attestations: Sequence[Digest]) -> None:
        """Delete what a recipient has collected."""
        with storage_errors("cannot delete sealed documents"), transaction(self._conn):
            self._conn.executemany(
                "delete from mailbox where attestation = ? and recipient = ?",
                [(each, recipient) for each in attestations],
            )

    # --- reading --------------------------------------------------------------------------

    def _one(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        with storage_errors("cannot read the ledger"):
            return self._conn.execute(query, values).fetchone()

    def _all(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with storage_errors("cannot read the ledger"):
            return self._conn.execute(query, values).fetchall()

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Any query's rows: for the audit, which compares whole tables."""
        return self._all(query, values)

    def value(self, key: Digest) -> bytes | None:
        """`StateReader`."""
        return self.values([key]).get(key)

    def values(self, keys: Sequence[Digest]) -> dict[Digest, bytes]:
        """Those of the keys that there are, with their values."""
        with storage_errors("cannot read the ledger"):
            rows = select_in(self._conn, "key, value", "state", "key", keys)
        return {Digest(key): _bytes(value, "a state value") for key, value in rows}

    def places_of(self, transactions: Sequence[Digest]) -> dict[Digest, Place]:
        """Where those of the transactions are that are on the ledger."""
        with storage_errors("cannot read the ledger"):
            rows = select_in(self._conn, "id, height, position", "transactions", "id", transactions)
        return {Digest(row[0]): Place(Height(row[1]), row[2]) for row in rows}

    def load_tip(self) -> Tip:
        """Where the chain stands, the state map built from the stored values.

        StorageError if the values do not have the root that the last header names.
        """
        changes = {
            Digest(_bytes(key, "a state key")): value_digest(_bytes(value, "a state value"))
            for key, value in self._all("select key, value from state")
        }
        state_map = StateMap().update(changes)
        genesis = self.network.genesis
        certified = self.certified(self.height())
        height = 0 if certified is None else certified.header.height
        expected = genesis.state_map().root if certified is None else certified.header.state_root
        if expected != state_map.root:
            raise StorageError(
                f"the stored state is not the one of height {height}",
                hint="run credchain audit, which names the damage",
            )
        validators = State(self).validators
        if certified is None:
            return genesis_tip(self.network.id, genesis.time, state_map, validators)
        header = certified.header
        return Tip(
            header.network, header.height, header.digest, header.time, header.view, state_map, validators
        )

    def height(self) -> Height:
        """0 where there is only genesis."""
        return Height(self._one("select coalesce(max(height), 0) from blocks")[0])

    def certified(self, height: Height) -> CertifiedHeader | None:
        row = self._one("select header, certificate from blocks where height = ?", (height,))
        if row is None:
            return None
        return CertifiedHeader(*_decode_stored(height, row[0], row[1]))

    def block(self, height: Height) -> tuple[Block, Certificate] | None:
        certified = self.certified(height)
        if certified is None:
            return None
        rows = self._all("select bytes from transactions where height = ? order by position", (height,))
        try:
            transactions = tuple(Transaction.decode(_bytes(row[0], "a transaction")) for row in rows)
        except InvalidInput as problem:
            raise StorageError(f"block {height} is damaged: {problem.message}") from problem
        return Block(certified.header, transactions), certified.certificate

    def place_of(self, transaction: Digest) -> Place | None:
        row = self._one("select height, position from transactions where id = ?", (transaction,))
        return None if row is None else Place(Height(row[0]), row[1])

    def transaction_path(self, place: Place) -> tuple[Digest, ...]:
        """The Merkle path of a transaction in its block."""
        rows = self._all("select bytes from transactions where height = ? order by position", (place.height,))
        return path([leaf(row[0]) for row in rows], place.position)

    def locate(self, prefix: bytes, odd_digit: str = "") -> list[Location]:
        """Attestations whose id starts with these bytes (and one more hex digit), at most two."""
        last = prefix + b"\xff" * (32 - len(prefix))
        rows = self._all(
            "select id, category, subject, issuer from attestations where id between ? and ? "
            "and lower(substr(hex(id), 1, ?)) = ? limit 2",
            (
                prefix.ljust(32, b"\x00"),
                last,
                2 * len(prefix) + len(odd_digit),
                prefix.hex() + odd_digit,
            ),
        )
        return [Location(Digest(row[0]), row[1], Digest(row[2]), Did(row[3])) for row in rows]

    def member_names(self, role: str | None, after: str, at_most: int) -> list[Did]:
        """DIDs in ascending order, after one of them; of those who hold a role, if one is given."""
        rows = self._all(
            "select did from members where did > ? and (? is null or ', ' || roles || ',' like ?) "
            "order by did limit ?",
            (after, role, f"%, {role},%", at_most),
        )
        return [Did(row[0]) for row in rows]

    def counts(self) -> dict[str, int]:
        """How much there is: for people and metrics."""
        return {
            "attestations": self._one("select count(*) from attestations")[0],
            "members": self._one("select count(*) from members")[0],
            "documents": self._one("select count(*) from documents")[0],
            "mailbox": self._one("select count(*) from mailbox")[0],
        }


def create_schema(conn: sqlite3.Connection) -> None:
    """Tables, indexes and views, by sqlite-utils."""
    database = sqlite_utils.Database(conn)
    for name, (columns, primary_key) in _TABLES.items():
        database.table(name).create(columns, pk=primary_key)
    database.table("transactions").create_index(["id"])
    database.table("documents").create_index(["credential"])
    database.table("mailbox").create_index(["recipient"])
    database.table("mailbox").create_index(["sender"])
    for name, query in _VIEWS.items():
        database.create_view(name, query)


def genesis_changes(genesis: Genesis) -> tuple[StateChange, ...]:
    """The state at height 0, as a block would have written it."""
    changes = (StateChange(key_of_record(each), each, each.encode()) for each in genesis.records())
    return tuple(sorted(changes, key=lambda change: change.key.key))


def _decode_stored(height: Height, header: bytes, certificate: bytes) -> tuple[Header, Certificate]:
    try:
        return (
            Header.decode(_bytes(header, "a header")),
            Certificate.decode(_bytes(certificate, "a certificate")),
        )
    except InvalidInput as problem:
        raise StorageError(
            f"block {height} is damaged: {problem.message}", hint="run credchain audit"
        ) from problem


def _name(change: StateChange) -> str:
    """The parts of a state key, for people."""
    return " ".join([each if isinstance(each, str) else each.hex() for each in change.key.parts])


def _changed_at(entry: Entry) -> int:
    """The height of the last block that wrote something into it."""
    if not entry.history and entry.erased is None:
        return entry.height
    return max(entry.height, entry.erased or 0, *(each.height for each in entry.history[-1:]), 0)


def _attestation_row(dossier: Dossier, entry: Entry, height: Height) -> tuple[Any, ...]:
    return (
        entry.id,
        entry.height,
        dossier.category,
        dossier.subject,
        entry.issuer,
        entry.credential,
        entry.valid_from,
        entry.valid_until,
        entry.renews,
        entry.status,
        height,
        entry.erased,
    )


def _bytes(value: Any, what: str) -> bytes:
    """SQLite stores what it is given, whatever the column says."""
    if type(value) is not bytes:
        raise StorageError(f"{what} in the database is not bytes", hint="run credchain audit")
    return value


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
