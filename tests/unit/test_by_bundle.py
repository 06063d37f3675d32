"""Verifying a bundle, with the presenter as the adversary, and then the node.

A presenter signs whatever it likes: it has its own keys, its own credentials and what others publish.
It never gets "established" for anything that its issuers did not say of it, and what it hides shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
from credchain.cli.exit_codes import OF_VERDICT

from credchain import merkle
from credchain.certificates import Certificate, Height, Millis
from credchain.credentials.sdjwt import Credential, base64url, parse, select
from credchain.credentials.subjects import TREE, HolderSubjects, Opening, holder_subject
from credchain.encoding import encode
from credchain.errors import InvalidInput, NetworkError, ProofError
from credchain.keys import SigningKey
from credchain.ledger.blocks import CertifiedHeader
from credchain.ledger.codes import RADIOLOGIST
from credchain.ledger.operations import Attest
from credchain.ledger.records import KeyTerm, Term
from credchain.limits import DAY, LIMITS, MINUTE
from credchain.verification.bundle import Bundle, BundleBody, ScopeEntry, open_bundle
from credchain.verification.by_bundle import (
    BundleQuestion,
    evidence_failed,
    malformed_bundle,
    verify_bundle,
)
from credchain.verification.checks import Check, Outcome, Verdict
from credchain.verification.evidence import Answer, open_answer
from credchain.verification.statement import Statement
from tests.ledger_world import (
    HOSPITAL,
    IDENTITY_ISSUER,
    OTHER_BOARD,
    PRIVATE,
    PROVIDER,
    START,
    Attested,
    Person,
    World,
    box_key,
    did,
    npi,
    signing_key,
    some_digest,
)
from tests.values import replace

ELENA = Person("Elena's wallet", npi(1))
MALLORY = Person("Mallory's wallet", npi(2))
ALL = ("board_certification", "cme_credit", "state_license")
IDENTITY_CLAIMS = ("family_name", "given_name", "holder", "subjects_root")
PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN


@dataclass
class Case:
    """One radiologist's world: what is attested, what is presented, and who asks when."""

    world: World
    person: Person
    identity: str
    texts: list[str] = field(default_factory=list)
    scope: tuple[str, ...] = ALL
    body: dict[str, Any] = field(default_factory=dict)
    question: dict[str, Any] = field(default_factory=dict)
    signer: SigningKey | None = None

    def attest(self, category: str, *, present: bool = True, **differing: Any) -> Attested:
        attested = self.world.attest_to(self.person, category, **differing)
        if present:
            self.texts.append(attested.credential.text)
        return attested

    def openings(self) -> tuple[Opening, ...]:
        return tuple(self.person.subjects.open(name) for name in self.scope if name in PRIVATE)

    def make_body(self) -> BundleBody:
        now = self.world.now
        body = BundleBody(
            network=self.world.network.id,
            holder=self.person.did,
            key=self.person.signer.public,
            npi=self.person.npi,
            audience=did(HOSPITAL),
            purpose="reappointment",
            scope=tuple(ScopeEntry(name) for name in sorted(self.scope)),
            issued=now,
            expires=Millis(now + 14 * DAY),
            identity=self.identity,
            credentials=tuple(self.texts),
            openings=self.openings(),
        )
        return replace(body, **self.body)

    def evidence(self, body: BundleBody) -> Answer:
        question = self.ask(Bundle(body, b"", Answer(self.world.certified)))
        return self.world.evidence(question.subjects, [body.holder])

    def bundle(self) -> Bundle:
        body = self.make_body()
        return Bundle.sign(body, self.signer or self.person.signer, self.evidence(body))

    def ask(self, bundle: Bundle) -> BundleQuestion:
        question = BundleQuestion(
            network=self.world.network,
            bundle=bundle,
            audience=did(HOSPITAL),
            now=Millis(self.world.now + 1_000),
            max_age=Millis(MINUTE),
            seen_height=0,
            trusted_at=self.world.network.genesis.time,
        )
        return replace(question, **self.question)

    def judge(self, data: bytes, evidence: Answer | None = None) -> Statement:
        """What a hospital makes of a bundle's bytes, on the bundle's own evidence or on this."""
        bundle = Bundle.decode(data)
        state = open_answer(evidence or bundle.evidence, self.world.network)
        return verify_bundle(self.ask(bundle), state)

    def verify(self) -> Statement:
        return self.judge(self.bundle().encode())


def enrolled(person: Person = ELENA) -> Case:
    world = World()
    identity = world.enroll(person).credential
    return Case(world, person, select(identity, IDENTITY_CLAIMS))


def whole_case() -> Case:
    """Elena with one credential of each category, all of them presented."""
    case = enrolled()
    for category in ALL:
        case.attest(category)
    return case


@pytest.fixture
def case() -> Case:
    return whole_case()


def check(statement: Statement, number: int) -> Check:
    return next(each for each in statement.checks if each.id == number)


def assert_fails(case: Case, number: int, verdict: Verdict = Verdict.INVALID) -> Statement:
    statement = case.verify()
    assert (statement.verdict, check(statement, number).outcome) == (verdict, FAIL)
    return statement


def assert_nothing_shown(statement: Statement) -> None:
    """No claim of a credential whose checks 1, 5 or 6 failed."""
    for each in statement.credentials:
        if any(found.id in (1, 5, 6) and found.outcome is FAIL for found in each.checks):
            assert (each.claims, each.status, each.valid_from, each.valid_until) == (None,) * 4


# What an honest bundle shows


def test_established(case: Case) -> None:
    statement = case.verify()
    assert statement.verdict is Verdict.ESTABLISHED
    assert {each.id: each.outcome for each in statement.checks} == dict.fromkeys(range(1, 11), PASS)
    assert sorted(each.category for each in statement.credentials) == sorted([*ALL, "identity"])
    assert (statement.npi, statement.did, statement.absent) == (ELENA.npi, ELENA.did, ())
    assert json.loads(json.dumps(statement.json()))["verdict"] == "established"


def test_whose_a_bundle_is(case: Case) -> None:
    """What was seen of a radiologist is remembered only from bundles of that radiologist's own."""
    assert case.verify().is_the_holders
    case.body["audience"] = did(OTHER_BOARD)
    assert not case.verify().is_the_holders


def test_only_chosen_claims_are_shown(case: Case) -> None:
    board = parse(case.texts[0])
    case.texts[0] = select(board, ["board", "discipline"])
    named = {"board_certification": ("board", "discipline")}
    case.body = {"scope": tuple(ScopeEntry(name, named.get(name, ())) for name in ALL)}
    statement = case.verify()
    shown = next(each for each in statement.credentials if each.category == "board_certification")
    assert statement.verdict is Verdict.ESTABLISHED
    assert set(shown.claims or {}) == {"board", "discipline"}


def test_one_category_is_enough(case: Case) -> None:
    case.scope, case.texts = ("board_certification",), case.texts[:1]
    assert case.verify().verdict is Verdict.ESTABLISHED


# Every byte


def test_every_byte_of_the_content_flipped(case: Case) -> None:
    """Never established, and no error but the two that a caller expects."""
    data = bytearray(case.bundle().encode())
    found: dict[str, int] = {}
    for index in range(len(data)):
        data[index] ^= 1 << (index % 8)
        try:
            statement = case.judge(bytes(data))
        except (InvalidInput, ProofError) as problem:
            result = type(problem).__name__
        else:
            result = statement.verdict.value
            assert_nothing_shown(statement)
        data[index] ^= 1 << (index % 8)
        found[result] = found.get(result, 0) + 1
    assert case.judge(bytes(data)).verdict is Verdict.ESTABLISHED
    assert "established" not in found
    assert set(found) >= {"InvalidInput", "ProofError", "invalid"}, found


def test_bytes_of_the_body_flipped_and_signed_again(case: Case) -> None:
    """What is flipped within the documents, by a holder who signs the result."""
    for position, text in enumerate([case.identity, *case.texts]):
        for index in range(0, len(text), 7):
            altered = text[:index] + chr(ord(text[index]) ^ 1) + text[index + 1 :]
            texts = [case.identity, *case.texts]
            texts[position] = altered
            case.body = {"identity": texts[0], "credentials": tuple(texts[1:])}
            try:
                statement = case.verify()
            except InvalidInput:
                continue
            assert statement.verdict in (Verdict.INVALID, Verdict.NOT_ESTABLISHED), (position, index)
            assert_nothing_shown(statement)


def test_sampled_bytes_of_the_sealed_file_flipped(case: Case) -> None:
    sealed = bytearray(case.bundle().seal(box_key(HOSPITAL).public))
    for index in [*range(80), *range(80, len(sealed), 61), len(sealed) - 1]:
        sealed[index] ^= 0x10
        with pytest.raises(InvalidInput):
            open_bundle(bytes(sealed), box_key(HOSPITAL))
        sealed[index] ^= 0x10
    assert case.judge(open_bundle(bytes(sealed), box_key(HOSPITAL))).verdict is Verdict.ESTABLISHED


# The holder: check 9


def test_resealed_by_one_hospital_to_another(case: Case) -> None:
    """The first hospital opens the bundle and seals it to a second, whose audience it is not."""
    second = "Second Hospital"
    opened = open_bundle(case.bundle().seal(box_key(HOSPITAL).public), box_key(HOSPITAL))
    resealed = Bundle.decode(opened).seal(box_key(second).public)
    case.question = {"audience": did(second)}
    statement = case.judge(open_bundle(resealed, box_key(second)))
    assert statement.verdict is Verdict.INVALID
    assert "another hospital" in check(statement, 9).detail


def test_a_hospital_cannot_change_the_audience(case: Case) -> None:
    bundle = case.bundle()
    second = "Second Hospital"
    forged = replace(bundle, body=replace(bundle.body, audience=did(second)))
    case.question = {"audience": did(second)}
    assert case.judge(forged.encode()).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"network": some_digest("another network")}, "another network"),
        ({"audience": did("Second Hospital")}, "another hospital"),
        ({"purpose": "curiosity"}, "purpose"),
        ({"expires": Millis(START + LIMITS.bundle_lifetime + DAY)}, "a year"),
        ({"issued": Millis(START + DAY)}, "future"),
        ({"npi": MALLORY.npi}, "NPI"),
        ({"holder": MALLORY.did}, "not a member"),
    ],
)
def test_what_the_body_says(case: Case, changes: dict[str, Any], why: str) -> None:
    case.body = changes
    assert why in check(assert_fails(case, 9), 9).detail


def test_an_empty_scope(case: Case) -> None:
    case.scope, case.texts = (), []
    assert_fails(case, 9)


def test_the_signature_of_somebody_else(case: Case) -> None:
    case.signer = MALLORY.signer
    assert_fails(case, 9)
    case.body = {"key": MALLORY.signer.public}
    assert "current key" in check(assert_fails(case, 9), 9).detail


@pytest.mark.parametrize("how", ["ended", "distrusted", "not yet"])
def test_a_key_that_is_not_current(case: Case, how: str) -> None:
    member = case.world.member(ELENA.name)
    height = case.world.tip.height
    [term] = member.keys
    changed = {
        "ended": replace(term, end=height),
        "distrusted": replace(term, distrusted=height),
        "not yet": replace(term, start=Height(height + 100)),
    }[how]
    case.world.rewrite(replace(member, keys=(changed,)))
    assert_fails(case, 9)


def test_a_key_after_rotation(case: Case) -> None:
    """The new key signs; the credentials stay bound to the old, which was the holder's."""
    member = case.world.member(ELENA.name)
    height = case.world.tip.height
    [term] = member.keys
    other = signing_key("Elena's second key")
    case.world.rewrite(replace(member, keys=(replace(term, end=height), KeyTerm(other.public, height))))
    assert_fails(case, 9)
    case.signer, case.body = other, {"key": other.public}
    assert case.verify().verdict is Verdict.ESTABLISHED


def test_a_holder_who_is_no_radiologist_any_more(case: Case) -> None:
    member = case.world.member(ELENA.name)
    case.world.rewrite(replace(member, roles=(Term(RADIOLOGIST, member.enrolled, case.world.tip.height),)))
    assert_fails(case, 9)


# Identity


def test_no_identity_credential(case: Case) -> None:
    case.identity, case.texts = case.texts[0], case.texts[1:]
    assert_fails(case, 9)


@pytest.mark.parametrize("hidden", ["holder", "subjects_root"])
def test_an_identity_that_hides_what_binds_it(case: Case, hidden: str) -> None:
    case.identity = select(parse(case.identity), [each for each in IDENTITY_CLAIMS if each != hidden])
    assert_fails(case, 9)


def test_the_identity_of_somebody_else(case: Case) -> None:
    other = case.world.enroll(MALLORY).credential
    case.identity = other.text
    assert_fails(case, 9)


def test_an_identity_that_nobody_attested(case: Case) -> None:
    forged = case.world.issue("identity", ELENA.npi, **ELENA.identity_claims)
    case.identity = forged.text
    assert_nothing_shown(assert_fails(case, 6))


def test_an_identity_by_an_issuer_without_authority() -> None:
    """The board attests an identity while it may not: it is rewritten into the ledger's past."""
    case = enrolled()
    case.attest("board_certification")
    case.scope = ("board_certification",)
    member = case.world.member(IDENTITY_ISSUER)
    case.world.rewrite(replace(member, categories=()))
    statement = case.verify()
    assert (statement.verdict, check(statement, 4).outcome) == (Verdict.UNTRUSTED, FAIL)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("revoked", "fraud", Verdict.ADVERSE),
        ("suspended", "under_investigation", Verdict.ADVERSE),
        ("lapsed", "nonpayment", None),
        ("issued_in_error", "wrong_person", None),
    ],
)
def test_an_identity_that_is_not_in_force(status: str, reason: str, expected: Verdict | None) -> None:
    """An identity that was ended binds nobody: not even where its issuer calls it an error."""
    case = enrolled()
    case.attest("board_certification")
    case.scope = ("board_certification",)
    assert case.verify().verdict is Verdict.ESTABLISHED
    entry = case.world.dossier("identity", ELENA.npi).entries[0]
    identity = Attested("identity", ELENA.subject("identity"), entry.id, parse(case.identity))
    case.world.set_status(identity, status, reason)
    statement = case.verify()
    assert statement.verdict is not Verdict.ESTABLISHED
    assert expected is None or statement.verdict is expected


def imposter_case() -> Case:
    """Mallory was once enrolled under Elena's NPI, by mistake."""
    case = enrolled(replace(MALLORY, npi=ELENA.npi))
    case.texts.append(case.world.attest("board_certification", ELENA.npi).credential.text)
    case.scope = ("board_certification",)
    return case


def test_an_identity_issued_to_the_wrong_person_is_not_used_after_it_was_corrected() -> None:
    case = imposter_case()
    entry = case.world.dossier("identity", ELENA.npi).entries[0]
    wrong = Attested("identity", ELENA.subject("identity"), entry.id, parse(case.identity))
    case.world.set_status(wrong, "issued_in_error", "wrong_person")
    case.world.enroll(ELENA)
    assert case.verify().verdict is not Verdict.ESTABLISHED


def test_an_expired_identity_beside_one_in_force_binds_nobody() -> None:
    """One identity an NPI is in force: the earlier holder's has expired, and another's is current."""
    world = World()
    earlier = world.enroll(replace(MALLORY, npi=ELENA.npi), valid_until=START + 10_000 - 1)
    board = world.attest("board_certification", ELENA.npi)
    world.commit(time=START + 20_000)
    world.enroll(ELENA)
    case = Case(world, replace(MALLORY, npi=ELENA.npi), earlier.credential.text, [board.credential.text])
    case.scope = ("board_certification",)
    assert case.verify().verdict is not Verdict.ESTABLISHED


def test_an_identity_renewed_for_another_holder_binds_nobody() -> None:
    case = imposter_case()
    world = case.world
    entry = world.dossier("identity", ELENA.npi).entries[0]
    earlier = Attested("identity", ELENA.subject("identity"), entry.id, parse(case.identity))
    world.attest("identity", ELENA.npi, renews=earlier, **ELENA.identity_claims)
    assert case.verify().verdict is not Verdict.ESTABLISHED


def test_an_identity_whose_history_restarts_leaves_private_categories_unknown() -> None:
    """DESIGN section 5: after a lost wallet, check 8 is unknown for private categories."""
    world = World()
    identity = world.enroll(ELENA, history_restarts="2027-01-15").credential
    case = Case(world, ELENA, select(identity, [*IDENTITY_CLAIMS, "history_restarts"]))
    case.attest("cme_credit")
    case.scope = ("cme_credit",)
    statement = case.verify()
    assert (statement.verdict, check(statement, 8).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)


def bound_anew(*disclosed: str, attested: bool = True, **claims: str) -> Case:
    """Elena lost her first wallet, in whose private dossier she was suspended, and is bound to a new one."""
    world = World()
    lost = Person("Elena's first wallet", ELENA.npi)
    first = world.enroll(lost)
    world.set_status(world.attest_to(lost, "cme_credit"), "suspended", "under_investigation")
    new = world.issue("identity", ELENA.npi, bound=ELENA.signer.public, **{**ELENA.identity_claims, **claims})
    attest = Attest("identity", new.subject, new.digest, new.valid_from, new.valid_until, first.id)
    world.commit([world.transaction(IDENTITY_ISSUER, ELENA.enroll(), attest)])
    case = Case(world, ELENA, select(new, [*IDENTITY_CLAIMS, *disclosed]) if disclosed else new.text)
    if attested:
        case.attest("cme_credit")
    case.scope = ("cme_credit",)
    return case


def test_a_dossier_that_is_absent_where_the_history_restarts() -> None:
    """What stood in the earlier one is not known: its absence completes nothing."""
    statement = bound_anew(attested=False, history_restarts="2027-01-15").verify()
    assert (statement.absent, check(statement, 8).outcome) == (("cme_credit",), UNKNOWN)


def test_that_the_history_restarts_cannot_be_hidden() -> None:
    """Who was bound anew shows the whole identity, or private categories stay unknown."""
    for case in (
        bound_anew(history_restarts="2027-01-15"),
        bound_anew("history_restarts", history_restarts="2027-01-15"),
        bound_anew("verification_method", history_restarts="2027-01-15"),
        bound_anew("verification_method", birth_date="1980-01-01"),
    ):
        statement = case.verify()
        assert (statement.verdict, check(statement, 8).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)
        case.scope = ("board_certification",)
        case.texts = [case.world.attest("board_certification", ELENA.npi).credential.text]
        assert case.verify().verdict is Verdict.ESTABLISHED, "what goes by NPI has one history"


def test_who_was_bound_anew_with_the_same_history_shows_it() -> None:
    assert bound_anew(birth_date="1980-01-01").verify().verdict is Verdict.ESTABLISHED


# Subjects and openings


def test_credentials_of_two_people_mixed(case: Case) -> None:
    case.world.enroll(MALLORY)
    other = case.world.attest_to(MALLORY, "state_license").credential.text
    case.texts.append(other)
    assert_nothing_shown(assert_fails(case, 6))


def test_a_published_credential_in_somebody_elses_bundle(case: Case) -> None:
    world = case.world
    identity = world.enroll(MALLORY).credential.text
    own = [world.attest_to(MALLORY, name).credential.text for name in ALL[1:]]
    forger = Case(world, MALLORY, identity, [case.texts[0], *own])
    assert_nothing_shown(assert_fails(forger, 6))
    forger.body = {"npi": ELENA.npi}
    assert_fails(forger, 9)


def test_a_second_link_secret(case: Case) -> None:
    """Private subjects of another secret than the one committed to: its openings lead elsewhere."""
    second = HolderSubjects.of(some_digest("a second secret"), PRIVATE)
    hidden = case.world.attest(
        "cme_credit", ELENA.npi, published=False, subject=second.open("cme_credit").subject
    )
    case.texts[1] = hidden.credential.text
    case.body = {"openings": (second.open("cme_credit"),)}
    assert_fails(case, 9)


def test_a_second_secret_within_the_commitment_does_not_hide_a_dossier() -> None:
    """A holder who commits to two leaves of one category has two dossiers, and shows the better."""
    world = World()
    secrets = [some_digest("first secret"), some_digest("second secret")]
    salt = b"s" * 16
    leaves = [
        merkle.leaf(
            encode({"category": "cme_credit", "salt": salt, "subject": holder_subject(each, "cme_credit")}),
            TREE,
        )
        for each in secrets
    ]
    root = merkle.root(leaves, TREE)
    openings = [
        Opening(
            "cme_credit",
            holder_subject(secret, "cme_credit"),
            salt,
            index,
            2,
            b"".join(merkle.path(leaves, index, TREE)),
        )
        for index, secret in enumerate(secrets)
    ]
    claims: dict[str, Any] = {"holder": str(ELENA.did), "subjects_root": root.hex()}
    identity = world.issue("identity", ELENA.npi, bound=ELENA.signer.public, **claims)
    attest = Attest("identity", identity.subject, identity.digest, identity.valid_from, None)
    world.commit([world.transaction(IDENTITY_ISSUER, ELENA.enroll(subjects_root=root), attest)])
    bad = world.attest("cme_credit", ELENA.npi, published=False, subject=openings[0].subject)
    world.set_status(bad, "revoked", "fraud")
    good = world.attest("cme_credit", ELENA.npi, published=False, subject=openings[1].subject)
    case = Case(world, ELENA, identity.text, [good.credential.text], scope=("cme_credit",))
    case.body = {"openings": (openings[1],)}
    assert case.verify().verdict is not Verdict.ESTABLISHED


def test_a_missing_opening(case: Case) -> None:
    case.body = {"openings": ()}
    assert_nothing_shown(assert_fails(case, 6))
    case.body = {"openings": (), "credentials": (case.texts[0], case.texts[2])}
    statement = case.verify()
    assert (statement.verdict, check(statement, 8).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)


def test_the_opening_of_another_holder(case: Case) -> None:
    case.world.enroll(MALLORY)
    other = case.world.attest_to(MALLORY, "cme_credit").credential.text
    case.body = {"openings": (MALLORY.subjects.open("cme_credit"),)}
    assert_fails(case, 9)
    case.texts[1] = other
    assert_fails(case, 9)


def test_the_opening_of_another_category(case: Case) -> None:
    opening = ELENA.subjects.open("cme_credit")
    case.body = {"openings": (replace(opening, category="residency"),)}
    assert_fails(case, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"salt": b"x" * 16},
        {"subject": some_digest("another subject")},
        {"index": 1, "count": 2},
        {"count": 2},
        {"path": some_digest("a sibling")},
        {"count": 2, "path": some_digest("a sibling")},
    ],
)
def test_an_altered_opening(case: Case, changes: dict[str, Any]) -> None:
    case.body = {"openings": (replace(ELENA.subjects.open("cme_credit"), **changes),)}
    assert_fails(case, 9)


# Documents


def resigned(credential: Credential, signer: SigningKey, **payload: Any) -> str:
    """The credential with a payload changed, signed by this key."""
    header, body, _ = credential.jwt.split(".")
    decoded = json.loads(_unbase64(body))
    decoded.update(payload)
    changed = f"{header}.{base64url(json.dumps(decoded).encode())}"
    jwt = f"{changed}.{base64url(signer.sign(changed.encode()))}"
    return "~".join((jwt, *credential.disclosures, ""))


def _unbase64(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _disclosure(name: str, value: Any, salt: bytes = b"t" * 16) -> str:
    return base64url(json.dumps([base64url(salt), name, value]).encode())


def test_one_changed_claim(case: Case) -> None:
    board = parse(case.texts[0])
    changed = [
        _disclosure("discipline", "Radiation Oncology") if "discipline" in _unbase64(each).decode() else each
        for each in board.disclosures
    ]
    assert changed != list(board.disclosures)
    case.texts[0] = "~".join((board.jwt, *changed, ""))
    assert_nothing_shown(assert_fails(case, 1))


def test_a_claim_changed_with_its_digest_and_signed_by_the_holder(case: Case) -> None:
    board = parse(case.texts[0])
    other = _disclosure("discipline", "Radiation Oncology")
    digest = base64url(hashlib.sha256(other.encode()).digest())
    text = resigned(board, ELENA.signer, _sd=[digest])
    case.texts[0] = "~".join((text.split("~")[0], other, ""))
    assert_nothing_shown(assert_fails(case, 6))


def test_a_cnf_of_someone_else() -> None:
    case = enrolled()
    case.scope = ("board_certification",)
    case.attest("board_certification", bound=MALLORY.signer.public)
    statement = assert_fails(case, 9)
    assert "somebody else's key" in check(statement, 9).detail


def test_a_private_document_that_is_bound_to_nobody() -> None:
    """Mallory knows Elena's subject from a bundle, and has committed to it herself."""
    case = enrolled()
    case.scope = ("cme_credit",)
    case.attest("cme_credit", bound=None)
    statement = assert_fails(case, 9)
    assert "bound to nobody" in check(statement, 9).detail


def test_a_document_that_its_issuer_did_not_sign() -> None:
    case = enrolled()
    case.scope = ("board_certification",)
    case.attest("board_certification", signer=OTHER_BOARD)
    assert_nothing_shown(assert_fails(case, 5))


def test_a_document_whose_window_is_not_the_attested() -> None:
    case = enrolled()
    case.scope = ("board_certification",)
    credential = case.world.issue("board_certification", ELENA.npi)
    case.world.attest_credential(credential, published=False, valid_until=Millis(START + DAY))
    case.texts.append(credential.text)
    assert_nothing_shown(assert_fails(case, 6))


def test_a_document_outside_the_scope(case: Case) -> None:
    case.scope = ("board_certification", "cme_credit")
    assert_fails(case, 6)


@pytest.mark.parametrize("claims", [("board",), ("discipline", "zoology")])
def test_disclosures_that_the_signed_scope_does_not_name(case: Case, claims: tuple[str, ...]) -> None:
    """Check 10, "in scope": all claims are disclosed, and the scope names some, or one there is not."""
    named = {"board_certification": claims}
    case.body = {"scope": tuple(ScopeEntry(name, named.get(name, ())) for name in ALL)}
    assert case.verify().verdict is not Verdict.ESTABLISHED


@pytest.mark.parametrize("first", [True, False])
def test_another_issuer_that_attests_the_same_digest_has_no_say(first: bool) -> None:
    """A second authorised issuer cannot make the holder's true document look forged."""
    case = enrolled()
    case.scope = ("board_certification",)
    credential = case.world.issue("board_certification", ELENA.npi)
    copy = Attest("board_certification", credential.subject, credential.digest, credential.valid_from, None)
    if first:
        case.world.commit([case.world.transaction(OTHER_BOARD, copy)])
    case.world.attest_credential(credential, published=False)
    if not first:
        case.world.commit([case.world.transaction(OTHER_BOARD, copy)])
    case.texts = [credential.text]
    statement = case.verify()
    shown = {each.issuer: each.verdict for each in statement.credentials}
    assert statement.verdict is Verdict.ESTABLISHED
    assert shown[credential.issuer] == "established"
    assert shown[did(OTHER_BOARD)] == "undisclosed"


def test_a_second_copy_with_other_disclosures_is_not_taken_silently(case: Case) -> None:
    """One credential twice, under two sets of disclosures: nobody asked for the second."""
    case.texts.append(select(parse(case.texts[0]), ["board"]))
    with pytest.raises(InvalidInput, match="twice"):
        case.verify()


def test_the_identity_as_a_second_copy_too(case: Case) -> None:
    case.texts.append(select(parse(case.identity), ["family_name"]))
    with pytest.raises(InvalidInput, match="twice"):
        case.verify()


def test_one_text_twice_is_no_bundle(case: Case) -> None:
    case.texts.append(case.texts[0])
    with pytest.raises(InvalidInput):
        case.verify()


def _header(**changes: Any) -> Callable[[str], str]:
    def change(text: str) -> str:
        header, rest = text.split(".", 1)
        decoded = {**json.loads(_unbase64(header)), **changes}
        return f"{base64url(json.dumps(decoded).encode())}.{rest}"

    return change


def _append(*disclosures: str) -> Callable[[str], str]:
    return lambda text: text + "".join(f"{each}~" for each in disclosures)


def _deep(depth: int, value: str = "") -> str:
    return "[" * depth + value + "]" * depth


def _payload(text: str) -> Callable[[str], str]:
    def change(whole: str) -> str:
        header, _, rest = whole.split(".", 2)
        return f"{header}.{base64url(text.encode())}.{rest}"

    return change


MALFORMED: dict[str, Callable[[str], str]] = {
    "alg none": _header(alg="none"),
    "alg none without signature": lambda text: (
        ".".join(_header(alg="none")(text).split("~")[0].split(".")[:2]) + ".~"
    ),
    "HS256": _header(alg="HS256"),
    "ES256": _header(alg="ES256"),
    "another typ": _header(typ="JWT"),
    "alg is a deep list": _header(alg=json.loads(_deep(300))),
    "typ is a deep list": _header(typ=json.loads(_deep(300))),
    "critical": _header(crit=["x"]),
    "a disclosure repeated": lambda text: _append(text.split("~")[1])(text),
    "a disclosure unreferenced": _append(_disclosure("note_x", "x")),
    "a registered claim": _append(_disclosure("exp", 4_102_444_800)),
    "sub in a disclosure": _append(_disclosure("sub", "00" * 32)),
    "a nested _sd": _append(_disclosure("address", {"_sd": ["x"]})),
    "a disclosure that names _sd": _append(_disclosure("_sd", ["x"])),
    "a key binding": lambda text: text + "eyJ.eyJ.x",
    "duplicate keys in the payload": _payload('{"iss":"a","iss":"b"}'),
    "a nesting bomb": _payload(_deep(10_000)),
    "a number bomb": _payload('{"iat":' + "9" * 10_000 + "}"),
    "a huge float": _payload('{"iat":1e999}'),
    "half a surrogate": _payload('{"iss":"\\ud800","vct":"\\ud800","sub":"\\ud800","_sd_alg":"sha-256"}'),
    "no JSON": _payload("not json"),
    "not UTF-8": lambda text: _payload_bytes(text, b"\xff\xfe"),
    "empty": lambda text: "",
    "only a tilde": lambda text: "~",
    "without the last tilde": lambda text: text[:-1],
    "too long": lambda text: text + "A" * LIMITS.credential_bytes,
}


def _payload_bytes(text: str, data: bytes) -> str:
    header, _, rest = text.split(".", 2)
    return f"{header}.{base64url(data)}.{rest}"


@pytest.mark.parametrize("how", MALFORMED)
@pytest.mark.parametrize("place", ["identity", "credential"])
def test_a_malformed_document_is_invalid_or_no_bundle(case: Case, how: str, place: str) -> None:
    if place == "identity":
        case.identity = MALFORMED[how](case.identity)
    else:
        case.texts[0] = MALFORMED[how](case.texts[0])
    try:
        statement = case.verify()
    except InvalidInput as problem:
        assert malformed_bundle(Millis(0), problem).verdict is Verdict.INVALID
        return
    assert (statement.verdict, check(statement, 1).outcome) == (Verdict.INVALID, FAIL)
    assert_nothing_shown(statement)


def test_lists_of_any_depth_in_a_header_are_refused_and_not_printed(case: Case) -> None:
    header, rest = case.texts[0].split(".", 1)
    del header
    for depth in range(850, 1_010, 5):
        text = '{"alg":' + _deep(depth) + ',"typ":"dc+sd-jwt"}'
        case.texts[0] = f"{base64url(text.encode())}.{rest}"
        assert case.verify().verdict is Verdict.INVALID


# Evidence: what the node, or offline the presenter, answers for


def test_evidence_by_unknown_validators(case: Case) -> None:
    bundle = case.bundle()
    strangers = CertifiedHeader(
        bundle.evidence.certified.header,
        Certificate(bundle.evidence.certified.certificate.view, ((0, b"\x01" * 64),)),
    )
    with pytest.raises(ProofError):
        case.judge(replace(bundle, evidence=replace(bundle.evidence, certified=strangers)).encode())


def test_evidence_of_another_network(case: Case) -> None:
    other = Case(World(2), ELENA, case.identity, case.texts)
    with pytest.raises(ProofError):
        other.judge(case.bundle().encode())


def test_a_bundle_for_another_network_on_evidence_of_this(case: Case) -> None:
    other = whole_case()
    other.world = World(2)
    identity = other.world.enroll(ELENA).credential.text
    moved = Case(other.world, ELENA, identity, [], scope=("board_certification",))
    moved.texts = [moved.world.attest_to(ELENA, "board_certification").credential.text]
    bundle = moved.bundle()
    question = case.ask(bundle)
    evidence = case.world.evidence(question.subjects, [ELENA.did])
    assert case.judge(bundle.encode(), evidence).verdict is Verdict.INVALID


@pytest.mark.parametrize("index", range(9))
def test_evidence_that_leaves_a_record_out(case: Case, index: int) -> None:
    bundle = case.bundle()
    records = bundle.evidence.records
    assert len(records) == 9
    short = replace(bundle.evidence, records=records[:index] + records[index + 1 :])
    with pytest.raises(ProofError):
        case.judge(replace(bundle, evidence=short).encode())


def test_evidence_with_a_value_dropped_or_exchanged(case: Case) -> None:
    bundle = case.bundle()
    records = bundle.evidence.records
    for index, record in enumerate(records):
        for value in (None, records[index - 1].value, b""):
            forged = (*records[:index], replace(record, value=value), *records[index + 1 :])
            with pytest.raises(ProofError):
                case.judge(replace(bundle, evidence=replace(bundle.evidence, records=forged)).encode())


def test_a_header_older_than_one_seen(case: Case) -> None:
    data = case.bundle().encode()
    case.question = {"seen_height": case.world.tip.height + 1}
    statement = case.judge(data)
    assert (statement.verdict, check(statement, 3).outcome) == (Verdict.NOT_ESTABLISHED, FAIL)


def test_a_header_older_than_accepted(case: Case) -> None:
    data = case.bundle().encode()
    case.question = {"now": Millis(case.world.now + MINUTE + 1)}
    statement = case.judge(data)
    assert (statement.verdict, check(statement, 3).outcome) == (Verdict.NOT_ESTABLISHED, FAIL)
    case.question = {"now": Millis(case.world.now + DAY), "max_age": Millis(7 * DAY)}
    assert case.judge(data).verdict is Verdict.ESTABLISHED


def test_old_evidence_does_not_outlive_a_revocation_when_fresh_is_asked(case: Case) -> None:
    data = case.bundle().encode()
    entry = case.world.dossier("board_certification", ELENA.npi).entries[0]
    board = Attested(
        "board_certification", ELENA.subject("board_certification"), entry.id, parse(case.texts[0])
    )
    case.world.set_status(board, "revoked", "fraud")
    question = case.ask(Bundle.decode(data))
    fresh = case.world.evidence(question.subjects, [ELENA.did])
    assert case.judge(data, fresh).verdict is Verdict.ADVERSE


def test_a_trust_anchor_that_is_too_old(case: Case) -> None:
    data = case.bundle().encode()
    period = case.world.network.genesis.parameters.trusting_period
    case.question = {"trusted_at": Millis(case.world.now + 1_000 - period - 1)}
    statement = case.judge(data)
    assert (statement.verdict, check(statement, 2).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)


def test_without_evidence_nothing_is_shown(case: Case) -> None:
    question = case.ask(case.bundle())
    for problem in (ProofError("no", check=2, field="certificate"), NetworkError("no node")):
        statement = evidence_failed(question, problem)
        assert (statement.verdict, statement.credentials) == (Verdict.NOT_ESTABLISHED, ())
        assert all(each.outcome is not PASS for each in statement.checks)


def test_a_document_attested_after_the_header_is_unknown_not_invalid(case: Case) -> None:
    """Where the header is not fresh, a later block may have it."""
    old = case.bundle().evidence
    case.attest("board_certification", certificate_number="990007")
    case.question = {"now": Millis(case.world.now + 2 * MINUTE)}
    statement = case.judge(case.bundle().encode(), old)
    assert (statement.verdict, check(statement, 6).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)


# Dossiers: check 8


def test_a_suspended_entry_that_is_not_disclosed(case: Case) -> None:
    hidden = case.attest("cme_credit", present=False, activity_title="Another")
    assert case.verify().verdict is Verdict.ESTABLISHED
    case.world.set_status(hidden, "suspended", "under_investigation")
    statement = case.verify()
    assert statement.verdict is Verdict.ADVERSE
    listed = next(each for each in statement.credentials if each.attestation == hidden.id)
    assert (listed.presented, listed.claims, listed.status) == (False, None, "suspended")
    assert listed.issuer == did(PROVIDER)


def test_only_an_undisclosed_entry_is_in_force(case: Case) -> None:
    case.texts = case.texts[1:]
    statement = case.verify()
    assert statement.verdict is Verdict.NOT_ESTABLISHED
    listed = next(each for each in statement.credentials if each.category == "board_certification")
    assert (listed.verdict, listed.claims) == ("undisclosed", None)


def test_an_expired_one_is_disclosed_and_the_one_in_force_is_not() -> None:
    case = enrolled()
    case.scope = ("board_certification",)
    case.attest("board_certification", valid_until=START + 1_000 - 1)
    case.attest("board_certification", present=False, certificate_number="990008")
    assert case.verify().verdict is Verdict.NOT_ESTABLISHED


def test_a_category_that_the_network_does_not_have(case: Case) -> None:
    case.body = {"scope": (*(ScopeEntry(name) for name in ALL), ScopeEntry("zoology"))}
    statement = case.verify()
    assert (statement.verdict, check(statement, 8).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)


def test_a_category_that_is_proved_empty(case: Case) -> None:
    bare = enrolled()
    bare.scope = ("board_certification", "state_license")
    bare.attest("board_certification")
    statement = bare.verify()
    assert (statement.verdict, statement.absent) == (Verdict.NOT_ESTABLISHED, ("state_license",))


def test_a_licence_that_hides_its_state(case: Case) -> None:
    license_ = parse(case.texts[2])
    case.texts[2] = select(license_, [name for name in license_.claims if name != "state"])
    statement = case.verify()
    assert (statement.verdict, check(statement, 4).outcome) == (Verdict.NOT_ESTABLISHED, UNKNOWN)


def test_a_licence_of_another_state(case: Case) -> None:
    case.attest("state_license", state="TX", license_number="T1")
    statement = case.verify()
    assert (statement.verdict, check(statement, 4).outcome) == (Verdict.UNTRUSTED, FAIL)


# The verdicts, on bundles built for real


def _garbage(case: Case) -> None:
    case.texts.append("x~")


def _unsigned(case: Case) -> None:
    case.attest("cme_credit", activity_title="Unsigned", signer=OTHER_BOARD)


def _unattested(case: Case) -> None:
    extra = case.world.issue("board_certification", ELENA.npi, certificate_number="990099")
    case.texts.append(extra.text)


def _audience(case: Case) -> None:
    case.body["audience"] = did("Second Hospital")


def _elsewhere(case: Case) -> None:
    case.attest("state_license", state="TX", license_number="T1")


def _suspended(case: Case) -> None:
    bad = case.attest("state_license", present=False, license_number="S1")
    case.world.set_status(bad, "suspended", "under_investigation")


def _expired_bundle(case: Case) -> None:
    case.question["grant"] = "ended"


def _withhold(case: Case) -> None:
    case.texts = [each for each in case.texts if parse_category_of(each) != "board_certification"]


def parse_category_of(text: str) -> str:
    try:
        return parse(text).category
    except InvalidInput:
        return ""


def _no_opening(case: Case) -> None:
    case.body["openings"] = ()
    case.texts = [each for each in case.texts if parse_category_of(each) != "cme_credit"]


def _hidden_state(case: Case) -> None:
    extra = case.attest("state_license", present=False, license_number="H1").credential
    case.texts.append(select(extra, ["license_number"]))


def _grant(case: Case) -> None:
    case.body["grant"] = some_digest("a grant")


def _old_anchor(case: Case) -> None:
    case.question["trusted_at"] = "old"


def _stale(case: Case) -> None:
    case.question["seen_height"] = 1_000


def _absent_category(case: Case) -> None:
    case.body["zoology"] = True


def _history(case: Case) -> None:
    wrong = case.attest("cme_credit", present=False, activity_title="Wrong")
    case.world.set_status(wrong, "issued_in_error", "data_error")


def _also_expired(case: Case) -> None:
    case.attest("cme_credit", activity_title="Expired", valid_until=START + 1_000 - 1)


def _also_undisclosed(case: Case) -> None:
    case.attest("cme_credit", present=False, activity_title="Undisclosed")


FACTS: dict[str, tuple[Verdict, Callable[[Case], None] | None]] = {
    "1: a document that cannot be read": (Verdict.INVALID, _garbage),
    "5: not signed by its issuer": (Verdict.INVALID, _unsigned),
    "6: not attested": (Verdict.INVALID, _unattested),
    "9: for another hospital": (Verdict.INVALID, _audience),
    "4: outside the issuer's jurisdiction": (Verdict.UNTRUSTED, _elsewhere),
    "an adverse entry, not disclosed": (Verdict.ADVERSE, _suspended),
    "10: expired": (Verdict.NOT_CURRENT, _expired_bundle),
    "only an expired board certification": (Verdict.NOT_CURRENT, None),
    "no board certification at all": (Verdict.NOT_ESTABLISHED, None),
    "the board certification withheld": (Verdict.NOT_ESTABLISHED, _withhold),
    "no opening": (Verdict.NOT_ESTABLISHED, _no_opening),
    "a hidden jurisdiction": (Verdict.NOT_ESTABLISHED, _hidden_state),
    "10: a grant unknown to this version": (Verdict.NOT_ESTABLISHED, _grant),
    "2: an old anchor": (Verdict.NOT_ESTABLISHED, _old_anchor),
    "3: below a height seen": (Verdict.NOT_ESTABLISHED, _stale),
    "a category that the network lacks": (Verdict.NOT_ESTABLISHED, _absent_category),
    "an entry issued in error": (Verdict.ESTABLISHED, _history),
    "an expired entry beside one in force": (Verdict.ESTABLISHED, _also_expired),
    "an undisclosed entry beside one in force": (Verdict.ESTABLISHED, _also_undisclosed),
}
"""Each finding beside an otherwise good bundle: the verdict it gives alone, and what makes it."""

EXPIRED_BOARD = "only an expired board certification"
NO_BOARD = "no board certification at all"
STALE, UNATTESTED = "3: below a height seen", "6: not attested"
ORDER = tuple(Verdict)
EXIT = {
    Verdict.INVALID: 3,
    Verdict.UNTRUSTED: 5,
    Verdict.ADVERSE: 4,
    Verdict.NOT_CURRENT: 4,
    Verdict.NOT_ESTABLISHED: 6,
    Verdict.ESTABLISHED: 0,
}


def built(facts: Iterable[str]) -> Statement:
    """The statement about a bundle for which all these facts hold."""
    case = enrolled()
    named = set(facts)
    if NO_BOARD not in named:
        until: dict[str, Any] = {"valid_until": START + 1_000 - 1} if EXPIRED_BOARD in named else {}
        case.attest("board_certification", **until)
    case.attest("cme_credit")
    case.attest("state_license")
    for fact, (_, make) in FACTS.items():
        if fact in named and make is not None and make not in (_withhold, _no_opening):
            make(case)
    for late in (_withhold, _no_opening):  # these take back what others put in
        if any(FACTS[fact][1] is late for fact in named):
            late(case)
    if UNATTESTED in named and not any("990099" in _claims_of(each) for each in case.texts):
        _unattested(case)
    if "5: not signed by its issuer" in named and FACTS_NO_OPENING in named:
        _unattested(case)  # the unsigned one is a cme_credit, and went with the others
    if case.question.pop("grant", None):
        case.body.update(issued=Millis(START), expires=Millis(case.world.now - 1))
    if case.question.get("trusted_at"):
        period = case.world.network.genesis.parameters.trusting_period
        case.question["trusted_at"] = Millis(case.world.now - period)
    if case.body.pop("zoology", None):
        case.body["scope"] = tuple(ScopeEntry(each) for each in (*ALL, "zoology"))
    return case.verify()


FACTS_NO_OPENING = "no opening"


def _claims_of(text: str) -> list[str]:
    try:
        return [str(each) for each in parse(text).claims.values()]
    except InvalidInput:
        return []


@pytest.mark.parametrize("fact", FACTS)
def test_each_finding_alone(fact: str) -> None:
    verdict = built([fact]).verdict
    assert verdict is FACTS[fact][0]
    assert OF_VERDICT[verdict.value] == EXIT[verdict]


def test_the_first_that_applies_decides_between_any_two_findings() -> None:
    wrong = {}
    for pair in combinations(FACTS, 2):
        if set(pair) == {EXPIRED_BOARD, NO_BOARD}:
            continue  # they exclude each other
        expected = min((FACTS[fact][0] for fact in pair), key=ORDER.index)
        if set(pair) == {STALE, UNATTESTED}:
            expected = Verdict.NOT_ESTABLISHED  # a later block may have it
        found = built(pair).verdict
        if found is not expected:
            wrong[pair] = (found, expected)
        assert OF_VERDICT[found.value] == EXIT[found]
    assert wrong == {}
