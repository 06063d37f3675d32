"""The commands `status`, `erase` and `issued`: an attestation after it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exit_codes import ExitCode
from .office import id_prefix, open_office, receipt_json
from .output import note, print_json, print_pairs, print_table, printable, progress, say, short
from .session import Session
from .table_report import refuse_table, report

if TYPE_CHECKING:
    from credchain.issuing.changing import Found
    from credchain.issuing.rows import StatusRow
    from credchain.issuing.tables import Problem
    from credchain.storage.member_store import MemberStore


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

    prefix = id_prefix(attestation)
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

    async with open_office(session) as office:
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
            **receipt_json(session.network, sent.envelope, sent.receipt),
        }


def _status_table(session: Session, path: Path, *, partial: bool, rejects: Path | None) -> None:
    from credchain.errors import InvalidInput
    from credchain.issuing.rows import STATUS_COLUMNS, status_rows
    from credchain.issuing.tables import check_rejects, read_table, write_rejects
    from credchain.ledger.codes import TERMINAL

    if partial != (rejects is not None):
        raise InvalidInput("--partial and --rejects FILE go together", field="rejects")
    if rejects is not None:
        check_rejects(rejects, path)
    table = read_table(path, required=STATUS_COLUMNS, optional=("note",))
    rows, problems = status_rows(table)
    final = sum(1 for row in rows if row.status in TERMINAL)
    if final and (partial or not problems):
        session.confirm(f"Set {final} attestations to a final status?")
    changed, refused = session.run(_send_statuses(session, rows, problems, partial=partial))
    if changed is None:
        refuse_table(session, len(table.rows), refused)
        return
    every = sorted([*refused, *changed.problems], key=lambda problem: problem.line)
    if rejects is not None:
        write_rejects(rejects, table, every)
    report(session, "changed", len(table.rows), changed.changed, changed.already, every)


async def _send_statuses(
    session: Session, rows: list[StatusRow], problems: list[Problem], *, partial: bool
) -> tuple[Any, list[Problem]]:
    """(what was changed, all problems); nothing is changed where a row is wrong and not partial."""
    from credchain.issuing.changing import Changing

    async with open_office(session, has_progress=True) as office:
        changing = Changing(office.store, office.client, office.outbox, session.keys.did, session.now)
        good, found = await changing.check(rows)
        every = sorted([*problems, *found], key=lambda problem: problem.line)
        if every and not partial:
            return None, every
        with progress(len(good), "changing") as advance:
            return await changing.send(good, partial=partial, progress=advance), every


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
    body = session.run(_send_erase(session, id_prefix(attestation), reason))
    if session.as_json:
        print_json(body)
        return
    say(f"erased: {body['attestation']}")
    print_pairs([(key, body[key]) for key in ("reason", "transaction", "height", "time")])


async def _send_erase(session: Session, prefix: str, reason: str) -> dict[str, Any]:
    from credchain.issuing.changing import find
    from credchain.ledger.operations import Erase

    async with open_office(session) as office:
        found = await find(office.client, office.store, prefix)
        operation = Erase(found.location.category, found.location.subject, found.entry.id, reason)
        sent = await office.outbox.send(office.outbox.enqueue([operation]))
        return {
            "attestation": found.entry.id.hex(),
            "reason": reason,
            **receipt_json(session.network, sent.envelope, sent.receipt),
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
    if not rows:
        note(f"nothing was issued{f' for NPI {npi}' if npi else ''} from this home")
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
