"""Holders: what the ledger says of an address before a credential is made out to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..client import Client
from ..credentials.addresses import Address
from ..errors import InvalidInput
from ..keys import Did, check_sealable
from ..ledger.codes import RADIOLOGIST
from ..ledger.records import Member
from .rows import AttestRow, Recipient
from .tables import Problem


async def confirm(client: Client, rows: Sequence[AttestRow]) -> tuple[list[AttestRow], list[Problem]]:
    """Rows with their recipients, and a problem for each address that the ledger does not bear out."""
    members: dict[Did, Member | None] = {}
    good: list[AttestRow] = []
    problems: list[Problem] = []
    for row in rows:
        if row.address is None:
            good.append(row)
            continue
        did = row.address.holder
        if did not in members:
            members[did] = await client.member(did)
        try:
            good.append(replace(row, recipient=recipient_of(row.address, members[did], client.seen_height)))
        except InvalidInput as problem:
            column = "address" if row.line else problem.field
            problems.append(Problem(row.line, column, problem.message, problem.hint))
    return good, problems


def recipient_of(address: Address, member: Member | None, height: int) -> Recipient:
    """The address' holder; InvalidInput unless the member record bears it out."""
    from ..certificates import Height

    now = Height(height)
    if member is None or not member.has_role(RADIOLOGIST, now):
        raise InvalidInput(
            "the address is of nobody who is enrolled",
            field="to",
            hint="the radiologist enrols first, with an identity issuer",
        )
    if not member.signs_with(address.key, now):
        raise InvalidInput("the address is not signed by a current key of its holder", field="to")
    if not member.commits_to(address.opening):
        raise InvalidInput(
            "the address is not one that its holder committed to at enrolment",
            field="to",
            hint="ask the radiologist for a new line of credchain wallet address",
        )
    check_sealable(member.encryption_key, "to")
    return Recipient(member.did, address.key, member.encryption_key)
