"""Real nodes and real ledgers for tests: a made network, `credchain node run` as a process, and the
blocks of a small ledger that a test stores in a database of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from credchain.certificates import Certificate, Height, Millis
from credchain.credentials.categories import check_claims
from credchain.credentials.npi import Npi, check_digit
from credchain.credentials.sdjwt import Credential, issue
from credchain.credentials.subjects import npi_subject
from credchain.encoding import Digest
from credchain.keys import BoxKey, SigningKey
from credchain.ledger.blocks import Block
from credchain.ledger.cards import MemberCard
from credchain.ledger.network import Network
from credchain.ledger.operations import Attest, Enroll, Erase, Operation, SetStatus, note_digest
from credchain.ledger.transactions import Transaction
from credchain.limits import MINUTE
from credchain.node.ledger_port import Deposit, LedgerPort
from credchain.storage.home import Home, load_network, slug
from credchain.storage.keyfile import KeyPair
from tests.ledger_world import BOARD, IDENTITY_ISSUER, START, STATE_BOARD, Attested, World, npi

PASSPHRASE: Final = "a passphrase for tests"
ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0
"""Seconds after which something that is waited for is given up: never a bound on speed."""

VALIDATOR: Final = "Test Node"
ISSUER: Final = "Test Board"
HOSPITAL: Final = "Test Hospital"

SPEC: Final = f"""
name = "Test Network"

[[member]]
name = "{VALIDATOR}"
roles = ["validator", "governor"]
peer = "127.0.0.1:7440"
api = "API"

[[member]]
name = "{ISSUER}"
roles = ["issuer"]
categories = ["board_certification", "state_license", "medical_education", "residency"]
jurisdictions = ["US"]

[[member]]
name = "{HOSPITAL}"
roles = ["hospital"]
"""


# --- the command line -------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """This process's, with the passphrase, and without a home of the machine's user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDCHAIN_")}
    return {**kept, "CREDCHAIN_PASSPHRASE": PASSPHRASE, **more}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "credchain.cli.main", *map(str, arguments)]


def credchain(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """One whole call of the program."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(**variables),
        timeout=2 * PATIENCE,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# --- networks ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MadeNetwork:
    """What `credchain network create` made. Homes are copied out of it, so that tests do not meet."""

    folder: Path
    network: Network

    @property
    def file(self) -> Path:
        return self.folder / "network.json"

    def member(self, name: str, into: Path) -> Home:
        """A copy of a member's home."""
        kind = "validators" if name == VALIDATOR else "members"
        shutil.copytree(self.folder / kind / slug(name), into)
        return Home(into)

    def validator(self, into: Path, port: int | None = None) -> Home:
        """A copy of the validator's home that listens on a port of its own."""
        home = self.member(VALIDATOR, into)
        lines = home.node_settings.read_text().splitlines()
        place = next(index for index, line in enumerate(lines) if line.startswith("listen_api"))
        lines[place] = f'listen_api = "127.0.0.1:{port or free_port()}"'
        home.node_settings.write_text("\n".join(lines) + "\n")
        return home

    def keys(self, name: str) -> KeyPair:
        kind = "validators" if name == VALIDATOR else "members"
        return _unlock(self.folder / kind / slug(name))


@cache
def _unlock(folder: Path) -> KeyPair:
    return Home(folder).unlock(PASSPHRASE)


def make_network(folder: Path, *, https: bool = False) -> MadeNetwork:
    """A network of one validator, an issuer and a hospital."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "spec.toml"
    scheme = "https" if https else "http"
    spec.write_text(SPEC.replace("API", f"{scheme}://127.0.0.1:{free_port()}"))
    out = folder / "made"
    options = [] if https else ["--dev", "--api", f"http://127.0.0.1:{free_port()}"]
    made = credchain("network", "create", spec, "--out", out, *options)
    assert made.returncode == 0, made.stderr
    return MadeNetwork(out, load_network(out / "network.json"))


# --- processes --------------------------------------------------------------------------------


@dataclass
class NodeProcess:
    """A running `credchain node run`."""

    process: subprocess.Popen[bytes]
    home: Home
    url: str
    log: Path
    exit_code: int | None = field(default=None)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code (negative: ended by a signal)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.exit_code = self.process.wait(PATIENCE)
        return self.exit_code

    def kill(self) -> int:
        return self.stop(signal.SIGKILL)


def node_url(home: Home) -> str:
    """Where the node of this home listens, by its node.toml."""
    import tomllib

    settings = tomllib.loads(home.node_settings.read_text())
    return f"{str(settings['api']).partition('://')[0]}://{settings['listen_api']}"


def start_node(home: Home, *, wait: bool = True) -> NodeProcess:
    """Start the node of this home and wait until it is up."""
    log = home.path / "node.log"
    with log.open("ab") as out:
        before = out.tell()
        process = subprocess.Popen(
            command("node", "run", "--home", home.path),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment(),
        )
    node = NodeProcess(process, home, node_url(home), log)
    if not wait:
        return node
    try:
        wait_until(
            lambda: process.poll() is not None or b"node is up" in log.read_bytes()[before:],
            "the node to come up",
        )
        if process.poll() is not None:
            raise AssertionError(f"the node ended: {log.read_text()}")
    except BaseException:
        node.kill()
        raise
    return node


@contextmanager
def running(home: Home) -> Iterator[NodeProcess]:
    """A node for as long as the body runs; whatever happens, its process has ended after it."""
    node = start_node(home)
    try:
        yield node
    finally:
        if node.exit_code is None:
            node.kill()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll; AssertionError if it never comes true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)


# --- plain HTTP -------------------------------------------------------------------------------


def request(
    url: str, *, data: bytes | None = None, method: str | None = None, content: str = "application/json"
) -> tuple[int, bytes]:
    """(status, body) of one request, whatever the status."""
    headers = {} if data is None else {"Content-Type": content}
    asked = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


def request_json(url: str, **how: Any) -> tuple[int, dict[str, Any]]:
    status, body = request(url, **how)
    document = json.loads(body)
    assert type(document) is dict
    return status, document


# --- credentials and transactions -------------------------------------------------------------


def now() -> Millis:
    return Millis(time.time_ns() // 1_000_000)


def some_npi(number: int) -> Npi:
    first_nine = f"1{number:08d}"
    return Npi(first_nine + check_digit(first_nine))


BOARD_CLAIMS: Final[dict[str, Any]] = {
    "family_name": "Navarro",
    "given_name": "Elena",
    "board": ISSUER,
    "certificate_number": "T-990001",
    "discipline": "Diagnostic Radiology",
    "initial_certification_date": "2018-10-05",
}


_PAST: Final = Millis(1_700_000_000_000)


def make_credential(made: MadeNetwork, number: int, category: str = "board_certification") -> Credential:
    """A board certification of the test issuer, another one for each number."""
    claims = check_claims(made.network.category(category), BOARD_CLAIMS)
    keys = made.keys(ISSUER)
    return issue(
        keys.signing,
        issuer=keys.did,
        category=category,
        subject=npi_subject(category, some_npi(number)),
        issued_at=_PAST,
        valid_from=_PAST,
        valid_until=None,
        claims=claims,
        salts=[sha256(f"salt {number} {place}".encode()).digest()[:16] for place in range(len(claims))],
    )


def attest(credential: Credential) -> Attest:
    return Attest(
        credential.category,
        credential.subject,
        credential.digest,
        credential.valid_from,
        credential.valid_until,
    )


def sign(
    made: MadeNetwork,
    *operations: Operation,
    sender: str = ISSUER,
    signer: SigningKey | None = None,
    expiry: int | None = None,
    network: Digest | None = None,
) -> Transaction:
    """A transaction that expires in ten minutes, unless the test says otherwise."""
    keys = made.keys(sender)
    return Transaction.sign(
        made.network.id if network is None else network,
        keys.did,
        signer or keys.signing,
        Millis(now() + 10 * MINUTE if expiry is None else expiry),
        operations,
    )


# --- a ledger without a process ---------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """The blocks of a small ledger with everything in it, and the documents after each height."""

    network: Network
    blocks: tuple[tuple[Block, Certificate], ...]
    documents: dict[int, tuple[Deposit, ...]]
    erased: Deposit
    kept: Deposit
    note: Digest

    def store(self, path: Path, upto: int | None = None) -> LedgerPort:
        """A ledger of the first ``upto`` blocks (of all without) with their documents."""
        port = LedgerPort(path, self.network)
        self.continue_(port, upto)
        return port

    def continue_(self, port: LedgerPort, upto: int | None = None) -> None:
        """Commit what is still missing."""
        for block, certificate in self.blocks[port.tip.height : upto]:
            port.commit(port.validate(block), certificate)
            self.deposit(port)

    def deposit(self, port: LedgerPort) -> None:
        documents = self.documents.get(port.tip.height)
        if documents:
            port.deposit(documents)

    def file(self, path: Path, upto: int | None = None) -> Path:
        """The same, closed: one whole file."""
        path.write_bytes(_whole_file(len(self.blocks) if upto is None else upto))
        return path

    def tip_at(self, height: int) -> tuple[Digest, Digest]:
        """(header digest, state root) at a height above genesis."""
        header = self.blocks[height - 1][0].header
        return header.digest, header.state_root


def _operation(credential: Credential, renews: Attested | None = None) -> Attest:
    operation = attest(credential)
    if renews is None:
        return operation
    return Attest(
        operation.category,
        operation.subject,
        operation.credential,
        operation.valid_from,
        operation.valid_until,
        renews.id,
    )


def _deposit(credential: Credential) -> Deposit:
    return Deposit(credential.category, credential.subject, credential.text)


class _Writer:
    def __init__(self) -> None:
        self.world = World()
        self.blocks: list[tuple[Block, Certificate]] = []

    def block(self, *transactions: Transaction) -> Height:
        executed = self.world.commit(transactions)
        self.blocks.append((executed.block, self.world.certified.certificate))
        return executed.block.header.height

    def attested(self, sender: str, credential: Credential) -> Attested:
        operation = _operation(credential)
        return Attested(
            credential.category,
            credential.subject,
            self.world.attestation(sender, operation),
            credential,
        )


def _card() -> Enroll:
    key, box = SigningKey.from_seed(b"r" * 32), BoxKey.from_seed(b"b" * 32)
    card = MemberCard(
        key.public,
        box.public,
        recovery=Digest(sha256(b"recovery").digest()),
        subjects_root=Digest(sha256(b"subjects").digest()),
        private_categories=("cme_credit",),
    )
    return Enroll(card.encode(), card.sign(key), ("radiologist",))


@cache
def history() -> History:
    """Six blocks: attest, renew, enroll, status, erase, a heartbeat, and again attest with status."""
    writer = _Writer()
    world = writer.world
    first, second = world.issue("board_certification", npi(1)), world.issue("board_certification", npi(2))
    license_ = world.issue("state_license", npi(1), valid_until=START + 365 * 86_400_000 - 1)
    renewal = world.issue("board_certification", npi(1), certificate_number="990002")
    last = world.issue("board_certification", npi(3))
    one, two = writer.attested(BOARD, first), writer.attested(BOARD, second)
    three = writer.attested(STATE_BOARD, license_)
    documents: dict[int, tuple[Deposit, ...]] = {}

    height = writer.block(
        world.transaction(BOARD, _operation(first), _operation(second)),
        world.transaction(STATE_BOARD, _operation(license_)),
    )
    documents[height] = (_deposit(first), _deposit(second), _deposit(license_))
    writer.block(
        world.transaction(BOARD, _operation(renewal, one)),
        world.transaction(IDENTITY_ISSUER, _card()),
    )
    note = note_digest(b"s" * 16, "a note")
    height = writer.block(
        world.transaction(
            STATE_BOARD,
            SetStatus(three.category, three.subject, three.id, "suspended", "under_investigation", note),
            SetStatus(three.category, three.subject, three.id, "active", "reinstated"),
        )
    )
    documents[height] = (_deposit(renewal),)
    writer.block(
        world.transaction(BOARD, Erase(two.category, two.subject, two.id, "erasure_request")),
    )
    writer.block()
    height = writer.block(
        world.transaction(BOARD, _operation(last)),
        world.transaction(
            STATE_BOARD,
            SetStatus(three.category, three.subject, three.id, "revoked", "disciplinary_action"),
        ),
    )
    documents[height] = (_deposit(last),)
    return History(
        network=world.network,
        blocks=tuple(writer.blocks),
        documents=documents,
        erased=_deposit(second),
        kept=_deposit(first),
        note=note,
    )


@cache
def _whole_file(upto: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        history().store(path, upto).close()
        return path.read_bytes()


def sample(items: Sequence[Any], count: int, purpose: str) -> list[Any]:
    """So many of them, the same in every run."""
    import random

    return list(items) if len(items) <= count else random.Random(purpose).sample(list(items), count)
