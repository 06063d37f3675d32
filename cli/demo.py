"""`credchain demo`: the whole story on this machine, with the commands that a user would type.

Each step is a real process of this program against a real node, except the lying node, which is a few
lines here: it repeats what the honest node said before the board acted.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any
from urllib.request import urlopen

import typer

from .output import say
from .session import Session, command

PANEL = "Start here"
PASSPHRASE = "demo"  # noqa: S105  # the demo's keys protect nothing
_BOARD = "members/example-board-of-radiology"
_HOSPITAL = "members/lakeside-hospital"
_NODE = "validators/node-north"
_STRANGER = "2999999990"


def register(app: typer.Typer) -> None:
    command(app, "demo", panel=PANEL, example="credchain demo --keep demo-network")(demo)


def demo(
    session: Session,
    keep: Annotated[Path | None, typer.Option(help="Leave the network in this new folder.")] = None,
) -> None:
    """The whole story on this machine: attest, verify, revoke, verify again, refuse a liar."""
    from credchain.errors import InvalidInput

    if session.as_json:
        raise InvalidInput("the demo prints for people; its commands have --json", field="json")
    if keep is not None and keep.exists():
        raise InvalidInput(f"{keep} exists and is not overwritten", field="keep", hint="name a new folder")
    with tempfile.TemporaryDirectory(prefix="credchain-demo-") as temporary:
        folder = keep or Path(temporary) / "network"
        story = _Story(folder)
        try:
            story.tell()
        except BaseException:
            if keep is not None:
                shutil.rmtree(keep, ignore_errors=True)
            raise
        story.say_where(kept=keep is not None)


@dataclass(frozen=True)
class _Told:
    """What one command printed."""

    code: int
    output: str


class _Story:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._api = f"http://127.0.0.1:{_free_port(7441)}"

    def tell(self) -> None:
        """Every step; CredchainError if one does not end as the story says."""
        from credchain.storage.home import samples

        sample = samples()
        self._title("Found a consortium: keys for its members, and the trust anchor network.json")
        spec = _show(sample / "consortium.toml")
        self._run(0, f"network create {spec} --out {self._at()} --dev --api {self._api}")
        self._title("Start its node")
        say(f"$ credchain node run --home {self._at(_NODE)} &")
        with self._node():
            self._attest_and_verify(sample)
            with _lying_node(self._api) as liar:
                self._act_and_verify(liar)
        self._title("Check the whole ledger, byte by byte")
        self._run(0, f"audit --home {self._at(_NODE)}")

    def _attest_and_verify(self, sample: Path) -> None:
        roster = sample / "roster.csv"
        self._npi = roster.read_text().splitlines()[1].partition(",")[0]
        self._title("A board attests its whole roster")
        self._run(0, f"attest board_certification --csv {_show(roster)} --home {self._at(_BOARD)}")
        self._title("A hospital verifies one radiologist: established, exit code 0")
        self._verify(0)

    def _act_and_verify(self, liar: _Liar) -> None:
        self._title("The board suspends, then revokes")
        attestation = self._attestation()
        # What the honest node says now is what the liar will go on saying.
        liar.remember(self._npi, self._folder / "network.json")
        home = f"--home {self._at(_BOARD)}"
        self._run(0, f"status {attestation} --set suspended --reason under_investigation {home}")
        self._run(0, f"status {attestation} --set revoked --reason disciplinary_action --yes {home}")
        self._title("The next verification sees it: adverse, exit code 4")
        self._verify(4)
        self._title("A node that still tells the old story is refused: not established, exit code 6")
        self._verify(6, f" --node {liar.url}")
        self._title("An NPI that nobody attested: proved absent, not established, exit code 6")
        self._run(6, f"verify {_STRANGER} --home {self._at(_HOSPITAL)}")

    def _verify(self, code: int, more: str = "") -> None:
        self._run(code, f"verify {self._npi} --home {self._at(_HOSPITAL)}{more}")

    def _attestation(self) -> str:
        import json

        told = self._quietly(f"issued --npi {self._npi} --json --home {self._at(_BOARD)}")
        return str(json.loads(told.output)["issued"][0]["attestation"])[:12]

    def _at(self, part: str = "") -> str:
        """A path in the network's folder, quoted for a shell."""
        return shlex.quote(str(self._folder / part))

    def _title(self, text: str) -> None:
        say("")
        say(f"== {text}")
        sys.stdout.flush()

    def _run(self, expected: int, line: str) -> _Told:
        """Show the command, run it, show what it prints; its exit code must be the expected one."""
        say(f"$ credchain {line}")
        sys.stdout.flush()
        told = self._quietly(line)
        for each in told.output.rstrip().splitlines():
            say(f"  {each.rstrip()}")
        if told.code:
            say(f"  (exit code {told.code})")
        sys.stdout.flush()
        if told.code != expected:
            from credchain.errors import CredchainError

            raise CredchainError(
                f"the step ended with exit code {told.code}, not {expected}", hint="please report it"
            )
        return told

    def _quietly(self, line: str) -> _Told:
        done = subprocess.run(
            [sys.executable, "-m", "credchain.cli.main", *shlex.split(line)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return _Told(done.returncode, done.stdout)

    @contextmanager
    def _node(self) -> Iterator[None]:
        """The node's process, stopped in order at the end."""
        from credchain.errors import NetworkError

        process = subprocess.Popen(
            [sys.executable, "-m", "credchain.cli.main", "node", "run", "--home", str(self._folder / _NODE)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if process.stderr is None:
                raise NetworkError("the node could not be started")
            lines: list[str] = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("node is up"):
                    say(f"  {line.rstrip()}")
                    break
            else:
                raise NetworkError(f"the node did not start: {' '.join(lines)}")
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            yield
        finally:
            process.terminate()
            process.wait()

    def say_where(self, *, kept: bool) -> None:
        """Where everything lies, and what to type next."""
        say("")
        say("== That was the story.")
        if not kept:
            say("Nothing is left behind. To keep a network that you can work on:")
            say("  credchain demo --keep demo-network")
            return
        folder = self._folder
        rows = [
            ("trust anchor", folder / "network.json"),
            ("node", folder / _NODE),
            ("board", folder / _BOARD),
            ("hospital", folder / _HOSPITAL),
            ("other members", folder / "members"),
        ]
        for name, path in rows:
            say(f"  {name:<14} {path}")
        say("The node is stopped. Type next:")
        say(f"  export CREDCHAIN_PASSPHRASE={PASSPHRASE}")
        say(f"  credchain node run --home {self._at(_NODE)} &")
        say(f"  credchain verify {self._npi} --home {self._at(_HOSPITAL)}")
        say(f"  credchain issued --home {self._at(_BOARD)}")
        say("  credchain --help")


def _environment() -> dict[str, str]:
    return {**os.environ, "CREDCHAIN_PASSPHRASE": PASSPHRASE}


def _show(path: Path) -> str:
    """A path as a user would type it: relative where that is shorter."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def _free_port(wanted: int) -> int:
    """The wanted port if nobody listens there, else one that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted


class _Liar:
    """A node that goes on telling what was true once."""

    def __init__(self, honest: str) -> None:
        self._honest = honest
        self._answers: dict[str, bytes] = {}
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = liar._answers.get(self.path, b"{}")
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def remember(self, npi: str, network_file: Path) -> None:
        """Fetch what the honest node says about this NPI now, and keep saying it."""
        from credchain.credentials.npi import parse_npi
        from credchain.credentials.subjects import npi_subject
        from credchain.storage.home import load_network

        network = load_network(network_file)
        names = [name for name in sorted(network.categories) if network.categories[name].by_npi]
        query = "&".join(f"dossier={name}:{npi_subject(name, parse_npi(npi)).hex()}" for name in names)
        path = f"/v1/dossiers?{query}&documents=1"
        with urlopen(self._honest + path, timeout=10) as response:  # noqa: S310  # our own node
            self._answers[path] = response.read()


@contextmanager
def _lying_node(honest: str) -> Iterator[_Liar]:
    liar = _Liar(honest)
    thread = threading.Thread(target=liar.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield liar
    finally:
        liar.server.shutdown()
        liar.server.server_close()
