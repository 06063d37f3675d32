"""Bundles: credentials that a radiologist shares with one hospital, sealed to that hospital's key.

The body is what the holder signs: audience, scope, purpose, expiry, the credentials with the disclosures
that were chosen, and the openings of their subjects. Beside it stands evidence from the ledger, which a
verifier can replace by fresher evidence. The whole is compressed, then sealed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from .. import keys
from ..certificates import Millis
from ..credentials.npi import Npi, parse_npi
from ..credentials.subjects import Opening
from ..encoding import (
    BYTES_32,
    BYTES_64,
    NATURAL,
    Digest,
    Record,
    check_text,
    check_texts,
    decode_record,
    digest,
)
from ..errors import InvalidInput
from ..keys import BoxKey, Did, EncryptionKey, PublicKey, SigningKey
from ..limits import LIMITS
from .evidence import Answer, Evidence

MAGIC: Final = b"credchain-bundle/1\n"


class ScopeEntry(Record, frozen=True, omit_defaults=False):
    """A category that is shared: all claims, or (where not empty) the named ones."""

    category: str
    claims: Annotated[tuple[str, ...], Meta(max_length=LIMITS.disclosures)] = ()

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)
        if self.claims:
            check_texts(self.claims, "claims")


_MOST: Final = Meta(max_length=LIMITS.bundle_credentials)


class BundleBody(Record, frozen=True):
    """What the holder signs. ``grant`` is the ledger's record of it, where there is one."""

    network: Annotated[Digest, BYTES_32]
    holder: Did
    key: Annotated[PublicKey, BYTES_32]
    npi: Npi
    audience: Did
    purpose: str
    scope: Annotated[tuple[ScopeEntry, ...], _MOST]
    issued: Annotated[Millis, NATURAL]
    expires: Annotated[Millis, NATURAL]
    identity: str
    credentials: Annotated[tuple[str, ...], _MOST]
    openings: Annotated[tuple[Opening, ...], _MOST]
    grant: Annotated[Digest, BYTES_32] | None = None

    def __post_init__(self) -> None:
        keys.check_did(self.holder, "holder")
        keys.check_did(self.audience, "audience")
        parse_npi(self.npi)
        check_text(self.purpose, "purpose", max_bytes=64)
        for text in (self.identity, *self.credentials):
            _check_credential(text)
        jwts = {text.partition("~")[0] for text in (self.identity, *self.credentials)}
        if len(jwts) != 1 + len(self.credentials):
            raise InvalidInput("a credential stands twice in the bundle", field="credentials")
        _check_ascending([each.category for each in self.scope], "scope")
        _check_ascending([each.category for each in self.openings], "openings")

    @property
    def digest(self) -> Digest:
        return digest("bundle", self.encode_checked())


_PRINTABLE: Final = bytes(range(0x20, 0x7F))


def _check_credential(text: str) -> None:
    if not text.isascii():
        raise InvalidInput("a credential is ASCII text", field="credentials")
    if len(text) > LIMITS.credential_bytes or text.encode().translate(None, _PRINTABLE):
        check_text(text, "credentials", max_bytes=LIMITS.credential_bytes)


def _check_ascending(names: list[str], field: str) -> None:
    if any(left >= right for left, right in pairwise(names)):
        raise InvalidInput(f"{field} names each category once, in order", field=field)


class _Content(Record, frozen=True):
    """The wire form of a bundle."""

    body: BundleBody
    signature: Annotated[bytes, BYTES_64]
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Bundle:
    """A body, the holder's signature over it, and evidence as of its making."""

    body: BundleBody
    signature: bytes
    evidence: Answer

    @staticmethod
    def sign(body: BundleBody, signer: SigningKey, evidence: Answer) -> Bundle:
        return Bundle(body, signer.sign(body.digest), evidence)

    def signature_holds(self) -> bool:
        """Under the key that the body names; whether that is the holder's, the ledger says."""
        return keys.verify(self.body.key, self.body.digest, self.signature)

    def encode(self) -> bytes:
        return _Content(self.body, self.signature, self.evidence.evidence).encode()

    @staticmethod
    def decode(data: bytes) -> Bundle:
        found = decode_record(data, _Content, "bundle", max_bytes=LIMITS.bundle_bytes)
        return Bundle(found.body, found.signature, Answer.of(found.evidence))

    def seal(self, recipient: EncryptionKey) -> bytes:
        """The file: a line that says what it is, then the sealed box.

        InvalidInput for one that is too large to be opened.
        """
        content = self.encode()
        if len(content) > LIMITS.bundle_bytes:
            raise InvalidInput(
                f"the bundle has {len(content)} bytes, at most {LIMITS.bundle_bytes}",
                field="category",
                hint="share fewer categories in one bundle",
            )
        return MAGIC + keys.seal(zlib.compress(content, 9), recipient)


def open_bundle(data: bytes, key: BoxKey) -> bytes:
    """The bundle's bytes (see `Bundle.decode`); InvalidInput if this key cannot open it.

    What was sealed is compressed: the bound holds for what comes out.
    """
    if not data.startswith(MAGIC) or len(data) > LIMITS.bundle_bytes:
        raise InvalidInput(
            "this is not a credchain bundle", field="bundle", hint="give the file as you received it"
        )
    try:
        compressed = key.open(data[len(MAGIC) :])
    except InvalidInput:
        raise InvalidInput(
            "this home's key cannot open the bundle",
            field="bundle",
            hint="it was made for another hospital, or damaged on the way",
        ) from None
    return decompress(compressed)


def decompress(compressed: bytes) -> bytes:
    """At most the bound comes out, whatever goes in; InvalidInput otherwise."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(compressed, LIMITS.bundle_bytes)
    except zlib.error as problem:
        raise InvalidInput("the bundle's content is damaged", field="bundle") from problem
    if inflater.unconsumed_tail or not inflater.eof or inflater.unused_data:
        raise InvalidInput("the bundle's content is damaged or too large", field="bundle")
    return content
