"""Commands of hospitals: verify a radiologist, and keep the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exit_codes import OF_VERDICT, ExitCode
from .output import note, print_json, print_table, printable, say, short
from .session import Session, command

if TYPE_CHECKING:
    from credchain.certificates import Millis
    from credchain.credentials.npi import Npi
    from credchain.errors import CredchainError
    from credchain.verification.evidence import Answer
    from credchain.verification.statement import CredentialResult, Statement

PANEL = "Hospitals"

_VERDICT_WORDS = {
    "established": "ESTABLISHED: every check passed",
    "invalid": "INVALID: forged or altered, or not about this person",
    "untrusted": "UNTRUSTED: an issuer was not authorised, or its key is distrusted",
    "adverse": "ADVERSE: read the entries before you decide",
    "not_current": "NOT CURRENT: expired, lapsed, or nothing in force in what you need",
    "not_established": "NOT ESTABLISHED: do not rely on this",
}

_OUTCOME_WORDS = {"pass": "pass", "fail": "FAIL", "unknown": "UNKNOWN", "not_applicable": "-"}


def register(app: typer.Typer) -> None:
    command(
        app,
        "verify",
        panel=PANEL,
        example="credchain verify 2012345676; credchain verify bundle.ccb --offline --max-age 7d",
    )(verify)


def verify(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="NPI|FILE|-", help="Ten digits, or a bundle.")],
    category: Annotated[
        list[str] | None, typer.Option(help="With an NPI: a category that you require; repeatable.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(help="How old the ledger's head may be: 60s, 15m, 7d.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Judge a bundle as of its own header, without a node.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep what was given and judged, trust anchor and result in this new folder."),
    ] = None,
) -> None:
    """Verify a radiologist by NPI, or a bundle: with proofs, from a node that need not be trusted."""
    from credchain.certificates import Millis
    from credchain.credentials.dates import parse_duration
    from credchain.errors import InvalidInput
    from credchain.limits import LIMITS

    session.exit_code = ExitCode.UNREACHABLE  # until there is a verdict
    if not what.strip():
        raise InvalidInput("nothing was named", field="npi", hint="name an NPI, or a bundle's file")
    age = Millis(LIMITS.freshness) if max_age is None else parse_duration(max_age, "max-age")
    if save is not None and save.exists():
        raise InvalidInput(f"{save} exists and is not overwritten", field="save", hint="name a new folder")
    if _is_npi(what):
        if offline:
            raise InvalidInput(
                "--offline is for bundles", field="offline", hint="a bundle has its own proofs"
            )
        statement = _verify_npi(session, what, category or [], age)
        kept: dict[str, bytes] = {}
    else:
        if category:
            raise InvalidInput("--category goes with an NPI", field="category", hint="a bundle has its scope")
        given = _read_bundle(what)
        statement, judged = _verify_bundle(session, given, age, offline=offline)
        kept = {"given.ccb": given, "bundle.ccb": judged}
    session.exit_code = OF_VERDICT[statement.verdict.value]
    problem = None if save is None else _save(session, save, statement, kept)
    try:
        if session.as_json:
            print_json(statement.json())
        else:
            _show(session, statement, category or (), offline=offline)
    finally:
        if problem is not None:
            raise problem


def _is_npi(what: str) -> bool:
    """Ten digits are an NPI; so is what could only be a mistyped one."""
    return what.isdigit() or (what != "-" and not Path(what).exists() and not set("./\\") & set(what))


def _verify_npi(session: Session, what: str, category: list[str], age: Millis) -> Statement:
    from credchain.credentials.npi import parse_npi
    from credchain.errors import NetworkError
    from credchain.verification.by_npi import Question, check_categories, could_not_check

    npi = parse_npi(what)
    required = check_categories(session.network, category)
    seen = session.home.trust.seen(session.network)

    def question(seen_height: int) -> Question:
        return Question(
            network=session.network,
            npi=npi,
            required=required,
            now=session.now(),
            max_age=age,
            seen_height=seen_height,
            trusted_at=seen.time,
        )

    async def ask() -> Statement:
        async with session.client(max_age=age) as client:
            return await client.verify(question)

    try:
        statement = session.run(ask())
    except NetworkError as problem:
        note(f"hint: {problem.hint}")
        return could_not_check(question(seen.height), problem.message)
    _remember(session, npi, statement)
    return statement


def _remember(session: Session, npi: Npi, statement: Statement) -> None:
    """An older bundle of this radiologist is not believed here again."""
    from credchain.credentials.subjects import npi_subject
    from credchain.errors import CredchainError
    from credchain.ledger.codes import IDENTITY

    if statement.as_of is None:
        return
    subject = npi_subject(IDENTITY, npi)
    try:
        session.home.trust.remember_subject(session.network, subject, statement.as_of.height)
    except CredchainError as problem:
        note(f"warning: {problem.message}; an older bundle could be believed next time")


def _read_bundle(what: str) -> bytes:
    import sys

    from credchain.errors import InvalidInput
    from credchain.limits import LIMITS
    from credchain.storage.files import read_file

    if what == "-":
        return sys.stdin.buffer.read(LIMITS.bundle_bytes + 1)
    path = Path(what)
    if path.is_dir():
        raise InvalidInput(f"{what} is a folder", field="bundle", hint="name the bundle's file")
    return read_file(path, "bundle", at_most=LIMITS.bundle_bytes)


def _verify_bundle(session: Session, data: bytes, age: Millis, *, offline: bool) -> tuple[Statement, bytes]:
    """Online on fresh evidence; offline on the bundle's own, judged by its age.

    With the statement comes the bundle as it was judged, sealed for this home alone.
    """
    from credchain.credentials.subjects import npi_subject
    from credchain.errors import InvalidInput, NetworkError, ProofError
    from credchain.ledger.codes import IDENTITY
    from credchain.verification.bundle import Bundle, open_bundle
    from credchain.verification.by_bundle import (
        BundleQuestion,
        evidence_failed,
        malformed_bundle,
        verify_bundle,
    )
    from credchain.verification.evidence import open_answer

    network, keys = session.network, session.keys
    content = open_bundle(data, keys.encryption)
    try:
        bundle = Bundle.decode(content)
    except InvalidInput as problem:
        return malformed_bundle(session.now(), problem), data
    seen = session.home.trust.seen(network)
    subject = npi_subject(IDENTITY, bundle.body.npi)
    question = BundleQuestion(
        network=network,
        bundle=bundle,
        audience=keys.did,
        now=session.now(),
        max_age=age,
        seen_height=session.home.trust.seen_subject(network, subject) if offline else seen.height,
        trusted_at=seen.time,
    )
    if offline:
        try:
            return verify_bundle(question, open_answer(bundle.evidence, network)), data
        except ProofError as problem:
            return evidence_failed(question, problem), data

    async def ask() -> tuple[Statement, Answer]:
        async with session.client(max_age=age) as client:
            return await client.verify_bundle(question)

    try:
        statement, fresh = session.run(ask())
    except NetworkError as problem:
        note(f"hint: {problem.hint}; or judge it as of its making: --offline --max-age 7d")
        return evidence_failed(question, problem), data
    if statement.is_the_holders:
        _remember(session, bundle.body.npi, statement)
    judged = Bundle(bundle.body, bundle.signature, fresh)
    return statement, judged.seal(keys.encryption.public)


def _save(
    session: Session, folder: Path, statement: Statement, bundles: dict[str, bytes]
) -> CredchainError | None:
    """What was given and judged, the trust anchor it was judged by, and the result: for a later look.

    All of it or nothing, and then why not: a verdict is told in any case.
    """
    import json
    import shutil

    from credchain.errors import CredchainError, StorageError
    from credchain.storage.files import PRIVATE, write_new

    result = json.dumps(statement.json(), indent=2).encode() + b"\n"
    try:
        folder.mkdir(parents=True)
    except OSError as problem:
        return StorageError(f"cannot make {folder}: {problem.strerror}", field="save")
    try:
        write_new(folder / "result.json", result, mode=PRIVATE)
        write_new(folder / "network.json", json.dumps(session.network.json(), indent=2).encode() + b"\n")
        for name, content in bundles.items():
            write_new(folder / name, content, mode=PRIVATE)
    except CredchainError as problem:
        shutil.rmtree(folder, ignore_errors=True)
        return problem
    note(f"kept in {folder}")
    return None


def _show(session: Session, statement: Statement, required: Sequence[str], *, offline: bool) -> None:
    """Verdict in words first, as-of, then each credential, then the checks with their sentences."""
    from credchain.credentials.dates import describe_duration, rfc3339

    say(_VERDICT_WORDS[statement.verdict.value])
    say(printable(statement.sentence))
    if statement.as_of is None:
        say(f"as of: nothing could be proved, at {rfc3339(statement.verified_at)}")
    else:
        age = describe_duration(max(statement.verified_at - statement.as_of.time, 0))
        say(
            f"as of: height {statement.as_of.height}, {rfc3339(statement.as_of.time)}, "
            f"{session.network.genesis.name}"
            + (f"; {age} before now, offline: what changed since cannot show" if offline else "")
        )
    for check in statement.checks:
        if check.outcome.value in ("fail", "unknown") and statement.as_of is not None:
            say(f"because: check {check.id}, {check.name.replace('_', ' ')}: {printable(check.detail)}")
    why = "which the bundle shares" if statement.did else "which you require"
    for name in statement.absent:
        if statement.did or name in required:
            say(f"because: nothing is attested in {name}, {why}")
    if statement.credentials:
        say("")
        print_table(
            ["credential", "verdict", "status", "from", "until", "issuer", "attestation"],
            [_row(session, each) for each in statement.credentials],
        )
        say("")
        for each in statement.credentials:
            _show_claims(session, each)
    if statement.absent:
        say(f"proved absent: {', '.join(statement.absent)}")
        say("")
    print_table(
        ["check", "outcome", ""],
        [
            (f"{each.id} {each.name.replace('_', ' ')}", _OUTCOME_WORDS[each.outcome.value], each.detail)
            for each in statement.checks
        ],
    )


def _row(session: Session, each: CredentialResult) -> tuple[str | None, ...]:
    from credchain.credentials.dates import day_of

    def day(time: int | None) -> str:
        return "" if time is None else day_of(time)

    return (
        _title(session, each.category),
        each.verdict.replace("_", " "),
        (each.status or "").replace("_", " "),
        day(each.valid_from),
        day(each.valid_until),
        each.issuer_name or each.issuer,
        short(each.attestation.hex()),
    )


def _title(session: Session, category: str) -> str:
    """The category's title; a document may name one that the network does not have."""
    known = session.network.categories.get(category)
    return known.title if known else printable(category) or "(unreadable)"


def _show_claims(session: Session, each: CredentialResult) -> None:
    """The claims in the category's words, in its order."""
    from credchain.credentials.sdjwt import disclosure_text

    if each.claims is None:
        return
    category = session.network.category(each.category)
    names = [name for name in category.schemas if name in each.claims]
    names += [name for name in sorted(each.claims) if name not in category.schemas]
    say(
        f"{category.title} ({short(each.attestation.hex())}), by {printable(each.issuer_name or each.issuer)}"
    )
    for name in names:
        title = str(category.schemas[name]["title"]) if name in category.schemas else name
        say(f"  {printable(title)}: {printable(disclosure_text(each.claims[name]))}")
    say("")
