"""Verifying by NPI: what an honest answer shows, and what no dishonest one can.

The node is the adversary throughout: it may alter, leave out, repeat, exchange or delay, and gets
`ProofError` or `InvalidInput`, never a statement that an honest node would not have given.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from credchain.certificates import Certificate, Height, Millis, View, certify
from credchain.credentials.npi import Npi
from credchain.credentials.sdjwt import Credential, credential_digest, parse
from credchain.credentials.subjects import npi_subject
from credchain.errors import InvalidInput, ProofError
from credchain.keys import did_of
from credchain.ledger.blocks import CertifiedHeader
from credchain.ledger.operations import Attest, Erase
from credchain.ledger.records import Dossier, Term
from credchain.ledger.state import StateKey, dossier_key, member_key
from credchain.ledger.statemap import value_digest
from credchain.limits import LIMITS, MINUTE, SECOND
from credchain.verification.by_npi import check_categories, could_not_check
from credchain.verification.checks import Check, Outcome, Verdict
from credchain.verification.evidence import Answer
from credchain.verification.statement import CredentialResult, Statement
from tests.ledger_world import (
    BOARD,
    CLAIMS,
    GOVERNOR,
    OTHER_BOARD,
    START,
    STATE_BOARD,
    Attested,
    World,
    days,
    did,
    judge,
    npi,
    signing_key,
    some_digest,
)
from tests.values import replace

ELENA, OTHER = npi(1), npi(2)
BOTH = ("board_certification", "state_license")
PASS, FAIL, UNKNOWN, NOT_APPLICABLE = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_APPLICABLE
REASON = {
    "probation": "conditions_imposed",
    "suspended": "under_investigation",
    "lapsed": "nonpayment",
    "revoked": "fraud",
    "surrendered": "disciplinary_action",
    "issued_in_error": "data_error",
}


@pytest.fixture
def world() -> World:
    """Elena is certified by the board; nothing else is known of her."""
    made = World()
    made.attest("board_certification", ELENA)
    return made


def outcomes(result: Statement | CredentialResult) -> dict[int, Outcome]:
    return {check.id: check.outcome for check in result.checks}


def check(result: Statement | CredentialResult, number: int) -> Check:
    return next(each for each in result.checks if each.id == number)


def only(statement: Statement) -> CredentialResult:
    assert len(statement.credentials) == 1
    return statement.credentials[0]


def assert_nothing_shown(result: CredentialResult) -> None:
    shown = (result.claims, result.status, result.valid_from, result.valid_until)
    assert shown == (None, None, None, None)
    body = result.json()
    assert (body["disclosed"], body["claims"], body["status"]) == (False, None, None)
    assert (body["valid_from"], body["valid_until"]) == (None, None)


def assert_refused(
    world: World, answer: Answer, person: Npi = ELENA, required: tuple[str, ...] = (), **differing: Any
) -> ProofError:
    with pytest.raises(ProofError) as caught:
        world.verify(person, required, answer, **differing)
    return caught.value


# What an honest answer shows


def test_established(world: World) -> None:
    world.attest("identity", ELENA)
    license_ = world.attest("state_license", ELENA, valid_until=START + days(365) - 1)
    statement = world.verify(ELENA)
    assert statement.verdict is Verdict.ESTABLISHED
    assert statement.absent == ()
    passed = dict.fromkeys(range(1, 9), PASS)
    assert outcomes(statement) == {**passed, 9: NOT_APPLICABLE, 10: NOT_APPLICABLE}
    board, identity, state = statement.credentials
    assert dict(board.claims or {}) == CLAIMS["board_certification"]
    assert dict(state.claims or {}) == CLAIMS["state_license"]
    assert identity.claims is None
    assert [outcomes(identity)[number] for number in (1, 5, 6)] == [NOT_APPLICABLE] * 3
    assert (state.attestation, state.status, state.verdict) == (license_.id, "active", "established")
    assert (state.valid_from, state.valid_until) == (START, START + days(365) - 1)
    assert (board.issuer, board.issuer_name) == (did(BOARD), BOARD)
    assert statement.as_of is not None
    assert (statement.as_of.height, statement.as_of.time) == (world.tip.height, world.now)


def test_the_json_has_the_keys_of_the_contract(world: World) -> None:
    body = json.loads(json.dumps(world.verify(ELENA, BOTH).json()))
    assert set(body) == {
        "verdict",
        "verified_at",
        "as_of",
        "subject",
        "credentials",
        "absent",
        "checks",
        "statement",
    }
    assert (set(body["as_of"]), body["subject"]) == ({"height", "time"}, {"npi": ELENA, "did": None})
    assert body["absent"] == [{"category": "state_license"}]
    assert [each["id"] for each in body["checks"]] == list(range(1, 11))
    assert set(body["checks"][0]) == {"id", "name", "outcome", "detail"}
    assert set(body["credentials"][0]) >= {
        "category",
        "attestation",
        "issuer",
        "issuer_name",
        "primary_source",
        "status",
        "valid_from",
        "valid_until",
        "verdict",
        "disclosed",
        "claims",
    }
    assert body["credentials"][0]["valid_from"] == "2027-01-15T08:00:00Z"


def test_nothing_attested_is_not_established(world: World) -> None:
    statement = world.verify(OTHER)
    assert statement.verdict is Verdict.NOT_ESTABLISHED
    assert (statement.credentials, set(statement.absent)) == ((), {*BOTH, "identity"})


def test_a_required_category_that_is_absent(world: World) -> None:
    assert world.verify(ELENA).verdict is Verdict.ESTABLISHED
    assert world.verify(ELENA).absent == ("identity", "state_license")
    statement = world.verify(ELENA, BOTH)
    assert (statement.verdict, statement.absent) == (Verdict.NOT_ESTABLISHED, ("state_license",))
    assert only(statement).verdict == "established"
    assert world.verify(ELENA, ("board_certification",)).verdict is Verdict.ESTABLISHED


def test_categories_that_an_npi_does_not_lead_to_cannot_be_required(world: World) -> None:
    assert check_categories(world.network, ["state_license", "identity", "identity"]) == (
        "identity",
        "state_license",
    )
    for name in ("cme_credit", "astrology"):
        with pytest.raises(InvalidInput) as caught:
            check_categories(world.network, ["identity", name])
        assert caught.value.field == "category"


def test_the_same_npi_is_another_subject_in_each_category() -> None:
    subjects = {npi_subject(category, person) for category in BOTH for person in (ELENA, OTHER)}
    assert len(subjects) == 4


# Statuses and dates


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("probation", Verdict.ADVERSE),
        ("suspended", Verdict.ADVERSE),
        ("revoked", Verdict.ADVERSE),
        ("surrendered", Verdict.ADVERSE),
        ("lapsed", Verdict.NOT_CURRENT),
        ("issued_in_error", Verdict.NOT_ESTABLISHED),
    ],
)
@pytest.mark.parametrize("required", [(), ("board_certification",)])
def test_each_status_has_its_verdict(status: str, expected: Verdict, required: tuple[str, ...]) -> None:
    world = World()
    attested = world.attest("board_certification", ELENA)
    assert world.verify(ELENA, required).verdict is Verdict.ESTABLISHED
    world.set_status(attested, status, REASON[status])
    statement = world.verify(ELENA, required)
    assert statement.verdict is expected
    assert only(statement).status == status
    assert only(statement).verdict == ("history" if status == "issued_in_error" else expected.value)
    in_force = NOT_APPLICABLE if status == "issued_in_error" else FAIL
    assert outcomes(only(statement))[7] is in_force


def test_a_status_that_is_lifted_is_established_again(world: World) -> None:
    attested = world.attest("state_license", ELENA)
    world.set_status(attested, "suspended", "under_investigation")
    assert world.verify(ELENA).verdict is Verdict.ADVERSE
    world.set_status(attested, "active", "reinstated")
    assert world.verify(ELENA).verdict is Verdict.ESTABLISHED


def test_an_adverse_entry_counts_in_what_was_read(world: World) -> None:
    attested = world.attest("state_license", ELENA)
    world.set_status(attested, "revoked", "fraud")
    assert world.verify(ELENA).verdict is Verdict.ADVERSE
    assert world.verify(ELENA, ("state_license",)).verdict is Verdict.ADVERSE
    assert world.verify(ELENA, ("board_certification",)).verdict is Verdict.ESTABLISHED
    assert world.verify(OTHER).verdict is Verdict.NOT_ESTABLISHED


def test_one_adverse_entry_among_good_ones_is_adverse(world: World) -> None:
    bad = world.attest("board_certification", ELENA, certificate_number="990002")
    world.attest("board_certification", ELENA, certificate_number="990003")
    world.set_status(bad, "revoked", "fraud")
    statement = world.verify(ELENA)
    assert statement.verdict is Verdict.ADVERSE
    assert [each.verdict for each in statement.credentials] == ["established", "adverse", "established"]


def test_dates_are_judged_at_the_callers_now_to_the_millisecond() -> None:
    world = World()
    start, end = START + 100 * SECOND, START + 200 * SECOND - 1
    world.attest("board_certification", ELENA, valid_from=start, valid_until=end)
    expected = {
        start - 1: (Verdict.NOT_CURRENT, "not_yet_valid"),
        start: (Verdict.ESTABLISHED, "active"),
        end: (Verdict.ESTABLISHED, "active"),
        end + 1: (Verdict.NOT_CURRENT, "expired"),
    }
    for now, (verdict, status) in expected.items():
        statement = world.verify(ELENA, now=Millis(now), max_age=Millis(days(1)))
        assert (statement.verdict, only(statement).status) == (verdict, status), now


def test_an_expired_entry_beside_one_in_force_is_not_relied_on() -> None:
    world = World()
    world.attest("board_certification", ELENA, valid_until=START + 10 * SECOND - 1)
    world.attest("board_certification", ELENA, certificate_number="990002")
    statement = world.verify(ELENA, now=Millis(START + 20 * SECOND))
    assert statement.verdict is Verdict.ESTABLISHED
    assert [each.verdict for each in statement.credentials] == ["not_current", "established"]


# Renewals


def renewed(world: World, earlier: Attested, **differing: Any) -> Attested:
    return world.attest("board_certification", ELENA, renews=earlier, **differing)


def verdicts(statement: Statement) -> list[str]:
    return [each.verdict for each in statement.credentials]


def test_a_renewed_entry_is_history() -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA, valid_until=START + SECOND - 1)
    renewed(world, earlier)
    statement = world.verify(ELENA)
    assert (statement.verdict, verdicts(statement)) == (Verdict.ESTABLISHED, ["history", "established"])


def test_a_renewal_counts_from_its_first_day() -> None:
    world = World()
    first_day = START + days(2)
    earlier = world.attest("board_certification", ELENA, valid_until=first_day - 1)
    renewed(world, earlier, valid_from=first_day)
    before = world.verify(ELENA, now=Millis(first_day - 1), max_age=Millis(days(9)))
    assert (before.verdict, verdicts(before)) == (Verdict.ESTABLISHED, ["established", "not_current"])
    after = world.verify(ELENA, now=Millis(first_day), max_age=Millis(days(9)))
    assert (after.verdict, verdicts(after)) == (Verdict.ESTABLISHED, ["history", "established"])


def test_a_gap_before_the_renewal_is_not_current() -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA, valid_until=START + days(1) - 1)
    renewed(world, earlier, valid_from=START + days(3))
    statement = world.verify(ELENA, now=Millis(START + days(2)), max_age=Millis(days(9)))
    assert (statement.verdict, verdicts(statement)) == (Verdict.NOT_CURRENT, ["not_current"] * 2)


def test_a_renewal_that_expires_does_not_bring_the_earlier_back() -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA)
    renewed(world, earlier, valid_until=START + days(1) - 1)
    statement = world.verify(ELENA, now=Millis(START + days(2)), max_age=Millis(days(9)))
    assert (statement.verdict, verdicts(statement)) == (Verdict.NOT_CURRENT, ["history", "not_current"])


def test_a_renewal_issued_in_error_brings_the_earlier_back(world: World) -> None:
    earlier = world.attest("state_license", OTHER)
    renewal = world.attest("state_license", OTHER, renews=earlier)
    world.set_status(renewal, "issued_in_error", "data_error")
    statement = world.verify(OTHER)
    assert (statement.verdict, verdicts(statement)) == (Verdict.ESTABLISHED, ["established", "history"])
    world.attest("state_license", OTHER, renews=earlier)
    assert verdicts(world.verify(OTHER)) == ["history", "history", "established"]


@pytest.mark.parametrize("status", ["probation", "suspended"])
def test_an_adverse_entry_stays_adverse_after_a_renewal(status: str) -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA)
    world.set_status(earlier, status, REASON[status])
    renewed(world, earlier)
    statement = world.verify(ELENA)
    assert (statement.verdict, verdicts(statement)) == (Verdict.ADVERSE, ["adverse", "established"])


@pytest.mark.parametrize("status", ["probation", "suspended", "revoked", "surrendered"])
def test_an_entry_made_adverse_after_its_renewal_is_adverse(status: str) -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA)
    renewal = renewed(world, earlier)
    world.set_status(earlier, status, REASON[status])
    assert verdicts(world.verify(ELENA)) == ["adverse", "established"]
    world.set_status(renewal, status, REASON[status])
    assert verdicts(world.verify(ELENA)) == ["adverse", "adverse"]


def test_a_lapsed_entry_that_is_renewed_is_history() -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA)
    world.set_status(earlier, "lapsed", "nonpayment")
    renewed(world, earlier)
    assert verdicts(world.verify(ELENA)) == ["history", "established"]


# Documents


def erase(world: World, attested: Attested) -> None:
    operation = Erase(attested.category, attested.subject, attested.id, "erasure_request")
    world.commit([world.transaction(BOARD, operation)])


def assert_document_unknown(statement: Statement) -> None:
    assert statement.verdict is Verdict.NOT_ESTABLISHED
    assert only(statement).claims is None
    assert [outcomes(only(statement))[number] for number in (1, 5, 6)] == [UNKNOWN] * 3


def test_an_erased_document_in_force_is_not_established() -> None:
    world = World()
    attested = world.attest("board_certification", ELENA)
    erase(world, attested)
    # Even where a node still has it, nothing of it is shown.
    assert attested.credential.digest in world.documents
    assert_document_unknown(world.verify(ELENA))
    world.documents.clear()
    assert_document_unknown(world.verify(ELENA))


def test_an_erased_document_of_history_does_no_harm() -> None:
    world = World()
    earlier = world.attest("board_certification", ELENA)
    renewed(world, earlier)
    erase(world, earlier)
    world.documents.pop(earlier.credential.digest)
    statement = world.verify(ELENA)
    assert (statement.verdict, verdicts(statement)) == (Verdict.ESTABLISHED, ["history", "established"])
    assert [outcomes(statement.credentials[0])[number] for number in (1, 5, 6)] == [NOT_APPLICABLE] * 3


def test_an_adverse_entry_without_its_document_is_still_adverse() -> None:
    world = World()
    attested = world.attest("board_certification", ELENA)
    world.set_status(attested, "revoked", "fraud")
    world.documents.clear()
    assert world.verify(ELENA).verdict is Verdict.ADVERSE
    erase(world, attested)
    assert world.verify(ELENA).verdict is Verdict.ADVERSE


def test_a_missing_document_is_unknown(world: World) -> None:
    assert_document_unknown(world.verify(ELENA, answer=replace(world.answer(ELENA), documents=())))


def test_a_foreign_document_is_not_taken_for_this_one(world: World) -> None:
    world.attest("board_certification", OTHER, family_name="Somebody")
    honest = world.verify(ELENA)
    answer = world.answer(ELENA)
    foreign = world.answer(OTHER).documents
    assert_document_unknown(world.verify(ELENA, answer=replace(answer, documents=foreign)))
    for documents in ((*foreign, *answer.documents), (*answer.documents, *foreign)):
        assert world.verify(ELENA, answer=replace(answer, documents=documents)) == honest


def other_disclosures(text: str) -> dict[str, str]:
    """The document with its disclosures altered in every way that a node has."""
    jwt, *disclosures, _ = text.split("~")
    salt = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
    forged = base64.urlsafe_b64encode(json.dumps([salt, "family_name", "Somebody"]).encode())
    made = forged.rstrip(b"=").decode()
    found = {
        "none": [],
        "one more": [*disclosures, made],
        "one exchanged": [made, *disclosures[1:]],
        "one doubled": [disclosures[0], *disclosures],
        "an empty one": ["", *disclosures],
        "one that is no base64url": ["=", *disclosures],
        "one cut short": [disclosures[0][:-1], *disclosures[1:]],
        **{f"{place} left out": disclosures[:place] + disclosures[place + 1 :] for place in range(6)},
    }
    texts = {name: "~".join((jwt, *each, "")) for name, each in found.items()}
    return {**texts, "a key binding": text + "x", "no end": text[:-1], "no disclosures": jwt}


def test_a_node_that_alters_or_withholds_disclosures_is_accused(world: World) -> None:
    answer = world.answer(ELENA)
    for name, text in other_disclosures(answer.documents[0]).items():
        with pytest.raises(ProofError) as caught:
            world.verify(ELENA, answer=replace(answer, documents=(text,)))
        assert caught.value.check in (1, 5), name


def test_the_order_of_disclosures_is_nothing(world: World) -> None:
    answer = world.answer(ELENA)
    jwt, *disclosures, _ = answer.documents[0].split("~")
    text = "~".join((jwt, *reversed(disclosures), ""))
    statement = world.verify(ELENA, answer=replace(answer, documents=(text,)))
    assert statement.verdict is Verdict.ESTABLISHED
    assert dict(only(statement).claims or {}) == CLAIMS["board_certification"]


def test_no_character_of_a_document_can_change(world: World) -> None:
    """It then is a missing document, or the node's lie: never a claim, never the issuer's fault."""
    answer = world.answer(ELENA)
    text = answer.documents[0]
    honest = world.verify(ELENA)
    for at in range(len(text)):
        for mask in (0x01, 0x20, 0x80):
            changed = text[:at] + chr(ord(text[at]) ^ mask) + text[at + 1 :]
            try:
                statement = world.verify(ELENA, answer=replace(answer, documents=(changed,)))
            except ProofError:
                continue
            assert_document_unknown(statement)
            assert only(statement).status == only(honest).status


def without_signature(credential: Credential) -> Credential:
    head, _, _ = credential.jwt.rpartition(".")
    return parse("~".join((f"{head}.{'A' * 86}", *credential.disclosures, "")))


def test_a_document_that_its_issuer_did_not_sign_is_invalid() -> None:
    world = World()
    world.attest_credential(without_signature(world.issue("board_certification", ELENA)))
    statement = world.verify(ELENA)
    assert (statement.verdict, only(statement).verdict) == (Verdict.INVALID, "invalid")
    assert outcomes(only(statement))[5] is FAIL
    assert_nothing_shown(only(statement))


def test_a_document_of_another_key_is_invalid() -> None:
    """Signed well, by another member: the key that counts is that of the attestation."""
    world = World()
    foreign = world.issue("board_certification", ELENA, issuer=OTHER_BOARD)
    world.attest_credential(foreign, issuer=BOARD)
    statement = world.verify(ELENA)
    assert statement.verdict is Verdict.INVALID
    assert (outcomes(statement)[5], outcomes(statement)[6]) == (FAIL, FAIL)
    assert_nothing_shown(only(statement))


def test_a_document_that_is_none_is_invalid() -> None:
    for text in ("garbage~", "a.b.c~", "~"):
        world = World()
        subject = npi_subject("board_certification", ELENA)
        operation = Attest("board_certification", subject, credential_digest(text.partition("~")[0]), START)
        world.commit([world.transaction(BOARD, operation)])
        world.documents[operation.credential] = text
        statement = world.verify(ELENA)
        assert statement.verdict is Verdict.INVALID
        assert [outcomes(statement)[number] for number in (1, 5, 6)] == [FAIL, UNKNOWN, UNKNOWN]
        assert_nothing_shown(only(statement))


@pytest.mark.parametrize(
    ("differing", "named"),
    [
        ({"valid_from": Millis(START + SECOND)}, "nbf"),
        ({"valid_until": Millis(START + days(9) - 1)}, "exp"),
        ({"valid_until": None}, "exp"),
        ({"subject": npi_subject("board_certification", OTHER)}, "sub"),
    ],
)
def test_a_document_that_differs_from_its_attestation_is_invalid(
    differing: dict[str, Any], named: str
) -> None:
    world = World()
    credential = world.issue("board_certification", ELENA, valid_until=START + days(30) - 1)
    world.attest_credential(credential, **differing)
    person = OTHER if "subject" in differing else ELENA
    statement = world.verify(person)
    assert statement.verdict is Verdict.INVALID
    assert outcomes(only(statement))[6] is FAIL
    assert named in check(only(statement), 6).detail
    assert_nothing_shown(only(statement))


def test_a_document_of_another_category_is_invalid() -> None:
    world = World()
    credential = world.issue("identity", ELENA, issuer=OTHER_BOARD)
    subject = npi_subject("board_certification", ELENA)
    world.attest_credential(credential, issuer=OTHER_BOARD, category="board_certification", subject=subject)
    statement = world.verify(ELENA)
    assert statement.verdict is Verdict.INVALID
    assert "vct" in check(only(statement), 6).detail
    assert_nothing_shown(only(statement))


def encode_segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "disclosed",
    [
        ["AAAAAAAAAAAAAAAAAAAAAA", "board", {"_sd": []}],
        ["AAAAAAAAAAAAAAAAAAAAAA", "sub", "somebody"],
        ["AAAAAAAAAAAAAAAAAAAAAA", "board"],
        ["AAAAAAAAAAAAAAAAAAAAAA", "board", "a\u0007b"],
        {"board": "x"},
    ],
)
def test_a_malformed_disclosure_of_the_issuers_own_is_the_issuers_fault(disclosed: Any) -> None:
    """The signed digest names it, so no node made it: it is reported, and the rest is still shown."""
    world = World()
    attested = world.attest("state_license", ELENA)
    world.set_status(attested, "revoked", "fraud")
    disclosure = encode_segment(disclosed)
    digest = base64.urlsafe_b64encode(sha256(disclosure.encode()).digest()).rstrip(b"=").decode()
    payload = {
        "iss": did(BOARD),
        "vct": "urn:credchain:board_certification",
        "sub": npi_subject("board_certification", ELENA).hex(),
        "iat": START // 1000,
        "nbf": START // 1000,
        "_sd_alg": "sha-256",
        "_sd": [digest],
    }
    head = f"{encode_segment({'alg': 'EdDSA', 'typ': 'dc+sd-jwt'})}.{encode_segment(payload)}"
    signature = base64.urlsafe_b64encode(signing_key(BOARD).sign(head.encode())).rstrip(b"=").decode()
    jwt = f"{head}.{signature}"
    assert parse(jwt + "~").hidden == 1
    operation = Attest(
        "board_certification",
        npi_subject("board_certification", ELENA),
        credential_digest(jwt),
        START,
    )
    world.commit([world.transaction(BOARD, operation)])
    world.documents[operation.credential] = f"{jwt}~{disclosure}~"
    statement = world.verify(ELENA)
    assert statement.verdict is Verdict.INVALID
    assert verdicts(statement) == ["invalid", "adverse"]
    assert_nothing_shown(statement.credentials[0])


# The issuer


def test_a_license_outside_the_boards_jurisdiction_is_untrusted() -> None:
    world = World()
    world.attest("state_license", ELENA, state="TX")
    statement = world.verify(ELENA)
    assert (statement.verdict, only(statement).verdict) == (Verdict.UNTRUSTED, "untrusted")
    assert outcomes(only(statement))[4] is FAIL


@pytest.mark.parametrize(
    ("jurisdictions", "expected"),
    [
        (("US",), Verdict.ESTABLISHED),
        (("US-CA", "US-TX"), Verdict.ESTABLISHED),
        (("US-TX",), Verdict.UNTRUSTED),
        (("US-C",), Verdict.UNTRUSTED),
        (("CA",), Verdict.UNTRUSTED),
        ((), Verdict.UNTRUSTED),
    ],
)
def test_the_jurisdictions_of_the_attest_height_count(
    jurisdictions: tuple[str, ...], expected: Verdict
) -> None:
    world = World()
    world.attest("state_license", ELENA)
    terms = tuple(Term(name, Height(0)) for name in jurisdictions)
    world.rewrite(replace(world.member(STATE_BOARD), jurisdictions=terms))
    assert world.verify(ELENA).verdict is expected
    # A jurisdiction that began after the attestation does not help it; one that ended does not harm.
    later = tuple(Term(name, world.tip.height) for name in jurisdictions)
    world.rewrite(replace(world.member(STATE_BOARD), jurisdictions=later))
    assert world.verify(ELENA).verdict is Verdict.UNTRUSTED
    ended = tuple(Term(name, Height(0), world.tip.height) for name in jurisdictions)
    world.rewrite(replace(world.member(STATE_BOARD), jurisdictions=ended))
    assert world.verify(ELENA).verdict is expected


@pytest.mark.parametrize("required", [(), ("board_certification",)])
def test_a_distrusted_key_is_untrusted_from_its_height_on(required: tuple[str, ...]) -> None:
    world = World()
    attested = world.attest("board_certification", ELENA)
    height = world.entry(attested).height
    member = world.member(BOARD)
    for distrusted, expected in (
        (height + 1, Verdict.ESTABLISHED),
        (height, Verdict.UNTRUSTED),
        (0, Verdict.UNTRUSTED),
    ):
        term = replace(member.keys[0], distrusted=Height(distrusted))
        world.rewrite(replace(member, keys=(term,)))
        statement = world.verify(ELENA, required)
        assert statement.verdict is expected
        assert outcomes(only(statement))[4] is (PASS if expected is Verdict.ESTABLISHED else FAIL)


@pytest.mark.parametrize("part", ["key", "role", "category"])
def test_what_the_issuer_was_at_the_attest_height_counts(part: str) -> None:
    world = World()
    attested = world.attest("board_certification", ELENA)
    height = world.entry(attested).height
    member = world.member(BOARD)
    for start, end, expected in (
        (0, None, Verdict.ESTABLISHED),
        (height, height + 1, Verdict.ESTABLISHED),
        (0, height, Verdict.UNTRUSTED),
        (height + 1, None, Verdict.UNTRUSTED),
    ):
        until = None if end is None else Height(end)
        term = Term("issuer" if part == "role" else "board_certification", Height(start), until)
        key = replace(member.keys[0], start=Height(start), end=until)
        changed = {
            "key": replace(member, keys=(key,)),
            "role": replace(member, roles=(term,)),
            "category": replace(member, categories=(term,)),
        }[part]
        world.rewrite(changed)
        assert world.verify(ELENA).verdict is expected, (start, end)


def test_an_entry_of_nobody_or_of_a_foreign_key_is_untrusted() -> None:
    world = World()
    attested = world.attest("board_certification", ELENA)
    entry = world.entry(attested)
    for changed in (
        replace(entry, issuer=did("Nobody")),
        replace(entry, issuer=did(GOVERNOR)),
        replace(entry, key=signing_key(OTHER_BOARD).public),
    ):
        world.rewrite(Dossier(attested.category, attested.subject, (changed,)))
        world.documents.clear()
        statement = world.verify(ELENA)
        assert statement.verdict is Verdict.UNTRUSTED
        assert outcomes(only(statement))[4] is FAIL


def test_history_of_an_untrusted_issuer_does_no_harm(world: World) -> None:
    attested = world.attest("state_license", OTHER, state="TX")
    world.set_status(attested, "issued_in_error", "data_error")
    world.attest("state_license", OTHER)
    assert world.verify(OTHER).verdict is Verdict.ESTABLISHED


# Headers


def test_freshness_at_its_bounds(world: World) -> None:
    age = 90 * SECOND
    for late, fresh in ((0, True), (age, True), (age + 1, False), (days(400), False)):
        now = Millis(world.now + late)
        if fresh:
            assert world.verify(ELENA, now=now, max_age=Millis(age)).verdict is Verdict.ESTABLISHED
        else:
            found = assert_refused(world, world.answer(ELENA), now=now, max_age=Millis(age))
            assert (found.check, found.field) == (3, "header.time")


def test_a_header_of_the_future_is_refused() -> None:
    world = World()
    world.attest("board_certification", ELENA, valid_from=START - days(1))
    skew = LIMITS.clock_skew
    assert skew < MINUTE
    assert world.verify(ELENA, now=Millis(world.now - skew)).verdict is Verdict.ESTABLISHED
    found = assert_refused(world, world.answer(ELENA), now=Millis(world.now - skew - 1))
    assert (found.check, found.field) == (3, "header.time")


def test_a_header_below_one_seen_before_is_refused(world: World) -> None:
    height = world.tip.height
    assert world.verify(ELENA, seen_height=height).verdict is Verdict.ESTABLISHED
    found = assert_refused(world, world.answer(ELENA), seen_height=height + 1)
    assert (found.check, found.field) == (3, "header.height")


def test_an_anchor_beyond_its_trusting_period_is_unknown(world: World) -> None:
    period = world.network.genesis.parameters.trusting_period
    now = world.now
    within = world.verify(ELENA, now=now, trusted_at=Millis(now - period))
    assert within.verdict is Verdict.ESTABLISHED
    beyond = world.verify(ELENA, now=now, trusted_at=Millis(now - period - 1))
    assert beyond.verdict is Verdict.NOT_ESTABLISHED
    assert outcomes(beyond)[2] is UNKNOWN


def test_an_answer_of_before_the_revocation_is_refused_once_the_later_was_seen(world: World) -> None:
    attested = world.attest("state_license", ELENA)
    before = world.answer(ELENA)
    world.set_status(attested, "revoked", "fraud")
    assert world.verify(ELENA).verdict is Verdict.ADVERSE
    found = assert_refused(world, before, seen_height=world.tip.height)
    assert found.check == 3
    # Under the new header the old dossier has no proof.
    assert_refused(world, replace(before, certified=world.certified))


def forged_headers(world: World) -> Iterator[tuple[str, CertifiedHeader]]:
    header, certificate = world.certified.header, world.certified.certificate
    attacker = signing_key("Attacker")
    later = replace(header, height=Height(header.height + 1))
    yield "another root", CertifiedHeader(replace(header, state_root=some_digest("x")), certificate)
    yield "a later time", CertifiedHeader(replace(header, time=Millis(header.time + 1)), certificate)
    yield "a later height", CertifiedHeader(later, certificate)
    yield "no signature", CertifiedHeader(header, Certificate(View(0), ()))
    yield "an earlier certificate", CertifiedHeader(header, world.chain[0].certificate)
    signature = certify(world.network.id, later.height, View(0), later.digest, attacker)
    yield "the attacker's key", CertifiedHeader(later, Certificate(View(0), ((0, signature),)))
    yield "an unknown validator", CertifiedHeader(later, Certificate(View(0), ((7, signature),)))


def test_forged_headers_are_refused(world: World) -> None:
    world.attest("state_license", ELENA)
    honest = world.answer(ELENA)
    for name, certified in forged_headers(world):
        found = assert_refused(world, replace(honest, certified=certified))
        assert found.check == 2, name


def test_answers_of_another_network_are_refused(world: World) -> None:
    """Also of one with the same organisations, of which only the validators are others."""
    elsewhere = World(4)
    elsewhere.attest("board_certification", ELENA)
    assert elsewhere.verify(ELENA).verdict is Verdict.ESTABLISHED
    question = world.question(ELENA, now=Millis(elsewhere.now))
    with pytest.raises(ProofError) as caught:
        judge(question, elsewhere.answer(ELENA).json())
    assert caught.value.check == 2
    # The other validators certify a header that claims to be of this network.
    header = replace(elsewhere.certified.header, network=world.network.id)
    for claimed in (header, replace(header, validators=world.network.validators.digest())):
        signed = elsewhere.certify(replace(elsewhere.commit().block, header=claimed))
        with pytest.raises(ProofError) as caught:
            judge(question, replace(elsewhere.answer(ELENA), certified=signed).json())
        assert caught.value.check == 2


# Records


def test_a_dossier_left_out_is_refused(world: World) -> None:
    world.attest("state_license", ELENA)
    honest = world.answer(ELENA)
    assert len(honest.records) == 5
    for place in range(len(honest.records)):
        records = honest.records[:place] + honest.records[place + 1 :]
        found = assert_refused(world, replace(honest, records=records))
        assert found.check == 8
    assert assert_refused(world, replace(honest, records=())).check == 8


def test_dossiers_cannot_be_exchanged(world: World) -> None:
    attested = world.attest("state_license", ELENA)
    world.set_status(attested, "revoked", "fraud")
    world.attest("state_license", OTHER)
    mine, theirs = world.answer(ELENA), world.answer(OTHER)
    place = next(
        index
        for index, record in enumerate(mine.records)
        if record.key == dossier_key("state_license", attested.subject).key
    )
    bad, good = mine.records[place], theirs.records[place]
    assert (bad.key, bad.value) != (good.key, good.value)
    forgeries = {
        "another person's": good,
        "another's value": replace(bad, value=good.value),
        "another's value and proof": replace(good, key=bad.key),
        "another's proof": replace(bad, proof=good.proof),
        "absence": replace(bad, value=None),
        "absence elsewhere": replace(bad, value=None, proof=good.proof),
        "an empty value": replace(bad, value=b""),
        "the dossier without its history": replace(bad, value=cleaned(bad.value)),
    }
    for name, record in forgeries.items():
        # Proofs of one bucket are the same bytes: exchanging those is no forgery.
        if record == bad:
            assert name == "another's proof"
            continue
        records = (*mine.records[:place], record, *mine.records[place + 1 :])
        documents = mine.documents + theirs.documents
        assert_refused(world, replace(mine, records=records, documents=documents))


def cleaned(value: bytes | None) -> bytes:
    assert value is not None
    dossier = Dossier.decode(value)
    entries = tuple(replace(entry, history=()) for entry in dossier.entries)
    return replace(dossier, entries=entries).encode()


def test_absence_cannot_be_claimed_of_what_is_there_nor_presence_of_what_is_not(world: World) -> None:
    honest = world.answer(ELENA)
    for place, record in enumerate(honest.records):
        value = None if record.value is not None else honest.records[0].value
        records = list(honest.records)
        records[place] = replace(record, value=value)
        assert_refused(world, replace(honest, records=tuple(records)))


def misplaced(world: World, key: StateKey, value: bytes) -> None:
    """Certify a state that holds this value under that key: more than f validators conspire."""
    world.store[key.key] = value
    state_map = world.tip.state_map.update({key.key: value_digest(value)})
    world.tip = replace(world.tip, state_map=state_map)
    world.commit()


def test_a_record_in_anothers_place_is_refused(world: World) -> None:
    mine = npi_subject("board_certification", ELENA)
    theirs = dossier_key("board_certification", npi_subject("board_certification", OTHER))
    misplaced(world, theirs, world.store[dossier_key("board_certification", mine).key])
    assert assert_refused(world, world.answer(OTHER), OTHER).check == 8
    assert world.verify(ELENA).verdict is Verdict.ESTABLISHED
    misplaced(world, member_key(did(BOARD)), world.store[member_key(did(OTHER_BOARD)).key])
    assert assert_refused(world, world.answer(ELENA)).check == 4


def test_the_order_and_repetition_of_records_is_nothing(world: World) -> None:
    honest = world.answer(ELENA)
    more = world.prove(member_key(did(GOVERNOR)))
    records = (more, *reversed(honest.records), *honest.records)
    assert world.verify(ELENA, answer=replace(honest, records=records)) == world.verify(ELENA)


# The wire


def flips(wire: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answer with each byte of each of its base64 fields changed, one at a time."""
    places: list[tuple[str, dict[str, Any]]] = [("header", wire), ("certificate", wire)]
    places += [(name, record) for record in wire["records"] for name in ("value", "proof") if record[name]]
    for name, holder in places:
        honest = holder[name]
        data = base64.b64decode(honest)
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
            holder[name] = base64.b64encode(changed).decode()
            yield f"{name} {at}", wire
        holder[name] = honest


def test_no_byte_of_an_answer_can_change(world: World) -> None:
    wire = world.answer(ELENA, BOTH).json()
    question = world.question(ELENA, BOTH)
    honest = judge(question, wire)
    count = 0
    for place, changed in flips(wire):
        count += 1
        try:
            statement = judge(question, changed)
        except (InvalidInput, ProofError):
            continue
        assert statement == honest, place
    assert judge(question, wire) == honest
    assert count > 2_000


def test_no_digit_of_a_records_key_can_change(world: World) -> None:
    wire = world.answer(ELENA, BOTH).json()
    question = world.question(ELENA, BOTH)
    for record in wire["records"]:
        honest = record["key"]
        for at, digit in enumerate(honest):
            for other in {"0", "f", " ", "g"} - {digit}:
                record["key"] = honest[:at] + other + honest[at + 1 :]
                with pytest.raises((InvalidInput, ProofError)):
                    judge(question, wire)
        record["key"] = honest
    assert judge(question, wire).absent == ("state_license",)


@pytest.mark.parametrize("key", [" " * 64, "ab" * 31 + "  ", "ab " * 21 + "a", "\u0661" * 64, "", "ab" * 33])
def test_a_records_key_is_64_hexadecimal_digits(key: str) -> None:
    """A node that sends blanks must not crash its caller: it would never ask the next node."""
    crowded = World()
    for number in range(70):
        crowded.attest("board_certification", npi(number))
    wire = crowded.answer(ELENA).json()
    assert judge(crowded.question(ELENA), wire).verdict is Verdict.ESTABLISHED
    for record in wire["records"]:
        changed = {**wire, "records": [{**record, "key": key}, *wire["records"]]}
        with pytest.raises(InvalidInput):
            judge(crowded.question(ELENA), changed)


def wire_paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for name, each in value.items():
            yield from wire_paths(each, (*path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from wire_paths(each, (*path, index))


def replaced(value: Any, path: tuple[str | int, ...], other: Any) -> Any:
    if not path:
        return other
    if isinstance(value, dict):
        return {
            name: replaced(each, path[1:], other) if name == path[0] else each for name, each in value.items()
        }
    return [replaced(each, path[1:], other) if index == path[0] else each for index, each in enumerate(value)]


JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**80,
    "",
    "A",
    "====",
    "\ud800",
    "é",
    "gA==",
    [],
    {},
    [[]],
    {"": 0},
)


def test_junk_anywhere_in_an_answer_is_refused_and_never_crashes(world: World) -> None:
    wire = json.loads(json.dumps(world.answer(ELENA, BOTH).json()))
    question = world.question(ELENA, BOTH)
    accepted = []
    for path in wire_paths(wire):
        for junk in JUNK:
            if (changed := replaced(wire, path, junk)) == wire:
                continue
            try:
                statement = judge(question, changed)
            except (InvalidInput, ProofError):
                continue
            accepted.append((path, junk))
            assert_document_unknown(statement)
    # Documents may be missing, or be what no digest names; nothing else may be junk.
    assert {path[0] for path, _ in accepted} == {"documents"}


def test_a_part_left_out_of_an_answer_is_refused(world: World) -> None:
    wire = world.answer(ELENA, BOTH).json()
    question = world.question(ELENA, BOTH)
    for name in wire:
        with pytest.raises(InvalidInput):
            judge(question, {each: value for each, value in wire.items() if each != name})
    for name in ("key", "proof", "value"):
        records = [
            {each: value for each, value in record.items() if each != name} for record in wire["records"]
        ]
        with pytest.raises((InvalidInput, ProofError)):
            judge(question, {**wire, "records": records})


# Could not check


@pytest.mark.parametrize("required", [(), BOTH])
def test_could_not_check_is_never_established(world: World, required: tuple[str, ...]) -> None:
    statement = could_not_check(world.question(ELENA, required), "no node could be reached")
    assert statement.verdict is Verdict.NOT_ESTABLISHED
    assert (statement.as_of, statement.credentials, statement.absent) == (None, (), ())
    assert outcomes(statement) == {
        **dict.fromkeys(range(1, 9), UNKNOWN),
        9: NOT_APPLICABLE,
        10: NOT_APPLICABLE,
    }
    body = statement.json()
    assert body["as_of"] == {"height": None, "time": None}
    assert "no node could be reached" in body["statement"]


def test_established_is_said_only_where_every_check_passed() -> None:
    """Over every answer that this file's worlds give with one entry, by status and by document."""
    seen = set()
    for status, published, expires in (
        (status, published, expires)
        for status in (None, *REASON)
        for published in (True, False)
        for expires in (None, START + SECOND - 1)
    ):
        world = World()
        attested = world.attest("board_certification", ELENA, published=published, valid_until=expires)
        if status is not None:
            world.set_status(attested, status, REASON[status])
        statement = world.verify(ELENA)
        seen.add(statement.verdict)
        perfect = all(outcome in (PASS, NOT_APPLICABLE) for outcome in outcomes(statement).values())
        good = status is None and published and expires is None
        assert (statement.verdict is Verdict.ESTABLISHED) == good
        assert perfect or not good
    assert seen == {Verdict.ESTABLISHED, Verdict.ADVERSE, Verdict.NOT_CURRENT, Verdict.NOT_ESTABLISHED}


def test_the_did_of_a_member_is_its_first_key(world: World) -> None:
    assert world.verify(ELENA).credentials[0].issuer == did_of(signing_key(BOARD).public)
