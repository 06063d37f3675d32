"""Judging one entry of a dossier: the checks that an NPI and a bundle have in common.

What is not here is where documents come from, and whose fault it is when they do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from ..certificates import Millis
from ..credentials.categories import Category, Claims, jurisdiction_covers
from ..credentials.dates import describe_duration, rfc3339
from ..credentials.sdjwt import Credential, verify_signature
from ..encoding import Digest
from ..errors import ProofError
from ..ledger.network import Network
from ..ledger.records import Dossier, Entry, Member
from ..limits import LIMITS
from . import checks as numbers
from .checks import NOTHING_SHOWN_AFTER, Check, Findings, Outcome, Standing, verdict
from .evidence import ProvedState
from .standing import standing, status_in_words
from .statement import CredentialResult

BY_NUMBER: Final = attrgetter("id")


@dataclass(frozen=True, slots=True)
class Standpoint:
    """From where an entry is judged: the network, the caller's clock, and what holds of the header."""

    network: Network
    now: Millis
    certified: Check
    fresh: Check


def freshness(state: ProvedState, now: Millis, max_age: Millis, seen_height: int) -> Check:
    """Check 3 of a header: within the bound, not below a height seen before, not in the future."""
    header = state.certified.header
    age = max(0, now - header.time)
    problem = ""
    if header.time > now + LIMITS.clock_skew:
        problem = f"the header's time {rfc3339(header.time)} is in the future"
    elif header.height < seen_height:
        problem = f"the header's height {header.height} is below {seen_height}, seen before"
    elif age > max_age:
        problem = f"the header is {describe_duration(age)} old, more than {describe_duration(max_age)}"
    if problem:
        return Check(numbers.FRESH, Outcome.FAIL, problem)
    return Check(numbers.FRESH, Outcome.PASS, f"height {header.height} of {rfc3339(header.time)}")


def check_freshness(state: ProvedState, now: Millis, max_age: Millis, seen_height: int) -> Check:
    """The same of a node's answer: a node that gives such a header is refused, ProofError."""
    check = freshness(state, now, max_age, seen_height)
    if check.outcome is Outcome.FAIL:
        header = state.certified.header
        field = "header.height" if header.height < seen_height else "header.time"
        hint = "the network may have stopped; credchain node status says why"
        if header.time > now:
            hint = "check this machine's clock"
        raise ProofError(check.detail, check=numbers.FRESH, field=field, hint=hint)
    return check


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


class JudgedDocument(msgspec.Struct, frozen=True):
    """Checks 1, 5 and 6 of one entry, and the claims if they all passed."""

    checks: tuple[Check, ...]
    claims: Claims | None = None
    missing: bool = False

    @staticmethod
    def all(outcome: Outcome, detail: str) -> JudgedDocument:
        ids = (numbers.WELL_FORMED, numbers.ISSUER_SIGNATURE, numbers.ATTESTED)
        return JudgedDocument(tuple(Check(number, outcome, detail) for number in ids))


def malformed(why: str) -> JudgedDocument:
    return JudgedDocument(
        (
            Check(numbers.WELL_FORMED, Outcome.FAIL, why),
            Check(numbers.ISSUER_SIGNATURE, Outcome.UNKNOWN, "the document is not well formed"),
            Check(numbers.ATTESTED, Outcome.UNKNOWN, "the document is not well formed"),
        )
    )


def check_signature(credential: Credential, entry: Entry) -> Check:
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
    compared = (
        ("digest", credential.digest, entry.credential),
        ("vct", credential.category, category),
        ("sub", credential.subject, subject),
        ("iss", credential.issuer, entry.issuer),
        ("nbf", credential.valid_from, entry.valid_from),
        ("exp", credential.valid_until, entry.valid_until),
    )
    wrong = [name for name, ours, theirs in compared if ours != theirs]
    if wrong:
        return Check(
            numbers.ATTESTED,
            Outcome.FAIL,
            f"the document's {', '.join(wrong)} differ from the attestation",
        )
    return Check(numbers.ATTESTED, Outcome.PASS, f"attested at height {entry.height}")


def check_issuer(
    category: Category, entry: Entry, issuer: Member | None, claims: Claims | None, where: Standing
) -> Check:
    """Check 4, with the authority and the key at the attest height."""
    if where is Standing.HISTORY:
        return Check(numbers.ISSUER_AUTHORISED, Outcome.NOT_APPLICABLE, "listed as history only")
    problem = _issuer_problem(category, entry, issuer)
    if problem:
        return Check(numbers.ISSUER_AUTHORISED, Outcome.FAIL, problem)
    jurisdiction = _check_jurisdiction(category, entry, issuer, claims)
    if jurisdiction is not None:
        return jurisdiction
    name = issuer.name if issuer is not None and issuer.name else entry.issuer
    return Check(
        numbers.ISSUER_AUTHORISED,
        Outcome.PASS,
        f"{name} was authorised for {category.name} at height {entry.height}",
    )


def _issuer_problem(category: Category, entry: Entry, issuer: Member | None) -> str:
    if issuer is None or not issuer.may_attest(category.name, entry.height):
        return f"the issuer was not authorised for {category.name} at height {entry.height}"
    term = issuer.key_term(entry.key)
    if term is None:
        return "the attestation's key is not one of the issuer's"
    if term.distrusted is not None and entry.height >= term.distrusted:
        return f"the issuer's key is distrusted since height {term.distrusted}"
    if not term.signs_at(entry.height):
        return f"the issuer's key was not valid at height {entry.height}"
    return ""


def _check_jurisdiction(
    category: Category, entry: Entry, issuer: Member | None, claims: Claims | None
) -> Check | None:
    """Where the category names a jurisdiction claim: fail outside, unknown where it is hidden."""
    name = category.jurisdiction_claim
    if name is None or claims is None or issuer is None:
        return None
    if name not in claims:
        return Check(
            numbers.ISSUER_AUTHORISED,
            Outcome.UNKNOWN,
            f"the claim {name} is not disclosed, and the issuer's jurisdiction depends on it",
        )
    state = str(claims[name])
    if jurisdiction_covers(issuer.names_at(issuer.jurisdictions, entry.height), state):
        return None
    return Check(numbers.ISSUER_AUTHORISED, Outcome.FAIL, f"the issuer has no jurisdiction over {state}")


def check_in_force(where: Standing, why: str, *, relied_on: bool) -> Check:
    """Check 7: the status at the header, the dates at the caller's now."""
    if where is Standing.IN_FORCE:
        return Check(numbers.IN_FORCE, Outcome.PASS, why)
    if relied_on:
        return Check(numbers.IN_FORCE, Outcome.FAIL, why)
    return Check(numbers.IN_FORCE, Outcome.NOT_APPLICABLE, f"not relied on: {why}")


def judged(
    standpoint: Standpoint,
    category: Category,
    entry: Entry,
    issuer: Member | None,
    document: JudgedDocument,
    where: Standing,
    checks: tuple[Check, ...],
    *,
    presented: bool = True,
) -> CredentialResult:
    """The entry's result, its own verdict included."""
    fail = Outcome.FAIL
    shown = not [each for each in checks if each.outcome is fail and each.id in NOTHING_SHOWN_AFTER]
    findings = Findings(checks, ((where,),), 1, where is Standing.ADVERSE)
    return CredentialResult(
        category=category.name,
        attestation=entry.id,
        issuer=entry.issuer,
        issuer_name=None if issuer is None else issuer.name,
        primary_source=category.primary_source,
        status=status_in_words(entry, standpoint.now) if shown else None,
        valid_from=entry.valid_from if shown else None,
        valid_until=entry.valid_until if shown else None,
        standing=where,
        verdict=_verdict(findings, where, presented=presented),
        claims=document.claims if shown else None,
        checks=tuple(sorted(checks, key=BY_NUMBER)),
        presented=presented,
        document_missing=document.missing,
    )


def _verdict(findings: Findings, where: Standing, *, presented: bool) -> str:
    """The entry's own verdict, or what it is instead where none is given."""
    if where is Standing.HISTORY:
        return "history"
    if where is Standing.IN_FORCE and not presented:
        return "undisclosed"
    return verdict(findings).value


class Placed(msgspec.Struct, frozen=True):
    """An entry with its standing, the sentence why, and whether a verdict may rest on it.

    An entry that is history, or is not current beside one in force, is listed and not relied on.
    """

    entry: Entry
    where: Standing
    why: str
    relied_on: bool


def place(dossier: Dossier, now: Millis) -> Iterator[Placed]:
    """Every entry of a dossier, in ledger order."""
    found = [(entry, *standing(dossier, entry, now)) for entry in dossier.entries]
    any_in_force = any(where is Standing.IN_FORCE for _, where, _ in found)
    for entry, where, why in found:
        idle = where is Standing.HISTORY or (where is Standing.NOT_CURRENT and any_in_force)
        yield Placed(entry, where, why, not idle)


def complete(dossier: Dossier) -> Check:
    """Check 8 of a dossier that was read."""
    count = len(dossier.entries)
    return Check(numbers.DOSSIER_COMPLETE, Outcome.PASS, f"the whole dossier is shown, {count} in all")


def proved_absent(category: str) -> Check:
    """Check 8 of a dossier that is proved not to exist."""
    return Check(numbers.DOSSIER_COMPLETE, Outcome.PASS, f"no dossier in {category}, which is proved")
