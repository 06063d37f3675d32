"""The command `attest`: one credential, or a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .office import Office, id_prefix, open_office, receipt_json
from .output import note, print_json, print_pairs, progress, say, short
from .session import Session
from .table_report import refuse_table, report

if TYPE_CHECKING:
    from credchain.credentials.categories import Category
    from credchain.issuing.rows import AttestRow, Defaults, Issuer


def _issuer(session: Session, category: Category) -> Issuer:
    """What the network file says of this home; Rejected if it may not attest the category."""
    from credchain.errors import Rejected
    from credchain.issuing.rows import Issuer

    did = session.home.did()
    member = next((each for each in session.network.genesis.members if each.did == did), None)
    if member is None or category.name not in member.categories:
        held = ", ".join(member.categories) if member else ""
        raise Rejected(
            "authority",
            f"{member.name if member else did} may not attest {category.name}",
            field="category",
            hint=f"it may attest {held}" if held else "it is no issuer of this network",
        )
    return Issuer(session.network.id, member.jurisdictions)


def _check_category(session: Session, name: str) -> Category:
    """The category, if it is attested by this command."""
    from credchain.errors import InvalidInput

    category = session.network.category(name)
    if category.by_npi and not category.published:
        raise InvalidInput(
            f"{name} is sealed to its holder and attested when the radiologist enrols",
            field="category",
            hint="credchain enroll CARD --npi NPI",
        )
    return category


def _whom(category: Category, npi: str | None, to: str | None) -> str:
    """The NPI or the address, whichever leads to the category's subject."""
    from credchain.errors import InvalidInput

    if category.by_npi:
        if npi is None:
            raise InvalidInput(f"{category.name} is attested by NPI", field="to", hint="give --npi NPI")
        return npi
    if to is None:
        raise InvalidInput(
            f"{category.name} is private to its holder: an NPI does not lead to it",
            field="npi",
            hint=f"ask the radiologist for what credchain wallet address {category.name} prints; give --to",
        )
    return to


def attest(
    session: Session,
    category: Annotated[str, typer.Argument(help="See credchain categories.")],
    npi: Annotated[str | None, typer.Option(help="The radiologist's NPI.")] = None,
    to: Annotated[str | None, typer.Option(help="The radiologist's address, for private categories.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="CLAIM=VALUE, repeatable.")] = None,
    claims: Annotated[Path | None, typer.Option(help="JSON file with the claims.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="First day, YYYY-MM-DD; today. With --csv: of rows without their own."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Last day, YYYY-MM-DD. With --csv: of rows without their own.")
    ] = None,
    renews: Annotated[str | None, typer.Option(help="An earlier attestation's id, or auto.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the credential to this new file.")] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="A table, one credential a row.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the table, send nothing.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Send the good rows.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="With --partial: the refused rows.")] = None,
) -> None:
    """Attest one credential, or a table of them. What is printed as attested is final."""
    from credchain.errors import InvalidInput

    single = {"--npi": npi, "--to": to, "--set": sets, "--claims": claims, "--out": out}
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
    if (npi is None) == (to is None):
        raise InvalidInput(
            "say whom, in one way",
            field="npi",
            hint="--npi NPI, --to ADDRESS for private categories, or --csv FILE",
        )
    _attest_one(session, category, npi, to, sets or [], claims, start, until, renews, out)


def _attest_one(
    session: Session,
    name: str,
    npi: str | None,
    to: str | None,
    sets: list[str],
    file: Path | None,
    start: str | None,
    until: str | None,
    renews: str | None,
    out: Path | None,
) -> None:

    category = _check_category(session, name)
    row = _single_row(
        category,
        _issuer(session, category),
        to=_whom(category, npi, to),
        claims=read_claims(category, sets, file),
        valid_from=None,
        valid_until=None,
        defaults=_defaults(session, start, until),
    )
    with _reserved(out) as write:
        sent, text = session.run(_send_one(session, category, row, renews, dated=start is not None))
        _write_out(write, text, out, sent["attestation"])
    if session.as_json:
        print_json(sent)
        return
    say(f"attested: {category.title} for {f'NPI {npi}' if npi else 'the holder of the address'}")
    pairs = [(key, sent[key]) for key in ("attestation", "transaction", "height", "time")]
    print_pairs([pair for pair in pairs if pair[1] is not None])


@contextmanager
def _reserved(out: Path | None) -> Iterator[Callable[[bytes], None]]:
    """A function that writes the file. The file is made before anything is sent, and is gone again if
    nothing was written: what cannot be kept is not attested."""
    from credchain.errors import InvalidInput, StorageError
    from credchain.storage.files import PRIVATE, replace_file, write_new

    if out is None:
        yield lambda content: None
        return
    try:
        write_new(out, b"", mode=PRIVATE)
    except (InvalidInput, StorageError) as problem:
        raise InvalidInput(problem.message, field="out", hint="name a new file") from problem
    try:
        yield lambda content: replace_file(out, content, mode=PRIVATE)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _write_out(write: Callable[[bytes], None], text: str, out: Path | None, attestation: str) -> None:
    """What is attested stays so, whatever becomes of the file."""
    from credchain.errors import StorageError

    try:
        write(text.encode() + b"\n")
    except StorageError as problem:
        why = getattr(problem.__cause__, "strerror", None) or problem.message
        raise StorageError(
            f"attested (id {attestation}), but {out} could not be written: {why}",
            field="out",
            hint="the same command with another --out FILE writes it, and attests nothing twice",
        ) from problem


def _single_row(category: Category, issuer: Issuer, **given: Any) -> AttestRow:
    """As `make_row`, its errors naming this command's flags."""
    from credchain.errors import InvalidInput
    from credchain.issuing.rows import make_row

    flags = {"valid_from": "from", "valid_until": "until"}
    try:
        return make_row(category, issuer, **given)
    except InvalidInput as problem:
        problem.field = flags.get(problem.field, problem.field)
        raise


async def _send_one(
    session: Session, category: Category, row: AttestRow, renews: str | None, *, dated: bool
) -> tuple[dict[str, Any], str]:
    """(the receipt as JSON, the credential's text)."""
    from credchain.credentials.dates import rfc3339
    from credchain.errors import InvalidInput, StorageError
    from credchain.issuing.attesting import AUTO, Attesting
    from credchain.issuing.changing import find
    from credchain.issuing.holders import confirm
    from credchain.ledger.blocks import Receipt

    async with open_office(session) as office:
        renewed: Any = renews
        if renews is not None and renews != AUTO:
            try:
                renewed = (await find(office.client, office.store, id_prefix(renews))).entry.id
            except InvalidInput as problem:
                problem.field = "renews"
                raise
        await _refuse_ended(office, row, dated=dated)
        confirmed, unconfirmed = await confirm(office.client, [row])
        for found in unconfirmed:
            raise InvalidInput(found.reason, field=found.column or "to", hint=found.hint)
        attesting = Attesting(
            office.store,
            office.client,
            office.outbox,
            session.keys,
            category,
            session.now,
            renews=renewed,
        )
        outcome = await attesting.run(confirmed, partial=False, resumed=office.resumed)
        for found in outcome.problems:
            raise InvalidInput(
                found.reason,
                field=found.column,
                hint="name one with --renews ID; credchain issued lists them",
            )
        if outcome.already:
            note("attested already, by an earlier run")
        issued = office.store.issued(row.key)
        envelope = None
        if issued is not None and issued.envelope is not None:
            envelope = office.store.envelope(issued.envelope)
        if issued is None or issued.height is None or issued.time is None:
            raise StorageError("the attestation is not in this home's records")
        body: dict[str, Any] = {
            "attestation": issued.attestation.hex(),
            "transaction": None,
            "height": issued.height,
            "time": rfc3339(issued.time),
            "certificate": None,
            "receipt": None,
        }
        if envelope is not None and envelope.receipt is not None:
            receipt = Receipt.decode(envelope.receipt)
            body.update(receipt_json(session.network, envelope, receipt))
        else:
            note("it is on the ledger by another transaction than this home's: there is no receipt")
        return body, issued.document


async def _refuse_ended(office: Office, row: AttestRow, *, dated: bool) -> None:
    """Rejected where the row was attested before and is not in force any more: it stays as it is."""
    from credchain.credentials.dates import rfc3339
    from credchain.errors import Rejected
    from credchain.ledger.codes import ACTIVE

    known = office.store.issued(row.key)
    if known is None:
        return
    key = (known.category, known.subject)
    entry = (await office.client.dossiers([key]))[key].entry(known.attestation)
    if entry is None or (entry.status == ACTIVE and entry.erased is None):
        return
    if entry.status != ACTIVE:
        last = entry.history[-1]
        now = f"is {entry.status} since {rfc3339(last.time)}, reason {last.reason}"
    else:
        now = "its document is erased"
    first = "another first day" if dated else "its first day"
    hint = f"to attest it anew, give {first} with --from YYYY-MM-DD"
    if not entry.terminal and entry.erased is None:
        hint = f"credchain status {short(entry.id.hex())} --set active --reason reinstated"
    raise Rejected(
        "attested",
        f"attested before, as {short(entry.id.hex())}, and {now}: nothing was sent",
        field="attestation",
        hint=hint,
    )


def read_claims(category: Category, sets: list[str], file: Path | None) -> dict[str, Any]:
    """From a JSON file and --set, the latter winning; typed by the schema."""
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
    from credchain.issuing.tables import check_rejects, read_table, write_rejects

    if partial != (rejects is not None):
        raise InvalidInput("--partial and --rejects FILE go together", field="rejects")
    if rejects is not None:
        check_rejects(rejects, path)
    if renews not in (None, "auto"):
        raise InvalidInput("with --csv, --renews is auto or absent", field="renews")
    category = _check_category(session, name)
    required, optional = attest_columns(category)
    table = read_table(path, required=required, optional=optional)
    rows, problems = attest_rows(
        table, category, _issuer(session, category), _defaults(session, start, until)
    )
    if problems and not partial:
        refuse_table(session, len(table.rows), problems)
        return
    if dry_run:
        report(session, "attested", len(table.rows), 0, 0, problems)
        note(f"nothing was sent: {len(rows)} of {len(table.rows)} rows are good")
        return
    if rejects is not None:
        write_rejects(rejects, table, problems)
    outcome = session.run(_send_table(session, category, rows, renews, partial=partial))
    every = sorted([*problems, *outcome.problems], key=lambda problem: problem.line)
    if every and not partial:
        refuse_table(session, len(table.rows), every)
        return
    if rejects is not None and outcome.problems:
        write_rejects(rejects, table, every)
    report(session, "attested", len(table.rows), outcome.attested, outcome.already, every)


async def _send_table(
    session: Session, category: Category, rows: list[AttestRow], renews: str | None, *, partial: bool
) -> Any:
    from credchain.issuing.attesting import Attesting, Outcome
    from credchain.issuing.holders import confirm

    async with open_office(session, has_progress=True) as office:
        attesting = Attesting(
            office.store, office.client, office.outbox, session.keys, category, session.now, renews=renews
        )
        confirmed, unconfirmed = await confirm(office.client, rows)
        if unconfirmed and not partial:
            return Outcome(problems=unconfirmed)
        with progress(len(confirmed), "attesting") as advance:
            outcome = await attesting.run(
                confirmed, partial=partial, resumed=office.resumed, progress=advance
            )
        outcome.problems.extend(unconfirmed)
        return outcome
