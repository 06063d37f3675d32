"""Commands of issuers: what to fill in, attest, change statuses, erase, and see what was issued."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exit_codes import ExitCode
from .output import note, print_json, print_pairs, print_table, printable, progress, say, short
from .session import Session, command

if TYPE_CHECKING:
    from credchain.client import Client
    from credchain.credentials.categories import Category
    from credchain.issuing.changing import Found
    from credchain.issuing.outbox import Outbox, Sent
    from credchain.issuing.rows import AttestRow, Defaults, Issuer, StatusRow
    from credchain.issuing.tables import Problem, Table
    from credchain.ledger.network import Network
    from credchain.storage.member_store import MemberStore

PANEL = "Boards and other issuers"


def register(app: typer.Typer) -> None:
    command(
        app, "categories", panel=PANEL, example="credchain categories board_certification --csv-template"
    )(categories)
    command(
        app,
        "attest",
        panel=PANEL,
        example="credchain attest board_certification --csv samples/roster.csv",
    )(attest)
    command(
        app,
        "status",
        panel=PANEL,
        example="credchain status 3f9a01c2 --set suspended --reason disciplinary_action",
    )(status)
    command(app, "issued", panel=PANEL, example="credchain issued --npi 2012345676")(issued)
    command(app, "erase", panel=PANEL, example="credchain erase 3f9a01c2 --reason erasure_request")(erase)


# --- categories -------------------------------------------------------------------------------


def categories(
    session: Session,
    category: Annotated[str | None, typer.Argument(help="One category, with its claims.")] = None,
    csv_template: Annotated[
        bool, typer.Option("--csv-template", help="Print the head of a table to fill.")
    ] = False,
) -> None:
    """The kinds of credential, and the claims of each."""
    from credchain.errors import InvalidInput

    known = _known_categories(session)
    if category is None:
        if csv_template:
            raise InvalidInput("name the category whose table you want", field="category")
        _print_categories(session, list(known.values()))
        return
    if category not in known:
        raise InvalidInput(
            f"there is no category {category}", field="category", hint=f"there are {', '.join(known)}"
        )
    if csv_template:
        from credchain.issuing.rows import template_columns

        csv.writer(sys.stdout).writerow(template_columns(known[category]))
        return
    _print_category(session, known[category])


def _known_categories(session: Session) -> dict[str, Category]:
    """Of the network, if one is joined or named; else those that a new network starts from."""
    from credchain.credentials.categories import parse_category
    from credchain.storage.home import packaged_categories

    if session.network_path or session.home.network_file.exists():
        found = session.network.categories
        return {name: found[name] for name in sorted(found)}
    return {each.name: each for each in map(parse_category, packaged_categories())}


def _print_categories(session: Session, found: list[Category]) -> None:
    if session.as_json:
        names = ("title", "subject", "document", "primary_source", "description")
        print_json(
            {
                "categories": [
                    {"category": each.name, **{name: getattr(each, name) for name in names}} for each in found
                ]
            }
        )
        return
    print_table(
        ["category", "title", "subject", "document", "primary source"],
        [(each.name, each.title, each.subject, each.document, each.primary_source) for each in found],
    )


def _print_category(session: Session, category: Category) -> None:
    claims = [
        {
            "name": name,
            "type": schema["type"],
            "required": name in category.required,
            "description": schema["description"],
            "example": (schema.get("examples") or [None])[0],
        }
        for name, schema in category.schemas.items()
    ]
    if session.as_json:
        print_json(
            {
                "category": category.name,
                "title": category.title,
                "description": category.description,
                "subject": category.subject,
                "document": category.document,
                "primary_source": category.primary_source,
                "valid_until": category.until,
                "max_months": category.max_months,
                "claims": claims,
            }
        )
        return
    say(f"{category.title}: {category.description}")
    print_pairs(
        [
            ("subject", category.subject),
            ("document", category.document),
            ("primary source", category.primary_source),
            ("last day", category.until),
        ]
    )
    print_table(
        ["claim", "type", "required", "description", "example"],
        [
            (
                each["name"],
                each["type"],
                "yes" if each["required"] else "",
                each["description"],
                each["example"],
            )
            for each in claims
        ],
    )


# --- the issuer's workplace -------------------------------------------------------------------


@dataclass(frozen=True)
class _Office:
    """What an issuing command works with, under the home's lock."""

    store: MemberStore
    client: Client
    outbox: Outbox
    resumed: tuple[Sent, ...]


@asynccontextmanager
async def _office(session: Session) -> AsyncIterator[_Office]:
    """Open the home's database, and first finish what an earlier run left."""
    from credchain.issuing.outbox import Outbox
    from credchain.storage.files import exclusive
    from credchain.storage.member_store import MemberStore

    home = session.home
    keys = session.keys
    with exclusive(home.member_lock, "this home"):
        store = MemberStore(home.member_database, session.network.id)
        try:
            async with session.client() as client:
                outbox = Outbox(store, client, keys, session.now)
                resumed = await outbox.resume()
                if resumed.sent:
                    note(f"finished {len(resumed.sent)} envelopes of an earlier run")
                for problem in resumed.refused:
                    note(f"warning: an envelope of an earlier run was refused: {printable(problem.message)}")
                yield _Office(store, client, outbox, resumed.sent)
        finally:
            store.close()


def _issuer(session: Session) -> Issuer:
    from credchain.issuing.rows import Issuer

    did = session.home.did()
    found = [member for member in session.network.genesis.members if member.did == did]
    return Issuer(session.network.id, found[0].jurisdictions if found else None)


def _check_category(session: Session, name: str) -> Category:
    """The category, if an NPI leads to it and its documents are published."""
    from credchain.errors import InvalidInput

    category = session.network.category(name)
    if not category.by_npi:
        raise InvalidInput(
            f"{name} is private to its holder: an NPI does not lead to it",
            field="category",
            hint="ask the radiologist for an address in this category",
        )
    if not category.published:
        raise InvalidInput(
            f"{name} is sealed to its holder and attested when the radiologist enrols", field="category"
        )
    return category


# --- attest -----------------------------------------------------------------------------------


def attest(
    session: Session,
    category: Annotated[str, typer.Argument(help="See credchain categories.")],
    npi: Annotated[str | None, typer.Option(help="The radiologist's NPI.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="CLAIM=VALUE, repeatable.")] = None,
    claims: Annotated[Path | None, typer.Option(help="JSON file with the claims.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD; today.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day, YYYY-MM-DD.")] = None,
    renews: Annotated[str | None, typer.Option(help="An earlier attestation's id, or auto.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the credential to this new file.")] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="A table, one credential a row.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the table, send nothing.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Send the good rows.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="With --partial: the refused rows.")] = None,
) -> None:
    """Attest one credential, or a table of them. What is printed as attested is final."""
    from credchain.errors import InvalidInput

    single = {"--npi": npi, "--set": sets, "--claims": claims, "--out": out}
    if table is not None:
        for name, value in single.items():
            if value:
                raise InvalidInput(f"{name} does not go with --csv", field=name.strip("-"))
        _attest_table(
            session, category, table, start, until, renews, dry_run=dry_run, partial=partial, rejects=rejects
        )
        return
    if dry_run or partial or rejects:
        raise InvalidInput("--dry-run, --partial and --rejects go with --csv", field="csv")
    if npi is None:
        raise InvalidInput("say whom: --npi NPI, or --csv FILE", field="npi")
    _attest_one(session, category, npi, sets or [], claims, start, until, renews, out)


def _attest_one(
    session: Session,
    name: str,
    npi: str,
    sets: list[str],
    file: Path | None,
    start: str | None,
    until: str | None,
    renews: str | None,
    out: Path | None,
) -> None:
    from credchain.errors import InvalidInput
    from credchain.issuing.rows import make_row

    category = _check_category(session, name)
    row = make_row(
        category,
        _issuer(session),
        npi=npi,
        claims=_claims(category, sets, file),
        valid_from=None,
        valid_until=None,
        defaults=_defaults(session, start, until),
    )
    if out is not None and out.exists():
        raise InvalidInput(f"{out} exists and is not overwritten", field="out")
    sent, text = session.run(_send_one(session, category, row, renews))
    if out is not None:
        from credchain.storage.files import write_new

        write_new(out, text.encode() + b"\n")
    if session.as_json:
        print_json(sent)
        return
    say(f"attested: {category.title} for NPI {npi}")
    print_pairs([(key, sent[key]) for key in ("attestation", "transaction", "height", "time")])


async def _send_one(
    session: Session, category: Category, row: AttestRow, renews: str | None
) -> tuple[dict[str, Any], str]:
    """(the receipt as JSON, the credential's text)."""
    from credchain.errors import StorageError
    from credchain.issuing.attesting import AUTO, Attesting
    from credchain.issuing.changing import find

    async with _office(session) as office:
        renewed: Any = renews
        if renews is not None and renews != AUTO:
            renewed = (await find(office.client, office.store, _id_prefix(renews))).entry.id
        attesting = Attesting(
            office.store,
            office.client,
            office.outbox,
            session.keys,
            category,
            session.now,
            renews=renewed,
        )
        outcome = await attesting.run([row], partial=False, resumed=office.resumed)
        if outcome.already:
            note("attested already, by an earlier run: this is its receipt")
        issued = office.store.issued(row.key)
        envelope = None
        if issued is not None and issued.envelope is not None:
            envelope = office.store.envelope(issued.envelope)
        if issued is None or envelope is None or envelope.receipt is None:
            raise StorageError("the receipt of this attestation is not in this home")
        from credchain.ledger.blocks import Receipt

        receipt = Receipt.decode(envelope.receipt)
        body = {"attestation": issued.attestation.hex(), **_receipt_json(session.network, envelope, receipt)}
        return body, issued.document


def _receipt_json(network: Network, envelope: Any, receipt: Any) -> dict[str, Any]:
    """The receipt's keys of the contract."""
    import base64

    from credchain.credentials.dates import rfc3339

    header, certificate = receipt.certified.header, receipt.certified.certificate
    return {
        "transaction": envelope.transaction_id.hex(),
        "height": header.height,
        "time": rfc3339(header.time),
        "certificate": {
            "view": certificate.view,
            "signatures": [
                {"validator": network.validators.members[index].did, "signature": signature.hex()}
                for index, signature in certificate.signatures
            ],
        },
        "receipt": base64.b64encode(receipt.encode()).decode(),
    }


def _claims(category: Category, sets: list[str], file: Path | None) -> dict[str, Any]:
    from credchain.credentials.categories import claim_from_text, parse_json
    from credchain.errors import InvalidInput
    from credchain.limits import LIMITS
    from credchain.storage.files import read_text

    claims: dict[str, Any] = {}
    if file is not None:
        document = parse_json(read_text(file, "claims", at_most=LIMITS.claims_file_bytes), "claims")
        if not isinstance(document, dict):
            raise InvalidInput(f"{file} is not a JSON object", field="claims")
        claims.update(document)
    given: set[str] = set()
    for each in sets:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidInput(f"--set {each!r} is not CLAIM=VALUE", field="set")
        if name in given:
            raise InvalidInput(f"--set names {name} twice", field=name)
        given.add(name)
        claims[name] = claim_from_text(category, name, value)
    return claims


def _defaults(session: Session, start: str | None, until: str | None) -> Defaults:
    from credchain.credentials.dates import parse_date
    from credchain.issuing.rows import Defaults

    for field, text in (("from", start), ("until", until)):
        if text is not None:
            parse_date(text, field)
    return Defaults(start, until, session.now())


def _id_prefix(text: str) -> str:
    """8 to 64 hexadecimal digits, lower case; InvalidInput otherwise."""
    from credchain.errors import InvalidInput

    digits = text.lower()
    if not (8 <= len(digits) <= 64 and all(each in "0123456789abcdef" for each in digits)):
        raise InvalidInput(
            f"{text[:70]!r} is not an id", field="attestation", hint="an id is 8 to 64 of the digits 0-9 a-f"
        )
    return digits


def _attest_table(
    session: Session,
    name: str,
    path: Path,
    start: str | None,
    until: str | None,
    renews: str | None,
    *,
    dry_run: bool,
    partial: bool,
    rejects: Path | None,
) -> None:
    from credchain.errors import InvalidInput
    from credchain.issuing.rows import attest_columns, attest_rows
    from credchain.issuing.tables import read_table

    if partial != (rejects is not None):
        raise InvalidInput("--partial and --rejects FILE go together", field="rejects")
    if renews not in (None, "auto"):
        raise InvalidInput("with --csv, --renews is auto or absent", field="renews")
    category = _check_category(session, name)
    required, optional = attest_columns(category)
    table = read_table(path, required=required, optional=optional)
    rows, problems = attest_rows(table, category, _issuer(session), _defaults(session, start, until))
    if problems and not partial:
        _refuse_table(session, "attested", len(table.rows), problems)
        return
    if dry_run:
        _report(session, "attested", len(table.rows), 0, 0, problems)
        if not session.as_json:
            note(f"nothing was sent: {len(rows)} rows are good")
        return
    if rejects is not None:
        _write_rejects(rejects, table, problems)
    outcome = session.run(_send_table(session, category, rows, renews, partial=partial))
    every = sorted([*problems, *outcome.problems], key=lambda problem: problem.line)
    if rejects is not None and outcome.problems:
        _write_rejects(rejects, table, every)
    _report(session, "attested", len(table.rows), outcome.attested, outcome.already, every)


async def _send_table(
    session: Session, category: Category, rows: list[AttestRow], renews: str | None, *, partial: bool
) -> Any:
    from credchain.issuing.attesting import Attesting

    async with _office(session) as office:
        attesting = Attesting(
            office.store, office.client, office.outbox, session.keys, category, session.now, renews=renews
        )
        with progress(len(rows), "attesting") as advance:
            return await attesting.run(rows, partial=partial, resumed=office.resumed, progress=advance)


def _write_rejects(path: Path, table: Table, problems: list[Problem]) -> None:
    from credchain.issuing.tables import write_rejects

    write_rejects(path, table, problems)


def _problems_json(problems: list[Problem]) -> list[dict[str, Any]]:
    return [{"line": each.line, "column": each.column or None, "reason": each.reason} for each in problems]


def _report(
    session: Session, done: str, rows: int, count: int, already: int, problems: list[Problem]
) -> None:
    """What came of a table; rows that were refused make exit code 2."""
    if session.as_json:
        print_json({"rows": rows, done: count, "already": already, "rejected": _problems_json(problems)})
        return
    rejected = len({each.line for each in problems})
    say(f"{rows} rows: {count} {done}, {already} already, {rejected} rejected")
    _list_problems(problems)


def _list_problems(problems: list[Problem]) -> None:
    for each in problems:
        column = f", {each.column}" if each.column else ""
        note(f"line {each.line}{column}: {printable(each.reason)}")


def _refuse_table(session: Session, done: str, rows: int, problems: list[Problem]) -> None:
    """Every bad row, and an error: nothing was sent."""
    from credchain.errors import InvalidInput

    lines = len({each.line for each in problems})
    problem = InvalidInput(
        f"{lines} of {rows} rows are wrong, so nothing was sent",
        field="csv",
        hint="mend them, or send the good ones with --partial --rejects FILE",
    )
    if session.as_json:
        import json

        body = {
            "error": problem.message,
            "field": problem.field,
            "hint": problem.hint,
            "code": int(ExitCode.USAGE),
            "rejected": _problems_json(problems),
        }
        sys.stderr.write(json.dumps(body, ensure_ascii=False) + "\n")
        session.exit_code = ExitCode.USAGE
        return
    _list_problems(problems)
    raise problem


# --- status -----------------------------------------------------------------------------------


def status(
    session: Session,
    attestation: Annotated[str | None, typer.Argument(metavar="[ID]", help="8 or more digits.")] = None,
    new: Annotated[str | None, typer.Option("--set", help="The new status.")] = None,
    reason: Annotated[str | None, typer.Option(help="A listed reason code.")] = None,
    text: Annotated[
        str | None, typer.Option("--note", help="Free text: kept here, a salted digest on the ledger.")
    ] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="A table of status changes.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Send the good rows.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="With --partial: the refused rows.")] = None,
) -> None:
    """Show an attestation's history, or change its status. A change that is printed is final."""
    from credchain.errors import InvalidInput

    if table is not None:
        if attestation or new or reason or text:
            raise InvalidInput("an id, --set, --reason and --note do not go with --csv", field="csv")
        _status_table(session, table, partial=partial, rejects=rejects)
        return
    if partial or rejects:
        raise InvalidInput("--partial and --rejects go with --csv", field="csv")
    if attestation is None:
        raise InvalidInput("name the attestation, or give --csv FILE", field="attestation")
    if new is None:
        if reason or text:
            raise InvalidInput("--reason and --note go with --set", field="set")
        _show_status(session, attestation)
        return
    if reason is None:
        from credchain.ledger.codes import REASONS

        fitting = [code for code, to in REASONS.items() if new in to]
        raise InvalidInput(
            "a status change needs --reason", field="reason", hint=f"use {', '.join(fitting or REASONS)}"
        )
    _set_status(session, attestation, new, reason, text)


def _show_status(session: Session, attestation: str) -> None:
    from credchain.issuing.changing import find
    from credchain.ledger.records import Member
    from credchain.storage.member_store import MemberStore
    from credchain.verification.statement import AsOf

    prefix = _id_prefix(attestation)
    own = session.home.member_database.exists()
    store = MemberStore(session.home.member_database, session.network.id) if own else None

    async def ask() -> tuple[Found, Member | None, AsOf]:
        async with session.client() as client:
            found = await find(client, store, prefix)
            issuer = await client.member(found.entry.issuer)
            return found, issuer, found.as_of

    try:
        found, issuer, as_of = session.run(ask())
        body = _status_json(session, found, issuer.name if issuer else None, as_of, store)
    finally:
        if store:
            store.close()
    if session.as_json:
        print_json(body)
        return
    names = ("attestation", "category", "issuer_name", "issuer", "status", "valid_from", "valid_until")
    print_pairs([(name, body[name]) for name in names if body[name] is not None])
    say(f"as of height {body['as_of']['height']}, {body['as_of']['time']}")
    print_table(
        ["height", "time", "status", "reason", "by", "note"],
        [
            tuple(each[name] for name in ("height", "time", "status", "reason", "by", "note"))
            for each in body["history"]
        ],
    )


def _status_json(
    session: Session, found: Found, issuer_name: str | None, as_of: Any, store: MemberStore | None
) -> dict[str, Any]:
    from credchain.credentials.dates import rfc3339
    from credchain.verification.standing import status_in_words

    entry = found.entry
    first = {
        "status": "active",
        "reason": None,
        "by": entry.issuer,
        "height": entry.height,
        "time": rfc3339(entry.time),
        "note": None,
    }
    changes = [
        {
            "status": each.status,
            "reason": each.reason,
            "by": each.by,
            "height": each.height,
            "time": rfc3339(each.time),
            "note": store.note(each.note) if store and each.note else None,
        }
        for each in entry.history
    ]
    return {
        "attestation": entry.id.hex(),
        "category": found.dossier.category,
        "issuer": entry.issuer,
        "issuer_name": issuer_name,
        "status": status_in_words(entry, session.now()),
        "valid_from": rfc3339(entry.valid_from),
        "valid_until": None if entry.valid_until is None else rfc3339(entry.valid_until),
        "renews": None if entry.renews is None else entry.renews.hex(),
        "erased": entry.erased,
        "history": [first, *changes],
        "as_of": {"height": as_of.height, "time": rfc3339(as_of.time)},
    }


def _set_status(session: Session, attestation: str, new: str, reason: str, text: str | None) -> None:
    from credchain.issuing.rows import make_status_row
    from credchain.ledger.codes import TERMINAL

    row = make_status_row(attestation, new, reason, text)
    if new in TERMINAL:
        session.confirm(f"Set {short(attestation)} to {new}? This is final.")
    body = session.run(_send_status(session, row))
    if session.as_json:
        print_json(body)
        return
    say(f"{body['status']}: {body['attestation']}")
    print_pairs([(key, body[key]) for key in ("reason", "transaction", "height", "time")])


async def _send_status(session: Session, row: StatusRow) -> dict[str, Any]:
    from credchain.errors import Rejected
    from credchain.issuing.changing import Changing, find

    async with _office(session) as office:
        found = await find(office.client, office.store, row.attestation)
        if found.entry.status == row.status:
            raise Rejected(
                "transition",
                f"the attestation is {row.status} already, since height {found.entry.history[-1].height}"
                if found.entry.history
                else f"the attestation is {row.status} already",
                field="status",
            )
        changing = Changing(office.store, office.client, office.outbox, session.keys.did, session.now)
        changed = await changing.send([(row, found)], partial=False)
        sent = changed.sent[0]
        return {
            "attestation": found.entry.id.hex(),
            "status": row.status,
            "reason": row.reason,
            **_receipt_json(session.network, sent.envelope, sent.receipt),
        }


def _status_table(session: Session, path: Path, *, partial: bool, rejects: Path | None) -> None:
    from credchain.errors import InvalidInput
    from credchain.issuing.rows import STATUS_COLUMNS, status_rows
    from credchain.issuing.tables import read_table
    from credchain.ledger.codes import TERMINAL

    if partial != (rejects is not None):
        raise InvalidInput("--partial and --rejects FILE go together", field="rejects")
    table = read_table(path, required=STATUS_COLUMNS, optional=("note",))
    rows, problems = status_rows(table)
    if problems and not partial:
        _refuse_table(session, "changed", len(table.rows), problems)
        return
    final = sum(1 for row in rows if row.status in TERMINAL)
    if final:
        session.confirm(f"Set {final} attestations to a final status?")
    changed, refused = session.run(_send_statuses(session, rows, problems, partial=partial))
    if changed is None:
        _refuse_table(session, "changed", len(table.rows), refused)
        return
    every = sorted([*refused, *changed.problems], key=lambda problem: problem.line)
    if rejects is not None:
        _write_rejects(rejects, table, every)
    _report(session, "changed", len(table.rows), changed.changed, changed.already, every)


async def _send_statuses(
    session: Session, rows: list[StatusRow], problems: list[Problem], *, partial: bool
) -> tuple[Any, list[Problem]]:
    """(what was changed, all problems); nothing is changed where a row is wrong and not partial."""
    from credchain.issuing.changing import Changing

    async with _office(session) as office:
        changing = Changing(office.store, office.client, office.outbox, session.keys.did, session.now)
        good, found = await changing.check(rows)
        every = [*problems, *found]
        if every and not partial:
            return None, every
        with progress(len(good), "changing") as advance:
            return await changing.send(good, partial=partial, progress=advance), every


# --- erase and issued -------------------------------------------------------------------------


def erase(
    session: Session,
    attestation: Annotated[str, typer.Argument(metavar="ID", help="8 or more digits.")],
    reason: Annotated[str, typer.Option(help="A listed reason code.")],
) -> None:
    """Have every node drop a published document. The attestation and its status stay."""
    from credchain.errors import InvalidInput
    from credchain.ledger.codes import ERASE_REASONS

    if reason not in ERASE_REASONS:
        raise InvalidInput(
            f"{reason!r} is not a reason for an erasure",
            field="reason",
            hint=f"use {', '.join(ERASE_REASONS)}",
        )
    session.confirm(f"Erase the document of {short(attestation)}? It cannot be brought back.")
    body = session.run(_send_erase(session, _id_prefix(attestation), reason))
    if session.as_json:
        print_json(body)
        return
    say(f"erased: {body['attestation']}")
    print_pairs([(key, body[key]) for key in ("reason", "transaction", "height", "time")])


async def _send_erase(session: Session, prefix: str, reason: str) -> dict[str, Any]:
    from credchain.issuing.changing import find
    from credchain.ledger.operations import Erase

    async with _office(session) as office:
        found = await find(office.client, office.store, prefix)
        operation = Erase(found.location.category, found.location.subject, found.entry.id, reason)
        sent = await office.outbox.send(office.outbox.enqueue([operation]))
        return {
            "attestation": found.entry.id.hex(),
            "reason": reason,
            **_receipt_json(session.network, sent.envelope, sent.receipt),
        }


def issued(
    session: Session,
    npi: Annotated[str | None, typer.Option(help="Only this radiologist's.")] = None,
) -> None:
    """What this home issued, with each status as proved now."""
    from credchain.credentials.npi import parse_npi
    from credchain.errors import InvalidInput, NetworkError
    from credchain.storage.member_store import MemberStore

    if npi is not None:
        parse_npi(npi)
    if not session.home.member_database.exists():
        session.home.did()
        raise InvalidInput("this home has issued nothing yet", field="home", hint="credchain attest")
    store = MemberStore(session.home.member_database, session.network.id)
    try:
        listed = store.issued_list(npi)
    finally:
        store.close()

    async def ask() -> dict[Any, Any]:
        keys = sorted({(each.category, each.subject) for each in listed})
        async with session.client() as client:
            return await client.dossiers(keys)

    dossiers: dict[Any, Any] = {}
    problem = None
    try:
        dossiers = session.run(ask())
    except NetworkError as raised:
        problem = raised
    rows = [_issued_json(session, each, dossiers) for each in listed]
    if problem is not None:
        note(f"warning: the statuses could not be checked: {printable(problem.message)}")
        session.exit_code = ExitCode.UNREACHABLE
    if session.as_json:
        print_json({"issued": rows})
        return
    print_table(
        ["attestation", "category", "NPI", "status", "from", "until", "height"],
        [
            (
                short(each["attestation"]),
                each["category"],
                each["npi"],
                each["status"] or "not checked",
                (each["valid_from"] or "")[:10],
                (each["valid_until"] or "")[:10],
                each["height"],
            )
            for each in rows
        ],
    )


def _issued_json(session: Session, each: Any, dossiers: dict[Any, Any]) -> dict[str, Any]:
    from credchain.credentials.dates import rfc3339
    from credchain.verification.standing import status_in_words

    dossier = dossiers.get((each.category, each.subject))
    entry = dossier.entry(each.attestation) if dossier else None
    status = status_in_words(entry, session.now()) if entry else None
    if dossier is not None and entry is None:
        status = "pending"
    return {
        "attestation": each.attestation.hex(),
        "category": each.category,
        "npi": each.npi,
        "status": status,
        "valid_from": rfc3339(each.valid_from),
        "valid_until": None if each.valid_until is None else rfc3339(each.valid_until),
        "height": each.height,
        "time": None if each.time is None else rfc3339(each.time),
    }
