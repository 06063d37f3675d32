"""Verifying by NPI: every dossier of the radiologist in the categories that an NPI names.

All that is judged here comes from a node, so what does not hold accuses the node: `ProofError`, and
the caller asks the next. The exception is a document whose digest is on the ledger: that one is the
issuer's, and its faults are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from ..certificates import Millis
from ..credentials.categories import Category, misfit
from ..credentials.npi import Npi
from ..credentials.sdjwt import discloses_only_its_own, parse
from ..credentials.subjects import npi_subject
from ..encoding import Digest
from ..errors import InvalidInput, ProofError
from ..ledger.network import Network
from ..ledger.records import Dossier, Entry
from . import checks as numbers
from .checks import Check, Findings, Outcome, Standing, Verdict, verdict
from .evidence import ProvedState
from .judging import (
    JudgedDocument,
    Standpoint,
    check_anchor,
    check_attested,
    check_freshness,
    check_in_force,
    check_issuer,
    check_signature,
    complete,
    judged,
    malformed,
    place,
    proved_absent,
)
from .statement import AsOf, CredentialResult, Statement, sentence, summarise

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


def verify_npi(question: Question, state: ProvedState) -> Statement:
    """The statement about an NPI; ProofError if the node's answer does not hold."""
    fresh = check_freshness(state, question.now, question.max_age, question.seen_height)
    certified = check_anchor(state, question.network, question.now, question.trusted_at)
    standpoint = Standpoint(question.network, question.now, certified, fresh)
    credentials: list[CredentialResult] = []
    absent: list[str] = []
    standings: list[tuple[Standing, ...]] = []
    for category in question.categories:
        dossier = state.dossier(category.name, npi_subject(category.name, question.npi))
        results = () if dossier is None else tuple(_judge(standpoint, state, category, dossier))
        credentials.extend(results)
        if not results:
            absent.append(category.name)
        if results or question.required:
            standings.append(tuple(each.standing for each in results))
    every = (
        certified,
        fresh,
        *(check for each in credentials for check in each.checks),
        *(proved_absent(name) for name in absent),
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
        sentence=sentence(f"NPI {question.npi}", result, len(credentials), header.height),
    )


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
    standpoint: Standpoint, state: ProvedState, category: Category, dossier: Dossier
) -> Iterator[CredentialResult]:
    for placed in place(dossier, standpoint.now):
        entry, where = placed.entry, placed.where
        issuer = state.member(entry.issuer)
        document = _document(state, category, dossier.subject, entry, where)
        checks = (
            *document.checks,
            standpoint.certified,
            standpoint.fresh,
            check_issuer(category, entry, issuer, document.claims, where),
            check_in_force(where, placed.why, relied_on=placed.relied_on),
            complete(dossier),
            *_NO_BUNDLE,
        )
        yield judged(standpoint, category, entry, issuer, document, where, checks)


def _document(
    state: ProvedState, category: Category, subject: Digest, entry: Entry, where: Standing
) -> JudgedDocument:
    if where is Standing.HISTORY:
        return JudgedDocument.all(Outcome.NOT_APPLICABLE, "listed as history only")
    if not category.published:
        return JudgedDocument.all(Outcome.NOT_APPLICABLE, "the document is sealed to its holder")
    if entry.erased is not None:
        if where is Standing.NOT_CURRENT:
            return JudgedDocument.all(Outcome.NOT_APPLICABLE, f"erased at height {entry.erased}")
        return JudgedDocument.all(
            Outcome.UNKNOWN,
            f"the document was erased at height {entry.erased}: ask the issuer",
        )
    text = state.document(entry.credential)
    if text is None:
        unknown = JudgedDocument.all(Outcome.UNKNOWN, "no node has the published document: ask the issuer")
        return replace(unknown, missing=True)
    return _judge_document(text, entry, category, subject)


def _judge_document(text: str, entry: Entry, category: Category, subject: Digest) -> JudgedDocument:
    """The JWT has the ledger's digest, so it is what the issuer attested; disclosures may not be."""
    try:
        altered = not discloses_only_its_own(text)
        credential = None if altered else parse(text)
    except InvalidInput as problem:
        return malformed(problem.message)
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
    signature = check_signature(credential, entry)
    attested = check_attested(credential, entry, category.name, subject)
    why = misfit(category, credential.claims, whole=True)
    if why and attested.outcome is Outcome.PASS:
        return malformed(f"the document is not a {category.name}: {why}")
    passed = signature.outcome is Outcome.PASS and attested.outcome is Outcome.PASS
    well_formed = Check(numbers.WELL_FORMED, Outcome.PASS, "a well-formed SD-JWT VC")
    return JudgedDocument((well_formed, signature, attested), credential.claims if passed else None)
