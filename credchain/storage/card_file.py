"""`member.toml`: a member card as a file that people send to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import keys
from ..encoding import Digest, check_text
from ..errors import InvalidInput
from ..keys import EncryptionKey, PublicKey
from ..ledger.cards import CARD_BYTES, MemberCard
from ..limits import LIMITS
from .files import parse_toml, read_text

_TEXTS = ("name", "peer", "api", "certificate")
_BYTES = ("key", "encryption_key", "recovery", "subjects_root", "signature")


def card_text(card: MemberCard, signature: bytes) -> str:
    """The card, readable, with its signature last."""
    lines = ["# A credchain member card: send this file, it holds no secret."]
    for name in ("name", "peer", "api"):
        value = getattr(card, name)
        if value is not None:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    lines.append(f'did = "{card.did}"')
    for name in ("key", "encryption_key", "recovery", "subjects_root"):
        value = getattr(card, name)
        if value is not None:
            lines.append(f'{name} = "{value.hex()}"')
    if card.private_categories:
        lines.append(f"private_categories = {json.dumps(card.private_categories)}")
    if card.certificate is not None:
        lines.append(f'certificate = """\n{card.certificate}"""')
    lines.append(f'signature = "{signature.hex()}"')
    return "\n".join(lines) + "\n"


def read_card(path: Path) -> MemberCard:
    """A card whose signature holds; InvalidInput says what does not."""
    return read_card_with_proof(path)[0]


def read_card_with_proof(path: Path) -> tuple[MemberCard, bytes]:
    """The card, and its signature, which holds."""
    card, signature = parse_card(read_text(path, "member card", at_most=CARD_BYTES), str(path))
    if not card.signed_by_its_key(signature):
        raise InvalidInput(
            f"the member card {path} was altered: its signature does not hold",
            field="signature",
            hint="ask its owner to send it again",
        )
    return card, signature


def parse_card(text: str, what: str) -> tuple[MemberCard, bytes]:
    """The card and its signature, which is not checked here."""
    document = parse_toml(text, what)
    for name in document:
        if name not in (*_TEXTS, *_BYTES, "did", "private_categories"):
            raise InvalidInput(f"{what} has an unknown part {name}", field=name)
    texts = {name: _text(document, name, what) for name in _TEXTS if name in document}
    data = {name: _bytes(document, name, what) for name in _BYTES if name in document}
    for name in ("key", "encryption_key", "signature"):
        if name not in data:
            raise InvalidInput(f"{what} lacks {name}", field=name)
    recovery, root = data.get("recovery"), data.get("subjects_root")
    card = MemberCard(
        key=PublicKey(data["key"]),
        encryption_key=EncryptionKey(data["encryption_key"]),
        recovery=None if recovery is None else Digest(recovery),
        subjects_root=None if root is None else Digest(root),
        private_categories=_names(document, what),
        **texts,
    )
    if document.get("did") != card.did:
        raise InvalidInput(f"{what}: did is not its key's", field="did")
    return card, data["signature"]


def _names(document: dict[str, Any], what: str) -> tuple[str, ...]:
    names = document.get("private_categories", [])
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise InvalidInput(f"{what}: private_categories is not a list of text", field="private_categories")
    return tuple(check_text(each, "private_categories", max_bytes=LIMITS.name_bytes) for each in names)


def _text(document: dict[str, Any], name: str, what: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise InvalidInput(f"{what}: {name} is not text", field=name)
    if name == "certificate":
        if not value.isascii():
            raise InvalidInput(f"{what}: certificate is not PEM", field=name)
        return value
    return check_text(value, name, max_bytes=LIMITS.name_bytes)


def _bytes(document: dict[str, Any], name: str, what: str) -> bytes:
    value = document[name]
    size = keys.SIGNATURE_BYTES if name == "signature" else keys.PUBLIC_KEY_BYTES
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != size:
        raise InvalidInput(f"{what}: {name} is not {2 * size} hexadecimal digits", field=name)
    return data
