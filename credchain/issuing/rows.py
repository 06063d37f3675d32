"""Rows to attest: what a user gave, checked against the category before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ..certificates import Millis
from ..credentials.addresses import Address
from ..credentials.categories import (
    Category,
    Claims,
    canonical_json,
    check_claim,
    check_claims,
    claim_from_text,
    jurisdiction_covers,
)
from ..credentials.dates import day_of, first_millisecond, last_millisecond
from ..credentials.npi import Npi, parse_npi
from ..credentials.subjects import npi_subject
from ..encoding import Digest, check_text, digest, encode
from ..errors import InvalidInput
from ..keys import Did, EncryptionKey, PublicKey
from ..ledger.codes import REASONS, STATUSES
from .tables import Problem, Table, TableRow


@dataclass(frozen=True, slots=True)
class Recipient:
    """A credential's holder: whose key it is bound to, and to whom the document is sealed."""

    did: Did
    key: PublicKey
    encryption_key: EncryptionKey


@dataclass(frozen=True, slots=True)
class AttestRow:
    """One credential to attest. ``key`` is of what the user gave, the same in every run.

    It is made out to an NPI or to an address; ``recipient`` is the address' holder once the ledger
    has confirmed it (`holders.confirm`).
    """

    line: int
    key: Digest
    npi: Npi | None
    address: Address | None
    subject: Digest
    claims: Claims
    valid_from: Millis
    valid_until: Millis | None
    recipient: Recipient | None = None


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One status change; ``attestation`` is an id or its first digits."""

    line: int
    attestation: str
    status: str
    reason: str
    note: str | None


@dataclass(frozen=True, slots=True)
class Defaults:
    """Dates from the command line, for rows that give none; ``today`` where neither does."""

    valid_from: str | None
    valid_until: str | None
    today: Millis


@dataclass(frozen=True, slots=True)
class Issuer:
    """What must be known of the issuer to check a row: the network, and where it may speak for."""

    network: Digest
    jurisdictions: tuple[str, ...] | None


def attest_columns(category: Category) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(required, optional) columns of a category's table."""
    optional = [name for name in category.schemas if name not in category.required]
    return (whom(category), *category.required), ("valid_from", "valid_until", *optional)


def whom(category: Category) -> str:
    """The column that says whom a credential is about."""
    return "npi" if category.by_npi else "address"


def template_columns(category: Category) -> list[str]:
    """All columns of a category's table, in the order to fill them."""
    return [whom(category), "valid_from", "valid_until", *category.schemas]


def make_row(
    category: Category,
    issuer: Issuer,
    *,
    to: str,
    claims: Mapping[str, Any],
    valid_from: str | None,
    valid_until: str | None,
    defaults: Defaults,
    line: int = 0,
) -> AttestRow:
    """A checked row; InvalidInput names the column that is wrong. ``to`` is an NPI or an address."""
    number = parse_npi(to) if category.by_npi else None
    address = None if category.by_npi else _parse_address(to, issuer.network, category.name)
    checked = check_claims(category, claims)
    _check_jurisdiction(category, issuer, checked)
    given_from = valid_from or defaults.valid_from
    given_until = valid_until or defaults.valid_until
    start = first_millisecond(given_from or day_of(defaults.today), "valid_from")
    end = None if given_until is None else last_millisecond(given_until, "valid_until")
    _check_window(category, start, end)
    given = {
        "network": issuer.network,
        "category": category.name,
        **({"npi": number} if number else {"subject": address.opening.subject if address else b""}),
        "claims": canonical_json(dict(checked)),
        "from": given_from or "",
        "until": given_until or "",
    }
    return AttestRow(
        line=line,
        key=digest("row", encode(given)),
        npi=number,
        address=address,
        subject=address.opening.subject if address else npi_subject(category.name, Npi(to)),
        claims={name: checked[name] for name in category.schemas if name in checked},
        valid_from=start,
        valid_until=end,
    )


def _parse_address(text: str, network: Digest, category: str) -> Address:
    address = Address.parse(text)
    address.check(network, category)
    return address


def _check_jurisdiction(category: Category, issuer: Issuer, claims: Claims) -> None:
    name = category.jurisdiction_claim
    if name is None or issuer.jurisdictions is None:
        return
    state = str(claims.get(name, ""))
    if not jurisdiction_covers(issuer.jurisdictions, state):
        raise InvalidInput(
            f"{name} is {state}, outside your jurisdictions",
            field=name,
            hint=f"yours are {', '.join(issuer.jurisdictions) or 'none'}",
        )


def _check_window(category: Category, start: Millis, end: Millis | None) -> None:
    if category.until == "required" and end is None:
        raise InvalidInput(
            f"{category.name} needs its last day", field="valid_until", hint="give --until YYYY-MM-DD"
        )
    if category.until == "never" and end is not None:
        raise InvalidInput(
            f"{category.name} has no last day", field="valid_until", hint="leave the last day out"
        )
    if end is None:
        return
    if end < start:
        raise InvalidInput(
            f"valid_until {day_of(end)} is before valid_from {day_of(start)}",
            field="valid_until",
            hint="the last day is not before the first",
        )
    if category.max_months is not None and _months(start, end) > category.max_months:
        raise InvalidInput(
            f"the validity is longer than {category.max_months} months, the most for {category.name}",
            field="valid_until",
            hint="give an earlier last day",
        )


def _months(start: Millis, end: Millis) -> int:
    """Whole months begun between the first day and the last, both included."""
    first, last = date.fromisoformat(day_of(start)), date.fromisoformat(day_of(end))
    months = (last.year - first.year) * 12 + last.month - first.month
    return months + (last.day >= first.day)


def attest_rows(
    table: Table, category: Category, issuer: Issuer, defaults: Defaults
) -> tuple[list[AttestRow], list[Problem]]:
    """Every good row, and every problem of every bad one."""
    rows: list[AttestRow] = []
    problems = list(table.problems)
    broken = {problem.line for problem in problems}
    first: dict[Digest, int] = {}
    for source in table.rows:
        if source.line in broken:
            continue
        row, found = _attest_row(source, category, issuer, defaults)
        problems.extend(found)
        if row is None:
            continue
        if row.key in first:
            problems.append(Problem(source.line, "", f"the row repeats line {first[row.key]}"))
            continue
        first[row.key] = source.line
        rows.append(row)
    return rows, sorted(problems, key=lambda problem: problem.line)


def _attest_row(
    source: TableRow, category: Category, issuer: Issuer, defaults: Defaults
) -> tuple[AttestRow | None, list[Problem]]:
    problems: list[Problem] = []
    claims: dict[str, Any] = {}
    for column, text in source.cells.items():
        if column in category.schemas:
            try:
                claims[column] = claim_from_text(category, column, text)
                check_claim(category, column, claims[column])
            except InvalidInput as problem:
                problems.append(_problem(source.line, problem))
    if not problems:
        try:
            row = make_row(
                category,
                issuer,
                to=source.cells.get(whom(category), ""),
                claims=claims,
                valid_from=source.cells.get("valid_from"),
                valid_until=source.cells.get("valid_until"),
                defaults=defaults,
                line=source.line,
            )
            return row, []
        except InvalidInput as problem:
            problems.append(_problem(source.line, problem))
    return None, problems


def _problem(line: int, problem: InvalidInput) -> Problem:
    column = "address" if problem.field == "to" else problem.field
    return Problem(line, column, problem.message, problem.hint)


STATUS_COLUMNS = ("attestation", "status", "reason")


def status_rows(table: Table) -> tuple[list[StatusRow], list[Problem]]:
    """Every good row of a table of status changes, and every problem."""
    rows: list[StatusRow] = []
    problems = list(table.problems)
    broken = {problem.line for problem in problems}
    first: dict[str, int] = {}
    for source in table.rows:
        if source.line in broken:
            continue
        try:
            row = make_status_row(
                source.cells.get("attestation", ""),
                source.cells.get("status", ""),
                source.cells.get("reason", ""),
                source.cells.get("note"),
                source.line,
            )
        except InvalidInput as problem:
            problems.append(_problem(source.line, problem))
            continue
        if row.attestation in first:
            problems.append(
                Problem(source.line, "attestation", f"stands on line {first[row.attestation]} already")
            )
            continue
        first[row.attestation] = source.line
        rows.append(row)
    return rows, sorted(problems, key=lambda problem: problem.line)


def make_status_row(attestation: str, status: str, reason: str, note: str | None, line: int = 0) -> StatusRow:
    """A checked status change; InvalidInput names the part."""
    if status not in STATUSES:
        raise InvalidInput(
            f"there is no status {status!r}", field="status", hint=f"statuses are {', '.join(STATUSES)}"
        )
    fitting = [code for code, to in REASONS.items() if status in to]
    if reason not in fitting:
        raise InvalidInput(
            f"the reason {reason!r} is not one for {status}",
            field="reason",
            hint=f"use {', '.join(fitting)}",
        )
    if note is not None:
        check_text(note, "note")
    digits = attestation.lower()
    if not (8 <= len(digits) <= 64 and all(each in "0123456789abcdef" for each in digits)):
        raise InvalidInput(
            f"attestation {attestation[:70]!r} is not 8 to 64 hexadecimal digits",
            field="attestation",
            hint="credchain issued lists the ids of yours",
        )
    return StatusRow(line, digits, status, reason, note)
