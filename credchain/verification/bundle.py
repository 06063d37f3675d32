"""Bundles: credentials that a radiologist shares with one hospital, sealed to that hospital's key.

The body is what the holder signs: audience, scope, purpose, expiry, the credentials with the disclosures
that were chosen, and the openings of their subjects. Beside it stands evidence from the ledger, which a
verifier can replace by fresher evidence. The whole is compressed, then sealed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .. import keys
from ..certificates import Millis
from ..credentials.npi import Npi, parse_npi
from ..credentials.subjects import Opening
from ..encoding import Digest, Fields, Value, check_text, decode, digest, encode
from ..errors import InvalidInput
from ..keys import BoxKey, Did, EncryptionKey, PublicKey, SigningKey
from ..limits import LIMITS
from .evidence import Answer

MAGIC: Final = b"credchain-bundle/1\n"


@dataclass(frozen=True, slots=True)
class ScopeEntry:
    """A category that is shared: all claims, or (where not empty) the named ones."""

    category: str
    claims: tuple[str, ...] = ()

    def fields(self) -> dict[str, Value]:
        return {"category": self.category, "claims": list(self.claims)}

    @staticmethod
    def read(fields: Fields) -> ScopeEntry:
        return ScopeEntry(
            fields.text("category", max_bytes=64), fields.texts("claims", at_most=LIMITS.disclosures)
        )


@dataclass(frozen=True, slots=True)
class BundleBody:
    """What the holder signs. ``grant`` is the ledger's record of it, where there is one."""

    network: Digest
    holder: Did
    key: PublicKey
    npi: Npi
    audience: Did
    purpose: str
    scope: tuple[ScopeEntry, ...]
    issued: Millis
    expires: Millis
    identity: str
    credentials: tuple[str, ...]
    openings: tuple[Opening, ...]
    grant: Digest | None = None

    def fields(self) -> dict[str, Value]:
        grant: dict[str, Value] = {} if self.grant is None else {"grant": self.grant}
        return {
            "network": self.network,
            "holder": self.holder,
            "key": self.key,
            "npi": self.npi,
            "audience": self.audience,
            "purpose": self.purpose,
            "scope": [each.fields() for each in self.scope],
            "issued": self.issued,
            "expires": self.expires,
            "identity": self.identity,
            "credentials": list(self.credentials),
            "openings": [each.fields() for each in self.openings],
            **grant,
        }

    @staticmethod
    def read(fields: Fields) -> BundleBody:
        body = BundleBody(
            network=fields.digest("network"),
            holder=keys.check_did(fields.text("holder"), "holder"),
            key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
            npi=parse_npi(fields.text("npi")),
            audience=keys.check_did(fields.text("audience"), "audience"),
            purpose=fields.text("purpose", max_bytes=64),
            scope=fields.maps("scope", ScopeEntry.read, at_most=LIMITS.bundle_credentials),
            issued=Millis(fields.integer("issued")),
            expires=Millis(fields.integer("expires")),
            identity=_credential(fields.text("identity", max_bytes=LIMITS.credential_bytes)),
            credentials=fields.items("credentials", _text, at_most=LIMITS.bundle_credentials),
            openings=fields.maps("openings", Opening.read, at_most=LIMITS.bundle_credentials),
            grant=fields.optional_digest("grant"),
        )
        jwts = {text.partition("~")[0] for text in (body.identity, *body.credentials)}
        if len(jwts) != 1 + len(body.credentials):
            raise InvalidInput("a credential stands twice in the bundle", field="credentials")
        _ascending([each.category for each in body.scope], "scope")
        _ascending([each.category for each in body.openings], "openings")
        return body

    @property
    def digest(self) -> Digest:
        return digest("bundle", encode(self.fields()))


def _credential(text: str) -> str:
    if not text.isascii():
        raise InvalidInput("a credential is ASCII text", field="credentials")
    return text


def _text(item: object, field: str) -> str:
    if type(item) is not str:
        raise InvalidInput(f"{field} must be text", field=field)
    return _credential(check_text(item, field, max_bytes=LIMITS.credential_bytes))


def _ascending(names: list[str], field: str) -> None:
    if any(left >= right for left, right in pairwise(names)):
        raise InvalidInput(f"{field} names each category once, in order", field=field)


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

    def fields(self) -> dict[str, Value]:
        return {
            "body": self.body.fields(),
            "signature": self.signature,
            "evidence": self.evidence.fields(),
        }

    @staticmethod
    def read(fields: Fields) -> Bundle:
        return Bundle(
            body=fields.nested("body", BundleBody.read),
            signature=fields.binary("signature", keys.SIGNATURE_BYTES),
            evidence=fields.nested("evidence", Answer.read),
        )

    def encode(self) -> bytes:
        return encode(self.fields())

    @staticmethod
    def decode(data: bytes) -> Bundle:
        return decode(data, Bundle.read, Bundle.fields, "bundle", max_bytes=LIMITS.bundle_bytes)

    def seal(self, recipient: EncryptionKey) -> bytes:
        """The file: a line that says what it is, then the sealed box."""
        return MAGIC + keys.seal(zlib.compress(self.encode(), 9), recipient)


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
