"""Verifying a bundle: what a radiologist presents, against what the ledger proves.

The presenter answers for the documents, the signature and the openings; whoever gave the evidence (a
node, or with ``--offline`` the presenter) for header and proofs. Evidence that does not hold is
`ProofError`: the caller asks the next node, or makes a statement of it with `evidence_failed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..certificates import Millis
from ..credentials.categories import Category, misfit
from ..credentials.dates import rfc3339
from ..credentials.sdjwt import Credential, parse
from ..credentials.subjects import npi_subject
from ..encoding import Digest
from ..errors import CredchainError, InvalidInput, ProofError
from ..keys import Did
from ..ledger.codes import IDENTITY, PURPOSES, RADIOLOGIST
from ..ledger.identifiers import attestation_id
from ..ledger.network import Network
from ..ledger.records import Dossier, Entry, Member
from ..limits import LIMITS
from . import checks as numbers
from .bundle import Bundle, BundleBody
from .checks import Check, Findings, Outcome, Standing, Verdict, verdict
from .evidence import ProvedState
from .judging import (
    BY_NUMBER,
    JudgedDocument,
    Placed,
    Standpoint,
    check_anchor,
    check_attested,
    check_in_force,
    check_issuer,
    check_signature,
    complete,
    freshness,
    judged,
    place,
    proved_absent,
)
from .statement import AsOf, CredentialResult, Statement, sentence, summarise


@dataclass(frozen=True)
class BundleQuestion:
    """What the caller holds and knows itself: ``audience`` is who it is; the rest as for an NPI."""

    network: Network
    bundle: Bundle
    audience: Did
    now: Millis
    max_age: Millis
    seen_height: int
    trusted_at: Millis

    @property
    def body(self) -> BundleBody:
        return self.bundle.body

    @property
    def categories(self) -> tuple[str, ...]:
        """Those to read: the identity, and the scope."""
        names = {IDENTITY, *(each.category for each in self.body.scope)}
        return tuple(sorted(name for name in names if name in self.network.categories))

    @cached_property
    def _subjects(self) -> dict[str, Digest]:
        opened = {each.category: each.subject for each in self.body.openings}
        found: dict[str, Digest] = {}
        for name in self.categories:
            if self.network.category(name).by_npi:
                found[name] = npi_subject(name, self.body.npi)
            elif name in opened:
                found[name] = opened[name]
        return found

    @property
    def subjects(self) -> tuple[tuple[str, Digest], ...]:
        """(category, subject) of every dossier to read; a private one without opening is left out."""
        return tuple(self._subjects.items())

    def subject(self, name: str) -> Digest | None:
        """The holder's subject in such a category, by its NPI or as the bundle opens it, if it is known."""
        return self._subjects.get(name)


@dataclass(frozen=True, slots=True)
class _Presented:
    """A credential of the bundle as parsed, or why it could not be."""

    text: str
    credential: Credential | None
    problem: str


def verify_bundle(question: BundleQuestion, state: ProvedState) -> Statement:
    """The statement about a bundle; ProofError if the evidence does not hold or leaves something out."""
    body, network = question.body, question.network
    certified = check_anchor(state, network, question.now, question.trusted_at)
    fresh = freshness(state, question.now, question.max_age, question.seen_height)
    standpoint = Standpoint(network, question.now, certified, fresh)
    presented = [_present(text) for text in (body.identity, *body.credentials)]
    holder = _Holder(question, state, presented[0])
    whole = (holder.check(), check_grant(body, network, question.now))
    credentials: list[CredentialResult] = []
    absent: list[str] = []
    absences: list[Check] = []
    standings: list[tuple[Standing, ...]] = []
    undisclosed = False
    rest = _by_attestation(network.id, presented)
    for name, subject in question.subjects:
        dossier = state.dossier(name, subject)
        judge = _Judge(standpoint, state, network.category(name), holder, whole)
        results = [] if dossier is None else list(judge.dossier(dossier, rest))
        credentials.extend(results)
        if dossier is None:
            absent.append(name)
            absences.append(holder.completeness(network.category(name), None))
        standings.append(tuple([each.standing for each in results]))
        undisclosed |= not any(each.standing is Standing.IN_FORCE and each.presented for each in results)
    strangers = [
        *(_unreadable(each, standpoint, whole, question) for each in presented if each.credential is None),
        *(_stranger(each, standpoint, whole, question) for each in rest.values()),
    ]
    credentials.extend(strangers)
    unopened = [
        Check(
            numbers.DOSSIER_COMPLETE, Outcome.UNKNOWN, f"no opening for {each.category}, so it was not read"
        )
        for each in body.scope
        if question.subject(each.category) is None
    ]
    every = [certified, fresh, *whole]
    for each in credentials:
        every.extend(each.checks)
    every.extend(absences)
    every.extend(unopened)
    findings = Findings(
        checks=tuple(every),
        standings=tuple(standings),
        credentials=sum(1 for each in credentials if each.presented),
        adverse=any(each.standing is Standing.ADVERSE for each in credentials),
        grant_ended=whole[1].outcome is Outcome.FAIL,
        undisclosed=undisclosed or bool(unopened),
    )
    header = state.certified.header
    result = verdict(findings)
    return Statement(
        verdict=result,
        verified_at=question.now,
        as_of=AsOf(header.height, header.time),
        npi=body.npi,
        did=body.holder,
        credentials=tuple(credentials),
        absent=tuple(absent),
        checks=summarise(every),
        sentence=sentence(f"The bundle of NPI {body.npi}", result, len(credentials), header.height),
    )


def evidence_failed(question: BundleQuestion, problem: CredchainError) -> Statement:
    """The statement where no evidence held: never established, and nothing of the bundle is fact.

    A `ProofError` is a failed check; anything else means that nobody could be asked.
    """
    failed = problem.check if isinstance(problem, ProofError) else 0
    checks = tuple(
        Check(
            number,
            Outcome.FAIL if number == failed else Outcome.UNKNOWN,
            problem.message if number == failed else "could not be checked",
        )
        for number in numbers.NAMES
    )
    return Statement(
        verdict=Verdict.NOT_ESTABLISHED,
        verified_at=question.now,
        as_of=None,
        npi=question.body.npi,
        did=question.body.holder,
        credentials=(),
        absent=(),
        checks=checks,
        sentence=f"The bundle of NPI {question.body.npi} could not be checked: {problem.message}",
    )


def malformed_bundle(now: Millis, problem: InvalidInput) -> Statement:
    """The statement about content that was sealed for the caller and is no bundle: invalid."""
    checks = tuple(
        Check(number, Outcome.FAIL if number == numbers.WELL_FORMED else Outcome.UNKNOWN, problem.message)
        for number in numbers.NAMES
    )
    return Statement(
        verdict=Verdict.INVALID,
        verified_at=now,
        as_of=None,
        npi=None,
        did=None,
        credentials=(),
        absent=(),
        checks=checks,
        sentence=f"The bundle is not well formed: {problem.message}",
    )


def check_grant(body: BundleBody, network: Network, now: Millis) -> Check:
    """Check 10: within its time. Grants on the ledger are a later version's."""
    if now > body.expires:
        return Check(numbers.GRANT, Outcome.FAIL, f"the bundle expired on {rfc3339(body.expires)}")
    if body.grant is not None:
        return Check(numbers.GRANT, Outcome.UNKNOWN, "the bundle names a grant, unknown to this version")
    return Check(
        numbers.GRANT,
        Outcome.PASS,
        f"shared for {body.purpose} until {rfc3339(body.expires)}, without a grant on the ledger",
    )


def _present(text: str) -> _Presented:
    try:
        return _Presented(text, parse(text), "")
    except InvalidInput as problem:
        return _Presented(text, None, problem.message)


def _by_attestation(network: Digest, presented: list[_Presented]) -> dict[Digest, _Presented]:
    """By the id that the credential's own issuer would have attested it under."""
    found: dict[Digest, _Presented] = {}
    for each in presented:
        credential = each.credential
        if credential is not None:
            identifier = attestation_id(
                network, credential.issuer, credential.category, credential.subject, credential.digest
            )
            found[identifier] = each
    return found


class _Holder:
    """Check 9: the bundle is the holder's, made for this audience, and every document is about it."""

    def __init__(self, question: BundleQuestion, state: ProvedState, identity: _Presented) -> None:
        self._question = question
        self._member = state.member(question.body.holder)
        self._identity = identity.credential
        self._height = state.certified.header.height
        self._scope = {each.category: each.claims for each in question.body.scope}
        bindings = state.dossier(IDENTITY, npi_subject(IDENTITY, question.body.npi))
        self._bound_anew = bindings is not None and bound_anew(bindings, self._member)

    def check(self) -> Check:
        problem = self._problem()
        if problem:
            return Check(numbers.HOLDER, Outcome.FAIL, problem)
        return Check(numbers.HOLDER, Outcome.PASS, "signed by the radiologist, for this hospital")

    def _problem(self) -> str:
        body, member, identity = self._question.body, self._member, self._identity
        claims = {} if identity is None else identity.claims
        root = None if member is None else member.subjects_root
        stated = (
            (body.network != self._question.network.id, "it is of another network"),
            (body.audience != self._question.audience, "it was made for another hospital"),
            (not self._question.bundle.signature_holds(), "its signature does not hold"),
            (body.purpose not in PURPOSES, f"its purpose {body.purpose} is not a listed one"),
            (body.expires - body.issued > LIMITS.bundle_lifetime, "it was made for longer than a year"),
            (body.issued > self._question.now + LIMITS.clock_skew, "it was made in the future"),
            (not body.scope, "its scope is empty"),
            (member is None, "its holder is not a member"),
            (identity is None or identity.category != IDENTITY, "it has no identity credential"),
            (claims.get("holder") != body.holder, "its identity credential is of another holder"),
            (root is None or claims.get("subjects_root") != root.hex(), "its subjects_root is another"),
            (
                identity is not None and identity.subject != npi_subject(IDENTITY, body.npi),
                "its identity credential is of another NPI",
            ),
        )
        found = next((why for wrong, why in stated if wrong), "")
        if found or member is None:
            return found
        if not member.has_role(RADIOLOGIST, self._height) or not member.signs_with(body.key, self._height):
            return "it is not signed by a current key of its holder"
        return self._openings_problem(member)

    def _openings_problem(self, member: Member) -> str:
        for opening in self._question.body.openings:
            if not member.commits_to(opening):
                return f"its opening of {opening.category} does not lead to the holder's subjects"
        return ""

    def completeness(self, category: Category, dossier: Dossier | None) -> Check:
        """Check 8 of a dossier, or of none: unknown for private categories where the holder's history
        restarts, or may do so.

        An NPI that was bound before this holder was enrolled was bound anew, after a lost wallet for example:
        whether the private history restarted then, only the whole identity says.
        """
        shown = proved_absent(category.name) if dossier is None else complete(dossier)
        if category.by_npi or self._identity is None:
            return shown
        since = self._identity.claims.get("history_restarts")
        if since is not None:
            return Check(
                numbers.DOSSIER_COMPLETE,
                Outcome.UNKNOWN,
                f"the holder's private history restarts at {since}",
            )
        if self._identity.hidden and self._bound_anew:
            return Check(
                numbers.DOSSIER_COMPLETE,
                Outcome.UNKNOWN,
                "the NPI was bound to this holder anew, and claims of the identity that could say that the"
                " private history restarts are hidden",
            )
        return shown

    def about(self, credential: Credential) -> str:
        """Why an entry's document is not this holder's, or says more than the scope; "" if all is well.

        Category and subject are those of the dossier: the entry's id is made of them.
        """
        question, member = self._question, self._member
        named = self._scope.get(credential.category)
        if named and not credential.claims.keys() <= set(named):
            return "a document discloses claims that the signed scope does not name"
        key = credential.holder
        if key is None:
            # Whoever saw a private subject can have committed to it as well.
            by_npi = question.network.category(credential.category).by_npi
            return "" if by_npi else "a private document is bound to nobody's key"
        if member is None or member.key_term(key) is None:
            return "a document is bound to somebody else's key"
        return ""


def bound_anew(bindings: Dossier, holder: Member | None) -> bool:
    """Whether the NPI of this identity dossier was bound to anybody before the holder was enrolled."""
    return holder is not None and any(each.height < holder.enrolled for each in bindings.entries)


class _Judge:
    """Judges the dossiers of one category."""

    def __init__(
        self,
        standpoint: Standpoint,
        state: ProvedState,
        category: Category,
        holder: _Holder,
        whole: tuple[Check, Check],
    ) -> None:
        self._standpoint = standpoint
        self._state = state
        self._category = category
        self._holder = holder
        self._whole = whole

    def dossier(self, dossier: Dossier, rest: dict[Digest, _Presented]) -> Iterator[CredentialResult]:
        """Every entry; documents that belong to one are taken out of ``rest``."""
        for placed in place(dossier, self._standpoint.now):
            presented = rest.pop(placed.entry.id, None)
            issuer = self._state.member(placed.entry.issuer)
            if presented is None or presented.credential is None:
                yield self._listed(dossier, placed, issuer)
            else:
                yield self._disclosed(dossier, placed, issuer, presented.credential)

    def _listed(self, dossier: Dossier, placed: Placed, issuer: Member | None) -> CredentialResult:
        """An entry that the holder did not disclose: issuer, dates and status, and nothing more."""
        document = JudgedDocument.all(Outcome.NOT_APPLICABLE, "listed, not disclosed by the holder")
        adverse = placed.where is Standing.ADVERSE
        return self._result(
            dossier,
            placed,
            issuer,
            document,
            Check(numbers.ISSUER_AUTHORISED, Outcome.NOT_APPLICABLE, "listed, not disclosed"),
            check_in_force(placed.where, placed.why, relied_on=adverse)
            if adverse
            else Check(numbers.IN_FORCE, Outcome.NOT_APPLICABLE, f"not relied on: {placed.why}"),
            presented=False,
        )

    def _disclosed(
        self, dossier: Dossier, placed: Placed, issuer: Member | None, credential: Credential
    ) -> CredentialResult:
        document = self._document(dossier, placed.entry, credential)
        # The identity binds the holder to the NPI: it is relied on whatever its standing.
        binds = self._category.name == IDENTITY
        where = Standing.NOT_CURRENT if binds and placed.where is Standing.HISTORY else placed.where
        return self._result(
            dossier,
            placed,
            issuer,
            document,
            check_issuer(self._category, placed.entry, issuer, document.claims, where),
            check_in_force(placed.where, placed.why, relied_on=placed.relied_on or binds),
            presented=True,
            about=self._holder.about(credential),
        )

    def _document(self, dossier: Dossier, entry: Entry, credential: Credential) -> JudgedDocument:
        signature = check_signature(credential, entry)
        attested = check_attested(credential, entry, self._category.name, dossier.subject)
        passed = signature.outcome is Outcome.PASS and attested.outcome is Outcome.PASS
        why = misfit(self._category, credential.claims, whole=False) if passed else ""
        well_formed = Check(
            numbers.WELL_FORMED,
            Outcome.FAIL if why else Outcome.PASS,
            f"the document is not a {self._category.name}: {why}" if why else "a well-formed SD-JWT VC",
        )
        return JudgedDocument(
            (well_formed, signature, attested), credential.claims if passed and not why else None
        )

    def _result(
        self,
        dossier: Dossier,
        placed: Placed,
        issuer: Member | None,
        document: JudgedDocument,
        authorised: Check,
        in_force: Check,
        *,
        presented: bool,
        about: str = "",
    ) -> CredentialResult:
        holder = Check(numbers.HOLDER, Outcome.FAIL, about) if about else self._whole[0]
        checks = (
            *document.checks,
            self._standpoint.certified,
            self._standpoint.fresh,
            authorised,
            in_force,
            self._holder.completeness(self._category, dossier),
            holder,
            self._whole[1],
        )
        return judged(
            self._standpoint,
            self._category,
            placed.entry,
            issuer,
            document,
            placed.where,
            checks,
            presented=presented,
        )


def _stranger(
    presented: _Presented,
    standpoint: Standpoint,
    whole: tuple[Check, Check],
    question: BundleQuestion,
) -> CredentialResult:
    """A document that no dossier has: not attested, as far as a fresh header can say."""
    if presented.credential is None:
        raise ValueError("a stranger was parsed")
    if standpoint.fresh.outcome is Outcome.PASS:
        attested = Check(numbers.ATTESTED, Outcome.FAIL, "no dossier that was read has this document")
    else:
        attested = Check(numbers.ATTESTED, Outcome.UNKNOWN, "it may be attested in a later block")
    well_formed = Check(numbers.WELL_FORMED, Outcome.PASS, "a well-formed SD-JWT VC")
    return _unplaced(presented.credential, standpoint, whole, question, well_formed, attested)


def _unreadable(
    presented: _Presented,
    standpoint: Standpoint,
    whole: tuple[Check, Check],
    question: BundleQuestion,
) -> CredentialResult:
    well_formed = Check(numbers.WELL_FORMED, Outcome.FAIL, presented.problem)
    attested = Check(numbers.ATTESTED, Outcome.UNKNOWN, "the document is not well formed")
    return _unplaced(None, standpoint, whole, question, well_formed, attested)


def _unplaced(
    credential: Credential | None,
    standpoint: Standpoint,
    whole: tuple[Check, Check],
    question: BundleQuestion,
    well_formed: Check,
    attested: Check,
) -> CredentialResult:
    """A document without an entry: nothing of it is shown as fact."""
    unknown = (numbers.ISSUER_AUTHORISED, numbers.ISSUER_SIGNATURE, numbers.IN_FORCE)
    checks = (
        well_formed,
        standpoint.certified,
        standpoint.fresh,
        attested,
        *(Check(number, Outcome.UNKNOWN, "it stands in no dossier") for number in unknown),
        *whole,
    )
    findings = Findings(checks, ((Standing.NOT_CURRENT,),), 1, adverse=False)
    category = "" if credential is None else credential.category
    known = standpoint.network.categories.get(category)
    identifier = (
        Digest(bytes(32))
        if credential is None
        else attestation_id(
            question.network.id, credential.issuer, category, credential.subject, credential.digest
        )
    )
    return CredentialResult(
        category=category,
        attestation=identifier,
        issuer=Did("") if credential is None else credential.issuer,
        issuer_name=None,
        primary_source="" if known is None else known.primary_source,
        status=None,
        valid_from=None,
        valid_until=None,
        standing=Standing.NOT_CURRENT,
        verdict=verdict(findings).value,
        claims=None,
        checks=tuple(sorted(checks, key=BY_NUMBER)),
        presented=True,
    )
