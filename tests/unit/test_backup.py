"""Backups: the home is lost, a new one goes on; and every way in which the file can be bad."""

from __future__ import annotations

import base64
import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from credchain.credentials.subjects import HolderSubjects
from credchain.encoding import digest, encode
from credchain.errors import InvalidInput, StorageError
from credchain.keys import SigningKey
from credchain.ledger.network import Network
from credchain.ledger.operations import attestation_id
from credchain.storage.backup import (
    FORMAT,
    Backup,
    backup_of,
    new_recovery_key,
    read_backup,
    restore,
    write_backup,
)
from credchain.storage.home import Home
from credchain.storage.keyfile import KeyPair, write_box, write_keys
from credchain.storage.wallet_store import Held, WalletStore
from tests.ledger_world import PRIVATE, START, Person, World, make_network, npi, some_digest

ELENA = Person("Elena's wallet", npi(1))
NETWORK = make_network()
SUBJECTS = HolderSubjects.of(b"l" * 32, PRIVATE)
PAIR = KeyPair.from_seeds(b"s" * 32, b"e" * 32, SUBJECTS)
PASSPHRASE, NEW = "a passphrase", "another passphrase"
CARD = b"card = 1\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its least: its strength is tested with the key file."""
    monkeypatch.setattr("credchain.storage.keyfile.PASSES", 1)
    monkeypatch.setattr("credchain.storage.keyfile.MEMORY", 8192)


def held(category: str) -> Held:
    made = World().issue(category, ELENA.npi, subject=ELENA.subject(category), bound=ELENA.signer.public)
    identifier = attestation_id(NETWORK.id, made.issuer, category, made.subject, made.digest)
    return Held(identifier, category, made.subject, made.digest, made.text)


DOCUMENTS = [held("cme_credit"), held("state_license")]


def wallet_of(home: Home, pair: KeyPair = PAIR) -> WalletStore:
    return WalletStore(home.wallet, NETWORK.id, pair.wallet_key)


def make_home(path: Path, pair: KeyPair = PAIR, *, joined: bool = True) -> Home:
    home = Home(path)
    path.mkdir()
    write_keys(home.keys, pair, PASSPHRASE)
    home.card.write_bytes(CARD)
    if joined:
        home.network_file.write_text(json.dumps(NETWORK.json()))
        store = wallet_of(home, pair)
        store.set_npi(ELENA.npi)
        for each in DOCUMENTS:
            store.add(each, START)
        store.close()
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def file(home: Home, tmp_path: Path) -> Path:
    path = tmp_path / "elena.backup"
    write_backup(path, backup_of(home, PAIR), PASSPHRASE)
    return path


def test_the_home_is_lost_and_a_new_one_goes_on(home: Home, file: Path, tmp_path: Path) -> None:
    lost = {each.name for each in home.path.iterdir()}
    for each in home.path.iterdir():
        each.unlink()
    new = Home(tmp_path / "new")
    restore(new, read_backup(file, PASSPHRASE), NEW, START)
    pair = new.unlock(NEW)
    assert pair.fields() == PAIR.fields()
    assert pair.wallet_key == PAIR.wallet_key
    assert pair.subjects == SUBJECTS
    assert new.card.read_bytes() == CARD
    assert new.network().id == NETWORK.id
    store = wallet_of(new, pair)
    assert (store.npi(), store.held()) == (ELENA.npi, DOCUMENTS)
    store.set_npi(ELENA.npi)
    store.add(held("board_certification"), START)
    assert len(store.held()) == 3
    store.close()
    assert lost - {each.name for each in new.path.iterdir()} <= {"wallet.db-wal", "wallet.db-shm"}
    assert stat.S_IMODE(new.keys.stat().st_mode) == 0o600


def test_restored_while_the_first_home_goes_on(home: Home, file: Path, tmp_path: Path) -> None:
    """Two homes with one key: each keeps its own wallet, and neither harms the other's."""
    new = Home(tmp_path / "new")
    restore(new, read_backup(file, PASSPHRASE), NEW, START)
    first, second = wallet_of(home), wallet_of(new)
    first.add(held("board_certification"), START)
    assert (len(first.held()), len(second.held())) == (3, 2)
    second.add(held("board_certification"), START)
    assert first.held() == second.held()
    first.close()
    second.close()
    assert home.unlock(PASSPHRASE) == new.unlock(NEW) == PAIR


def test_a_backup_of_the_restored_is_the_same(home: Home, file: Path, tmp_path: Path) -> None:
    new = Home(tmp_path / "new")
    restore(new, read_backup(file, PASSPHRASE), NEW, START)
    assert backup_of(new, PAIR) == backup_of(home, PAIR) == read_backup(file, PASSPHRASE)


def test_before_any_network(tmp_path: Path) -> None:
    """The first backup, that `init` writes: keys, card and the recovery key."""
    home = make_home(tmp_path / "home", joined=False)
    seed, committed = new_recovery_key()
    assert committed == digest("recovery-key", SigningKey.from_seed(seed).public)
    path = tmp_path / "first.backup"
    write_backup(path, Backup(PAIR, CARD, seed), PASSPHRASE)
    found = read_backup(path, PASSPHRASE)
    assert (found.recovery, found.network, found.npi, found.documents) == (seed, None, None, ())
    new = Home(tmp_path / "new")
    restore(new, found, NEW, START)
    assert new.unlock(NEW) == PAIR
    assert not new.wallet.exists()
    assert not any(seed in each.read_bytes() for each in new.path.iterdir())
    assert backup_of(home, PAIR).recovery is None


def test_nothing_of_it_can_be_read(file: Path) -> None:
    content = file.read_bytes()
    box = base64.b64decode(json.loads(content)["box"])
    for secret in (b"s" * 32, b"e" * 32, b"l" * 32, ELENA.npi.encode(), b"Navarro", CARD, b"cme_credit"):
        assert secret not in content
        assert secret not in box
    assert set(json.loads(content)) == {"format", "did", "kdf", "box"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("passphrase", ["", "a passphras", "A passphrase", "a passphrase "])
def test_a_wrong_passphrase(file: Path, passphrase: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_backup(file, passphrase)
    assert caught.value.field == "passphrase"


def test_an_empty_passphrase_seals_nothing(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "empty.backup"
    with pytest.raises(InvalidInput):
        write_backup(path, backup_of(home, PAIR), "")
    assert not path.exists()


def test_cut_short(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    cut = tmp_path / "cut.backup"
    for length in [*range(0, len(data) - 1, 211), len(data) - 2, len(data) - 3]:
        cut.write_bytes(data[:length])
        with pytest.raises(InvalidInput):
            read_backup(cut, PASSPHRASE)


def test_bytes_flipped(file: Path, tmp_path: Path) -> None:
    """What still opens is the very same backup: Argon2 rounds its memory to KiB."""
    data = bytearray(file.read_bytes())
    whole = read_backup(file, PASSPHRASE)
    bad = tmp_path / "bad.backup"
    for index in [*range(0, len(data), 83), *range(len(data) - 300, len(data))]:
        data[index] ^= 1
        bad.write_bytes(bytes(data))
        with suppress(InvalidInput):
            assert read_backup(bad, PASSPHRASE) == whole
        data[index] ^= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "credchain-key/1"},
        {"format": "credchain-backup/2"},
        {"did": Person("Mallory", npi(2)).did},
        {"did": "somebody"},
        {"box": ""},
        {"box": "!"},
        {"kdf": {}},
        {"kdf": {"name": "argon2id", "passes": 1, "memory": 2**40, "salt": "00" * 16}},
        {"kdf": {"name": "argon2id", "passes": 10**9, "memory": 8192, "salt": "00" * 16}},
    ],
)
def test_a_file_with_other_fields(file: Path, changes: dict[str, Any]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(InvalidInput):
        read_backup(file, PASSPHRASE)


def test_a_key_file_is_no_backup_and_the_other_way_round(home: Home, file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        read_backup(home.keys, PASSPHRASE)
    other = Home(tmp_path / "other")
    other.path.mkdir()
    other.keys.write_bytes(file.read_bytes())
    other.keys.chmod(0o600)
    with pytest.raises(InvalidInput):
        other.unlock(PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x91" * 5_000, encode({"keys": PAIR.fields()})])
def test_sealed_content_that_is_no_backup(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.backup"
    write_box(path, FORMAT, PAIR.did, content, PASSPHRASE)
    with pytest.raises(InvalidInput):
        read_backup(path, PASSPHRASE)


def test_a_backup_never_overwrites(home: Home, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(InvalidInput):
        write_backup(file, backup_of(home, PAIR), PASSPHRASE)
    assert file.read_bytes() == before


def files(home: Home) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in home.path.iterdir()}


def test_restore_never_overwrites_a_home(file: Path, tmp_path: Path) -> None:
    other = make_home(tmp_path / "other", KeyPair.from_seeds(b"x" * 32, b"y" * 32), joined=False)
    before = files(other)
    with pytest.raises(InvalidInput):
        restore(other, read_backup(file, PASSPHRASE), NEW, START)
    assert files(other) == before


@pytest.mark.parametrize("there", ["card", "network_file", "wallet"])
def test_restore_never_overwrites_a_part_of_a_home(file: Path, tmp_path: Path, there: str) -> None:
    """What stands there without keys is somebody's too."""
    other = Home(tmp_path / "other")
    other.path.mkdir()
    path: Path = getattr(other, there)
    path.write_bytes(b"mine")
    with pytest.raises((InvalidInput, StorageError)):
        restore(other, read_backup(file, PASSPHRASE), NEW, START)
    assert path.read_bytes() == b"mine"
    assert not other.keys.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"network": b"\xff\xfe"},
        {"network": b"{}"},
        {"network": b"not json"},
        {"documents": ("not a credential",)},
    ],
)
def test_a_backup_with_bad_contents_leaves_no_home(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Found before the first file is written, so that the restore can be tried again."""
    network = json.dumps(NETWORK.json()).encode()
    given: dict[str, Any] = {"network": network, "documents": (DOCUMENTS[0].text,), "npi": ELENA.npi}
    new = Home(tmp_path / "new")
    with pytest.raises(InvalidInput):
        restore(new, Backup(PAIR, CARD, **{**given, **changes}), NEW, START)
    assert not new.keys.exists()


def test_an_empty_new_passphrase_leaves_no_home(file: Path, tmp_path: Path) -> None:
    new = Home(tmp_path / "new")
    with pytest.raises(InvalidInput):
        restore(new, read_backup(file, PASSPHRASE), "", START)
    assert not new.path.exists() or not files(new)
    restore(new, read_backup(file, PASSPHRASE), NEW, START)
    assert new.unlock(NEW) == PAIR


def test_key_files_that_others_can_read_are_not_backed_up(home: Home) -> None:
    home.keys.chmod(0o644)
    with pytest.raises(InvalidInput):
        backup_of(home, PAIR)


def test_the_network_of_the_backup_is_parsed(file: Path) -> None:
    found = read_backup(file, PASSPHRASE)
    assert found.network is not None
    assert Network.parse(found.network.decode()).id == NETWORK.id
    assert some_digest("x") != NETWORK.id
