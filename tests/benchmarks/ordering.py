"""Four validators order attestations: how many a second, how soon, and at what cost.

    python -m tests.benchmarks.ordering [transactions a request]

Makes the sample consortium with four `node run` processes on loopback and measures, one after the other:
the processes' CPU while nothing is sent; the latency of one attestation at a time; singly signed
attestations; envelopes of 1000; and overload, where clients that are turned away try again until each has
its receipt. Load comes from this one process, signed beforehand; what was committed is read from the
ledger (`/v1/status`), not from the client's answers.

The bound of both rates is a quarter of this machine's raw verifications a second: `keys.verify` in one
thread, by CPU time, a few every quarter of a second *while* the load runs. So both meet the same machine:
here a core verifies a third slower when its neighbours are busy too. Beside each *measured* rate stands a
*derived* one, what the CPU time spent on an attestation (validators and this client) would give on cores
that do nothing else. Two stricter readings are printed too: the ratio to raw verifications of the machine
while it is idle, just before the load, and the ratio to those of all cores at once.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter, process_time, time_ns
from typing import Any

import aiohttp

from credchain.certificates import Millis
from credchain.client import Client
from credchain.encoding import Digest
from credchain.keys import SigningKey, verify
from credchain.ledger.network import Network
from credchain.ledger.operations import Attest
from credchain.ledger.transactions import Transaction, encode_batch
from credchain.limits import DAY, MINUTE
from credchain.storage.home import Home, load_network
from credchain.storage.keyfile import KeyPair

from .network import PASSPHRASE, PROGRAM, SAMPLES, run

CORES = os.cpu_count() or 1
NODES = ("node-north", "node-east", "node-south", "node-west")
BOARD = "members/example-board-of-radiology"
CATEGORY = "board_certification"
BATCH = "application/vnd.credchain.transactions"
ONE = "application/vnd.msgpack"
IDLE_SECONDS = 10
LATENCIES = 100
LOAD_SECONDS = 10
SINGLES = 30_000
ENVELOPES = 150
OPERATIONS = 1_000
IDLE_SAMPLES = 50
UNDER_WAY = 24
"""Requests at a time, over all validators."""
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Node:
    """A running validator."""

    name: str
    url: str
    pid: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU since its start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self, what: str = "VmRSS") -> float:
        """MiB; ``VmHWM`` is the most that it ever was."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024


@dataclass(frozen=True)
class Rate:
    """Attestations a second by the ledger, raw verifications a second meanwhile and before it, and CPU
    seconds an attestation of each validator and client."""

    measured: float
    raw: float
    idle_raw: float
    cpu: tuple[float, ...]
    client: float

    @property
    def derived(self) -> float:
        """On two cores that do nothing else."""
        return CORES / (sum(self.cpu) + self.client)


# --- the network ------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    import socket

    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return ports


def spec(folder: Path) -> Path:
    """The sample consortium on ports that are free here."""
    ports = iter(free_ports(8))
    text = re.sub(
        r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", (SAMPLES / "consortium.toml").read_text()
    )
    path = folder / "consortium.toml"
    path.write_text(text)
    return path


@contextmanager
def validators(folder: Path) -> Iterator[tuple[Path, list[Node]]]:
    """The made network, and its four running nodes."""
    os.environ["CREDCHAIN_PASSPHRASE"] = PASSPHRASE
    made = folder / "network"
    run("network", "create", spec(folder), "--out", made)
    processes: list[subprocess.Popen[bytes]] = []
    nodes: list[Node] = []
    try:
        for name in NODES:
            home = made / "validators" / name
            with (folder / f"{name}.log").open("wb") as log:
                command = [*PROGRAM, "node", "run", "--home", str(home)]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        for name, process in zip(NODES, processes, strict=True):
            nodes.append(Node(name, wait_for(folder / f"{name}.log", process), process.pid))
        yield made, nodes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def wait_for(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that a node says it serves at."""
    while True:
        found = re.search(r"node is up.*?(http://[0-9.:]+)", log.read_text())
        if found:
            return found[1]
        assert process.poll() is None, log.read_text()
        os.sched_yield()


# --- the load ---------------------------------------------------------------------------------


class Load:
    """Signed transactions of one issuer, each of attestations that nobody made before."""

    def __init__(self, network: Network, keys: KeyPair) -> None:
        self._network = network
        self._keys = keys
        self._made = 0

    def transaction(self, operations: int = 1) -> bytes:
        now = time_ns() // 1_000_000
        attests = tuple(self._attest(now) for _ in range(operations))
        return Transaction.sign(
            self._network.id, self._keys.did, self._keys.signing, Millis(now + 30 * MINUTE), attests
        ).encoded

    def _attest(self, now: int) -> Attest:
        self._made += 1
        subject, credential = (
            Digest(sha256(f"{kind} {self._made}".encode()).digest()) for kind in ("subject", "credential")
        )
        return Attest(CATEGORY, subject, credential, Millis(now), Millis(now + 365 * DAY))


class Sender:
    """Sends transactions, and again what was turned away, until each has its receipt."""

    def __init__(self, session: aiohttp.ClientSession, client: Client, nodes: Sequence[Node]) -> None:
        self._session = session
        self._client = client
        self._nodes = nodes
        self._turn = 0
        self.turned_away = 0
        self.receipts = 0

    async def one(self, data: bytes, node: Node) -> None:
        """One transaction a request."""
        while True:
            status, body = await self._post(node, data, ONE)
            if status == 200 or body.get("rule") == "repeated":
                self._check(body, data)
                return
            assert status == 503, body
            self.turned_away += 1
            await asyncio.sleep(2)

    async def many(self, waiting: list[bytes], node: Node) -> None:
        """Many transactions a request."""
        while waiting:
            status, body = await self._post(node, encode_batch(waiting), BATCH)
            outcomes = body["outcomes"] if status == 200 else [{"status": 503}] * len(waiting)
            assert status in (200, 503), body
            left = []
            for data, outcome in zip(waiting, outcomes, strict=True):
                if outcome.get("receipt"):
                    self.receipts += 1
                else:
                    assert outcome["status"] == 503, outcome
                    left.append(data)
            if len(left) < len(waiting):
                done = next(at for at, each in enumerate(outcomes) if each.get("receipt"))
                self._client._receipt(outcomes[done], waiting[done])
            if left:
                self.turned_away += len(left)
                await asyncio.sleep(2)
            waiting = left

    def _check(self, body: dict[str, Any], data: bytes) -> None:
        self._client._receipt(body, data)
        self.receipts += 1

    async def _post(self, node: Node, data: bytes, content: str) -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": content}
        async with self._session.post(node.url + "/v1/transactions", data=data, headers=headers) as answer:
            assert answer.status != 503 or "Retry-After" in answer.headers
            return answer.status, await answer.json()

    async def all(self, transactions: list[bytes], size: int, at_once: int, nodes: Sequence[Node]) -> None:
        """All of them, so many a request and so many requests at a time, to each node in turn."""
        parts = [transactions[at : at + size] for at in range(0, len(transactions), size)]
        queue = iter(enumerate(parts))

        async def work() -> None:
            for number, part in queue:
                node = nodes[number % len(nodes)]
                await (self.one(part[0], node) if size == 1 else self.many(part, node))

        await asyncio.gather(*(work() for _ in range(at_once)))


async def status(session: aiohttp.ClientSession, node: Node) -> dict[str, Any]:
    async with session.get(node.url + "/v1/status") as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def measure(
    session: aiohttp.ClientSession, nodes: Sequence[Node], sending: asyncio.Task[None], idle_raw: float
) -> Rate:
    """The rate while ``sending`` runs: from its first second on, until it or the time is over."""
    await asyncio.sleep(1)
    raw = Raw()
    began = await sample(session, nodes)
    last = began
    verifying = 0.0
    while not sending.done() and last[0] - began[0] < LOAD_SECONDS:
        await asyncio.sleep(0.25)
        raw.sample()
        now = await sample(session, nodes)
        if sending.done():
            break  # the end of the load is no steady state
        last, verifying = now, raw.cpu
    count = last[1] - began[1]
    cpu = [(after - before) / count for before, after in zip(began[2], last[2], strict=True)]
    own = cpu[-1] - verifying / count
    return Rate(count / (last[0] - began[0]), raw.rate, idle_raw, tuple(cpu[:-1]), own)


async def sample(session: aiohttp.ClientSession, nodes: Sequence[Node]) -> tuple[float, int, list[float]]:
    """(time, attestations on the ledger, CPU seconds of each node and of this process)."""
    told = await status(session, nodes[0])
    return perf_counter(), told["attestations"], [*(each.cpu for each in nodes), process_time()]


async def rate(
    session: aiohttp.ClientSession,
    sender: Sender,
    nodes: Sequence[Node],
    transactions: list[bytes],
    size: int,
    at_once: int = UNDER_WAY,
) -> Rate:
    idle_raw = Raw()
    for _ in range(IDLE_SAMPLES):
        idle_raw.sample()
    sending = asyncio.create_task(sender.all(transactions, size, at_once, nodes))
    found = await measure(session, nodes, sending, idle_raw.rate)
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    while (await status(session, nodes[0]))["pool"]:
        await asyncio.sleep(0.1)
    return found


# --- what is printed --------------------------------------------------------------------------


class Raw:
    """Raw verifications a second of CPU time, in one thread, over all that were sampled."""

    def __init__(self) -> None:
        key = SigningKey.from_seed(bytes(32))
        self._signed = (key.public, bytes(32), key.sign(bytes(32)))
        self._count = 0
        self.cpu = 0.0

    def sample(self) -> None:
        began = process_time()
        for _ in range(100):
            verify(*self._signed)
        self.cpu += process_time() - began
        self._count += 100

    @property
    def rate(self) -> float:
        return self._count / self.cpu


def show(what: str, found: Rate, floor: float) -> None:
    each = ", ".join(f"{1e6 * cpu:.0f}" for cpu in found.cpu)
    print(f"{what}: {found.measured:.0f} attestations a second measured, {found.derived:.0f} derived")
    print(f"  CPU us an attestation: validators {each}; client {1e6 * found.client:.0f}")
    bound = found.raw / 4
    measured, derived = found.measured / bound, found.derived / bound
    print(f"  {found.raw:.0f} raw verifications a second meanwhile; of a quarter of them:")
    print(f"  ratio measured {measured:.2f}, derived for {CORES} free cores {derived:.2f} (floor {floor})")
    idle_ratio = 4 * found.measured / found.idle_raw
    print(f"  of the idle machine's {found.idle_raw:.0f} a second: {idle_ratio:.2f}", end="; ")
    print(f"of all {CORES} cores' meanwhile: {measured / CORES:.2f}")


async def idle(nodes: Sequence[Node]) -> None:
    await asyncio.sleep(2)
    before = [each.cpu for each in nodes]
    await asyncio.sleep(IDLE_SECONDS)
    shares = [100 * (node.cpu - cpu) / IDLE_SECONDS for node, cpu in zip(nodes, before, strict=True)]
    print(f"idle: {', '.join(f'{each:.1f} %' for each in shares)} of a core each (bound 3 %)")


async def latency(sender: Sender, load: Load, nodes: Sequence[Node]) -> None:
    found = []
    for number in range(LATENCIES):
        data = load.transaction()
        started = perf_counter()
        await sender.one(data, nodes[number % len(nodes)])
        found.append(1e3 * (perf_counter() - started))
    cuts = statistics.quantiles(found, n=100)
    print(f"one attestation at a time: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms")


async def overload(sender: Sender, load: Load, nodes: Sequence[Node]) -> None:
    """More envelopes at one node than its pool takes of a sender, more requests than it serves at once."""
    before = sender.receipts
    envelopes = [load.transaction(OPERATIONS) for _ in range(40)]
    singles = [load.transaction() for _ in range(600)]
    sender.turned_away = 0
    await asyncio.gather(
        sender.all(envelopes, 1, len(envelopes), nodes[:1]), sender.all(singles, 1, len(singles), nodes[:1])
    )
    got = sender.receipts - before
    print(
        f"overload: {got} of {len(envelopes) + len(singles)} receipts, {sender.turned_away} times turned away"
    )


def memory(nodes: Sequence[Node], when: str) -> None:
    now = ", ".join(f"{each.memory():.0f}" for each in nodes)
    most = ", ".join(f"{each.memory('VmHWM'):.0f}" for each in nodes)
    print(f"memory {when}: {now} MiB (most so far {most})")


async def measured(made: Path, nodes: Sequence[Node], size: int) -> None:
    network = load_network(made / "network.json")
    load = Load(network, Home(made / BOARD).unlock(PASSPHRASE))
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    client = Client(network, now=lambda: Millis(time_ns() // 1_000_000))
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        sender = Sender(session, client, nodes)
        await idle(nodes)
        await latency(sender, load, nodes)
        memory(nodes, "before the load")
        at_once = UNDER_WAY if size > 1 else 10 * UNDER_WAY
        singles = [load.transaction() for _ in range(SINGLES if size > 1 else SINGLES // 10)]
        show("singly signed", await rate(session, sender, nodes, singles, size, at_once), 0.35)
        memory(nodes, "after it")
        envelopes = [load.transaction(OPERATIONS) for _ in range(ENVELOPES)]
        show("envelopes of 1000", await rate(session, sender, nodes, envelopes, 1), 1.5)
        memory(nodes, "after it")
        await overload(sender, load, nodes)
        memory(nodes, "after the overload")


def main(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder, validators(Path(folder)) as (made, nodes):
        asyncio.run(measured(made, nodes, size))


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["200"])[0]))
