"""Audit: replay a ledger from genesis into a fresh database, and compare every byte.

Blocks are decoded, executed and certified anew; then each table that follows from them is compared
with the replayed one, row by row and column by column; then the documents.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..certificates import Certificate
from ..encoding import Digest
from ..errors import CredchainError, InvalidInput, ProofError, StorageError
from ..ledger.blocks import Block, CertifiedHeader, Header
from ..ledger.execution import Tip, execute, genesis_tip, next_tip
from ..ledger.network import Network
from ..ledger.records import Dossier
from ..ledger.state import State, dossier_key
from ..ledger.transactions import Transaction
from .documents import check_document
from .ledger_schema import AUDITED
from .ledger_store import LedgerStore
from .sqlite import storage_errors

Progress = Callable[[int, int], None]


class AuditMismatch(ProofError):
    """The stored ledger is not what its blocks say. ``height`` is where that shows first."""

    def __init__(self, height: int, message: str) -> None:
        super().__init__(
            f"height {height}: {message}",
            field="ledger",
            hint="restore this node's ledger from its peers or from a backup",
        )
        self.height = height


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was checked."""

    height: int
    blocks: int
    transactions: int
    attestations: int
    documents: int


def audit(path: Path, network: Network, progress: Progress = lambda done, total: None) -> AuditReport:
    """Check everything; AuditMismatch names the height of the first difference.

    StorageError if the file cannot be opened at all. A node may be running on it: the audit sees one
    moment of the database.
    """
    if not path.exists():
        raise InvalidInput(f"there is no ledger at {path}", field="home", hint="node run makes one")
    with storage_errors(f"cannot open {path}"):
        stored = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        # Damaged text must still be comparable.
        stored.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        with tempfile.TemporaryDirectory(prefix="credchain-audit-") as folder:
            replayed = LedgerStore(Path(folder) / "ledger.db", network, durable=False)
            try:
                return _Audit(stored, replayed, network, progress).run()
            finally:
                replayed.close()
    finally:
        stored.close()


class _Audit:
    def __init__(
        self, stored: sqlite3.Connection, replayed: LedgerStore, network: Network, progress: Progress
    ) -> None:
        self._stored = stored
        self._replayed = replayed
        self._network = network
        self._progress = progress
        self._height = 0

    def run(self) -> AuditReport:
        try:
            self._stored.execute("begin")
            self._check_about()
            transactions = self._replay()
            for table in AUDITED:
                self._compare(table)
            documents = self._check_documents()
            self._check_integrity()
            attestations = self._stored.execute("select count(*) from attestations").fetchone()[0]
        except (sqlite3.Error, OverflowError, ValueError) as problem:
            raise AuditMismatch(self._height, f"the database is damaged: {problem}") from problem
        return AuditReport(self._height, self._height, transactions, attestations, documents)

    def _check_about(self) -> None:
        """Which network and schema it is: another network's ledger is no damage."""
        query = "select name, value from about order by name"
        found, expected = self._stored.execute(query).fetchall(), self._replayed.rows(query)
        network = str(dict(row for row in found if len(row) == 2).get("network"))
        if network != self._network.id.hex() and re.fullmatch("[0-9a-f]{64}", network):
            raise InvalidInput("the ledger is of another network", field="network")
        if found != expected:
            raise AuditMismatch(0, "what the database says about itself is damaged")

    def _replay(self) -> int:
        """Every block by the rules, into the fresh database."""
        genesis = self._network.genesis
        tip = genesis_tip(self._network.id, genesis.time, genesis.state_map(), genesis.validators)
        total = self._stored.execute("select coalesce(max(height), 0) from blocks").fetchone()[0]
        count = 0
        # Rows are read by their order, not by a height that may be damaged.
        query = "select header, certificate from blocks order by height"
        with closing(self._stored.execute(query)) as rows:  # open, it would keep the file in use
            for header, certificate in rows:
                self._height = tip.height + 1
                try:
                    tip, applied = self._replay_block(tip, header, certificate)
                except (StorageError, AuditMismatch):
                    raise
                except (CredchainError, TypeError) as problem:
                    raise AuditMismatch(self._height, str(problem)) from problem
                count += applied
                self._progress(self._height, total)
        return count

    def _replay_block(self, tip: Tip, header: Any, certificate: Any) -> tuple[Tip, int]:
        if type(header) is not bytes or type(certificate) is not bytes:
            raise InvalidInput("the header or the certificate is not bytes")
        stored = self._stored.execute(
            "select bytes from transactions where height = ? order by position", (self._height,)
        ).fetchall()
        transactions = tuple(Transaction.decode(_bytes(row[0])) for row in stored)
        block = Block(Header.decode(header), transactions)
        proof = Certificate.decode(certificate)
        CertifiedHeader(block.header, proof).check(tip.validators, self._network.id)
        executed = execute(tip, self._replayed, block, self._repeated)
        self._replayed.commit(executed, proof)
        return next_tip(tip, executed, State(self._replayed).validators), len(transactions)

    def _repeated(self, transaction: Digest) -> bool:
        return self._replayed.place_of(transaction) is not None

    def _compare(self, table: str) -> None:
        """Row by row, merged by the replayed table's primary key, every column."""
        described = self._replayed.rows(f"pragma table_info({table})")
        columns = [row[1] for row in described]
        keys = [row[0] for row in described if row[5]]
        order = ", ".join(columns[key] for key in keys)
        query = f"select * from {table} order by {order}"  # noqa: S608  # our own names
        stored = self._stored.execute(query)
        if [each[0] for each in stored.description] != columns:
            raise AuditMismatch(self._height, f"the table {table} has other columns")
        for expected in self._replayed.rows(query):
            found = stored.fetchone()
            if found != expected:
                self._report(table, columns, keys, expected, found)
        if (extra := stored.fetchone()) is not None:
            self._report(table, columns, keys, None, extra)

    def _report(self, table: str, columns: list[str], keys: list[int], expected: Any, found: Any) -> None:
        """The first difference: a row that lacks, one too many, or a column."""
        if expected is not None and found is not None:
            expected_key, found_key = (_sortable(row, keys) for row in (expected, found))
            if found_key < expected_key:
                expected = None
            elif found_key > expected_key:
                found = None
        row = found if expected is None else expected
        place = columns.index("changed" if "changed" in columns else "height")
        height = row[place] if type(row[place]) is int else self._height
        if expected is None:
            raise AuditMismatch(height, f"the table {table} has a row that no block wrote")
        if found is None:
            raise AuditMismatch(height, f"the table {table} lacks a row")
        wrong = next(name for name, a, b in zip(columns, expected, found, strict=True) if a != b)
        raise AuditMismatch(height, f"the table {table} differs from its blocks in the column {wrong}")

    def _check_documents(self) -> int:
        count = 0
        for attestation, credential, text in self._stored.execute("select * from documents"):
            if type(attestation) is not bytes or type(text) is not str:
                raise AuditMismatch(self._height, "a document is stored as another type")
            rows = self._replayed.rows(
                "select category, subject from attestations where id = ?", (attestation,)
            )
            if not rows:
                raise AuditMismatch(self._height, "a document belongs to no attestation")
            dossier = self._dossier(rows[0][0], Digest(rows[0][1]))
            entry = dossier.entry(Digest(attestation))
            height = self._height if entry is None else entry.height
            if entry is None or entry.erased is not None:
                raise AuditMismatch(height, "a document is here that was erased")
            if credential != entry.credential:
                raise AuditMismatch(height, "a document stands under another digest")
            try:
                check_document(text, dossier, entry)
            except (CredchainError, TypeError, AttributeError) as problem:
                raise AuditMismatch(height, f"a document is damaged: {problem}") from problem
            count += 1
        return count

    def _dossier(self, category: str, subject: Digest) -> Dossier:
        value = self._replayed.value(dossier_key(category, subject).key)
        return Dossier(category, subject, ()) if value is None else Dossier.decode(value)

    def _check_integrity(self) -> None:
        problems = [row[0] for row in self._stored.execute("pragma integrity_check") if row[0] != "ok"]
        if problems:
            raise AuditMismatch(self._height, f"the database is damaged: {problems[0]}")


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise InvalidInput("a transaction is not bytes", field="transactions")
    return value


def _sortable(row: Any, keys: list[int]) -> list[tuple[int, Any]]:
    """A row's key in SQLite's order: NULL, then numbers, then text, then bytes."""
    rank = {int: 1, float: 1, str: 2, bytes: 3}
    return [(rank.get(type(row[key]), 0), row[key] if row[key] is not None else 0) for key in keys]
