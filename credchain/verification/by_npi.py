"""Verifying by NPI: every dossier of the radiologist in the categories that an NPI names.

All that is judged here comes from a node, so what does not hold accuses the node: `ProofError`, and
the caller asks the next. The exception is a document whose digest is on the ledger: that one is the
issuer's, and its faults are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from ..certificates import Millis
from ..credentials.categories import Category, Claims, jurisdiction_covers, misfit
from ..credentials.dates import describe_duration, rfc3339
from ..credentials.npi import Npi
from ..credentials.sdjwt import (
    Credential,
    credential_digest,
    discloses_only_its_own,
    parse,
    verify_signature,
)
from ..credentials.subjects import npi_subject
from ..encoding import Digest
from ..errors import InvalidInput, ProofError
from ..ledger.network import Network
from ..ledger.records import Dossier, Entry, Member
from ..limits import LIMITS
from . import checks as numbers
from .checks import (
    NOTHING_SHOWN_AFTER,
    Check,
    Findings,
    Outcome,
    Standing,
    Verdict,
    verdict,
)
from .evidence import ProvedState
from .standing import standing, status_in_words
from .statement import AsOf, CredentialResult, Statement, summarise

_NO_BUNDLE: Final = tuple(
    Check(number, Outcome.NOT_APPLICABLE, "an NPI was given, no bundle")
    for number in (numbers.HOLDER, numbers.GRANT)
)


@dataclass(frozen=True, slots=True)
class Question:
    """What the caller asks, and what it knows itself.

    ``now`` is its clock, ``max_age`` how old a header may be, ``seen_height`` the highest it ever
    verified, ``trusted_at`` when it last had reason to trust the anchor (genesis, or the time of the
    last header it verified). ``required`` is empty where the caller named no category.
    """

    network: Network
    npi: Npi
    required: tuple[str, ...]
    now: Millis
    max_age: Millis
    seen_height: int
    trusted_at: Millis

    @property
    def categories(self) -> tuple[Category, ...]:
        """Those to read: the required ones, or all that an NPI names."""
        if self.required:
            return tuple(self.network.category(name) for name in self.required)
        found = self.network.categories
        return tuple(found[name] for name in sorted(found) if found[name].by_npi)

    @property
    def subjects(self) -> tuple[tuple[str, Digest], ...]:
        """(category, subject) of every dossier to read."""
        return tuple((each.name, npi_subject(each.name, self.npi)) for each in self.categories)


def check_categories(network: Network, names: Iterable[str]) -> tuple[str, ...]:
    """The required categories, once each and sorted; InvalidInput for one that no NPI names."""
    for name in names:
        if not network.category(name).by_npi:
            raise InvalidInput(
                f"{name} is private: an NPI does not lead to it",
                field="category",
                hint="ask the radiologist to share a bundle",
            )
    return tuple(sorted(set(names)))


def check_freshness(state: ProvedState, now: Millis, max_age: Millis, seen_height: int) -> Check:
    """Check 3. A node with an old, older than seen, or future header is refused: ProofError."""
    header = state.certified.header
    if header.time > now + LIMITS.clock_skew:
        raise ProofError(
            f"the header's time {rfc3339(header.time)} is in the future",
            check=numbers.FRESH,
            field="header.time",
            hint="check this machine's clock",
        )
    if header.height < seen_height:
        raise ProofError(
            f"the header's height {header.height} is below {seen_height}, seen before",
            check=numbers.FRESH,
            field="header.height",
        )
    age = max(0, now - header.time)
    if age > max_age:
        raise ProofError(
            f"the header is {describe_duration(age)} old, more than {describe_duration(max_age)}",
            check=numbers.FRESH,
            field="header.time",
            hint="the network may have stopped; credchain node status says why",
        )
    return Check(numbers.FRESH, Outcome.PASS, f"height {header.height} of {rfc3339(header.time)}")


def check_anchor(state: ProvedState, network: Network, now: Millis, trusted_at: Millis) -> Check:
    """Check 2, after the certificate held: whether the trust anchor is recent enough to judge by."""
    period = network.genesis.parameters.trusting_period
    if now - trusted_at > period:
        return Check(
            numbers.CERTIFIED,
            Outcome.UNKNOWN,
            f"the trust anchor was last confirmed on {rfc3339(trusted_at)}, longer ago than "
            f"{describe_duration(period)}: join with a current network.json",
        )
    signatures = len(state.certified.certificate.signatures)
    validators = len(network.validators.members)
    return Check(
        numbers.CERTIFIED,
        Outcome.PASS,
        f"certified by {signatures} of {validators} validators of {network.genesis.name}",
    )


def verify_npi(question: Question, state: ProvedState) -> Statement:
    """The statement about an NPI; ProofError if the node's answer does not hold."""
    fresh = check_freshness(state, question.now, question.max_age, question.seen_height)
    certified = check_anchor(state, question.network, question.now, question.trusted_at)
    credentials: list[CredentialResult] = []
    absent: list[str] = []
    standings: list[tuple[Standing, ...]] = []
    for category in question.categories:
        dossier = state.dossier(category.name, npi_subject(category.name, question.npi))
        results = () if dossier is None else tuple(_judge(question, state, category, dossier))
        credentials.extend(results)
        if not results:
            absent.append(category.name)
        if results or question.required:
            standings.append(tuple(each.standing for each in results))
    every = (
        certified,
        fresh,
        *(check for each in credentials for check in each.checks),
        *(_proved_absent(name) for name in absent),
        *_NO_BUNDLE,
    )
    findings = Findings(
        checks=every,
        standings=tuple(standings),
        credentials=len(credentials),
        adverse=any(each.standing is Standing.ADVERSE for each in credentials),
    )
    header = state.certified.header
    result = verdict(findings)
    return Statement(
        verdict=result,
        verified_at=question.now,
        as_of=AsOf(header.height, header.time),
        npi=question.npi,
        did=None,
        credentials=tuple(credentials),
        absent=tuple(absent),
        checks=summarise(every),
        sentence=_sentence(result, question, credentials, f"as of height {header.height}"),
    )


def _proved_absent(category: str) -> Check:
    return Check(numbers.DOSSIER_COMPLETE, Outcome.PASS, f"no dossier in {category}, which is proved")


def could_not_check(question: Question, reason: str) -> Statement:
    """The statement where no node could be reached or believed: never established."""
    applicable = [number for number in numbers.NAMES if number < numbers.HOLDER]
    checks = (
        *(Check(number, Outcome.UNKNOWN, "could not be checked") for number in applicable),
        *_NO_BUNDLE,
    )
    return Statement(
        verdict=Verdict.NOT_ESTABLISHED,
        verified_at=question.now,
        as_of=None,
        npi=question.npi,
        did=None,
        credentials=(),
        absent=(),
        checks=checks,
        sentence=f"NPI {question.npi} could not be checked: {reason}",
    )


def _judge(
    question: Question, state: ProvedState, category: Category, dossier: Dossier
) -> Iterator[CredentialResult]:
    found = {entry.id: standing(dossier, entry, question.now) for entry in dossier.entries}
    any_in_force = any(each is Standing.IN_FORCE for each, _ in found.values())
    for entry in dossier.entries:
        where, why = found[entry.id]
        issuer = state.member(entry.issuer)
        document = _document(state, category, dossier.subject, entry, where)
        # An entry that is history, or is not current beside one that is, is not relied on.
        relied_on = where is not Standing.HISTORY and not (where is Standing.NOT_CURRENT and any_in_force)
        checks = (
            *document.checks,
            check_anchor(state, question.network, question.now, question.trusted_at),
            check_freshness(state, question.now, question.max_age, question.seen_height),
            _check_issuer(category, entry, issuer, document.claims, where),
            _check_in_force(where, why, relied_on=relied_on),
            Check(
                numbers.DOSSIER_COMPLETE,
                Outcome.PASS,
                f"the whole dossier is shown, {len(dossier.entries)} in all",
            ),
            *_NO_BUNDLE,
        )
        yield _result(question, category, entry, issuer, document, where, checks)


def _result(
    question: Question,
    category: Category,
    entry: Entry,
    issuer: Member | None,
    document: _Document,
    where: Standing,
    checks: tuple[Check, ...],
) -> CredentialResult:
    shown = not any(each.outcome is Outcome.FAIL and each.id in NOTHING_SHOWN_AFTER for each in checks)
    findings = Findings(checks, ((where,),), 1, where is Standing.ADVERSE)
    return CredentialResult(
        category=category.name,
        attestation=entry.id,
        issuer=entry.issuer,
        issuer_name=None if issuer is None else issuer.name,
        primary_source=category.primary_source,
        status=status_in_words(entry, question.now) if shown else None,
        valid_from=entry.valid_from if shown else None,
        valid_until=entry.valid_until if shown else None,
        standing=where,
        verdict="history" if where is Standing.HISTORY else verdict(findings).value,
        claims=document.claims if shown else None,
        checks=tuple(sorted(checks, key=lambda check: check.id)),
        document_missing=document.missing,
    )


@dataclass(frozen=True, slots=True)
class _Document:
    """Checks 1, 5 and 6 of one entry, and the claims if they all passed."""

    checks: tuple[Check, ...]
    claims: Claims | None = None
    missing: bool = False

    @staticmethod
    def all(outcome: Outcome, detail: str) -> _Document:
        ids = (numbers.WELL_FORMED, numbers.ISSUER_SIGNATURE, numbers.ATTESTED)
        return _Document(tuple(Check(number, outcome, detail) for number in ids))


def _document(
    state: ProvedState, category: Category, subject: Digest, entry: Entry, where: Standing
) -> _Document:
    if where is Standing.HISTORY:
        return _Document.all(Outcome.NOT_APPLICABLE, "listed as history only")
    if not category.published:
        return _Document.all(Outcome.NOT_APPLICABLE, "the document is sealed to its holder")
    if entry.erased is not None:
        if where is Standing.NOT_CURRENT:
            return _Document.all(Outcome.NOT_APPLICABLE, f"erased at height {entry.erased}")
        return _Document.all(
            Outcome.UNKNOWN,
            f"the document was erased at height {entry.erased}: ask the issuer",
        )
    text = state.document(entry.credential)
    if text is None:
        unknown = _Document.all(Outcome.UNKNOWN, "no node has the published document: ask the issuer")
        return replace(unknown, missing=True)
    return _judge_document(text, entry, category, subject)


def _judge_document(text: str, entry: Entry, category: Category, subject: Digest) -> _Document:
    """The JWT has the ledger's digest, so it is what the issuer attested; disclosures may not be."""
    try:
        altered = not discloses_only_its_own(text)
        credential = None if altered else parse(text)
    except InvalidInput as problem:
        return _malformed(problem.message)
    if credential is None:
        raise ProofError(
            "the node altered the disclosures of a document",
            check=numbers.ISSUER_SIGNATURE,
            field="documents",
        )
    if credential.hidden:
        raise ProofError(
            "the node withholds claims of a published document",
            check=numbers.ISSUER_SIGNATURE,
            field="documents",
        )
    signature = _check_signature(credential, entry)
    attested = check_attested(credential, entry, category.name, subject)
    why = misfit(category, credential.claims, whole=True)
    if why and attested.outcome is Outcome.PASS:
        return _malformed(f"the document is not a {category.name}: {why}")
    passed = signature.outcome is Outcome.PASS and attested.outcome is Outcome.PASS
    well_formed = Check(numbers.WELL_FORMED, Outcome.PASS, "a well-formed SD-JWT VC")
    return _Document((well_formed, signature, attested), credential.claims if passed else None)


def _malformed(why: str) -> _Document:
    return _Document(
        (
            Check(numbers.WELL_FORMED, Outcome.FAIL, why),
            Check(numbers.ISSUER_SIGNATURE, Outcome.UNKNOWN, "the document is not well formed"),
            Check(numbers.ATTESTED, Outcome.UNKNOWN, "the document is not well formed"),
        )
    )


def _check_signature(credential: Credential, entry: Entry) -> Check:
    """Check 5, by the key that signed the attestation, from the ledger."""
    if verify_signature(credential, entry.key):
        return Check(numbers.ISSUER_SIGNATURE, Outcome.PASS, "signed by the issuer, nothing altered")
    return Check(
        numbers.ISSUER_SIGNATURE,
        Outcome.FAIL,
        "the issuer's signature on the document does not hold",
    )


def check_attested(credential: Credential, entry: Entry, category: str, subject: Digest) -> Check:
    """Check 6: digest, category, subject, issuer and dates equal the ledger's entry."""
    compared = {
        "digest": credential_digest(credential.jwt) == entry.credential,
        "vct": credential.category == category,
        "sub": credential.subject == subject,
        "iss": credential.issuer == entry.issuer,
        "nbf": credential.valid_from == entry.valid_from,
        "exp": credential.valid_until == entry.valid_until,
    }
    wrong = [name for name, equal in compared.items() if not equal]
    if wrong:
        return Check(
            numbers.ATTESTED,
            Outcome.FAIL,
            f"the document's {', '.join(wrong)} differ from the attestation",
        )
    return Check(numbers.ATTESTED, Outcome.PASS, f"attested at height {entry.height}")


def _check_issuer(
    category: Category, entry: Entry, issuer: Member | None, claims: Claims | None, where: Standing
) -> Check:
    """Check 4, with the authority and the key at the attest height."""
    if where is Standing.HISTORY:
        return Check(numbers.ISSUER_AUTHORISED, Outcome.NOT_APPLICABLE, "listed as history only")
    problem = _issuer_problem(category, entry, issuer, claims)
    if problem:
        return Check(numbers.ISSUER_AUTHORISED, Outcome.FAIL, problem)
    name = issuer.name if issuer is not None and issuer.name else entry.issuer
    return Check(
        numbers.ISSUER_AUTHORISED,
        Outcome.PASS,
        f"{name} was authorised for {category.name} at height {entry.height}",
    )


def _issuer_problem(category: Category, entry: Entry, issuer: Member | None, claims: Claims | None) -> str:
    if issuer is None or not issuer.may_attest(category.name, entry.height):
        return f"the issuer was not authorised for {category.name} at height {entry.height}"
    term = issuer.key_term(entry.key)
    if term is None:
        return "the attestation's key is not one of the issuer's"
    if term.distrusted is not None and entry.height >= term.distrusted:
        return f"the issuer's key is distrusted since height {term.distrusted}"
    if not term.signs_at(entry.height):
        return f"the issuer's key was not valid at height {entry.height}"
    claim = category.jurisdiction_claim
    if claim is None or claims is None:
        return ""
    state = str(claims.get(claim, ""))
    if not jurisdiction_covers(issuer.names_at(issuer.jurisdictions, entry.height), state):
        return f"the issuer has no jurisdiction over {state}"
    return ""


def _check_in_force(where: Standing, why: str, *, relied_on: bool) -> Check:
    """Check 7: the status at the header, the dates at the caller's now."""
    if where is Standing.IN_FORCE:
        return Check(numbers.IN_FORCE, Outcome.PASS, why)
    if relied_on:
        return Check(numbers.IN_FORCE, Outcome.FAIL, why)
    return Check(numbers.IN_FORCE, Outcome.NOT_APPLICABLE, f"not relied on: {why}")


def _sentence(result: Verdict, question: Question, credentials: list[CredentialResult], as_of: str) -> str:
    who = f"NPI {question.npi}"
    if not credentials:
        return f"{who}: nothing is attested in what was asked for, proved {as_of}"
    words = {
        Verdict.ESTABLISHED: "is established",
        Verdict.ADVERSE: "has an adverse entry",
        Verdict.NOT_CURRENT: "is not current",
        Verdict.UNTRUSTED: "has an attestation of an issuer not to be trusted",
        Verdict.INVALID: "has a document that does not hold",
        Verdict.NOT_ESTABLISHED: "is not established",
    }
    read = f"{len(credentials)} attestation{'s' if len(credentials) != 1 else ''}"
    return f"{who} {words[result]}: {read} read, {as_of}"
