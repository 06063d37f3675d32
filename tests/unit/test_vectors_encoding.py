"""Runs tests/vectors/encoding.json and sdjwt.json; their format is in tests/vectors/README.md."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]  # the package has no types
from sd_jwt.verifier import SDJWTVerifier

from credchain.credentials.sdjwt import issue, parse, verify_signature
from credchain.encoding import Digest, Fields, Value, decode, encode
from credchain.errors import InvalidInput
from credchain.keys import Did, PublicKey, SigningKey
from tests.unit.credential_helpers import VECTORS, base64url, vectors

ENCODING = vectors("encoding.json")
SDJWT = vectors("sdjwt.json")


def untagged(value: Any) -> Any:
    """A vector's value, with ``{"$bytes": …}`` as bytes."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"$bytes"}:
        return bytes.fromhex(value["$bytes"])
    return {key: untagged(item) for key, item in value.items()}


def _one(accessor: str) -> Callable[[Fields], dict[str, Any]]:
    def read(fields: Fields) -> dict[str, Any]:
        value = getattr(fields, accessor)("v")
        return {} if value is None else {"v": value}

    return read


SHAPES: dict[str, Callable[[Fields], dict[str, Any]]] = {
    **{name: _one(name) for name in ("integer", "boolean", "binary", "text", "optional_integer")},
    "texts": lambda fields: {"v": list(fields.texts("v", at_most=10))},
    "nested": lambda fields: {"v": {"w": fields.nested("v", lambda inner: inner.integer("w"))}},
    "pair": lambda fields: {"a": fields.integer("a"), "b": fields.integer("b")},
}


def read_as(shape: str, data: bytes) -> dict[str, Any]:
    def same(value: dict[str, Any]) -> Value:
        return value

    return decode(data, SHAPES[shape], same, "vector")


def _name(case: dict[str, Any]) -> str:
    text = str(case.get("reason") or case.get("note") or case.get("hex") or case.get("text"))
    return f"{case.get('shape', '')} {text[:40]}"


@pytest.mark.parametrize("case", ENCODING["accepted"], ids=_name)
def test_accepted_values_have_exactly_these_bytes(case: dict[str, Any]) -> None:
    value, data = untagged(case["value"]), bytes.fromhex(case["hex"])
    assert encode(value).hex() == case["hex"]
    if case["shape"] != "any":
        assert read_as(case["shape"], data) == value


@pytest.mark.parametrize("case", ENCODING["refused"], ids=_name)
def test_refused_bytes_are_invalid_input(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_as(case["shape"], bytes.fromhex(case["hex"]))


def test_every_shape_that_refuses_also_accepts() -> None:
    refusing = {case["shape"] for case in ENCODING["refused"]}
    assert refusing == set(SHAPES)
    assert refusing <= {case["shape"] for case in ENCODING["accepted"]}


def issued_as_in_the_vector() -> str:
    given = SDJWT["issuance"]
    signer = SigningKey.from_seed(bytes.fromhex(SDJWT["key"]["seed"]))
    credential = issue(
        signer,
        issuer=Did(given["issuer"]),
        category=given["category"],
        subject=Digest(bytes.fromhex(given["subject"])),
        issued_at=given["issued_at"],
        valid_from=given["valid_from"],
        valid_until=given["valid_until"],
        claims=given["claims"],
        salts=[bytes.fromhex(salt) for salt in given["salts"]],
        holder=PublicKey(bytes.fromhex(given["holder"])),
    )
    return credential.text


def test_issuing_gives_exactly_this_text() -> None:
    assert issued_as_in_the_vector() == SDJWT["credential"]


def test_the_credential_reads_as_it_was_issued() -> None:
    given, credential = SDJWT["issuance"], parse(SDJWT["credential"])
    assert credential.text == SDJWT["credential"]
    assert credential.digest.hex() == SDJWT["digest"]
    assert credential.issuer == given["issuer"]
    assert credential.category == given["category"]
    assert credential.subject.hex() == given["subject"]
    assert credential.issued_at == given["issued_at"]
    assert (credential.valid_from, credential.valid_until) == (given["valid_from"], given["valid_until"])
    assert credential.holder is not None
    assert credential.holder.hex() == given["holder"]
    assert dict(credential.claims) == given["claims"]


PUBLIC = PublicKey(bytes.fromhex(SDJWT["key"]["public"]))


@pytest.mark.parametrize("case", SDJWT["presentations"], ids=lambda case: f"{case['hidden']} hidden")
def test_presentations_show_their_share(case: dict[str, Any]) -> None:
    credential = parse(case["text"])
    assert dict(credential.claims) == case["claims"]
    assert credential.hidden == case["hidden"]
    assert credential.digest.hex() == SDJWT["digest"]
    assert verify_signature(credential, PUBLIC)


@pytest.mark.parametrize("case", SDJWT["presentations"], ids=lambda case: f"{case['hidden']} hidden")
def test_the_reference_package_reads_the_presentations_alike(case: dict[str, Any]) -> None:
    jwk = JWK(kty="OKP", crv="Ed25519", x=base64url(PUBLIC))
    payload = SDJWTVerifier(case["text"], lambda *_: jwk).get_verified_payload()
    registered = {"iss", "vct", "sub", "iat", "nbf", "exp", "cnf"}
    assert {name: value for name, value in payload.items() if name not in registered} == case["claims"]


@pytest.mark.parametrize("case", SDJWT["refused"], ids=_name)
def test_refused_credentials_are_invalid_input(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse(case["text"])


@pytest.mark.parametrize("case", SDJWT["refused"], ids=_name)
def test_the_issuer_did_sign_what_is_refused(case: dict[str, Any]) -> None:
    """By the cryptography package: so that none is refused for its signature alone."""
    jwt = case["text"].split("~")[0]
    signing_input, _, signature = jwt.rpartition(".")
    try:
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if jwt.count(".") != 2 or len(raw) != 64 or base64url(raw) != signature:
        assert case["reason"] in SPOILED_SIGNATURES
        return
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(raw, signing_input.encode())


SPOILED_SIGNATURES = (
    "padding on the signature",
    "a line feed after the signature",
    "no signature",
    "two parts",
    "JWT with the alphabet of plain base64",
)


@pytest.mark.parametrize("case", SDJWT["refused"], ids=_name)
def test_what_is_refused_has_good_salts_unless_that_is_the_reason(case: dict[str, Any]) -> None:
    for disclosure in filter(None, case["text"].split("~")[1:-1]):
        text = base64.urlsafe_b64decode(disclosure + "=" * (-len(disclosure) % 4)).decode()
        salt = text.removeprefix('["').split('"')[0]
        good = len(base64.urlsafe_b64decode(salt + "=" * (-len(salt) % 4))) == 16 and len(salt) == 22
        assert good or "salt" in case["reason"]


@pytest.mark.parametrize("case", SDJWT["forged"], ids=_name)
def test_forged_credentials_do_not_verify(case: dict[str, Any]) -> None:
    credential = parse(case["text"])
    assert not verify_signature(credential, PUBLIC)


@pytest.mark.parametrize("name", ["encoding.json", "ed25519.json", "sdjwt.json"])
def test_the_files_are_in_the_format_described(name: str) -> None:
    assert vectors(name)["format"] == 1
    assert set((VECTORS / name).read_text("utf-8")) <= set(string.printable)
    assert f"`{name}`" in (VECTORS / "README.md").read_text("utf-8")
