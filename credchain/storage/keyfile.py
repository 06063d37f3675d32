"""Encrypted key files: a member's two keys under a passphrase, by Argon2id and SecretBox.

RFC 9106, section 4, second recommended option (3 passes, 64 MiB). The file is mode 0600, is never
overwritten, and holds the DID in clear so that `whoami` needs no passphrase.
"""

from __future__ import annotations

import base64
import binascii
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nacl import bindings
from nacl.exceptions import CryptoError

from .. import keys
from ..credentials.categories import canonical_json, parse_json
from ..credentials.subjects import MOST_CATEGORIES, SECRET_BYTES, HolderSubjects
from ..encoding import Fields, Value, decode, digest, encode
from ..errors import InvalidInput
from ..keys import BoxKey, Did, SigningKey
from ..limits import LIMITS
from .files import PRIVATE, read_text, write_new

FORMAT: Final = "credchain-key/1"
PASSES: Final = 3
MEMORY: Final = 64 * 2**20
_MOST_MEMORY: Final = 2**30
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 24
"""It stands before the sealed content, as PyNaCl's SecretBox writes it."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A member's signing and encryption keys, and the seeds that they come from.

    ``subjects`` are a radiologist's: its link secret, and the private categories that it committed to
    when it enrolled.
    """

    signing: SigningKey
    encryption: BoxKey
    signing_seed: bytes
    encryption_seed: bytes
    subjects: HolderSubjects | None = None

    @property
    def did(self) -> Did:
        return keys.did_of(self.signing.public)

    @staticmethod
    def from_seeds(signing: bytes, encryption: bytes, subjects: HolderSubjects | None = None) -> KeyPair:
        return KeyPair(
            SigningKey.from_seed(signing), BoxKey.from_seed(encryption), signing, encryption, subjects
        )

    @staticmethod
    def generate(private_categories: Iterable[str] | None = None) -> KeyPair:
        """New keys; with private categories, a radiologist's."""
        import secrets

        subjects = None
        if private_categories is not None:
            subjects = HolderSubjects.of(secrets.token_bytes(SECRET_BYTES), private_categories)
        return KeyPair.from_seeds(
            secrets.token_bytes(keys.SEED_BYTES), secrets.token_bytes(keys.SEED_BYTES), subjects
        )

    @property
    def wallet_key(self) -> bytes:
        """32 bytes under which the home keeps documents; it follows from the encryption key."""
        return digest("wallet-key", self.encryption_seed)

    def fields(self) -> dict[str, Value]:
        link: dict[str, Value] = {}
        if self.subjects is not None:
            link = {
                "link_secret": self.subjects.secret,
                "link_categories": list(self.subjects.categories),
            }
        return {"encryption": self.encryption_seed, "signing": self.signing_seed, **link}

    @staticmethod
    def read(fields: Fields) -> KeyPair:
        subjects = None
        if fields.has("link_secret"):
            subjects = HolderSubjects.of(
                fields.binary("link_secret", SECRET_BYTES),
                fields.texts("link_categories", at_most=MOST_CATEGORIES),
            )
        return KeyPair.from_seeds(
            fields.binary("signing", keys.SEED_BYTES),
            fields.binary("encryption", keys.SEED_BYTES),
            subjects,
        )

    def __repr__(self) -> str:
        return f"KeyPair({self.did})"


def write_keys(path: Path, pair: KeyPair, passphrase: str) -> None:
    """Encrypt and write; InvalidInput if the file exists or the passphrase is empty."""
    write_box(path, FORMAT, pair.did, encode(pair.fields()), passphrase)


def write_box(path: Path, file_format: str, did: Did, content: bytes, passphrase: str) -> None:
    """A new file that the passphrase opens; in clear it names only its format and whose it is."""
    import secrets

    from nacl.secret import SecretBox

    if not passphrase:
        raise InvalidInput(
            "the passphrase is empty", field="passphrase", hint="set CREDCHAIN_PASSPHRASE or type one"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    box = SecretBox(_derive(passphrase, salt, PASSES, MEMORY)).encrypt(content)
    document = {
        "format": file_format,
        "did": did,
        "kdf": {"name": "argon2id", "passes": PASSES, "memory": MEMORY, "salt": salt.hex()},
        "box": base64.b64encode(bytes(box)).decode(),
    }
    write_new(path, canonical_json(document).encode() + b"\n", mode=PRIVATE)


def read_did(path: Path) -> Did:
    """Whose key file this is."""
    return keys.check_did(_text(_read(path, FORMAT, LIMITS.key_file_bytes), "did", path), "did")


def read_keys(path: Path, passphrase: str) -> KeyPair:
    """Decrypt; InvalidInput for loose permissions, a damaged file or a wrong passphrase."""
    check_private(path)
    did, content = read_box(path, FORMAT, passphrase, at_most=LIMITS.key_file_bytes)
    pair = decode(content, KeyPair.read, KeyPair.fields, "key file")
    if pair.did != did:
        raise _damaged(path, "did")
    return pair


def read_box(path: Path, file_format: str, passphrase: str, *, at_most: int) -> tuple[Did, bytes]:
    """(whose it is, the content); InvalidInput for a damaged file or a wrong passphrase."""
    document = _read(path, file_format, at_most)
    did = keys.check_did(_text(document, "did", path), "did")
    kdf = document.get("kdf")
    if type(kdf) is not dict:
        raise _damaged(path, "kdf")
    passes, memory = kdf.get("passes"), kdf.get("memory")
    if kdf.get("name") != "argon2id" or type(passes) is not int or type(memory) is not int:
        raise _damaged(path, "kdf")
    if not (1 <= passes <= 20 and 8192 <= memory <= _MOST_MEMORY):
        raise _damaged(path, "kdf")
    try:
        salt = bytes.fromhex(_text(kdf, "salt", path))
        box = base64.b64decode(_text(document, "box", path), validate=True)
    except (ValueError, binascii.Error):
        raise _damaged(path, "box") from None
    if len(salt) != _SALT_BYTES or len(box) < _NONCE_BYTES + bindings.crypto_secretbox_MACBYTES:
        raise _damaged(path, "box")
    try:
        key = _derive(passphrase, salt, passes, memory)
        content: bytes = bindings.crypto_secretbox_open(box[_NONCE_BYTES:], box[:_NONCE_BYTES], key)
    except CryptoError:
        raise InvalidInput(
            f"the passphrase does not open {path}",
            field="passphrase",
            hint="check CREDCHAIN_PASSPHRASE or --passphrase-file; the file may also be damaged",
        ) from None
    return did, content


def check_private(path: Path) -> None:
    """InvalidInput if others than the owner can read the file, or it is not there."""
    try:
        mode = path.stat().st_mode
    except OSError as problem:
        raise InvalidInput(
            f"cannot read {path}: {problem.strerror}", field="home", hint="credchain init makes the keys"
        ) from problem
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidInput(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o})",
            field="home",
            hint=f"chmod 600 {path}",
        )


def _read(path: Path, file_format: str, at_most: int) -> dict[str, Any]:
    text = read_text(path, "key file", at_most=at_most)
    try:
        document = parse_json(text, "key file")
    except InvalidInput:
        raise _damaged(path, "format") from None
    if type(document) is not dict or document.get("format") != file_format:
        raise _damaged(path, "format")
    return document


def _text(document: dict[str, Any], name: str, path: Path) -> str:
    value = document.get(name)
    if type(value) is not str:
        raise _damaged(path, name)
    return value


def _damaged(path: Path, field: str) -> InvalidInput:
    return InvalidInput(
        f"the key file {path} is damaged ({field})", field=field, hint="restore it from your backup"
    )


def _derive(passphrase: str, salt: bytes, passes: int, memory: int) -> bytes:
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError as problem:
        raise InvalidInput("the passphrase is not UTF-8 text", field="passphrase") from problem
    key: bytes = bindings.crypto_pwhash_alg(
        32, secret, salt, passes, memory, bindings.crypto_pwhash_ALG_ARGON2ID13
    )
    return key
