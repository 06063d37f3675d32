"""Several validators as real processes on loopback, clients that load them, links that a test cuts, and
the accounting afterwards: what every test with more than one validator stands on.

Nothing here waits for a time where it can ask: a time only ends a hang.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from credchain.certificates import Certificate, Millis
from credchain.client import Client
from credchain.encoding import Digest
from credchain.errors import CredchainError, NetworkError
from credchain.ledger.blocks import CertifiedHeader, Header, Receipt
from credchain.ledger.operations import Attest
from credchain.ledger.transactions import Transaction
from credchain.limits import LIMITS, MINUTE, SECOND
from credchain.node.founding import Spec, SpecMember, create_network
from credchain.storage.home import Home, packaged_categories
from credchain.storage.keyfile import KeyPair

from .node_process import PASSPHRASE, PATIENCE, command, environment, now, sample

T = TypeVar("T")

ISSUER: Final = "Test Board"
CATEGORY: Final = "board_certification"
STOP_SECONDS: Final = 5
"""What an operator is promised of SIGTERM."""
CATCH_UP_PATIENCE: Final = 2 * PATIENCE

_PAST: Final = Millis(1_700_000_000_000)
_SUBMITTED_AT_MOST: Final = (LIMITS.submit_timeout + LIMITS.request_timeout) / SECOND
_ASKED_OF_EACH: Final = 40
"""Receipts that are also asked for over each node's API; its database is asked for all."""
_MISTAKES: Final = ("Traceback", "internal_error", "peer_frame_failed", "peer_dial_failed", "mistake_of_this")
"""What no log of a validator ever says, whatever others do to it."""


# --- waiting ----------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Poll; AssertionError if it never comes true."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.05)


class Background:
    """An event loop on a thread of its own, for what goes on while a test looks elsewhere."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], patience: float = PATIENCE) -> T:
        """The result, awaited here."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(patience)
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        async def cancel_all() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


# --- ports ------------------------------------------------------------------------------------

_FIRST_PORT: Final = 12_000
_PORTS: Final = 20_000
_offsets = itertools.count((os.getpid() * 409) % _PORTS)


def own_port() -> int:
    """A free port outside the range of those that the system gives to outgoing connections: it is
    still free when a killed validator comes back."""
    for offset in itertools.islice(_offsets, _PORTS):
        port = _FIRST_PORT + offset % _PORTS
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


# --- links that a test cuts -------------------------------------------------------------------


class Cut(Enum):
    """How a link is broken: connections are reset, or nothing arrives and nobody says so."""

    REFUSED = "refused"
    SILENT = "silent"


class Wire:
    """What one validator dials to reach another: a port that leads there, until it is cut."""

    def __init__(self, to: int) -> None:
        self.port = own_port()
        self._to = to
        self._cut: Cut | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def set(self, cut: Cut | None) -> None:
        self._cut = cut
        if cut is Cut.SILENT:
            self._flowing.clear()
        else:
            self._flowing.set()
        if cut is Cut.REFUSED:
            for writer in self._writers:
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut is Cut.REFUSED:
            writer.transport.abort()
            return
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            back, onward = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers.add(onward)
            pipes = (
                asyncio.create_task(self._pipe(reader, onward)),
                asyncio.create_task(self._pipe(back, writer)),
            )
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.gather(*pipes, return_exceptions=True)
        except OSError:
            pass  # nobody listens there: the dialler sees its connection end
        finally:
            for each in (writer, onward):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(256 * 1024):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


# --- one validator ----------------------------------------------------------------------------


@dataclass
class Validator:
    """A validator's home and, while it runs, its process. ``index`` is its place in the network."""

    index: int
    name: str
    home: Home
    url: str
    peer_port: int
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _began: int = 0

    @property
    def log(self) -> Path:
        return self.home.path / "node.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *, program: Sequence[str] | None = None) -> None:
        """Start it, without waiting. ``program`` is run instead of `credchain`, with its arguments.

        Its output goes through a pipe, so that a limit on its files is none on its log.
        """
        assert not self.running
        arguments = ("node", "run", "--home", str(self.home.path))
        self.starts += 1
        self._began = self.log.stat().st_size if self.log.exists() else 0
        self.process = subprocess.Popen(
            [*program, *arguments] if program else command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        threading.Thread(target=self._keep_log, args=(self.process,), daemon=True).start()

    def _keep_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout, self.log.open("ab", buffering=0) as log:
            while data := os.read(process.stdout.fileno(), 65_536):
                log.write(data)

    def said(self) -> str:
        """Its log since it was started last."""
        return self.log.read_bytes()[self._began :].decode(errors="replace") if self.log.exists() else ""

    def wait_up(self) -> None:
        wait_until(lambda: not self.running or "node is up" in self.said(), f"{self.name} to come up")
        assert self.running, f"{self.name} ended: {self.said()}"

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Also a stopped one; when this returns, it is dead."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def stop(self) -> None:
        """By SIGTERM, in the time that operators are promised; orderly."""
        assert self.process is not None
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop: {self.said()[-2000:]}") from None
        assert code == 0, f"{self.name} stopped with {code}: {self.said()[-2000:]}"

    def wait_ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def status(self) -> dict[str, Any] | None:
        """What it says of itself; None if it does not answer."""
        if not self.running:
            return None
        try:
            with urllib.request.urlopen(self.url + "/v1/status", timeout=5) as answer:  # noqa: S310
                document = json.loads(answer.read())
        except (OSError, ValueError):
            return None
        assert type(document) is dict
        return document

    def height(self) -> int:
        """-1 if it does not answer."""
        status = self.status()
        return -1 if status is None else int(status["height"])

    def state(self) -> str:
        status = self.status()
        return "" if status is None else str(status["state"])

    def memory(self) -> int:
        """Resident kilobytes of its process."""
        assert self.process is not None
        shown = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return int(shown.stdout)


# --- the network ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction is on the ledger."""

    height: int
    position: int


@dataclass(frozen=True, slots=True)
class StoredLedger:
    """What a validator's database holds, read beside it."""

    headers: dict[int, bytes]
    certificates: dict[int, bytes]
    places: dict[bytes, list[Place]]

    @staticmethod
    def read(path: Path) -> StoredLedger:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as conn:
            conn.execute("begin")
            blocks = conn.execute("select height, header, certificate from blocks").fetchall()
            transactions = conn.execute("select id, height, position from transactions").fetchall()
        places: dict[bytes, list[Place]] = {}
        for identifier, height, position in transactions:
            places.setdefault(identifier, []).append(Place(height, position))
        return StoredLedger(
            {height: header for height, header, _ in blocks},
            {height: certificate for height, _, certificate in blocks},
            places,
        )


class ValidatorNetwork:
    """A made network of so many validators and an issuer; `running` starts it, and ends all of it.

    With ``wires`` each validator reaches each other one over a port of the test's own, which the test
    cuts: its network.json names other peer addresses, and so has another fingerprint, for the same genesis.
    """

    def __init__(self, folder: Path, count: int = 4, *, wires: bool = False) -> None:
        self.folder = folder
        names = [f"Node {index}" for index in range(count)]
        addresses = {name: (own_port(), own_port()) for name in names}
        spec = Spec("Test Network", (*_validators(addresses), _issuer()), tuple(packaged_categories()))
        self.network, made = create_network(
            spec, folder / "made", now(), dev=False, api=None, passphrase=lambda: PASSPHRASE
        )
        homes = {each.did: each for each in made}
        self.validators: list[Validator] = []
        for index, node in enumerate(self.network.nodes):
            home = homes[node.validator]
            peer, api = addresses[home.name]
            url = f"http://127.0.0.1:{api}"
            self.validators.append(Validator(index, home.name, Home(home.path), url, peer))
        issuer = next(each for each in made if each.name == ISSUER)
        self.issuer: KeyPair = Home(issuer.path).unlock(PASSPHRASE)
        self.background = Background()
        self.wires: dict[tuple[int, int], Wire] = {}
        self._numbers = itertools.count()
        if wires:
            self._lay_wires()

    def _lay_wires(self) -> None:
        for own in self.validators:
            for other in self.validators:
                if own is not other:
                    self.wires[own.index, other.index] = Wire(other.peer_port)
            document = json.loads(own.home.network_file.read_text())
            for index, node in enumerate(document["nodes"]):
                if index != own.index:
                    node["peer"] = f"127.0.0.1:{self.wires[own.index, index].port}"
            own.home.network_file.write_text(json.dumps(document))

    def __getitem__(self, index: int) -> Validator:
        return self.validators[index]

    def __iter__(self) -> Iterator[Validator]:
        return iter(self.validators)

    def others(self, *left_out: Validator) -> list[Validator]:
        return [each for each in self.validators if each not in left_out]

    @contextmanager
    def running(self) -> Iterator[ValidatorNetwork]:
        """All started; whatever happens, no process is left."""
        try:
            for wire in self.wires.values():
                self.background.run(wire.start())
            self.start()
            self.committed(1)
            yield self
        finally:
            for validator in self.validators:
                validator.kill()
            self.background.close()

    # --- processes ------------------------------------------------------------------------

    def start(self, *validators: Validator) -> None:
        """Start these (or all that do not run), and wait until they are up."""
        chosen = [each for each in validators or self.validators if not each.running]
        for validator in chosen:
            validator.start()
        for validator in chosen:
            validator.wait_up()

    def whole(self) -> None:
        """All links whole and all validators running and linked: how a test finds the network."""
        self.heal()
        for validator in self.validators:
            if validator.running:
                validator.signal(signal.SIGCONT)
        self.start()
        wait_until(lambda: all(self.linked(each) for each in self.validators), "all links")

    def linked(self, validator: Validator, *others: Validator) -> bool:
        """Whether it is linked both ways with these, or with all."""
        status = validator.status()
        if status is None:
            return False
        wanted = {each.index for each in others} or range(len(self.validators))
        return all(each["connected"] for index, each in enumerate(status["validators"]) if index in wanted)

    def primary(self) -> Validator:
        """Whom most of those that answer take for the primary of the height they work on."""
        said = Counter(status["primary"] for each in self.validators if (status := each.status()))
        name = said.most_common(1)[0][0]
        return next(each for each in self.validators if each.name == name)

    # --- links ----------------------------------------------------------------------------

    def cut(self, here: Collection[Validator], there: Collection[Validator], how: Cut) -> None:
        """Both directions between two groups."""
        for one in here:
            for other in there:
                self.cut_one_way(one, other, how)
                self.cut_one_way(other, one, how)

    def cut_one_way(self, dialler: Validator, other: Validator, how: Cut) -> None:
        """What the dialler says does not reach the other: each sends on the link that it dialled."""
        self.background.run(self.wires[dialler.index, other.index].set(how))

    def heal(self) -> None:
        for wire in self.wires.values():
            self.background.run(wire.set(None))

    # --- progress -------------------------------------------------------------------------

    def height(self, among: Sequence[Validator] = ()) -> int:
        """The highest that one of these (of all without) says that it has."""
        return max(each.height() for each in among or self.validators)

    def committed(self, more: int, among: Sequence[Validator] = (), patience: float = PATIENCE) -> None:
        """Wait until each of these (all without) has so many blocks more than any has now."""
        chosen = list(among or self.validators)
        goal = self.height(chosen) + more
        wait_until(
            lambda: all(each.height() >= goal for each in chosen),
            f"height {goal} at {[each.name for each in chosen]}",
            patience,
        )

    def caught_up(self, validator: Validator, more: int = 2) -> None:
        """Wait until it has what the others have now, and so many blocks more: it takes part again."""
        self.committed(more, (validator, *self.others(validator)), CATCH_UP_PATIENCE)

    # --- load -----------------------------------------------------------------------------

    def transaction(self) -> Transaction:
        """One attestation by the issuer, another one at each call."""
        number = next(self._numbers)
        operation = Attest(
            CATEGORY, _bytes("subject", number), _bytes("credential", number), valid_from=_PAST
        )
        keys = self.issuer
        expiry = Millis(now() + 10 * MINUTE)
        return Transaction.sign(self.network.id, keys.did, keys.signing, expiry, (operation,))

    @contextmanager
    def load(self, senders: int = 4, pause: float = 0.02) -> Iterator[Load]:
        """Clients that attest while the body runs; after it, each has its receipt for what it sent."""
        load = Load(self, senders, pause)
        load.start()
        try:
            yield load
        except BaseException:
            load.abandon()
            raise
        load.stop()

    # --- the accounting -------------------------------------------------------------------

    def account(self, *loads: Load, accused: Collection[Validator] = ()) -> None:
        """Every receipt's transaction is on each ledger once, where the receipt says; the ledgers are
        one and the same; nobody contradicted itself, but for the accused; nothing was refused.
        """
        for load in loads:
            assert not load.refused, load.refused[:3]
            assert load.receipts, "nothing was committed at all"
        receipts = {key: place for load in loads for key, place in load.receipts.items()}
        self.level(max((each.height for each in receipts.values()), default=1))
        for validator in self.validators:
            self._ask_for_receipts(validator, receipts)
            self._check_evidence(validator, accused)
        self._check_stored(receipts)
        self.check_logs()

    def level(self, least: int = 1) -> None:
        """Wait until all are at one height, at least this one."""

        def together() -> bool:
            heights = {each.height() for each in self.validators}
            return len(heights) == 1 and heights.pop() >= least

        wait_until(together, f"one height of all, {least} or above", CATCH_UP_PATIENCE)

    def audit(self) -> None:
        """Stop all, in order; then `credchain audit` finds each ledger to be what its blocks say."""
        for validator in self.validators:
            validator.stop()
        audits = [
            subprocess.Popen(
                command("audit", "--home", each.home.path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
                text=True,
            )
            for each in self.validators
        ]
        for validator, audit in zip(self.validators, audits, strict=True):
            out, _ = audit.communicate(timeout=CATCH_UP_PATIENCE)
            assert audit.returncode == 0, f"audit of {validator.name}: {out}"

    def check_logs(self) -> None:
        for validator in self.validators:
            log = validator.log.read_text(errors="replace")
            for mistake in _MISTAKES:
                assert mistake not in log, f"{validator.name} logged {mistake}"

    def _ask_for_receipts(self, validator: Validator, receipts: dict[Digest, Place]) -> None:
        """Over its API, for some of them: what a client would be told."""
        for key in sample(sorted(receipts), _ASKED_OF_EACH, "receipts"):
            url = f"{validator.url}/v1/transactions/{key.hex()}"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310
                receipt = _receipt(json.loads(answer.read()))
            receipt.certified.check(self.network.validators, self.network.id)
            assert _place(receipt) == receipts[key], validator.name

    def _check_evidence(self, validator: Validator, accused: Collection[Validator]) -> None:
        status = validator.status()
        assert status is not None
        known = {self.network.nodes[each.index].validator for each in accused}
        assert {each["validator"] for each in status["evidence"]} <= known, status["evidence"]

    def _check_stored(self, receipts: dict[Digest, Place]) -> None:
        stored = {each.name: StoredLedger.read(each.home.ledger) for each in self.validators}
        for name, ledger in stored.items():
            assert sorted(ledger.headers) == list(range(1, len(ledger.headers) + 1)), name
            for identifier, places in ledger.places.items():
                assert len(places) == 1, f"{identifier.hex()} stands twice at {name}: {places}"
            for key, place in receipts.items():
                assert ledger.places.get(key) == [place], f"{key.hex()} at {name}"
        longest = max(stored.values(), key=lambda each: len(each.headers))
        for name, ledger in stored.items():
            for height, header in ledger.headers.items():
                # The whole header: the block, its order, and the state root after it.
                assert header == longest.headers[height], f"two blocks at {height}: {name} has another"
        for height, header in longest.headers.items():
            certificate = Certificate.decode(longest.certificates[height])
            certified = CertifiedHeader(Header.decode(header), certificate)
            certified.check(self.network.validators, self.network.id)


def _validators(addresses: dict[str, tuple[int, int]]) -> Iterator[SpecMember]:
    for name, (peer, api) in addresses.items():
        yield SpecMember(
            name=name,
            roles=("governor", "validator"),
            categories=(),
            jurisdictions=(),
            file=None,
            peer=f"127.0.0.1:{peer}",
            api=f"http://127.0.0.1:{api}",
        )


def _issuer() -> SpecMember:
    return SpecMember(ISSUER, ("issuer",), (CATEGORY,), ("US",), None, None, None)


def _bytes(purpose: str, number: int) -> Digest:
    return Digest(sha256(f"{purpose} {number}".encode()).digest())


def _receipt(document: dict[str, Any]) -> Receipt:
    import base64

    return Receipt.decode(base64.b64decode(document["receipt"]))


def _place(receipt: Receipt) -> Place:
    return Place(receipt.certified.header.height, receipt.index)


# --- clients ----------------------------------------------------------------------------------


class Load:
    """So many clients, each with one attestation under way. What was sent is sent again, the same bytes,
    until there is a receipt or a refusal; both are kept.
    """

    def __init__(self, network: ValidatorNetwork, senders: int, pause: float) -> None:
        self.receipts: dict[Digest, Place] = {}
        self.refused: list[tuple[Digest, CredchainError]] = []
        self.turned_away = 0
        self._network = network
        self._count = senders
        self._pause = pause
        self._stopping = threading.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        async def start() -> None:
            self._tasks = [asyncio.create_task(self._send_for_ever(place)) for place in range(self._count)]

        self._network.background.run(start())

    def stop(self) -> None:
        """Nothing new is sent; what is under way gets its receipt."""
        self._stopping.set()

        async def end() -> None:
            await asyncio.gather(*self._tasks)

        self._network.background.run(end(), PATIENCE + _SUBMITTED_AT_MOST)

    def abandon(self) -> None:
        async def cancel() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._network.background.run(cancel())

    def more(self, count: int) -> None:
        """Wait until so many more have their receipt."""
        goal = len(self.receipts) + count
        wait_until(lambda: len(self.receipts) >= goal, f"{count} more receipts")

    async def _send_for_ever(self, place: int) -> None:
        urls = [each.url for each in self._network]
        turned = urls[place % len(urls) :] + urls[: place % len(urls)]
        async with Client(self._network.network, now=now, urls=turned) as client:
            while not self._stopping.is_set():
                await self._send(client, self._network.transaction())
                await asyncio.sleep(self._pause)

    async def _send(self, client: Client, transaction: Transaction) -> None:
        while True:
            try:
                receipt = await client.submit(transaction.encoded)
            except NetworkError:
                self.turned_away += 1
                await asyncio.sleep(0.1)
            except CredchainError as problem:
                self.refused.append((transaction.id, problem))
                return
            else:
                self.receipts[transaction.id] = _place(receipt)
                return


# --- validators that a test makes otherwise ---------------------------------------------------


def with_clock(offset: Millis) -> list[str]:
    """A program that is `credchain` with a wall clock that is so many milliseconds off."""
    patched = (
        "import sys, credchain.node.clock as clock; real = clock.now; "
        f"clock.now = lambda: real() + ({offset}); "
        "from credchain.cli.main import main; sys.argv[0] = 'credchain'; main()"
    )
    return [sys.executable, "-c", patched]


def copy_file(source: Path, target: Path) -> None:
    """A copy of a database whose program has ended, with what belongs to it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        beside = source.with_name(source.name + suffix)
        goal = target.with_name(target.name + suffix)
        goal.unlink(missing_ok=True)
        if beside.exists():
            shutil.copy2(beside, goal)


def remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


__all__ = [
    "CATCH_UP_PATIENCE",
    "Background",
    "Cut",
    "Load",
    "Place",
    "StoredLedger",
    "Validator",
    "ValidatorNetwork",
    "copy_file",
    "own_port",
    "remove_database",
    "wait_until",
    "with_clock",
]
