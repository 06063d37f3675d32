"""What every command accepts after its name, and what it gets from it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from .output import note, print_error, reader_gone
from .parameters import Command

if TYPE_CHECKING:
    from credchain.certificates import Millis
    from credchain.client import Client
    from credchain.ledger.network import Network
    from credchain.storage.home import Home
    from credchain.storage.keyfile import KeyPair

T = TypeVar("T")

COMMON = "Options of every command"

_COMMON_OPTIONS: dict[str, tuple[Any, Any]] = {
    "home": (
        Annotated[
            Path | None,
            typer.Option(
                help="Folder with keys and records.", envvar="CREDCHAIN_HOME", rich_help_panel=COMMON
            ),
        ],
        None,
    ),
    "network": (
        Annotated[
            Path | None,
            typer.Option(help="Trust anchor, instead of the joined one.", rich_help_panel=COMMON),
        ],
        None,
    ),
    "node": (
        Annotated[
            list[str] | None,
            typer.Option(help="Address of a node; repeatable.", rich_help_panel=COMMON),
        ],
        None,
    ),
    "passphrase_file": (
        Annotated[
            Path | None,
            typer.Option(help="File with the keys' passphrase.", rich_help_panel=COMMON),
        ],
        None,
    ),
    "json": (
        Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=COMMON)],
        False,
    ),
    "yes": (
        Annotated[bool, typer.Option("--yes", help="Ask nothing.", rich_help_panel=COMMON)],
        False,
    ),
}


@dataclass
class Session:
    """One command's surroundings: home, network, nodes, clock, and how to answer."""

    home_path: Path | None
    network_path: Path | None
    nodes: Sequence[str]
    passphrase_file: Path | None
    as_json: bool
    yes: bool
    exit_code: int = field(default=0)

    @functools.cached_property
    def home(self) -> Home:
        from credchain.storage.home import Home, default_home

        return Home(self.home_path or default_home())

    @functools.cached_property
    def network(self) -> Network:
        """From --network, else the one joined in the home."""
        from credchain.storage.home import load_network

        return load_network(self.network_path) if self.network_path else self.home.network()

    @functools.cached_property
    def keys(self) -> KeyPair:
        """Unlocked with the passphrase."""
        from credchain.storage.keyfile import check_private

        self.home.did()
        check_private(self.home.keys)
        return self.home.unlock(self.passphrase())

    def now(self) -> Millis:
        from credchain.certificates import Millis

        return Millis(time_ns() // 1_000_000)

    def passphrase(self, *, confirm: bool = False) -> str:
        """From --passphrase-file, CREDCHAIN_PASSPHRASE, or a prompt, in this order."""
        from credchain.errors import InvalidInput
        from credchain.storage.files import read_text

        if self.passphrase_file:
            text = read_text(self.passphrase_file, "passphrase file", at_most=4096)
            return text.rstrip("\r\n")
        given = os.environ.get("CREDCHAIN_PASSPHRASE")
        if given is not None:
            return given
        if not sys.stdin.isatty():
            raise InvalidInput(
                "a passphrase is needed and there is no terminal to ask",
                field="passphrase",
                hint="give --passphrase-file FILE or set CREDCHAIN_PASSPHRASE",
            )
        import getpass

        typed = getpass.getpass("Passphrase: ")
        if confirm and getpass.getpass("Passphrase again: ") != typed:
            raise InvalidInput("the two passphrases differ", field="passphrase", hint="try again")
        return typed

    def confirm(self, question: str) -> None:
        """Go on only after a yes; without a terminal, only with --yes."""
        from credchain.errors import InvalidInput

        if self.yes:
            return
        if not sys.stdin.isatty():
            raise InvalidInput(
                "this cannot be undone, and there is no terminal to ask", field="yes", hint="add --yes"
            )
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise InvalidInput("nothing was done", field="yes")

    @asynccontextmanager
    async def client(self, *, max_age: Millis | None = None) -> AsyncIterator[Client]:
        """A client that starts from what this home has seen, and whose sights it remembers."""
        from credchain.certificates import Millis
        from credchain.client import Client
        from credchain.errors import CredchainError
        from credchain.limits import LIMITS
        from credchain.node.settings import parse_api_url
        from credchain.storage.home import Seen

        for url in self.nodes:
            parse_api_url(url, "node")
        network = self.network
        before = self.home.trust.seen(network)
        client = Client(
            network,
            now=self.now,
            urls=self.nodes,
            seen_height=before.height,
            max_age=Millis(LIMITS.freshness) if max_age is None else max_age,
        )
        try:
            async with client:
                yield client
        finally:
            head = client.head_seen
            if head is not None and head.height > before.height:
                try:
                    self.home.trust.remember(network, Seen(head.height, head.time))
                except CredchainError as problem:
                    note(f"warning: {problem.message}; an older state could be believed next time")

    def run(self, work: Awaitable[T]) -> T:
        """Run the asynchronous part of a command."""
        import asyncio

        async def whole() -> T:
            return await work

        return asyncio.run(whole())


def command(
    app: typer.Typer, name: str, *, panel: str, example: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function (session, its own parameters) as a command.

    Adds the common options, shows errors as the contract says, and exits with the session's code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        own = [each for each in inspect.signature(function).parameters.values() if each.name != "session"]
        parameters = [each.replace(annotation=hints[each.name]) for each in own]
        parameters += [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for each, (annotation, default) in _COMMON_OPTIONS.items()
        ]

        group = app.info.name if isinstance(app.info.name, str) else ""
        label = name if group in ("", "credchain") else f"{group} {name}"

        @functools.wraps(function)
        def run(**values: Any) -> None:
            common = {each: values.pop(each) for each in _COMMON_OPTIONS}
            session = Session(
                home_path=common["home"],
                network_path=common["network"],
                nodes=common["node"] or (),
                passphrase_file=common["passphrase_file"],
                as_json=common["json"],
                yes=common["yes"],
            )
            raise typer.Exit(_call(session, label, function, values))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        epilog = f"Example:  {example}"
        app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(run)
        return function

    return register


def _call(session: Session, name: str, function: Callable[..., None], values: dict[str, Any]) -> int:
    from credchain.errors import CredchainError, InvalidInput, StorageError

    try:
        function(session, **values)
    except CredchainError as problem:
        if isinstance(problem, InvalidInput) and not problem.hint:
            problem.hint = f"credchain {name} --help shows what it takes"
        return print_error(problem, as_json=session.as_json)
    except (BrokenPipeError, SystemExit):
        reader_gone()
    except OSError as problem:
        failed = StorageError(f"cannot go on: {problem.strerror or problem}", hint="check the disk's space")
        return print_error(failed, as_json=session.as_json)
    return session.exit_code
