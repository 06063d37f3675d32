"""Encrypted key files: only the passphrase opens them, and nothing ever overwrites them."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any, Final

import pytest

from credchain import keys
from credchain.encoding import encode
from credchain.errors import InvalidInput
from credchain.storage import keyfile
from credchain.storage.keyfile import KeyPair, check_private, read_did, read_keys, write_keys

PASSPHRASE: Final = "correct horse battery staple"


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return KeyPair.from_seeds(b"s" * 32, b"e" * 32)


@pytest.fixture(scope="module")
def content(pair: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, pair, PASSPHRASE)
    return path.read_bytes()


@pytest.fixture
def path(content: bytes, tmp_path: Path) -> Path:
    found = tmp_path / "keys.json"
    found.write_bytes(content)
    found.chmod(0o600)
    return found


def _with(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text())
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        if inner:
            document[part][inner] = value
        elif value is None:
            del document[part]
        else:
            document[part] = value
    path.write_text(json.dumps(document))


def test_what_is_written_comes_back(path: Path, pair: KeyPair) -> None:
    found = read_keys(path, PASSPHRASE)
    assert found == pair
    assert read_did(path) == pair.did == keys.did_of(pair.signing.public)


def test_the_file_is_the_owners_alone(tmp_path: Path, pair: KeyPair) -> None:
    path = tmp_path / "new" / "keys.json"
    write_keys(path, pair, PASSPHRASE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_holds_no_secret_in_clear(content: bytes, pair: KeyPair) -> None:
    for secret in (pair.signing_seed, pair.encryption_seed, PASSPHRASE.encode(), pair.signing.secret):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert form not in content
    assert pair.did.encode() in content


def test_an_existing_file_is_never_overwritten(path: Path, content: bytes) -> None:
    for _ in range(2):
        with pytest.raises(InvalidInput, match="not overwritten"):
            write_keys(path, KeyPair.generate(), PASSPHRASE)
    assert path.read_bytes() == content


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path, pair: KeyPair) -> None:
    target, link = tmp_path / "elsewhere.json", tmp_path / "keys.json"
    link.symlink_to(target)
    with pytest.raises(InvalidInput):
        write_keys(link, pair, PASSPHRASE)
    assert not target.exists()


def test_an_empty_passphrase_writes_nothing(tmp_path: Path, pair: KeyPair) -> None:
    with pytest.raises(InvalidInput) as caught:
        write_keys(tmp_path / "keys.json", pair, "")
    assert caught.value.field == "passphrase"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", ["", " ", PASSPHRASE + " ", PASSPHRASE[:-1], PASSPHRASE.upper(), "\u00e9", "x" * 10_000]
)
def test_a_wrong_passphrase(path: Path, wrong: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_keys(path, wrong)
    assert caught.value.field == "passphrase"


@pytest.mark.parametrize("passphrase", ["\udcff", "a\ud800b"])
def test_a_passphrase_that_is_no_text(path: Path, tmp_path: Path, pair: KeyPair, passphrase: str) -> None:
    """What Python makes of an environment variable that is not UTF-8."""
    with pytest.raises(InvalidInput):
        read_keys(path, passphrase)
    with pytest.raises(InvalidInput):
        write_keys(tmp_path / "new.json", pair, passphrase)
    assert not (tmp_path / "new.json").exists()


def test_a_passphrase_of_any_characters(tmp_path: Path, pair: KeyPair) -> None:
    path = tmp_path / "keys.json"
    write_keys(path, pair, "pÄß \u4e2d\U0001f511\t")
    assert read_keys(path, "pÄß \u4e2d\U0001f511\t") == pair


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o606, 0o601, 0o610, 0o777])
def test_loose_permissions_are_refused_before_the_passphrase_is_tried(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(InvalidInput, match="read by others") as caught:
        read_keys(path, "wrong")
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_permissions_of_the_owner_alone_are_fine(path: Path, mode: int) -> None:
    path.chmod(mode)
    check_private(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_did, lambda path: read_keys(path, PASSPHRASE), check_private):
        with pytest.raises(InvalidInput):
            read(tmp_path / "none.json")


def test_a_folder_in_its_place(tmp_path: Path, pair: KeyPair) -> None:
    folder = tmp_path / "keys.json"
    folder.mkdir(mode=0o700)
    with pytest.raises(InvalidInput):
        read_keys(folder, PASSPHRASE)
    with pytest.raises(InvalidInput):
        write_keys(folder, pair, PASSPHRASE)


def test_cut_at_every_length(path: Path, content: bytes) -> None:
    whole = content.rstrip(b"\n")
    for length in range(len(whole)):
        path.write_bytes(content[:length])
        with pytest.raises(InvalidInput):
            read_keys(path, PASSPHRASE)
        with pytest.raises(InvalidInput):
            read_did(path)


def test_flipped_bytes_open_nothing_or_the_same_keys(
    path: Path, content: bytes, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte and bit. The derivation, which is slow, is asked once for each of its inputs."""
    derive, known = keyfile._derive, dict[tuple[Any, ...], bytes]()

    def cheap(passphrase: str, salt: bytes, passes: int, memory: int) -> bytes:
        inputs = (passphrase, salt, passes, memory)
        right = json.loads(content)["kdf"]
        if inputs[1:] == (bytes.fromhex(right["salt"]), right["passes"], right["memory"]):
            return known.setdefault(inputs, derive(*inputs) if inputs not in known else known[inputs])
        return bytes(32)

    monkeypatch.setattr(keyfile, "_derive", cheap)
    refused = 0
    for at in range(len(content)):
        for bit in range(8):
            path.write_bytes(bytes([*content[:at], content[at] ^ 1 << bit, *content[at + 1 :]]))
            try:
                assert read_keys(path, PASSPHRASE) == pair
            except InvalidInput:
                refused += 1
    assert refused > 7 * len(content)


def test_flipped_bytes_with_the_real_derivation(path: Path, content: bytes, pair: KeyPair) -> None:
    chosen = random.Random(7)
    box = content.index(b'"box"')
    for at in chosen.sample(range(box, len(content)), 8):
        path.write_bytes(bytes([*content[:at], content[at] ^ 1, *content[at + 1 :]]))
        with pytest.raises(InvalidInput):
            read_keys(path, PASSPHRASE)
    path.write_bytes(content)
    assert read_keys(path, PASSPHRASE) == pair


@pytest.mark.parametrize(
    "kdf",
    [
        {"passes": 0}, {"passes": -1}, {"passes": 21}, {"passes": 2**31}, {"passes": 2**64},
        {"passes": "3"}, {"passes": 3.0}, {"passes": True}, {"passes": None},
        {"memory": 0}, {"memory": -1}, {"memory": 8191}, {"memory": 2**30 + 1}, {"memory": 2**40},
        {"memory": "67108864"}, {"memory": 1e9}, {"memory": None},
        {"name": "scrypt"}, {"name": "argon2i"}, {"name": None}, {"name": 7},
        {"salt": ""}, {"salt": "00" * 15}, {"salt": "00" * 17}, {"salt": "zz" * 16}, {"salt": 7},
        {"salt": "\u0660" * 32},
    ],
)  # fmt: skip
def test_absurd_parameters_are_refused_without_deriving_a_key(
    path: Path, kdf: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("a key was derived")

    monkeypatch.setattr(keyfile, "_derive", never)
    ((name, value),) = kdf.items()
    _with(path, **{f"kdf__{name}": value})
    with pytest.raises(InvalidInput):
        read_keys(path, PASSPHRASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"kdf": []}, {"kdf": "argon2id"}, {"kdf": None}, {"box": None}, {"box": 7}, {"box": ""},
        {"box": "!!!!"}, {"box": "AAAA"}, {"box": "\u00e9"}, {"format": "credchain-key/2"}, {"format": None},
        {"did": None}, {"did": 7}, {"did": ""}, {"did": "did:key:zabc"},
    ],
)  # fmt: skip
def test_damaged_parts(path: Path, changes: dict[str, Any]) -> None:
    _with(path, **changes)
    with pytest.raises(InvalidInput):
        read_keys(path, PASSPHRASE)


def test_a_did_that_is_not_the_keys_own(path: Path) -> None:
    other = KeyPair.from_seeds(b"o" * 32, b"e" * 32)
    _with(path, did=other.did)
    with pytest.raises(InvalidInput, match="damaged"):
        read_keys(path, PASSPHRASE)


@pytest.mark.parametrize(
    "inside",
    [
        {"signing": b"s" * 32},
        {"signing": b"s" * 31, "encryption": b"e" * 32},
        {"signing": b"s" * 32, "encryption": b"e" * 32, "more": b""},
        {"signing": "s" * 32, "encryption": b"e" * 32},
    ],
)
def test_a_box_of_something_else(path: Path, inside: dict[str, Any]) -> None:
    from nacl.secret import SecretBox

    kdf = json.loads(path.read_text())["kdf"]
    key = keyfile._derive(PASSPHRASE, bytes.fromhex(kdf["salt"]), kdf["passes"], kdf["memory"])
    _with(path, box=base64.b64encode(bytes(SecretBox(key).encrypt(encode(inside)))).decode())
    with pytest.raises(InvalidInput):
        read_keys(path, PASSPHRASE)


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", "null", "{" * 5000, '{"format": 1}', "\ufeff", "\x00"])
def test_what_is_no_key_file(path: Path, text: str) -> None:
    path.write_text(text)
    for read in (read_did, lambda file: read_keys(file, PASSPHRASE)):
        with pytest.raises(InvalidInput):
            read(path)


def test_a_file_that_is_too_large_or_no_text(path: Path, content: bytes) -> None:
    for wrong in (content + b" " * 10_000, b"\xff\xfe" + content):
        path.write_bytes(wrong)
        with pytest.raises(InvalidInput):
            read_keys(path, PASSPHRASE)


def test_two_files_of_the_same_keys_share_nothing_but_the_did(tmp_path: Path, pair: KeyPair) -> None:
    documents = []
    for name in ("one", "two"):
        write_keys(tmp_path / name, pair, PASSPHRASE)
        documents.append(json.loads((tmp_path / name).read_text()))
    one, two = documents
    assert one["did"] == two["did"]
    assert one["kdf"]["salt"] != two["kdf"]["salt"]
    assert one["box"] != two["box"]


def test_generated_keys_differ_and_print_no_secret() -> None:
    one, two = KeyPair.generate(), KeyPair.generate()
    assert one.did != two.did
    for form in (repr(one), str(one), f"{one.signing!r} {one.encryption!r}"):
        assert one.signing_seed.hex() not in form
        assert repr(one.signing_seed) not in form
        assert repr(one.signing.secret) not in form
