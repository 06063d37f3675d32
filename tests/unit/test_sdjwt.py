"""SD-JWT VC: credentials against the reference package, and every attack on the format (RFC 9901)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]  # the package has no types
from sd_jwt.verifier import SDJWTVerifier

from credchain import keys
from credchain.certificates import Millis
from credchain.credentials.categories import RESERVED
from credchain.credentials.sdjwt import (
    Credential,
    credential_digest,
    disclosure_text,
    issue,
    parse,
    unbase64url,
    verify_signature,
)
from credchain.encoding import Digest
from credchain.errors import InvalidInput
from credchain.keys import PublicKey
from tests.unit.credential_helpers import (
    HEADER_JSON,
    HOLDER,
    HOSTILE,
    ISSUER,
    ISSUER_DID,
    ISSUER_SEED,
    base64url,
    category_document,
    disclosure,
    disclosure_digest,
    example_claims,
    forge,
    payload_json,
    sign_jwt,
    signer,
)

SUBJECT = Digest(bytes(range(32)))
FROM = Millis(1_767_225_600_000)
UNTIL = Millis(1_798_761_599_999)

NAMES = ["cme_credit", "state_license", "malpractice_coverage", "identity", "malpractice_claims_history"]


def make(claims: dict[str, Any], **changes: Any) -> Credential:
    arguments: dict[str, Any] = {
        "issuer": ISSUER_DID,
        "category": "cme_credit",
        "subject": SUBJECT,
        "issued_at": FROM,
        "valid_from": FROM,
        "valid_until": UNTIL,
        "claims": claims,
        "salts": [hashlib.sha256(name.encode()).digest()[:16] for name in claims],
        "holder": HOLDER.public,
    }
    return issue(ISSUER, **{**arguments, **changes})


def by_reference(text: str, key: PublicKey = ISSUER.public) -> dict[str, Any]:
    """The payload as the sd-jwt package reads and verifies it, disclosures put in place."""
    jwk = JWK(kty="OKP", crv="Ed25519", x=base64url(key))
    verified: dict[str, Any] = SDJWTVerifier(text, lambda *_: jwk).get_verified_payload()
    return verified


def registered(credential: Credential) -> dict[str, Any]:
    """What the payload must say of this credential, beside its claims."""
    payload: dict[str, Any] = {
        "iss": credential.issuer,
        "vct": f"urn:credchain:{credential.category}",
        "sub": credential.subject.hex(),
        "iat": credential.issued_at // 1000,
        "nbf": credential.valid_from // 1000,
    }
    if credential.valid_until is not None:
        payload["exp"] = (credential.valid_until + 1) // 1000
    if credential.holder is not None:
        payload["cnf"] = {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64url(credential.holder)}}
    return payload


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_package_verifies_what_we_issue(name: str) -> None:
    claims = example_claims(category_document(name))
    credential = make(claims, category=name)
    assert by_reference(credential.text) == {**registered(credential), **claims}
    assert dict(credential.claims) == claims
    assert credential.hidden == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_package_agrees_on_every_share_of_the_disclosures(name: str) -> None:
    claims = example_claims(category_document(name))
    credential = make(claims, category=name)
    everything = list(zip(claims, credential.disclosures, strict=True))
    for shown in ([], everything[:1], everything[1:], everything[::2], everything[::-1]):
        text = "~".join((credential.jwt, *(each for _, each in shown), ""))
        read = parse(text)
        expected = {claim: claims[claim] for claim, _ in shown}
        assert dict(read.claims) == expected
        assert read.hidden == len(claims) - len(shown)
        assert read.digest == credential.digest
        assert verify_signature(read, ISSUER.public)
        assert by_reference(text) == {**registered(credential), **expected}


def test_without_an_end_or_a_holder_nothing_is_said_of_them() -> None:
    credential = make({"topic": "x"}, valid_until=None, holder=None)
    assert by_reference(credential.text) == {**registered(credential), "topic": "x"}
    assert credential.valid_until is None
    assert credential.holder is None


def test_the_reference_package_refuses_what_another_key_signed() -> None:
    credential = make({"topic": "x"})
    with pytest.raises(Exception, match="Verification failed"):
        by_reference(credential.text, signer(1).public)
    assert not verify_signature(credential, signer(1).public)
    assert verify_signature(credential, ISSUER.public)


def test_text_beyond_ascii_is_signed_and_read_alike() -> None:
    claims = {"family_name": "Núñez", "given_name": "李小龍", "names": ["Ελένη", "\U00010400"]}
    credential = make(claims)
    assert by_reference(credential.text) == {**registered(credential), **claims}


def test_the_end_of_validity_is_the_last_millisecond_before_exp() -> None:
    credential = make({"topic": "x"})
    assert parse(credential.text).valid_until == UNTIL
    assert by_reference(credential.text)["exp"] == (UNTIL + 1) // 1000


@pytest.mark.parametrize(
    "changes", [{"valid_from": FROM + 1}, {"valid_until": UNTIL + 1}, {"valid_until": FROM}]
)
def test_a_window_that_seconds_cannot_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        make({"topic": "x"}, **changes)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_salt_has_sixteen_bytes(length: int) -> None:
    with pytest.raises(InvalidInput, match="16 bytes"):
        make({"topic": "x"}, salts=[bytes(length)])


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_registered_name_is_never_issued_as_a_claim(name: str) -> None:
    with pytest.raises(InvalidInput):
        make({name: "x"})


@pytest.mark.parametrize(
    "value",
    [None, {}, {"a": 1}, [1], [["a"]], [{"...": "x"}], "a\x1b[2J", 10**400],
    ids=lambda value: repr(value)[:12],
)
def test_a_claim_that_would_not_be_read_is_not_issued(value: Any) -> None:
    with pytest.raises(InvalidInput):
        make({"topic": value})


def test_the_order_of_digests_does_not_tell_the_order_of_claims() -> None:
    """RFC 9901, 4.2.4.1: the digests are sorted or shuffled."""
    payload = json.loads(unbase64url(make({"b": "x", "a": "y", "c": "z"}).jwt.split(".")[1], "payload"))
    assert payload["_sd"] == sorted(payload["_sd"])


SALT, OTHER_SALT = base64url(b"saltsaltsaltsalt"), base64url(b"pepperpepperpepp")

RFC_DISCLOSURE = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
RFC_DIGEST = "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"


def test_the_disclosure_and_digest_of_rfc_9901() -> None:
    """RFC 9901, section 4.2.3: the digest is over the base64url text, white space and all."""
    jwt = sign_jwt(ISSUER_SEED, HEADER_JSON, payload_json(_sd=[RFC_DIGEST]))
    assert by_reference(f"{jwt}~{RFC_DISCLOSURE}~")["family_name"] == "Möbius"
    with pytest.raises(InvalidInput, match="salt"):  # found by its digest, refused for its 17 bytes
        parse(f"{jwt}~{RFC_DISCLOSURE}~")
    tight = disclosure('["_26bc4LT-ac6q2KI6cBW5es","family_name","Möbius"]')
    with pytest.raises(InvalidInput, match="not referenced"):
        parse(f"{jwt}~{tight}~")


def test_white_space_in_a_disclosure_is_part_of_its_digest() -> None:
    wide, tight = f'["{SALT}", "family_name", "Möbius"]', f'["{SALT}","family_name","Möbius"]'
    jwt = forge(disclosure(wide)).split("~")[0]
    assert dict(parse(f"{jwt}~{disclosure(wide)}~").claims) == {"family_name": "Möbius"}
    with pytest.raises(InvalidInput, match="not referenced"):
        parse(f"{jwt}~{disclosure(tight)}~")


def test_the_ledgers_digest_is_of_the_jwt_text_alone() -> None:
    credential = make({"topic": "x"})
    jwt = credential.text.split("~", maxsplit=1)[0]
    expected = hashlib.sha256(b"credchain/v1/credential\x00" + jwt.encode()).digest()
    assert credential.digest == credential_digest(jwt) == expected


# Attacks. `forge` signs whatever it is told with the issuer's true key, so only the format is at
# stake: what passes here would be shown as the issuer's word.

SHOWN = disclosure([SALT, "topic", "mammography"])


def refusal(text: str) -> InvalidInput:
    """The error in reading this text, which repeats nothing that a terminal would act upon."""
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    for part in (caught.value.message, caught.value.field, caught.value.hint):
        assert part.isprintable()
        assert len(part) < 1_000
    return caught.value


def test_the_forger_of_these_tests_makes_good_credentials() -> None:
    credential = parse(forge(SHOWN))
    assert dict(credential.claims) == {"topic": "mammography"}
    assert verify_signature(credential, ISSUER.public)
    assert by_reference(credential.text)["topic"] == "mammography"


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": "RS256"},
        {"alg": "Ed25519"},
        {"alg": "eddsa"},
        {"alg": "EdDSA "},
        {"alg": ["EdDSA"]},
        {"alg": None},
        {"typ": "JWT"},
        {"typ": "vc+sd-jwt"},
        {"typ": "example+sd-jwt"},
        {"typ": "kb+jwt"},
        {"typ": "DC+SD-JWT"},
        {"typ": None},
        {"typ": 1},
        {"crit": []},
        {"crit": ["exp"]},
        {"crit": None},
        {"b64": False, "crit": ["b64"]},
    ],
    ids=str,
)
def test_algorithm_and_type_are_pinned(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse(forge(SHOWN, header={**HEADER_JSON, **change}))


@pytest.mark.parametrize("name", ["alg", "typ"])
def test_algorithm_and_type_must_be_there(name: str) -> None:
    header = {key: value for key, value in HEADER_JSON.items() if key != name}
    with pytest.raises(InvalidInput) as caught:
        parse(forge(SHOWN, header=header))
    assert caught.value.field == name


@pytest.mark.parametrize("signature", ["", base64url(b"x" * 32), base64url(bytes(64)), base64url(bytes(65))])
def test_an_unsigned_or_hmac_signed_token_never_verifies(signature: str) -> None:
    head = forge(SHOWN).rpartition("~" + SHOWN)[0].rpartition(".")[0]
    try:
        credential = parse(f"{head}.{signature}~{SHOWN}~")
    except InvalidInput:
        return
    assert not verify_signature(credential, ISSUER.public)


@pytest.mark.parametrize(
    "extra",
    [
        {"kid": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64url(signer(9).public)}},
        {"x5c": ["MIIB"]},
        {"jku": "https://example.org/keys"},
        {"x5u": "https://example.org/certificate"},
    ],
    ids=str,
)
def test_a_key_in_the_header_is_no_source_of_keys(extra: dict[str, Any]) -> None:
    """The attacker signs with its own key and says so in the header: only the ledger's key counts."""
    attacker = hashlib.sha256(b"test key 9").digest()
    jwt = sign_jwt(attacker, {**HEADER_JSON, **extra}, payload_json([SHOWN]))
    credential = parse(f"{jwt}~{SHOWN}~")
    assert not verify_signature(credential, ISSUER.public)
    assert verify_signature(parse(forge(SHOWN, header={**HEADER_JSON, **extra})), ISSUER.public)


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ('{"alg":"none","alg":"EdDSA","typ":"dc+sd-jwt"}', None),
        ('{"alg":"EdDSA","typ":"dc+sd-jwt","typ":"dc+sd-jwt"}', None),
        (None, '"sub":"' + "cd" * 32 + '"'),
        (None, '"_sd":[]'),
        (None, '"exp":9999999999'),
        (None, '"\\u0073ub":"' + "cd" * 32 + '"'),
        (None, '"cnf":{"jwk":{"kty":"OKP","kty":"OKP","crv":"Ed25519","x":"' + "A" * 43 + '"}}'),
    ],
)
def test_a_key_that_stands_twice_is_refused(header: str | None, payload: str | None) -> None:
    whole = json.dumps(payload_json([SHOWN]))
    body = None if payload is None else whole[:-1] + "," + payload + "}"
    with pytest.raises(InvalidInput, match="stands twice"):
        parse(forge(SHOWN, header=header, payload=body))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": 5},
        {"iss": "https://issuer.example"},
        {"iss": None},
        {"iss": ISSUER_DID + "\n"},
        {"sub": None},
        {"sub": "ab" * 31},
        {"sub": "AB" * 32},
        {"sub": "ab " * 32},
        {"sub": "ab" * 32 + "\n"},
        {"sub": "٠" * 64},
        {"sub": ["ab" * 32]},
        {"vct": None},
        {"vct": "cme_credit"},
        {"vct": "urn:other:cme_credit"},
        {"vct": ["urn:credchain:cme_credit"]},
        {"iat": None},
        {"nbf": None},
        {"iat": 1.0},
        {"nbf": "1767225600"},
        {"exp": 1_798_761_600.0},
        {"exp": 1.5},
        {"exp": True},
        {"exp": -1},
        {"exp": 2**53},
        {"exp": 10**400},
        {"exp": "never"},
        {"exp": 1_767_225_600},
        {"exp": 0},
        {"iat": -1},
        {"_sd_alg": None},
        {"_sd_alg": "sha-512"},
        {"_sd_alg": "SHA-256"},
        {"_sd_alg": ["sha-256"]},
        {"_sd": None},
        {"_sd": "x"},
        {"_sd": [1]},
        {"_sd": {}},
        {"_sd": [disclosure_digest(SHOWN)] * 2},
        {"_sd": [disclosure_digest(SHOWN), *(disclosure_digest(str(each)) for each in range(64))]},
        {"cnf": {}},
        {"cnf": []},
        {"cnf": {"jwk": {}}},
        {"cnf": {"kid": "x"}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "X25519", "x": "A" * 43}}},
        {"cnf": {"jwk": {"kty": "EC", "crv": "Ed25519", "x": "A" * 43}}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 42}}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43 + "="}}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "d": "A" * 43}}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": 5}}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}, "kid": "x"}},
        {"topic": "plain"},
        {"status": {"status_list": {"idx": 0, "uri": "https://example.org"}}},
        {"aud": "x"},
        {"jti": "x"},
        {"npi": "1234567893"},
        {"...": "x"},
        {"address": {"_sd": ["x"]}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_payload_out_of_form_is_refused(changes: dict[str, Any]) -> None:
    refusal(forge(SHOWN, payload=payload_json([SHOWN], **changes)))


GOOD_DIGEST = disclosure_digest(SHOWN)
JUNK_DIGESTS: dict[str, str] = {
    "empty": "",
    "one character": "x",
    "16 bytes": base64url(bytes(16)),
    "31 bytes": base64url(bytes(31)),
    "33 bytes": base64url(bytes(33)),
    "64 bytes": base64url(bytes(64)),
    "padding": base64url(bytes(32)) + "=",
    "stray bits": base64url(bytes(32))[:-1] + "B",
    "plain base64": "+/" + base64url(bytes(32))[2:],
    "hexadecimal": "ab" * 32,
    "white space": base64url(bytes(32))[:20] + " " + base64url(bytes(32))[20:],
    "a line feed at the end": base64url(bytes(32)) + "\n",
    "an escape": "\x1b[2J" + base64url(bytes(32)),
    "digits that are not ASCII": "\u0660" * 43,
    "another claim's text": "topic: mammography",
    "an URL": "https://example.org/digest",
}


@pytest.mark.parametrize("junk", JUNK_DIGESTS.values(), ids=JUNK_DIGESTS)
def test_a_digest_is_the_one_text_of_32_bytes(junk: str) -> None:
    """Whatever else stands in ``_sd`` would be signed, and shown to nobody."""
    for digests in ([junk], [GOOD_DIGEST, junk], [junk, GOOD_DIGEST]):
        shown = [SHOWN] if GOOD_DIGEST in digests else []
        assert refusal(forge(*shown, payload=payload_json(_sd=digests))).field == "_sd"


@pytest.mark.parametrize(
    "item", [None, 5, 1.5, True, [], [GOOD_DIGEST], {}, {"...": GOOD_DIGEST}, {"_sd": [GOOD_DIGEST]}], ids=str
)
def test_a_digest_is_text(item: Any) -> None:
    assert refusal(forge(SHOWN, payload=payload_json(_sd=[GOOD_DIGEST, item]))).field == "_sd"


def test_up_to_sixty_four_digests_hide_claims_or_nothing() -> None:
    """RFC 9901, 4.2.5: decoys look like digests, so they only count as hidden."""
    digests = [GOOD_DIGEST, *(disclosure_digest(f"decoy {number}") for number in range(63))]
    credential = parse(forge(SHOWN, payload=payload_json(_sd=digests)))
    assert (dict(credential.claims), credential.hidden) == ({"topic": "mammography"}, 63)
    assert parse(forge(payload=payload_json(_sd=[]))).hidden == 0
    refusal(forge(SHOWN, payload=payload_json(_sd=[*digests, disclosure_digest("decoy 63")])))


CLAIM_OUT_OF_FORM = ["Topic", "\x1b[2J", "a" * 65, "тopic", "k" * 1_000, "a b", "\u202e", "line\nfeed"]


@pytest.mark.parametrize("name", CLAIM_OUT_OF_FORM, ids=lambda name: ascii(name[:8]))
def test_an_unknown_payload_claim_is_named_printably(name: str) -> None:
    error = refusal(forge(SHOWN, payload=payload_json([SHOWN], **{name: "x"})))
    assert error.field == ascii(name[:60])[1:-1]
    assert error.field in error.message


@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "1e3", "1.0", "9" * 400, "9" * 5_000]
)
def test_a_time_that_is_no_whole_number_of_seconds_is_refused(name: str, number: str) -> None:
    body = json.dumps(payload_json([SHOWN], **{name: 0})).replace(f'"{name}": 0', f'"{name}": {number}')
    with pytest.raises(InvalidInput):
        parse(forge(SHOWN, payload=body))


@pytest.mark.parametrize(
    "payload",
    ["", "null", "[]", '"x"', "5", "{", "{}}", "{} {}", "\ufeff{}", "[" * 5_000, '{"a":' * 5_000],
    ids=lambda text: text[:10],
)
def test_a_payload_that_is_no_json_object_is_refused(payload: str) -> None:
    with pytest.raises(InvalidInput):
        parse(forge(payload=payload))
    with pytest.raises(InvalidInput):
        parse(forge(header=payload))


CATEGORY_ESCAPES = ["cme\x1b[2Jcredit", "cme\ncredit", "cme\u202ecredit", "\ud800", "e\u0301"]


@pytest.mark.parametrize("name", CATEGORY_ESCAPES, ids=ascii)
def test_a_category_name_brings_no_escapes(name: str) -> None:
    """The category is shown to people, and becomes part of the ledger's keys."""
    with pytest.raises(InvalidInput):
        parse(forge(SHOWN, changes={"vct": f"urn:credchain:{name}"}))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([SALT, name, "x"], id=f"the name {name}")
        for name in (
            "_sd",
            "...",
            "_sd_alg",
            "iss",
            "sub",
            "exp",
            "nbf",
            "iat",
            "cnf",
            "vct",
            "status",
            "npi",
        )
    ]
    + [
        pytest.param([SALT, "address", {"_sd": ["x"]}], id="nested _sd"),
        pytest.param([SALT, "address", {"street": "x"}], id="an object"),
        pytest.param([SALT, "address", {}], id="an empty object"),
        pytest.param([SALT, "list", [{"...": "x"}]], id="an array digest"),
        pytest.param([SALT, "list", [["x"]]], id="a list in a list"),
        pytest.param([SALT, "list", [1]], id="a number in a list"),
        pytest.param([SALT, "list", [None]], id="null in a list"),
        pytest.param([SALT, "topic", None], id="null"),
        pytest.param([SALT, "x"], id="an array element's disclosure"),
        pytest.param([SALT, "topic", "x", "y"], id="four parts"),
        pytest.param([], id="no parts"),
        pytest.param({"topic": "x"}, id="no list"),
        pytest.param([5, "topic", "x"], id="a salt that is no text"),
        pytest.param([SALT, 5, "x"], id="a name that is no text"),
        pytest.param(f'["{SALT}","topic",NaN]', id="NaN"),
        pytest.param(f'["{SALT}","topic",Infinity]', id="Infinity"),
        pytest.param(f'["{SALT}","topic",1e999]', id="1e999"),
        pytest.param(f'["{SALT}","topic",-1e999]', id="-1e999"),
        pytest.param(f'["{SALT}","topic",{10**308}]', id="an integer of 309 digits"),
        pytest.param(f'["{SALT}","topic",{10**400}]', id="an integer of 401 digits"),
        pytest.param(f'["{SALT}","topic",{"9" * 5_000}]', id="an integer of 5000 digits"),
        pytest.param(f'["{SALT}","topic",{{"a":1,"a":2}}]', id="duplicate keys"),
        pytest.param(f'["{SALT}","topic",' + "[" * 5_000, id="deep nesting"),
        pytest.param(f'["{SALT}","topic",' + "[" * 900 + "]" * 900 + "]", id="deep nesting, closed"),
        pytest.param([SALT, "topic", "\x1b[2J"], id="an escape"),
        pytest.param([SALT, "topic", "a\nb"], id="a line end"),
        pytest.param([SALT, "topic", "\x9b31m"], id="a C1 control"),
        pytest.param([SALT, "topic", "\x7f"], id="delete"),
        pytest.param([SALT, "topic", "a\u202eb"], id="a direction override"),
        pytest.param([SALT, "topic", "a\u2066b"], id="a direction isolate"),
        pytest.param([SALT, "topic", "e\u0301"], id="text not in NFC"),
        pytest.param([SALT, "topic", "\ud800"], id="half a surrogate pair"),
        pytest.param(f'["{SALT}","topic","\ud800"]', id="half a surrogate pair in UTF-8"),
        pytest.param([SALT, "topic", ["ok", "\x1b[2J"]], id="an escape in a list"),
        pytest.param([SALT, "topic", "\U0001f600"], id="an emoji"),
        pytest.param([SALT, "topic", ["ok", "\u1e9e"]], id="a letter after Unicode 3.2, in a list"),
        pytest.param([SALT, "topic", "b\u0301\U00010efd"], id="NFC by one version of Unicode alone"),
        pytest.param([SALT, "topic", "\ue000"], id="private use"),
        pytest.param([SALT, "topic", "a\u200bb"], id="zero width space"),
        pytest.param([SALT, "topic", "a\u200db"], id="zero width joiner"),
        pytest.param([SALT, "topic\x1b[2J", "x"], id="an escape in the name"),
        pytest.param([SALT, "a" * 201, "x"], id="a long name"),
        pytest.param([SALT, "topic", "x" * 4_097], id="a long value"),
    ],
)
def test_a_disclosure_out_of_form_is_refused(content: Any) -> None:
    error = refusal(forge(disclosure(content)))
    assert "salt" not in error.message or "[salt, name, value]" in error.message, "refused for another reason"


WRONG_SALTS: dict[str, str] = {
    "empty": "",
    "one byte": base64url(bytes(1)),
    "15 bytes": base64url(bytes(15)),
    "17 bytes": base64url(bytes(17)),
    "32 bytes": base64url(bytes(32)),
    "padding": SALT + "==",
    "stray bits": SALT[:-1] + "B",
    "plain base64": "+/" + SALT[2:],
    "white space": SALT[:10] + " " + SALT[10:],
    "a line feed at the end": SALT + "\n",
    "a character put in": SALT[:10] + "!" + SALT[10:],
    "hexadecimal": "00" * 16,
    "sixteen characters": "s" * 16,
    "digits that are not ASCII": "\u0660" * 22,
    "an escape": "\x1b[2J" + SALT,
}


@pytest.mark.parametrize("salt", WRONG_SALTS.values(), ids=WRONG_SALTS)
def test_a_salt_is_the_one_text_of_sixteen_bytes(salt: str) -> None:
    """A shorter one lets who guesses the value confirm it; a second text of one salt is a second claim."""
    assert "salt" in str(refusal(forge(disclosure([salt, "topic", "x"]))))
    refusal(forge(SHOWN, disclosure([salt, "other", "x"])))


WRONG_NAMES = [
    *("", "A", "Topic", "tOpic", "1st", "_note", "_", "a-b", "a.b", "a b", " a", "a ", "a\n", "\na", "a/b"),
    *("a:b", "#", "$id", "a\x00", "a\x1b[2J", "é", "naïve", "тopic", "topi\u0441", "ａ", "a\u0301", "a٠"),
    *("a\u200b", "\u202ea", "\U0001f600", "\ud800", "a" * 65, "k" * 1_000, "__proto__", "constructor()"),
]


@pytest.mark.parametrize("name", WRONG_NAMES, ids=lambda name: ascii(name[:12]))
def test_a_claim_has_a_plain_name(name: str) -> None:
    refusal(forge(disclosure([SALT, name, "x"])))
    refusal(forge(SHOWN, disclosure([OTHER_SALT, name, "x"])))
    with pytest.raises((InvalidInput, UnicodeEncodeError)):  # the latter for half a surrogate pair
        make({name: "x"})


@pytest.mark.parametrize("name", ["a", "a1", "a_", "z_9", "a" * 64, "topic", "license_number"])
def test_a_plain_name_is_read(name: str) -> None:
    assert dict(parse(forge(disclosure([SALT, name, "x"]))).claims) == {name: "x"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("x", "x"), (5, 5), (-1, -1), (6.25, 6.25), (True, True), (["a", "b"], ["a", "b"]), ([], []), ("", "")],
)
def test_flat_claims_are_read_with_their_types(value: Any, expected: Any) -> None:
    read = parse(forge(disclosure([SALT, "claim", value]))).claims["claim"]
    assert read == expected
    assert type(read) is type(expected)


def test_claims_cannot_be_changed_after_parsing() -> None:
    claims: Any = parse(forge(SHOWN)).claims
    with pytest.raises(TypeError):
        claims["topic"] = "other"


def test_disclosures_stand_once_and_belong_to_the_credential() -> None:
    other = disclosure([SALT, "topic", "other"])
    jwt = forge(SHOWN).split("~")[0]
    for tail in (
        f"~{SHOWN}~{SHOWN}~",
        f"~{other}~",
        f"~{SHOWN}~{other}~",
        f"~{SHOWN}=~",
        f"~{SHOWN} ~",
        f"~ {SHOWN}~",
        f"~{SHOWN}\n~",
        f"~~{SHOWN}~",
        f"~{SHOWN}~~",
        "~~",
        "~é~",
        f"~{SHOWN[:-1]}~",
    ):
        with pytest.raises(InvalidInput):
            parse(jwt + tail)


def test_one_claim_is_not_disclosed_twice_under_two_salts() -> None:
    first, second = disclosure([SALT, "topic", "a"]), disclosure([OTHER_SALT, "topic", "b"])
    with pytest.raises(InvalidInput, match="twice"):
        parse(forge(first, second))
    assert dict(parse(forge(first, second).replace(second + "~", "")).claims) == {"topic": "a"}


def test_a_disclosure_whose_base64_has_stray_bits_or_padding_is_refused() -> None:
    """Also where the issuer signed the digest of that very text."""
    raw = f'["{SALT}","a","x"]'.encode()
    assert len(raw) % 3 == 1  # four stray bits in the last character
    text = base64url(raw)
    stray = text[:-1] + chr(ord(text[-1]) + 1)
    assert parse(forge(text)).claims["a"] == "x"
    for spoiled in (
        stray,
        text + "=",
        text + "==",
        text + "\n",
        text[:4] + "\n" + text[4:],
        text[:6] + "!" + text[6:],
    ):
        assert "base64url" in str(refusal(forge(spoiled)))


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize(
    "spoil", ["{}=", "{}==", "{}\n", " {}", "{}+", "{}/", "{}.", "{}\u0660", "{}\x00", "=", ""]
)
def test_a_jwt_part_that_is_no_canonical_base64url_is_refused(part: int, spoil: str) -> None:
    jwt, _, rest = forge(SHOWN).partition("~")
    parts = jwt.split(".")
    parts[part] = spoil.format(parts[part])
    with pytest.raises(InvalidInput):
        parse(".".join(parts) + "~" + rest)


@pytest.mark.parametrize(
    "text", ["A", "AB", "AAB", "AB==", "A===", "A A", "AA+A", "AA/A", "AAA\n", "é", "\ud800AAA"]
)
def test_base64url_has_one_form(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        unbase64url(text, "salt")
    assert caught.value.field == "salt"


@HOSTILE
@given(st.binary(max_size=40))
def test_base64url_comes_back(data: bytes) -> None:
    assert unbase64url(base64url(data), "x") == data


@pytest.mark.parametrize(
    "shape",
    [
        "{jwt}",
        "{jwt}~{shown}",
        "~{jwt}~",
        "{jwt}~{shown}~{jwt}",
        " {jwt}~",
        "{jwt} ~",
        "{jwt}~\n",
        "",
        "~",
        "..~",
        "a.b.c~",
        "{jwt}.~",
        ".{jwt}~",
        "{{}}~",
    ],
)
def test_what_is_no_sd_jwt_without_key_binding_is_refused(shape: str) -> None:
    jwt = forge(SHOWN).split("~")[0]
    with pytest.raises(InvalidInput):
        parse(shape.format(jwt=jwt, shown=SHOWN))


def test_a_long_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidInput, match="longer than"):
        parse(forge(SHOWN) + "x" * 40_000 + "~")
    with pytest.raises(InvalidInput):
        parse("~" * 30_000)
    with pytest.raises(InvalidInput):
        parse("." * 30_000 + "~")


def still_the_issuers(text: str) -> bool:
    """Whether this text parses, and the issuer's key verifies it."""
    try:
        credential = parse(text)
    except InvalidInput:
        return False
    return verify_signature(credential, ISSUER.public)


def test_no_change_of_one_character_survives() -> None:
    text = make({"topic": "mammography", "credits": 6.25}).text
    assert still_the_issuers(text)
    for place, character in enumerate(text):
        point = ord(character)
        replacements = {chr(point ^ bit) for bit in (1, 2, 4, 8, 16, 32, 64)} | {"A", "~", ".", "=", "\u0101"}
        for replacement in replacements - {character}:
            assert not still_the_issuers(text[:place] + replacement + text[place + 1 :]), place


def test_no_character_can_be_left_out_or_put_in() -> None:
    text = make({"topic": "mammography"}).text
    for place in range(len(text)):
        assert not still_the_issuers(text[:place] + text[place + 1 :])
        for extra in ("A", "~", ".", "=", "\n"):
            assert not still_the_issuers(text[:place] + extra + text[place:])


def test_the_signature_cannot_be_moved_to_another_payload() -> None:
    one, other = make({"topic": "a"}).text, make({"topic": "b"}).text
    head, tail = one.split("~")[0].rpartition(".")[0], other.split("~")[0].rpartition(".")[2]
    assert not still_the_issuers(f"{head}.{tail}~")
    assert not still_the_issuers(one.split("~")[0] + "~" + other.split("~")[1] + "~")


def test_the_second_form_of_a_signature_is_refused() -> None:
    """S + L (RFC 8032, 5.1.7): else one credential would have two digests on the ledger."""
    order = 2**252 + 27742317777372353535851937790883648493
    jwt = make({"topic": "a"}).text.split("~")[0]
    head, _, signature = jwt.rpartition(".")
    raw = unbase64url(signature, "signature")
    scalar = int.from_bytes(raw[32:], "little") + order
    twin = base64url(raw[:32] + scalar.to_bytes(32, "little"))
    assert still_the_issuers(jwt + "~")
    assert not still_the_issuers(f"{head}.{twin}~")


@HOSTILE
@given(st.text(max_size=200) | st.text("ABCabc019-_.~=", max_size=200))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["_sd", "...", "sha-256", "EdDSA", "ab" * 32, ISSUER_DID, "urn:credchain:x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["jwk", "kty", "crv", "x", "_sd", "..."]), inner, max_size=3)
    ),
    max_leaves=6,
)


@HOSTILE
@given(st.sampled_from([*payload_json(), "cnf", "topic", "_sd"]), json_values)
def test_any_value_in_the_payload_is_refused_or_read_as_said(name: str, value: Any) -> None:
    payload = {**payload_json([SHOWN]), name: value}
    try:
        credential = parse(forge(SHOWN, payload=payload))
    except InvalidInput:
        return
    assert registered(credential) == {key: part for key, part in payload.items() if not key.startswith("_sd")}


@HOSTILE
@given(
    json_values
    | st.tuples(
        st.sampled_from([SALT, SALT, SALT, *WRONG_SALTS.values()]),
        st.sampled_from(["topic", "a", "z_9", *WRONG_NAMES]) | st.text(max_size=8),
        json_values,
    ).map(list)
)
def test_any_disclosure_is_refused_or_read_as_said(content: Any) -> None:
    try:
        credential = parse(forge(disclosure(json.dumps(content))))
    except InvalidInput:
        return
    salt, name, value = content
    assert salt == SALT
    assert re.fullmatch("[a-z][a-z0-9_]{0,63}", name, re.ASCII)
    assert dict(credential.claims) == {name: value}
    parts = value if isinstance(value, list) else [value]
    assert all(isinstance(part, str | bool | int | float) for part in parts)
    assert not any(isinstance(part, float) and not math.isfinite(part) for part in parts)
    assert not any("\x1b" in part or "\n" in part for part in parts if isinstance(part, str))


def test_a_claim_is_shown_on_one_line() -> None:
    assert disclosure_text(["CA", "TX"]) == "CA; TX"
    assert (disclosure_text(True), disclosure_text(False)) == ("yes", "no")
    assert (disclosure_text(6.25), disclosure_text(5), disclosure_text("x")) == ("6.25", "5", "x")


def test_the_issuers_name_and_its_key_are_told_apart() -> None:
    """A credential may be signed by a later key of the issuer: `iss` names, the ledger gives the key."""
    credential = issue(
        signer(4),
        issuer=ISSUER_DID,
        category="cme_credit",
        subject=SUBJECT,
        issued_at=FROM,
        valid_from=FROM,
        valid_until=None,
        claims={"topic": "x"},
        salts=[bytes(16)],
    )
    assert credential.issuer == ISSUER_DID
    assert keys.key_of(credential.issuer) == ISSUER.public
    assert verify_signature(credential, signer(4).public)
    assert not verify_signature(credential, ISSUER.public)
