"""Presentations with key binding for others than hospitals: the sd-jwt reference package verifies them."""

from __future__ import annotations

from typing import Any

import pytest
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]  # the package has no types
from sd_jwt.verifier import SDJWTVerifier

from credchain.certificates import Millis
from credchain.credentials.sdjwt import Credential, base64url, parse, present, select
from credchain.errors import InvalidInput
from tests.ledger_world import CLAIMS, ISSUER_OF, START, Person, World, npi, signing_key

ELENA, MALLORY = Person("Elena's wallet", npi(1)), Person("Mallory's wallet", npi(2))
AUDIENCE, NONCE = "https://verifier.example/cb?x=1", "n-0S6_WzA2Mj"
NOW = Millis(START + 1_234)


def credential(category: str = "state_license", **differing: Any) -> Credential:
    given: dict[str, Any] = {
        "subject": ELENA.subject(category),
        "bound": ELENA.signer.public,
        "valid_until": START + 1_000 * 86_400 - 1,
    }
    claims = ELENA.identity_claims if category == "identity" else {}
    return World().issue(category, ELENA.npi, **{**given, **claims, **differing})


def presented(made: Credential, **differing: Any) -> str:
    given: dict[str, Any] = {"audience": AUDIENCE, "nonce": NONCE, "issued_at": NOW}
    return present(made, ELENA.signer, **{**given, **differing})


def jwk(person_or_issuer: str) -> JWK:
    key = signing_key(person_or_issuer).public
    return JWK(kty="OKP", crv="Ed25519", x=base64url(key))


def verified(text: str, audience: str | None = AUDIENCE, nonce: str | None = NONCE) -> dict[str, Any]:
    """What the reference package makes of it, with the issuer's key."""
    issuer = jwk(ISSUER_OF["state_license"])
    found: dict[str, Any] = SDJWTVerifier(text, lambda *_: issuer, audience, nonce).get_verified_payload()
    return found


def assert_refused(text: str, audience: str = AUDIENCE, nonce: str = NONCE) -> None:
    with pytest.raises(Exception) as caught:  # the package raises many kinds
        verified(text, audience, nonce)
    assert "mismatch, requested" not in str(caught.value), "refused for its algorithm, which is right"


@pytest.fixture(autouse=True)
def eddsa(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package takes any algorithm for the issuer, and only its default for the key binding."""
    monkeypatch.setattr("sd_jwt.verifier.DEFAULT_SIGNING_ALG", "EdDSA")


def test_the_reference_package_verifies_it() -> None:
    payload = verified(presented(credential()))
    assert {name: payload[name] for name in CLAIMS["state_license"]} == CLAIMS["state_license"]
    assert payload["sub"] == ELENA.subject("state_license").hex()


def test_chosen_claims_only() -> None:
    chosen = parse(select(credential(), ["state", "license_number"]))
    payload = verified(presented(chosen))
    assert payload["state"] == "CA"
    assert not {"family_name", "given_name", "issued_date"} & set(payload)


def test_none_of_the_claims() -> None:
    payload = verified(presented(parse(select(credential(), []))))
    assert not set(CLAIMS["state_license"]) & set(payload)


@pytest.mark.parametrize("audience", ["https://other.example", "", AUDIENCE + "/", AUDIENCE.upper()])
def test_another_audience(audience: str) -> None:
    assert_refused(presented(credential(), audience=audience))


@pytest.mark.parametrize("nonce", ["another", "", NONCE + "x", NONCE.lower()])
def test_another_nonce(nonce: str) -> None:
    assert_refused(presented(credential(), nonce=nonce))


def test_without_key_binding_where_one_is_asked() -> None:
    assert_refused(credential().text)


def test_a_disclosure_added_or_taken_after_signing() -> None:
    """sd_hash covers what was disclosed."""
    made = credential()
    text = presented(parse(select(made, ["state"])))
    jwt, *_, binding = text.split("~")
    assert_refused("~".join((jwt, *made.disclosures, binding)))
    assert_refused("~".join((jwt, binding)))


def test_the_binding_of_another_credential() -> None:
    first, second = credential(), credential(license_number="A990002")
    binding = presented(first).rpartition("~")[2]
    assert_refused(second.text + binding)


def test_a_binding_signed_by_another_key() -> None:
    """Mallory signs the binding of a credential of its own and puts it beside Elena's."""
    other = credential(bound=MALLORY.signer.public)
    binding = present(other, MALLORY.signer, audience=AUDIENCE, nonce=NONCE, issued_at=NOW)
    assert_refused(credential().text + binding.rpartition("~")[2])


def test_every_seventh_character_of_the_binding() -> None:
    text = presented(credential())
    start = text.rindex("~") + 1
    for index in range(start, len(text) - 1, 7):
        other = "A" if text[index] != "A" else "B"
        assert_refused(text[:index] + other + text[index + 1 :])


def test_the_wallet_refuses_what_it_cannot_bind() -> None:
    with pytest.raises(InvalidInput, match="no key"):
        presented(credential(bound=None))
    with pytest.raises(InvalidInput, match="another key"):
        presented(credential(bound=MALLORY.signer.public))


def test_the_presentation_is_no_credential_of_ours() -> None:
    """What goes out with a key binding does not come in as a credential."""
    with pytest.raises(InvalidInput, match="key binding"):
        parse(presented(credential()))


def test_select_keeps_the_order_and_the_rest_of_the_text() -> None:
    made = credential()
    assert select(made, list(made.claims)) == made.text
    assert parse(select(made, ["state"])).jwt == made.jwt
    assert parse(select(made, ["state"])).hidden == len(made.disclosures) - 1
    assert select(made, ["zoology"]) == f"{made.jwt}~"
