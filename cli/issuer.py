"""Commands of issuers: what to fill in, attest, change statuses, erase, and see what was issued."""

from __future__ import annotations

import typer

from .attest import attest
from .catalog import categories
from .enroll import enroll
from .session import command
from .status import erase, issued, status

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
    command(
        app,
        "enroll",
        panel=PANEL,
        example="credchain enroll member.toml --npi 2012345676 --set family_name=Navarro",
    )(enroll)
