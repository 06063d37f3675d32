"""Commands of hospitals: verify a radiologist, and keep the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .exit_codes import OF_VERDICT
from .output import note, print_json, print_table, printable, say, short
from .session import Session, command

if TYPE_CHECKING:
    from credchain.verification.by_npi import Question
    from credchain.verification.statement import CredentialResult, Statement

PANEL = "Hospitals"

_VERDICT_WORDS = {
    "established": "ESTABLISHED: every check passed",
    "invalid": "INVALID: a document does not hold",
    "untrusted": "UNTRUSTED: an issuer was not authorised, or its key is distrusted",
    "adverse": "ADVERSE: read the entries before you decide",
    "not_current": "NOT CURRENT: nothing in force in a category that you need",
    "not_established": "NOT ESTABLISHED: do not rely on this",
}

_OUTCOME_WORDS = {"pass": "pass", "fail": "FAIL", "unknown": "UNKNOWN", "not_applicable": "-"}


def register(app: typer.Typer) -> None:
    command(app, "verify", panel=PANEL, example="credchain verify 2012345676")(verify)


def verify(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="NPI", help="Ten digits.")],
    category: Annotated[
        list[str] | None, typer.Option(help="A category that you require; repeatable.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(help="How old the ledger's head may be: 60s, 15m, 7d.")
    ] = None,
) -> None:
    """Verify a radiologist by NPI, with proofs from a node that need not be trusted."""
    from credchain.certificates import Millis
    from credchain.credentials.dates import parse_duration
    from credchain.credentials.npi import parse_npi
    from credchain.errors import NetworkError
    from credchain.limits import LIMITS
    from credchain.verification.by_npi import Question, check_categories, could_not_check

    npi = parse_npi(what)
    required = check_categories(session.network, category or [])
    age = Millis(LIMITS.freshness) if max_age is None else parse_duration(max_age, "max-age")
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
        statement = could_not_check(question(seen.height), problem.message)
        note(f"hint: {problem.hint}")
    session.exit_code = OF_VERDICT[statement.verdict.value]
    if session.as_json:
        print_json(statement.json())
    else:
        _show(session, statement)


def _show(session: Session, statement: Statement) -> None:
    """Verdict in words first, as-of, then each credential, then the checks with their sentences."""
    from credchain.credentials.dates import rfc3339

    say(_VERDICT_WORDS[statement.verdict.value])
    say(printable(statement.sentence))
    if statement.as_of is None:
        say(f"as of: nothing could be proved, at {rfc3339(statement.verified_at)}")
    else:
        say(
            f"as of: height {statement.as_of.height}, {rfc3339(statement.as_of.time)}, "
            f"{session.network.genesis.name}"
        )
    if statement.credentials:
        say("")
        print_table(
            ["credential", "verdict", "status", "from", "until", "issuer", "attestation"],
            [_row(session, each) for each in statement.credentials],
        )
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
        session.network.category(each.category).title,
        each.verdict.replace("_", " "),
        (each.status or "").replace("_", " "),
        day(each.valid_from),
        day(each.valid_until),
        each.issuer_name or each.issuer,
        short(each.attestation.hex()),
    )


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
