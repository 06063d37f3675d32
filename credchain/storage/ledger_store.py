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

from ..certificates import Certificate, Height
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
from ..merkle import leaf, path
from .documents import Documents, Mailbox
from .ledger_schema import SCHEMA_VERSION, create_schema
from .sqlite import insert, select_in, storage_errors, transaction

_CACHE_KIB: Final = 16 * 1024
_LOG_PAGES: Final = 8_192
"""32 MiB of log at most, but for what one block adds."""


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
        self.documents = Documents(self._conn)
        self.mailbox = Mailbox(self._conn)
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
        erased = [entry.id for _, entry in changed if entry.erased == height]
        self.documents.erase(erased)
        self.mailbox.erase(erased)

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
