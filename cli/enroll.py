"""The command `enroll`: an identity issuer enrols a radiologist and attests who it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .attest import read_claims
from .office import open_office
from .output import note, print_json, print_pairs, say
from .session import Session

if TYPE_CHECKING:
    from credchain.storage.member_store import Issued


def enroll(
    session: Session,
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The radiologist's member.toml.")],
    npi: Annotated[str, typer.Option(help="The radiologist's NPI, as you verified it.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="CLAIM=VALUE, repeatable.")] = None,
    claims: Annotated[Path | None, typer.Option(help="JSON file with the claims.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD; today.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day, YYYY-MM-DD.")] = None,
) -> None:
    """Enrol a radiologist by its member card, and attest its identity to it alone."""
    from credchain.credentials.dates import day_of, first_millisecond, last_millisecond, rfc3339
    from credchain.credentials.npi import parse_npi
    from credchain.issuing.enrolling import Enrolling, Enrollment
    from credchain.ledger.codes import IDENTITY
    from credchain.storage.card_file import read_card_with_proof

    category = session.network.category(IDENTITY)
    made, proof = read_card_with_proof(card)
    enrollment = Enrollment(
        card=made,
        proof=proof,
        npi=parse_npi(npi),
        claims=read_claims(category, sets or [], claims),
        valid_from=first_millisecond(start or day_of(session.now()), "from"),
        valid_until=None if until is None else last_millisecond(until, "until"),
    )

    async def work() -> Issued:
        async with open_office(session) as office:
            enrolling = Enrolling(office.store, office.client, office.outbox, session.keys, session.now)
            return await enrolling.run(enrollment)

    issued = session.run(work())
    if session.as_json:
        print_json(
            {
                "did": made.did,
                "npi": npi,
                "attestation": issued.attestation.hex(),
                "height": issued.height,
                "time": None if issued.time is None else rfc3339(issued.time),
            }
        )
        return
    say(f"enrolled: {made.did}")
    print_pairs([("NPI", npi), ("attestation", issued.attestation.hex()), ("height", issued.height)])
    note("The identity credential waits in the radiologist's mailbox: credchain wallet sync --npi NPI.")
