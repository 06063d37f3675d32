"""The program's commands by role; a role's module is imported when one of its commands is asked for.

What is imported before the command is known, every command pays for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from importlib import import_module
from typing import Any, Final, cast

import typer
from typer._click import Command
from typer.main import get_group

from .parameters import Group

ROLE_OF: Final = {
    "demo": "demo",
    "verify": "hospital",
    "categories": "issuer",
    "attest": "issuer",
    "status": "issuer",
    "issued": "issuer",
    "erase": "issuer",
    "enroll": "issuer",
    "share": "wallet",
    "init": "member",
    "join": "member",
    "whoami": "member",
    "backup": "member",
    "restore": "member",
    "members": "member",
    "audit": "operator",
    "wallet": "wallet",
    "network": "operator",
    "node": "operator",
}
"""The module of each command and group, in the order of the help."""


@cache
def commands_of(role: str) -> Mapping[str, Command]:
    """What a role's module registers."""
    part = typer.Typer(name="credchain", rich_markup_mode="rich")
    import_module(f".{role}", __package__).register(part)
    return get_group(part).commands


class _Commands(Mapping[str, Command]):
    """All commands by name; looking one up imports its role."""

    def __getitem__(self, name: str) -> Command:
        return commands_of(ROLE_OF[name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ROLE_OF)

    def __len__(self) -> int:
        return len(ROLE_OF)


class Roles(Group):
    """The program: a group of the commands of all roles."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Command]", _Commands())
