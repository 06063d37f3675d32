"""Member cards as files: what is read is what its owner signed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from credchain.encoding import Digest
from credchain.errors import InvalidInput
from credchain.keys import BoxKey, SigningKey
from credchain.ledger.cards import CARD_BYTES, MemberCard
from credchain.storage.card_file import card_text, parse_card, read_card
from tests.values import replace

KEY, BOX = SigningKey.from_seed(b"k" * 32), BoxKey.from_seed(b"b" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
PEM = "-----BEGIN CERTIFICATE-----\nTUlJ\nTUlJ\n-----END CERTIFICATE-----\n"

PLAIN = MemberCard(KEY.public, BOX.public)
NODE = replace(
    PLAIN, name="Node North", peer="127.0.0.1:7440", api="https://node.example:7441", certificate=PEM
)
PERSON = replace(PLAIN, recovery=Digest(b"r" * 32), subjects_root=Digest(b"s" * 32))
CARDS = [PLAIN, replace(PLAIN, name='Quote " \\ and Äé\u4e2d'), NODE, PERSON]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "member.toml"


def _write(path: Path, card: MemberCard, key: SigningKey = KEY) -> str:
    text = card_text(card, card.sign(key))
    path.write_text(text)
    return text


@pytest.mark.parametrize("card", CARDS)
def test_a_card_comes_back(path: Path, card: MemberCard) -> None:
    text = _write(path, card)
    assert read_card(path) == card
    assert parse_card(text, "card") == (card, card.sign(KEY))


@pytest.mark.parametrize("card", CARDS)
def test_a_card_with_other_line_ends_and_comments(path: Path, card: MemberCard) -> None:
    """Mail programs do this."""
    text = _write(path, card)
    path.write_bytes(b"\xef\xbb\xbf# sent by mail\r\n" + text.replace("\n", "\r\n").encode())
    assert read_card(path) == card


@pytest.mark.parametrize("card", CARDS)
def test_a_card_signed_by_another_key(path: Path, card: MemberCard) -> None:
    _write(path, card, OTHER)
    with pytest.raises(InvalidInput, match="altered"):
        read_card(path)


_CHANGES: dict[str, Callable[[str], str]] = {
    "another name": lambda text: text.replace("Node North", "Node South"),
    "another peer": lambda text: text.replace("127.0.0.1:7440", "127.0.0.2:7440"),
    "another api": lambda text: text.replace("node.example:7441", "evil.example:7441"),
    "another certificate": lambda text: text.replace("TUlJ\nTUlJ", "TUlJ\nTUlK"),
    "a name taken out": lambda text: re.sub(r"(?m)^name = .*\n", "", text),
    "a certificate taken out": lambda text: re.sub(r'(?s)certificate = """.*?"""\n', "", text),
    "recovery added": lambda text: text.replace("signature", f'recovery = "{"11" * 32}"\nsignature'),
    "another encryption key": lambda text: text.replace(BOX.public.hex(), "22" * 32),
    "another signature": lambda text: re.sub(r'signature = "..', 'signature = "00', text),
    "another did": lambda text: re.sub(
        r'did = "[^"]*"', f'did = "{MemberCard(OTHER.public, BOX.public).did}"', text
    ),
    "another key": lambda text: text.replace(KEY.public.hex(), OTHER.public.hex()),
    "another key and did": lambda text: re.sub(
        r'did = "[^"]*"', f'did = "{MemberCard(OTHER.public, BOX.public).did}"', text
    ).replace(KEY.public.hex(), OTHER.public.hex()),
    "an unknown part": lambda text: text + "more = 1\n",
    "a table": lambda text: text + "[more]\n",
    "a part twice": lambda text: text + 'name = "Node North"\n',
    "no signature": lambda text: re.sub(r"signature = .*\n", "", text),
    "no key": lambda text: re.sub(r"(?m)^key = .*\n", "", text),
    "no encryption key": lambda text: re.sub(r"(?m)^encryption_key = .*\n", "", text),
    "no did": lambda text: re.sub(r"(?m)^did = .*\n", "", text),
    "a number for a name": lambda text: text.replace('"Node North"', "7"),
    "a list for a key": lambda text: text.replace(f'"{BOX.public.hex()}"', "[]"),
    "a short key": lambda text: text.replace(BOX.public.hex(), BOX.public.hex()[:-2]),
    "no hexadecimal": lambda text: text.replace(BOX.public.hex(), "zz" * 32),
    "a control character": lambda text: text.replace("Node North", "Node\\u001b[2J"),
    "a direction override": lambda text: text.replace("Node North", "Node\u202eNorth"),
    "a long name": lambda text: text.replace("Node North", "N" * 201),
    "no PEM": lambda text: text.replace("TUlJ\n", "\u00e9\n"),
    "nothing": lambda text: "",
    "no TOML": lambda text: text + "=\n",
    "too large": lambda text: text + "#" * CARD_BYTES,
}


@pytest.mark.parametrize("what", _CHANGES)
def test_an_altered_card_is_refused(path: Path, what: str) -> None:
    text = _write(path, NODE)
    changed = _CHANGES[what](text)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(InvalidInput):
        read_card(path)


@pytest.mark.parametrize("card", CARDS)
def test_no_changed_character_gives_another_card(path: Path, card: MemberCard) -> None:
    """Every byte: the same card (a comment, a letter's case in hexadecimal), or refused."""
    content = _write(path, card).encode()
    refused = 0
    for at in range(len(content)):
        path.write_bytes(bytes([*content[:at], content[at] ^ 1, *content[at + 1 :]]))
        try:
            assert read_card(path) == card
        except InvalidInput:
            refused += 1
    assert refused > len(content) // 2


@pytest.mark.parametrize("card", CARDS)
def test_cut_at_every_length(path: Path, card: MemberCard) -> None:
    content = _write(path, card).encode()
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InvalidInput):
            read_card(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"a" * (CARD_BYTES + 1), b"x = " + b"[" * 4000])
def test_what_is_no_card(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        read_card(path)


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    for place in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InvalidInput, match="member card"):
            read_card(place)


def test_the_file_holds_no_secret_and_says_so() -> None:
    text = card_text(NODE, NODE.sign(KEY))
    for secret in (KEY.secret, BOX.secret, b"k" * 32):
        assert secret.hex() not in text
    assert "no secret" in text
