"""A home: its paths, the pinned network, and what it remembers of the networks it has seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from credchain.certificates import Millis
from credchain.credentials.categories import parse_category
from credchain.encoding import Digest
from credchain.errors import InvalidInput, NetworkError, StorageError
from credchain.storage.files import exclusive
from credchain.storage.home import Home, Seen, load_network, packaged_categories, samples, slug
from credchain.storage.keyfile import KeyPair, write_keys
from tests.ledger_world import make_network

NETWORK = make_network()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def joined(home: Home) -> Home:
    home.path.mkdir()
    home.network_file.write_text(json.dumps(NETWORK.json()))
    return home


def test_naming_a_home_makes_nothing(home: Home) -> None:
    _ = (home.keys, home.trust, home.ledger, home.network_file)
    assert home.trust.seen(NETWORK).height == 0
    assert not home.path.exists()


def test_every_path_is_its_own_and_in_the_home(home: Home) -> None:
    names = [name for name, value in vars(Home).items() if isinstance(value, property)]
    paths = [getattr(home, name) for name in names]
    assert len(set(paths)) == len(paths) >= 10
    assert all(path.parent == home.path for path in paths)


def test_a_home_without_keys_or_network_says_what_to_do(home: Home) -> None:
    with pytest.raises(InvalidInput) as caught:
        home.did()
    assert "credchain init" in caught.value.hint
    with pytest.raises(InvalidInput) as caught:
        home.network()
    assert "credchain join" in caught.value.hint


def test_the_did_needs_no_passphrase(home: Home) -> None:
    pair = KeyPair.from_seeds(b"s" * 32, b"e" * 32)
    write_keys(home.keys, pair, "passphrase")
    assert home.did() == pair.did
    assert home.unlock("passphrase") == pair


# --- the network file -------------------------------------------------------------------------


def test_the_joined_network(joined: Home) -> None:
    found = joined.network()
    assert (found.id, found.fingerprint) == (NETWORK.id, NETWORK.fingerprint)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_network_file_that_was_cut(joined: Home, share: float) -> None:
    text = joined.network_file.read_text()
    joined.network_file.write_text(text[: int(len(text) * share)])
    with pytest.raises(InvalidInput):
        joined.network()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"null", b" " * (5 * 2**20)])
def test_what_is_no_network_file(joined: Home, content: bytes) -> None:
    joined.network_file.write_bytes(content)
    with pytest.raises(InvalidInput):
        load_network(joined.network_file)


def test_a_folder_in_the_place_of_the_network_file(home: Home) -> None:
    home.network_file.mkdir(parents=True)
    with pytest.raises(InvalidInput):
        home.network()


# --- trust ------------------------------------------------------------------------------------


def _see(home: Home, height: int) -> None:
    home.trust.remember(NETWORK, Seen(height, Millis(NETWORK.genesis.time + height)))


def test_genesis_is_seen_at_first(home: Home) -> None:
    assert home.trust.seen(NETWORK) == Seen(0, NETWORK.genesis.time)


def test_what_was_seen_is_seen_by_the_next_process(home: Home) -> None:
    home.path.mkdir()
    _see(home, 7)
    assert Home(home.path).trust.seen(NETWORK) == Seen(7, Millis(NETWORK.genesis.time + 7))


@pytest.mark.parametrize("lower", [0, 1, 6, 7])
def test_trust_never_goes_down(home: Home, lower: int) -> None:
    home.path.mkdir()
    _see(home, 7)
    before = home.trust_file.read_bytes()
    _see(home, lower)
    assert home.trust_file.read_bytes() == before
    _see(home, 8)
    assert home.trust.seen(NETWORK).height == 8


def test_each_network_has_its_own(home: Home) -> None:
    home.path.mkdir()
    other = make_network(validators=4)
    _see(home, 7)
    assert home.trust.seen(other) == Seen(0, other.genesis.time)
    home.trust.remember(other, Seen(3, other.genesis.time))
    assert (home.trust.seen(NETWORK).height, home.trust.seen(other).height) == (7, 3)


_DAMAGED: list[Any] = [
    b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000,
    {"NETWORK": None}, {"NETWORK": 7}, {"NETWORK": {}}, {"NETWORK": {"height": 1}},
    {"NETWORK": {"height": "1", "time": 1}}, {"NETWORK": {"height": 1, "time": None}},
    {"NETWORK": {"height": 1.5, "time": 1}}, {"NETWORK": {"height": True, "time": 1}},
    {"NETWORK": {"height": -1, "time": 1}}, {"NETWORK": {"height": 1, "time": -1}},
    {"other": 7, "NETWORK": {"height": 1, "time": 1}},
]  # fmt: skip


@pytest.mark.parametrize("content", _DAMAGED)
def test_a_damaged_trust_file_is_refused_and_kept(home: Home, content: Any) -> None:
    """It is not taken as "nothing seen yet": then an old state could be believed."""
    home.path.mkdir()
    if not isinstance(content, bytes):
        content = json.dumps(content).replace("NETWORK", NETWORK.id.hex()).encode()
    home.trust_file.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        home.trust.seen(NETWORK)
    with pytest.raises(StorageError):
        _see(home, 7)
    assert home.trust_file.read_bytes() == content


@pytest.mark.parametrize("height", ["7", -1, True, None, 1.5])
def test_a_damaged_height_of_a_radiologist_is_not_taken_as_never_seen(home: Home, height: Any) -> None:
    entry = {"height": 1, "time": 1, "subjects": {"00" * 32: height}}
    home.path.mkdir()
    home.trust_file.write_text(json.dumps({NETWORK.id.hex(): entry}))
    with pytest.raises(StorageError, match="damaged"):
        home.trust.seen_subject(NETWORK, Digest(bytes(32)))


def test_a_trust_file_that_cannot_be_read(home: Home) -> None:
    home.trust_file.mkdir(parents=True)
    with pytest.raises(StorageError):
        home.trust.seen(NETWORK)


def test_a_trust_file_that_cannot_be_written(home: Home) -> None:
    home.path.parent.joinpath("home").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError):
        _see(home, 7)


def test_two_that_remember_at_once_cannot_lose_the_higher(home: Home) -> None:
    home.path.mkdir()
    with exclusive(home.path / "trust.lock", "it"), pytest.raises(NetworkError):
        _see(home, 7)
    _see(home, 7)
    assert home.trust.seen(NETWORK).height == 7


def test_many_processes_remember_and_the_highest_stays(home: Home) -> None:
    home.path.mkdir()
    home.network_file.write_text(json.dumps(NETWORK.json()))
    program = (
        "import sys; from pathlib import Path; from credchain.storage.home import Home, Seen\n"
        "from credchain.errors import NetworkError\n"
        "home = Home(Path(sys.argv[1])); network = home.network()\n"
        "for height in range(int(sys.argv[2]), 200, 4):\n"
        "    while True:\n"
        "        try: home.trust.remember(network, Seen(height, network.genesis.time)); break\n"
        "        except NetworkError: pass\n"
        "    assert home.trust.seen(network).height >= height\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(home.path), str(first)]) for first in (1, 2, 3)
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert home.trust.seen(NETWORK).height == 199


# --- names and packaged files -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Node North", "node-north"),
        ("  A.B/C  ", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("X--Y", "x-y"),
        ("\u00c4rzte 7", "rzte-7"),
    ],
)
def test_a_folders_name(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize("name", ["", "..", "/", "\u4e2d\u6587", " - "])
def test_a_name_without_letters_or_digits(name: str) -> None:
    with pytest.raises(InvalidInput):
        slug(name)


def test_packaged_categories_are_well_formed_and_sorted() -> None:
    names = [parse_category(document).name for document in packaged_categories()]
    assert names == sorted(set(names))
    assert "board_certification" in names


def test_the_sample_consortium_is_there() -> None:
    assert (samples() / "consortium.toml").is_file()
