"""Encrypted backups of a home: its keys, and what a new home needs to go on.

The first backup, written by `init`, is the only place of a radiologist's recovery key: whoever steals
the home does not get it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import keys
from ..certificates import Millis
from ..credentials.sdjwt import Credential, parse
from ..encoding import Digest, Fields, Value, decode, digest, encode
from ..errors import InvalidInput
from ..keys import SigningKey
from ..ledger.network import Network
from ..ledger.operations import attestation_id
from ..limits import LIMITS
from .files import write_new
from .home import Home
from .keyfile import KeyPair, check_private, read_box, write_box, write_keys
from .wallet_store import Held, WalletStore

FORMAT: Final = "credchain-backup/1"
_MOST_BYTES: Final = 64 * 2**20
_MOST_DOCUMENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Backup:
    """``card`` and ``network`` are the files' bytes; ``documents`` are SD-JWTs."""

    keys: KeyPair
    card: bytes
    recovery: bytes | None = None
    network: bytes | None = None
    npi: str | None = None
    documents: tuple[str, ...] = ()

    def fields(self) -> dict[str, Value]:
        optional: dict[str, Value | None] = {
            "recovery": self.recovery,
            "network": self.network,
            "npi": self.npi,
        }
        return {
            "keys": self.keys.fields(),
            "card": self.card,
            "documents": [each.encode() for each in self.documents],
            **{name: value for name, value in optional.items() if value is not None},
        }

    @staticmethod
    def read(fields: Fields) -> Backup:
        def document(item: object, field: str) -> str:
            if type(item) is not bytes or not item.isascii():
                raise InvalidInput(f"{field} is not a document", field=field)
            return item.decode("ascii")

        return Backup(
            keys=fields.nested("keys", KeyPair.read),
            card=fields.binary("card", at_most=LIMITS.claims_file_bytes),
            recovery=fields.binary("recovery", keys.SEED_BYTES) if fields.has("recovery") else None,
            network=fields.binary("network", at_most=LIMITS.network_file_bytes)
            if fields.has("network")
            else None,
            npi=fields.optional_text("npi"),
            documents=fields.items("documents", document, at_most=_MOST_DOCUMENTS),
        )


def new_recovery_key() -> tuple[bytes, Digest]:
    """(the seed, which goes into the backup only, and the digest of its public key, for the card)."""
    seed = secrets.token_bytes(keys.SEED_BYTES)
    return seed, digest("recovery-key", SigningKey.from_seed(seed).public)


def write_backup(path: Path, backup: Backup, passphrase: str) -> None:
    """A new file; InvalidInput if it exists."""
    write_box(path, FORMAT, backup.keys.did, encode(backup.fields()), passphrase)


def read_backup(path: Path, passphrase: str) -> Backup:
    """InvalidInput for a damaged file or a wrong passphrase."""
    did, content = read_box(path, FORMAT, passphrase, at_most=_MOST_BYTES)
    backup = decode(content, Backup.read, Backup.fields, "backup", max_bytes=_MOST_BYTES)
    if backup.keys.did != did:
        raise InvalidInput(f"the backup {path} is damaged (did)", field="backup")
    return backup


def backup_of(home: Home, pair: KeyPair) -> Backup:
    """All that the home holds now; the recovery key is in the first backup only."""
    check_private(home.keys)
    network = home.network_file.read_bytes() if home.network_file.exists() else None
    npi, documents = None, []
    if network is not None and home.wallet.exists():
        store = WalletStore(home.wallet, home.network().id, pair.wallet_key)
        try:
            npi, documents = store.npi(), [each.text for each in store.held()]
        finally:
            store.close()
    return Backup(pair, home.card.read_bytes(), None, network, npi, tuple(documents))


def restore(home: Home, backup: Backup, passphrase: str, now: Millis) -> None:
    """A new home from a backup, the keys last; InvalidInput before anything is written."""
    for path in (home.keys, home.card, home.network_file, home.wallet):
        if path.exists():
            raise InvalidInput(
                f"{path} exists and is not overwritten",
                field="home",
                hint="restore into a new folder with --home",
            )
    if not passphrase:
        raise InvalidInput("the passphrase is empty", field="passphrase", hint="set CREDCHAIN_PASSPHRASE")
    network = None if backup.network is None else _network(backup.network)
    documents = [parse(text) for text in backup.documents]
    if backup.network is not None:
        write_new(home.network_file, backup.network)
    if network is not None and backup.keys.subjects is not None:
        _restore_wallet(home, network, backup, documents, now)
    write_new(home.card, backup.card)
    write_keys(home.keys, backup.keys, passphrase)


def _network(content: bytes) -> Network:
    try:
        return Network.parse(content.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise InvalidInput("the backup's network file is not UTF-8", field="backup") from problem


def _restore_wallet(
    home: Home, network: Network, backup: Backup, documents: list[Credential], now: Millis
) -> None:
    store = WalletStore(home.wallet, network.id, backup.keys.wallet_key)
    try:
        if backup.npi is not None:
            store.set_npi(backup.npi)
        for each in documents:
            identifier = attestation_id(network.id, each.issuer, each.category, each.subject, each.digest)
            store.add(Held(identifier, each.category, each.subject, each.digest, each.text), now)
    finally:
        store.close()
