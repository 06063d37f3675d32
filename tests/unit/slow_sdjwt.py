"""How credentials were read before msgspec: slowly and step by step. The oracle of test_sdjwt_oracle.py."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from credchain import keys
from credchain.certificates import Millis
from credchain.credentials.categories import RESERVED, parse_json
from credchain.credentials.sdjwt import ALGORITHM, HASH, SALT_BYTES, TYPE, VCT_PREFIX, Credential
from credchain.encoding import Digest, check_text, printable
from credchain.errors import InvalidInput
from credchain.keys import PublicKey
from credchain.limits import LIMITS, SECOND

_PAYLOAD: Final = frozenset(("iss", "vct", "sub", "iat", "nbf", "exp", "cnf", "_sd", "_sd_alg"))
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_+/", b"+/  ")
_HEADER: Final = {"alg": ALGORITHM, "typ": TYPE}


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515, section 2)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def unbase64url(text: str, field: str) -> bytes:
    """Strict: the alphabet only, no padding, no stray bits."""
    try:
        standard = text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(standard, strict_mode=True)
    except (binascii.Error, ValueError) as problem:
        raise InvalidInput(f"{field} is not base64url", field=field) from problem
    if base64url(data) != text:
        raise InvalidInput(f"{field} is not canonical base64url", field=field)
    return data


def _disclosure_digest(disclosure: str) -> str:
    """RFC 9901, section 4.2.3: over the base64url text."""
    return base64url(hashlib.sha256(disclosure.encode()).digest())


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
    header, payload = _read_jwt(jwt)
    _check_header(header)
    digests = _check_payload(payload)
    claims = _open_disclosures(disclosures, digests)
    issued_at, valid_from, valid_until = _times(payload)
    return Credential(
        jwt=jwt,
        disclosures=disclosures,
        issuer=keys.check_did(payload["iss"], "iss"),
        category=payload["vct"].removeprefix(VCT_PREFIX),
        subject=_subject(payload["sub"]),
        issued_at=issued_at,
        valid_from=valid_from,
        valid_until=valid_until,
        holder=_holder(payload["cnf"]) if "cnf" in payload else None,
        claims=MappingProxyType(claims),
        hidden=len(digests) - len(disclosures),
    )


def _read_jwt(jwt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    segments = jwt.split(".")
    if len(segments) != 3:
        raise InvalidInput("the credential's JWT does not have three parts", field="credential")
    if len(unbase64url(segments[2], "signature")) != keys.SIGNATURE_BYTES:
        raise InvalidInput("the credential's signature is not 64 bytes", field="signature")
    return _read_object(segments[0], "header"), _read_object(segments[1], "payload")


def _read_json(segment: str, what: str) -> Any:
    try:
        text = unbase64url(segment, what).decode()
    except UnicodeDecodeError as problem:
        raise InvalidInput(f"{what} is not UTF-8", field=what) from problem
    return parse_json(text, what)


def _read_object(segment: str, what: str) -> dict[str, Any]:
    value = _read_json(segment, what)
    if type(value) is not dict:
        raise InvalidInput(f"{what} is not a JSON object", field=what)
    return value


def _check_header(header: Mapping[str, Any]) -> None:
    """alg and typ are pinned before anything else; kid, jwk, x5c, jku are never read."""
    for name, expected in _HEADER.items():
        if header.get(name) != expected:
            raise InvalidInput(
                f"the credential's {name} is {str(header.get(name))[:40]!r}, not {expected}",
                field=name,
            )
    if "crit" in header:
        raise InvalidInput("the credential has critical header parameters", field="crit")


def _check_payload(payload: Mapping[str, Any]) -> list[str]:
    """The digests of the disclosures, after the registered claims have the right types."""
    if payload.get("_sd_alg") != HASH:
        raise InvalidInput(f"the credential's _sd_alg is not {HASH}", field="_sd_alg")
    for name in payload:
        if name not in _PAYLOAD:
            shown = printable(name)
            raise InvalidInput(f"the claim {shown} is not a salted disclosure", field=shown)
    for name in ("iss", "vct", "sub"):
        if type(payload.get(name)) is not str:
            raise InvalidInput(f"the credential's {name} must be text", field=name)
    if not re.fullmatch(f"{VCT_PREFIX}[a-z][a-z0-9_]{{0,63}}", payload["vct"]):
        raise InvalidInput(f"the credential's vct is not {VCT_PREFIX} and a category", field="vct")
    digests = payload.get("_sd")
    if type(digests) is not list or not all(type(each) is str for each in digests):
        raise InvalidInput("the credential's _sd must be a list of text", field="_sd")
    if any(len(unbase64url(each, "_sd")) != 32 for each in digests):
        raise InvalidInput("the credential's _sd holds something other than digests", field="_sd")
    if len(digests) > LIMITS.disclosures:
        raise InvalidInput(f"the credential has more than {LIMITS.disclosures} claims", field="_sd")
    if len(set(digests)) != len(digests):
        raise InvalidInput("the credential names a digest twice", field="_sd")
    return digests


def _times(payload: Mapping[str, Any]) -> tuple[Millis, Millis, Millis | None]:
    seconds: dict[str, int] = {}
    for name in ("iat", "nbf", "exp"):
        if name == "exp" and name not in payload:
            continue
        value = payload.get(name)
        if type(value) is not int or not 0 <= value <= LIMITS.max_integer // SECOND:
            raise InvalidInput(f"the credential's {name} must be whole seconds", field=name)
        seconds[name] = value * SECOND
    until = Millis(seconds["exp"] - 1) if "exp" in seconds else None
    if until is not None and until < seconds["nbf"]:
        raise InvalidInput("the credential's exp is not after its nbf", field="exp")
    return Millis(seconds["iat"]), Millis(seconds["nbf"]), until


def _subject(text: str) -> Digest:
    try:
        subject = bytes.fromhex(text)
    except ValueError:
        subject = b""
    if len(subject) != 32 or subject.hex() != text:
        raise InvalidInput("the credential's sub is not 64 hexadecimal digits", field="sub")
    return Digest(subject)


def _holder(cnf: Any) -> PublicKey:
    expected = {"kty": "OKP", "crv": "Ed25519"}
    jwk = cnf.get("jwk") if type(cnf) is dict and len(cnf) == 1 else None
    if type(jwk) is not dict or set(jwk) != {"kty", "crv", "x"} or type(jwk["x"]) is not str:
        raise InvalidInput("the credential's cnf is not an Ed25519 JWK", field="cnf")
    if any(jwk[name] != value for name, value in expected.items()):
        raise InvalidInput("the credential's cnf is not an Ed25519 JWK", field="cnf")
    key = unbase64url(jwk["x"], "cnf")
    if len(key) != keys.PUBLIC_KEY_BYTES:
        raise InvalidInput("the credential's cnf is not 32 bytes", field="cnf")
    return PublicKey(key)


def _open_disclosures(disclosures: Sequence[str], digests: Sequence[str]) -> dict[str, Any]:
    """RFC 9901, section 7.1, steps 3 and 4, for flat claims only."""
    known = set(digests)
    claims: dict[str, Any] = {}
    for disclosure in disclosures:
        found = _disclosure_digest(disclosure) if disclosure.isascii() else ""
        if found not in known:
            raise InvalidInput(
                "a disclosure is not referenced by the credential, or stands twice",
                field="disclosure",
            )
        known.remove(found)
        name, value = _read_disclosure(disclosure)
        if name in claims:
            raise InvalidInput(f"the claim {name} is disclosed twice", field=name)
        claims[name] = value
    return claims


def _read_disclosure(disclosure: str) -> tuple[str, Any]:
    parts = _read_json(disclosure, "disclosure")
    if type(parts) is not list or len(parts) != 3 or any(type(each) is not str for each in parts[:2]):
        raise InvalidInput("a disclosure is not [salt, name, value]", field="disclosure")
    name, value = parts[1], parts[2]
    if len(unbase64url(parts[0], "salt")) != SALT_BYTES:
        raise InvalidInput(f"the salt of a disclosure is not {SALT_BYTES} bytes", field="disclosure")
    if name in RESERVED:
        raise InvalidInput(f"a disclosure names the registered claim {name}", field=name)
    if not re.fullmatch("[a-z][a-z0-9_]{0,63}", name):
        raise InvalidInput(f"a disclosure names the claim {printable(name)}", field="disclosure")
    for each in value if type(value) is list else [value]:
        _check_flat(name, each, in_list=type(value) is list)
    return name, value


def _check_flat(name: str, value: Any, *, in_list: bool) -> None:
    """Text, numbers that every reader keeps exact, booleans, lists of text: so no nested ``_sd``."""
    if type(value) is str:
        check_text(value, name, max_bytes=LIMITS.claim_bytes)
    elif in_list or type(value) not in (int, float, bool) or not abs(value) <= LIMITS.max_integer:
        raise InvalidInput(f"the claim {name} is not flat", field=name)
