"""SD-JWT VC: the credential as a document (RFC 9901; SD-JWT-based Verifiable Credentials, draft).

A credential is ``JWT~disclosure~…~``. The JWT is signed by the issuer with EdDSA and holds iss, vct,
sub, iat, nbf, exp, cnf and the digests of the disclosures; every other claim is one salted
disclosure at the top level. Reading is strict: what our issuers never write is refused.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Collection, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec

from .. import keys
from ..certificates import Millis
from ..encoding import Digest, check_text, digest, printable, refused_field
from ..errors import InvalidInput
from ..keys import Did, PublicKey, SigningKey
from ..limits import LIMITS, SECOND
from .categories import RESERVED, Claims, canonical_json, parse_json

TYPE: Final = "dc+sd-jwt"
ALGORITHM: Final = "EdDSA"
HASH: Final = "sha-256"
VCT_PREFIX: Final = "urn:credchain:"
SALT_BYTES: Final = 16
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VCT: Final = re.compile(VCT_PREFIX + _NAME.pattern)
_SALT: Final = re.compile("[A-Za-z0-9_-]{21}[AQgw]")
"""The base64url of 16 bytes."""

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/   ")
_PADDING: Final = (b"", b"===", b"==", b"=")
_LAST: Final = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")
"""By the length modulo 4: what pads it, and the last characters that leave no stray bits."""

_HEADER: Final = {"alg": ALGORITHM, "typ": TYPE}


class Credential(msgspec.Struct, frozen=True, dict=True):
    """A parsed credential; its signature is not yet checked (see `verify_signature`).

    ``claims`` are the disclosed ones, ``hidden`` is how many digests have no disclosure here.
    Times are milliseconds; ``valid_until`` is the last millisecond of validity.
    """

    jwt: str
    disclosures: tuple[str, ...]
    issuer: Did
    category: str
    subject: Digest
    issued_at: Millis
    valid_from: Millis
    valid_until: Millis | None
    holder: PublicKey | None
    claims: Claims
    hidden: int

    @property
    def text(self) -> str:
        return "~".join((self.jwt, *self.disclosures, ""))

    @cached_property
    def digest(self) -> Digest:
        return credential_digest(self.jwt)


def credential_digest(jwt: str) -> Digest:
    """The ledger's digest of a credential: of the exact issuer-signed JWT text, no disclosures."""
    return digest("credential", jwt.encode())


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515, section 2)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def unbase64url(text: str, field: str) -> bytes:
    """Strict: the alphabet only, no padding, no stray bits."""
    return _unbase64(text.encode("ascii", "replace").translate(_FROM_URL), field)


def _unbase64(standard: bytes, field: str) -> bytes:
    """Of text in the standard alphabet, otherwise as `unbase64url`."""
    surplus = len(standard) % 4
    try:
        data = binascii.a2b_base64(standard + _PADDING[surplus], strict_mode=True)
    except binascii.Error as problem:
        raise InvalidInput(f"{field} is not base64url", field=field) from problem
    if surplus and standard[-1] not in _LAST[surplus]:
        raise InvalidInput(f"{field} is not canonical base64url", field=field)
    return data


def issue(
    signer: SigningKey,
    *,
    issuer: Did,
    category: str,
    subject: Digest,
    issued_at: Millis,
    valid_from: Millis,
    valid_until: Millis | None,
    claims: Claims,
    salts: Sequence[bytes],
    holder: PublicKey | None = None,
) -> Credential:
    """A new credential. ``salts``: one of 16 random bytes for each claim, never used before."""
    if valid_from % SECOND or (valid_until is not None and (valid_until + 1) % SECOND):
        raise InvalidInput("a validity window begins and ends on whole seconds", field="valid_from")
    disclosures = tuple(
        _disclosure(salt, name, claims[name]) for salt, name in zip(salts, claims, strict=True)
    )
    payload: dict[str, Any] = {
        "iss": issuer,
        "vct": VCT_PREFIX + category,
        "sub": subject.hex(),
        "iat": issued_at // SECOND,
        "nbf": valid_from // SECOND,
        "_sd_alg": HASH,
        "_sd": sorted(_disclosure_digests([each.encode() for each in disclosures])),
    }
    if valid_until is not None:
        payload["exp"] = (valid_until + 1) // SECOND
    if holder is not None:
        payload["cnf"] = {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64url(holder)}}
    signing_input = f"{_segment(_HEADER)}.{_segment(payload)}"
    jwt = f"{signing_input}.{base64url(signer.sign(signing_input.encode()))}"
    return parse("~".join((jwt, *disclosures, "")))


def _segment(value: Any) -> str:
    return base64url(canonical_json(value).encode())


def _disclosure(salt: bytes, name: str, value: Any) -> str:
    if len(salt) != SALT_BYTES:
        raise InvalidInput("a salt is 16 bytes", field=name)
    return _segment([base64url(salt), name, value])


def _disclosure_digests(disclosures: Sequence[bytes]) -> list[str]:
    """RFC 9901, section 4.2.3: the base64url of SHA-256 over the base64url text, of each.

    One call encodes them all: a digest and a zero byte make 44 characters, the first 43 the digest's.
    """
    padded = b"".join([hashlib.sha256(each).digest() + b"\x00" for each in disclosures])
    encoded = base64url(padded)
    return [encoded[at : at + 43] for at in range(0, len(encoded), 44)]


def parse(text: str) -> Credential:
    """A credential with any subset of its disclosures; InvalidInput says what is wrong."""
    if not text.isascii():
        raise InvalidInput("the credential is not ASCII text", field="credential")
    if len(text) > LIMITS.credential_bytes:
        raise InvalidInput(
            f"the credential is longer than {LIMITS.credential_bytes} bytes", field="credential"
        )
    parts = text.split("~")
    if len(parts) < 2 or parts[-1]:
        raise InvalidInput(
            "the credential is not an SD-JWT: it ends with ~ and has no key binding",
            field="credential",
        )
    jwt, disclosures = parts[0], tuple(parts[1:-1])
    payload = _read_jwt(jwt)
    hidden, claims = _open_disclosures([each.encode() for each in disclosures], payload.digests)
    _check_digests(hidden)
    until = Millis(payload.exp * SECOND - 1) if type(payload.exp) is int else None
    return Credential(
        jwt=jwt,
        disclosures=disclosures,
        issuer=keys.check_did(payload.iss, "iss"),
        category=payload.vct.removeprefix(VCT_PREFIX),
        subject=_subject(payload.sub),
        issued_at=Millis(payload.iat * SECOND),
        valid_from=Millis(payload.nbf * SECOND),
        valid_until=until,
        holder=_holder(payload.cnf.jwk) if isinstance(payload.cnf, _Confirmation) else None,
        claims=MappingProxyType(claims),
        hidden=len(hidden),
    )


def discloses_only_its_own(text: str) -> bool:
    """Whether every disclosure is one that the JWT names, each once: if not, somebody altered them.

    InvalidInput if the JWT itself cannot be read.
    """
    jwt, *disclosures = text.split("~")
    digests = set(_read_jwt(jwt).digests)
    _check_digests(digests)
    found = _disclosure_digests([each.encode() for each in disclosures[:-1]])
    return disclosures[-1:] == [""] and len(set(found)) == len(found) and set(found) <= digests


def verify_signature(credential: Credential, key: PublicKey) -> bool:
    """Whether this key signed the JWT. The key comes from the ledger, never from the credential."""
    signing_input, _, signature = credential.jwt.rpartition(".")
    return keys.verify(key, signing_input.encode(), unbase64url(signature, "signature"))


_Seconds = Annotated[int, msgspec.Meta(ge=0, le=LIMITS.max_integer // SECOND)]


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object of a payload: its type says which members there are."""


class _Jwk(_Claims, frozen=True):
    crv: Literal["Ed25519"]
    kty: Literal["OKP"]
    x: str


class _Confirmation(_Claims, frozen=True):
    jwk: _Jwk


class _Payload(_Claims, frozen=True):
    """What stands in a JWT undisclosed (PROTOCOL.md, section 3); every other claim is a disclosure."""

    iss: str
    vct: str
    sub: str
    iat: _Seconds
    nbf: _Seconds
    digests: Annotated[list[str], msgspec.Meta(max_length=LIMITS.disclosures)] = msgspec.field(name="_sd")
    algorithm: Literal["sha-256"] = msgspec.field(name="_sd_alg")
    exp: _Seconds | msgspec.UnsetType = msgspec.UNSET
    cnf: _Confirmation | msgspec.UnsetType = msgspec.UNSET


_PAYLOADS: Final = msgspec.json.Decoder(_Payload)
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


def _read_jwt(jwt: str) -> _Payload:
    segments = jwt.split(".")
    if len(segments) != 3:
        raise InvalidInput("the credential's JWT does not have three parts", field="credential")
    if len(unbase64url(segments[2], "signature")) != keys.SIGNATURE_BYTES:
        raise InvalidInput("the credential's signature is not 64 bytes", field="signature")
    if segments[0] != _OUR_HEADER:
        _check_header(parse_json(_utf8(unbase64url(segments[0], "header"), "header"), "header"))
    return _read_payload(unbase64url(segments[1], "payload"))


def _read_payload(data: bytes) -> _Payload:
    """Typed, and every rule for a payload by itself.

    A payload that is not written as ours are is read by `parse_json`, which refuses duplicate keys.
    """
    try:
        payload = _PAYLOADS.decode(data)
        if _CANONICAL.encode(payload) != data:
            payload = msgspec.convert(parse_json(_utf8(data, "payload"), "payload"), _Payload)
    except msgspec.ValidationError as problem:
        raise _payload_refused(str(problem)) from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidInput(f"payload is not JSON: {problem}", field="payload") from problem
    if not _VCT.fullmatch(payload.vct):
        raise InvalidInput(f"the credential's vct is not {VCT_PREFIX} and a category", field="vct")
    if type(payload.exp) is int and payload.exp <= payload.nbf:
        raise InvalidInput("the credential's exp is not after its nbf", field="exp")
    if len(set(payload.digests)) != len(payload.digests):
        raise InvalidInput("the credential names a digest twice", field="_sd")
    return payload


def _payload_refused(problem: str) -> InvalidInput:
    field, message = refused_field(problem)
    if "unknown field" in message:
        return InvalidInput(f"the claim {field} is not a salted disclosure", field=field)
    field = field.partition("[")[0] or "payload"
    return InvalidInput(f"the credential's {field}: {message}", field=field)


def _utf8(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise InvalidInput(f"{what} is not UTF-8", field=what) from problem


def _check_header(header: Any) -> None:
    """alg and typ are pinned before anything else; kid, jwk, x5c, jku are never read."""
    if type(header) is not dict:
        raise InvalidInput("header is not a JSON object", field="header")
    for name, expected in _HEADER.items():
        if header.get(name) != expected:
            raise InvalidInput(
                f"the credential's {name} is {str(header.get(name))[:40]!r}, not {expected}",
                field=name,
            )
    if "crit" in header:
        raise InvalidInput("the credential has critical header parameters", field="crit")


_OUR_HEADER: Final = _segment(_HEADER)


def _check_digests(digests: Collection[str]) -> None:
    """Those that have a disclosure are digests, since they equal one."""
    if any(len(unbase64url(each, "_sd")) != 32 for each in digests):
        raise InvalidInput("the credential's _sd holds something other than digests", field="_sd")


def _subject(text: str) -> Digest:
    try:
        subject = bytes.fromhex(text)
    except ValueError:
        subject = b""
    if len(subject) != 32 or subject.hex() != text:
        raise InvalidInput("the credential's sub is not 64 hexadecimal digits", field="sub")
    return Digest(subject)


def _holder(jwk: _Jwk) -> PublicKey:
    key = unbase64url(jwk.x, "cnf")
    if len(key) != keys.PUBLIC_KEY_BYTES:
        raise InvalidInput("the credential's cnf is not 32 bytes", field="cnf")
    return PublicKey(key)


def _open_disclosures(
    disclosures: Sequence[bytes], digests: Sequence[str]
) -> tuple[set[str], dict[str, Any]]:
    """RFC 9901, section 7.1, steps 3 and 4, for flat claims only: the digests left over, and the claims.

    The payload names each digest once.
    """
    hidden = set(digests).difference(_disclosure_digests(disclosures))
    if len(hidden) != len(digests) - len(disclosures):
        raise InvalidInput(
            "a disclosure is not referenced by the credential, or stands twice", field="disclosure"
        )
    claims: dict[str, Any] = {}
    for disclosure in disclosures:
        name, value = _read_disclosure(disclosure)
        if name in claims:
            raise InvalidInput(f"the claim {name} is disclosed twice", field=name)
        claims[name] = value
    return hidden, claims


_DISCLOSURES: Final = msgspec.json.Decoder(tuple[str, str, Any])


def _read_disclosure(disclosure: bytes) -> tuple[str, Any]:
    data = _unbase64(disclosure.translate(_FROM_URL), "disclosure")
    try:
        salt, name, value = _DISCLOSURES.decode(data)
    except msgspec.ValidationError as problem:
        raise InvalidInput("a disclosure is not [salt, name, value]", field="disclosure") from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidInput(f"disclosure is not JSON: {problem}", field="disclosure") from problem
    if not _SALT.fullmatch(salt):
        unbase64url(salt, "salt")
        raise InvalidInput(f"the salt of a disclosure is not {SALT_BYTES} bytes", field="disclosure")
    if name in RESERVED:
        raise InvalidInput(f"a disclosure names the registered claim {name}", field=name)
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"a disclosure names the claim {printable(name)}", field="disclosure")
    if type(value) is str:
        check_text(value, name, max_bytes=LIMITS.claim_bytes)
    elif type(value) is list:
        for each in value:
            _check_flat(name, each, in_list=True)
    else:
        _check_flat(name, value, in_list=False)
    return name, value


def _check_flat(name: str, value: Any, *, in_list: bool) -> None:
    """Text, numbers that every reader keeps exact, booleans, lists of text: so no nested ``_sd``."""
    if type(value) is str:
        check_text(value, name, max_bytes=LIMITS.claim_bytes)
    elif in_list or type(value) not in (int, float, bool) or not abs(value) <= LIMITS.max_integer:
        raise InvalidInput(f"the claim {name} is not flat", field=name)


def disclosure_text(value: Any) -> str:
    """A claim's value as one line for people."""
    if isinstance(value, list):
        return "; ".join(str(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def select(credential: Credential, names: Collection[str]) -> str:
    """The credential's text with the disclosures of these claims only."""
    kept = [each for each in credential.disclosures if _read_disclosure(each.encode())[0] in names]
    return "~".join((credential.jwt, *kept, ""))


def present(
    credential: Credential, signer: SigningKey, *, audience: str, nonce: str, issued_at: Millis
) -> str:
    """A presentation with key binding (RFC 9901, section 4.3), signed by the holder's key.

    InvalidInput if the credential is bound to no key, or to another.
    """
    if credential.holder is None:
        raise InvalidInput(
            "the credential is bound to no key: it was attested before its holder had one",
            field="cnf",
            hint="hand over the credential itself, or ask the issuer to attest it to your address",
        )
    if credential.holder != signer.public:
        raise InvalidInput("the credential is bound to another key than this wallet's", field="cnf")
    payload = {
        "iat": issued_at // SECOND,
        "aud": audience,
        "nonce": nonce,
        "sd_hash": base64url(hashlib.sha256(credential.text.encode()).digest()),
    }
    signing_input = f"{_segment({'alg': ALGORITHM, 'typ': 'kb+jwt'})}.{_segment(payload)}"
    signature = base64url(signer.sign(signing_input.encode()))
    return f"{credential.text}{signing_input}.{signature}"
