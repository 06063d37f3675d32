"""The wallet's database: nothing of a document in clear, and what happens when it is damaged."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from credchain.certificates import Millis
from credchain.errors import InvalidInput, StorageError
from credchain.storage.wallet_store import Held, Shared, WalletStore
from tests.ledger_world import CLAIMS, HOSPITAL, START, Person, World, did, npi, some_digest

ELENA = Person("Elena's wallet", npi(1))
NETWORK, KEY = some_digest("network"), bytes(some_digest("wallet key"))


def held(category: str = "cme_credit", number: int = 0) -> Held:
    made = World().issue(category, ELENA.npi, subject=ELENA.subject(category), bound=ELENA.signer.public)
    identifier = some_digest(f"{category} {number}")
    return Held(identifier, category, made.subject, made.digest, made.text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "wallet.db"


@pytest.fixture
def store(path: Path) -> Iterator[WalletStore]:
    made = WalletStore(path, NETWORK, KEY)
    yield made
    made.close()


def reopened(path: Path, key: bytes = KEY, network: bytes = NETWORK) -> WalletStore:
    return WalletStore(path, type(NETWORK)(network), key)


def test_credentials_come_back_in_the_order_of_their_coming(store: WalletStore, path: Path) -> None:
    both = [held("state_license"), held("cme_credit")]
    for each in both:
        store.add(each, START)
    store.close()
    again = reopened(path)
    assert again.held() == both
    again.close()


def test_the_same_again_changes_nothing(store: WalletStore) -> None:
    for _ in range(3):
        store.add(held(), START)
    assert len(store.held()) == 1


def test_no_text_of_a_document_is_in_the_files(store: WalletStore, path: Path) -> None:
    """Neither in the database nor in its log, open or closed."""
    store.set_npi(ELENA.npi)
    documents = [held(name) for name in ("state_license", "cme_credit", "board_certification")]
    for each in documents:
        store.add(each, START)
    secrets = [ELENA.npi, *(part for each in documents for part in each.text.split("~") if part)]
    secrets += [str(value) for each in CLAIMS.values() for value in each.values() if len(str(value)) > 5]
    for closed in (False, True):
        if closed:
            store.close()
        content = b"".join(each.read_bytes() for each in path.parent.iterdir())
        assert len(content) > 1_000
        for secret in secrets:
            assert secret.encode() not in content, secret[:30]


def test_only_the_owner_reads_the_files(store: WalletStore, path: Path) -> None:
    store.add(held(), START)
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each.name


def test_another_key_reads_nothing(store: WalletStore, path: Path) -> None:
    store.add(held(), START)
    store.set_npi(ELENA.npi)
    store.close()
    other = reopened(path, bytes(32))
    for read in (other.held, other.npi):
        with pytest.raises(StorageError):
            read()
    other.close()


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_no_key(path: Path, length: int) -> None:
    with pytest.raises(Exception, match="key"):
        reopened(path, bytes(length))


@pytest.mark.parametrize("damage", ["zeroblob(100)", "x''", "'text'", "null", "17", "1.5"])
def test_a_damaged_row(store: WalletStore, path: Path, damage: str) -> None:
    store.add(held(), START)
    store.set_npi(ELENA.npi)
    store.close()
    with sqlite3.connect(path) as conn:
        conn.execute(f"update credentials set sealed = {damage}")
        conn.execute(f"update settings set sealed = {damage}")
    again = reopened(path)
    for read in (again.held, again.npi):
        with pytest.raises(StorageError):
            read()
    again.close()


def test_every_byte_of_a_sealed_document(store: WalletStore, path: Path) -> None:
    store.set_npi(ELENA.npi)
    store.close()
    with sqlite3.connect(path) as conn:
        [(sealed,)] = conn.execute("select sealed from settings")
    for index in range(len(sealed)):
        altered = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with sqlite3.connect(path) as conn:
            conn.execute("update settings set sealed = ?", (altered,))
        again = reopened(path)
        with pytest.raises(StorageError):
            again.npi()
        again.close()


def test_two_sealed_documents_exchanged(store: WalletStore, path: Path) -> None:
    """Without any key: sharing the one category would hand over the other's document."""
    for each in (held("board_certification"), held("cme_credit")):
        store.add(each, START)
    store.close()
    with sqlite3.connect(path) as conn:
        rows = conn.execute("select rowid, sealed from credentials order by rowid").fetchall()
        for (row, _), (_, sealed) in zip(rows, reversed(rows), strict=True):
            conn.execute("update credentials set sealed = ? where rowid = ?", (sealed, row))
    again = reopened(path)
    with pytest.raises(StorageError, match="another's place"):
        again.held()
    again.close()


@pytest.mark.parametrize("size", [0, 1, 99])
def test_a_file_cut_to_nothing_is_no_empty_wallet(store: WalletStore, path: Path, size: int) -> None:
    store.add(held(), START)
    store.close()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StorageError):
        reopened(path)


def test_a_file_that_is_no_database(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError):
        reopened(path)


def test_a_schema_of_a_later_version(store: WalletStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as conn:
        conn.execute("pragma user_version = 99")
    with pytest.raises(StorageError):
        reopened(path)


def test_a_wallet_is_one_persons(store: WalletStore) -> None:
    assert store.npi() is None
    store.set_npi(ELENA.npi)
    store.set_npi(ELENA.npi)
    with pytest.raises(InvalidInput):
        store.set_npi(npi(2))
    assert store.npi() == ELENA.npi


def test_another_network_in_the_same_file(store: WalletStore, path: Path) -> None:
    store.add(held(), START)
    store.remember({some_digest("a"): "active"}, 3)
    store.close()
    other = reopened(path, network=some_digest("another network"))
    assert (other.held(), other.seen()) == ([], {})
    other.close()


def test_what_was_seen_last(store: WalletStore) -> None:
    first, second = some_digest("a"), some_digest("b")
    store.remember({first: "active", second: "active"}, 3)
    store.remember({second: "suspended"}, 4)
    assert store.seen() == {first: "active", second: "suspended"}


def test_shares_are_kept(store: WalletStore, path: Path) -> None:
    share = Shared(
        some_digest("bundle"), did(HOSPITAL), "reappointment", "cme_credit", START, Millis(START + 1)
    )
    store.keep_share(share)
    store.keep_share(share)
    with sqlite3.connect(path) as conn:
        rows = list(conn.execute("select bundle, audience, purpose from shares"))
    assert rows == [(share.bundle, share.audience, share.purpose)]
