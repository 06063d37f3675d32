"""The wallet's database: credentials at rest under the wallet key, and what was seen of them last.

Documents and the NPI are encrypted (SecretBox); subjects, categories and statuses are not. Use from one
thread, under the home's member lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..certificates import Millis
from ..credentials.sdjwt import credential_digest
from ..encoding import Digest
from ..errors import InvalidInput, StorageError
from .sqlite import storage_errors, transaction

_LEAST_BYTES: Final = 100
"""SQLite's header: it takes a shorter file for an empty database."""

_SCHEMA_VERSION: Final = 1
_HINT: Final = "move it away and restore your backup with credchain restore"
_TABLES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "credentials": (
        {
            "attestation": bytes,
            "network": bytes,
            "category": str,
            "subject": bytes,
            "credential": bytes,
            "sealed": bytes,
            "added": int,
        },
        "attestation",
    ),
    "seen": ({"attestation": bytes, "network": bytes, "status": str, "height": int}, "attestation"),
    "shares": (
        {
            "bundle": bytes,
            "network": bytes,
            "audience": str,
            "purpose": str,
            "categories": str,
            "issued": int,
            "expires": int,
        },
        "bundle",
    ),
    "settings": ({"name": str, "sealed": bytes}, "name"),
}


@dataclass(frozen=True, slots=True)
class Held:
    """A credential in the wallet, its document in clear."""

    attestation: Digest
    category: str
    subject: Digest
    credential: Digest
    text: str


@dataclass(frozen=True, slots=True)
class Shared:
    """A bundle that was made."""

    bundle: Digest
    audience: str
    purpose: str
    categories: str
    issued: Millis
    expires: Millis


class WalletStore:
    """``key`` is the wallet key: without it there is nothing to read."""

    def __init__(self, path: Path, network: Digest, key: bytes) -> None:
        import sqlite_utils
        from nacl.secret import SecretBox

        self._network = network
        self._box = SecretBox(key)
        if path.exists() and path.stat().st_size < _LEAST_BYTES:
            raise StorageError(f"the wallet {path} was cut short", hint=_HINT)
        with storage_errors(f"cannot open {path}", hint=_HINT):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._conn = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            self._conn.execute("pragma journal_mode = wal")
            self._conn.execute("pragma synchronous = full")
            with transaction(self._conn):
                version = self._conn.execute("pragma user_version").fetchone()[0]
                if version == 0:
                    database = sqlite_utils.Database(self._conn)
                    for name, (columns, primary_key) in _TABLES.items():
                        database.table(name).create(columns, pk=primary_key)
                    self._conn.execute(f"pragma user_version = {_SCHEMA_VERSION}")
                elif version != _SCHEMA_VERSION:
                    raise StorageError(f"{path} has the schema {version}, unknown here")

    def close(self) -> None:
        self._conn.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with storage_errors("cannot write the wallet", hint=_HINT), transaction(self._conn):
            yield self._conn

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with storage_errors("cannot read the wallet", hint=_HINT):
            return self._conn.execute(query, values).fetchall()

    def _seal(self, text: str) -> bytes:
        return bytes(self._box.encrypt(text.encode()))

    def _open(self, sealed: Any) -> str:
        from nacl.exceptions import CryptoError

        try:
            return bytes(self._box.decrypt(sealed)).decode()
        except (CryptoError, TypeError, ValueError) as problem:
            raise StorageError(
                "a document in the wallet is damaged", hint="restore the wallet from its backup"
            ) from problem

    # --- credentials ----------------------------------------------------------------------

    def add(self, held: Held, now: Millis) -> None:
        """Keep a credential; the same one again changes nothing."""
        with self._write() as conn:
            conn.execute(
                "insert or ignore into credentials values (?, ?, ?, ?, ?, ?, ?)",
                (
                    held.attestation,
                    self._network,
                    held.category,
                    held.subject,
                    held.credential,
                    self._seal(held.text),
                    now,
                ),
            )

    def held(self) -> list[Held]:
        """All credentials of this network, oldest first."""
        rows = self._rows(
            "select attestation, category, subject, credential, sealed from credentials "
            "where network = ? order by rowid",
            (self._network,),
        )
        return [self._held(*row) for row in rows]

    def _held(
        self, attestation: bytes, category: str, subject: bytes, credential: bytes, sealed: Any
    ) -> Held:
        """Only the document of this row: what is sealed does not say to which it belongs."""
        text = self._open(sealed)
        if credential_digest(text.partition("~")[0]) != credential:
            raise StorageError(
                "a document in the wallet stands in another's place",
                hint="restore the wallet from its backup",
            )
        return Held(Digest(attestation), category, Digest(subject), Digest(credential), text)

    # --- what was seen --------------------------------------------------------------------

    def seen(self) -> dict[Digest, str]:
        """The status that each attestation had at the last look."""
        rows = self._rows("select attestation, status from seen where network = ?", (self._network,))
        return {Digest(row[0]): str(row[1]) for row in rows}

    def remember(self, statuses: dict[Digest, str], height: int) -> None:
        with self._write() as conn:
            conn.executemany(
                "insert or replace into seen values (?, ?, ?, ?)",
                [(each, self._network, status, height) for each, status in statuses.items()],
            )

    # --- shares and settings --------------------------------------------------------------

    def keep_share(self, share: Shared) -> None:
        with self._write() as conn:
            conn.execute(
                "insert or replace into shares values (?, ?, ?, ?, ?, ?, ?)",
                (
                    share.bundle,
                    self._network,
                    share.audience,
                    share.purpose,
                    share.categories,
                    share.issued,
                    share.expires,
                ),
            )

    def npi(self) -> str | None:
        rows = self._rows("select sealed from settings where name = 'npi'")
        return self._open(rows[0][0]) if rows else None

    def set_npi(self, npi: str) -> None:
        """Once: a wallet is one person's. InvalidInput for another NPI."""
        known = self.npi()
        if known is not None and known != npi:
            raise InvalidInput(f"this wallet is of NPI {known}", field="npi")
        with self._write() as conn:
            conn.execute("insert or replace into settings values ('npi', ?)", (self._seal(npi),))
