"""Ed25519 and X25519 keys, by PyNaCl, and `did:key` names.

Everything that is signed is a 32-byte digest of one purpose (`encoding.digest`), never raw content,
except the JWS of a credential, whose signing input RFC 7515 fixes. There is one verifier: Ed25519
implementations disagree on edge cases, so tests/vectors keeps what this one says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, NewType

import base58
from nacl import bindings
from nacl.exceptions import CryptoError

from .encoding import BYTES_64, Record, decode_record
from .errors import InvalidInput

Did = NewType("Did", str)
"""`did:key:z6Mk…`: the name of a member, made from its first Ed25519 key."""

PublicKey = NewType("PublicKey", bytes)
"""32 bytes, Ed25519."""

EncryptionKey = NewType("EncryptionKey", bytes)
"""32 bytes, X25519 public key."""

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
DID_BYTES: Final = 56
_DID_PREFIX: Final = "did:key:z"
_MULTICODEC_ED25519: Final = b"\xed\x01"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair. ``secret`` is libsodium's 64 bytes (seed, then public key)."""

    secret: bytes
    public: PublicKey

    @staticmethod
    def from_seed(seed: bytes) -> SigningKey:
        """The key of a 32-byte seed."""
        public, secret = bindings.crypto_sign_seed_keypair(seed)
        return SigningKey(secret, PublicKey(public))

    def sign(self, message: bytes) -> bytes:
        """64 bytes, RFC 8032 Ed25519."""
        signature: bytes = bindings.crypto_sign(message, self.secret)[:SIGNATURE_BYTES]
        return signature

    def __repr__(self) -> str:
        return f"SigningKey({self.public.hex()[:16]}…)"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """True if the signature is this key's over this message; never raises."""
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_KEY_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except (CryptoError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class BoxKey:
    """An X25519 key pair to which documents are sealed."""

    secret: bytes
    public: EncryptionKey

    @staticmethod
    def from_seed(seed: bytes) -> BoxKey:
        """The key of a 32-byte seed."""
        public, secret = bindings.crypto_box_seed_keypair(seed)
        return BoxKey(secret, EncryptionKey(public))

    def open(self, sealed: bytes) -> bytes:
        """The content of a sealed box, or InvalidInput."""
        try:
            content: bytes = bindings.crypto_box_seal_open(sealed, self.public, self.secret)
        except (CryptoError, ValueError, TypeError) as problem:
            raise InvalidInput("this key cannot open the sealed document") from problem
        return content

    def __repr__(self) -> str:
        return f"BoxKey({self.public.hex()[:16]}…)"


def seal(content: bytes, recipient: EncryptionKey) -> bytes:
    """A sealed box (libsodium crypto_box_seal): only the recipient's key opens it."""
    try:
        sealed: bytes = bindings.crypto_box_seal(content, recipient)
    except (CryptoError, ValueError, RuntimeError) as problem:
        raise InvalidInput("nothing can be sealed to this key", field="encryption_key") from problem
    return sealed


def check_sealable(recipient: EncryptionKey, field: str) -> None:
    """InvalidInput for a key that nothing can be sealed to: one of small order (RFC 7748, section 6.1)."""
    try:
        seal(b"", recipient)
    except InvalidInput as problem:
        raise InvalidInput(
            "nothing can be sealed to the radiologist's encryption key",
            field=field,
            hint="it takes a new wallet: credchain init --radiologist",
        ) from problem


@lru_cache(4096)
def did_of(public: PublicKey) -> Did:
    """The did:key of an Ed25519 key: base58btc of the multicodec prefix 0xed01 and the key."""
    return Did(_DID_PREFIX + base58.b58encode(_MULTICODEC_ED25519 + public).decode())


def key_of(did: str, field: str = "did") -> PublicKey:
    """The first key of a member, from its name; InvalidInput if the name is not one of ours."""
    key = _key_of(did)
    if key is None:
        raise InvalidInput(
            f"{field} is not a did:key of an Ed25519 key",
            field=field,
            hint="it starts with did:key:z6Mk and has 56 characters",
        )
    return key


@lru_cache(4096)
def _key_of(did: str) -> PublicKey | None:
    if not did.startswith(_DID_PREFIX) or len(did) != DID_BYTES:
        return None
    try:
        decoded = base58.b58decode(did[len(_DID_PREFIX) :])
    except ValueError:
        return None
    if len(decoded) != 34 or decoded[:2] != _MULTICODEC_ED25519:
        return None
    public = PublicKey(decoded[2:])
    return public if did_of(public) == did else None


def check_did(text: str, field: str = "did") -> Did:
    """The text as a DID, or InvalidInput."""
    key_of(text, field)
    return Did(text)


class _Envelope(Record, frozen=True):
    body: bytes
    signature: Annotated[bytes, BYTES_64]


def encode_signed(body: bytes, signature: bytes) -> bytes:
    """The wire form of everything that a member signs: its exact bytes, and the signature beside them."""
    return _Envelope(body, signature).encode_checked()


def decode_signed(data: bytes, what: str, *, max_bytes: int) -> tuple[bytes, bytes]:
    """(body, signature) from the wire form; InvalidInput. Nothing is verified here."""
    envelope = decode_record(data, _Envelope, what, max_bytes=max_bytes)
    return envelope.body, envelope.signature
