"""`node check`: what would keep this validator from working, found before it does.

Files, disk, ports, the other validators as seen from here, and the clocks. It reads no secret but the
TLS key, so it needs no passphrase, and it changes nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from .. import __version__
from ..certificates import Millis
from ..client import Client
from ..credentials.dates import describe_duration
from ..errors import CredchainError, InvalidInput, StorageError
from ..ledger.network import Network, NodeAddress
from ..limits import DAY, LIMITS, SECOND
from ..storage.home import Home
from ..storage.keyfile import check_private
from ..storage.safety_store import SafetyStore
from .settings import Address, NodeSettings
from .status import NodeStatus, parse_time
from .tls import certificate_der, peer_client_context, peer_der, read_certificate

OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"

CLOCK_WARNING: Final = 2 * SECOND
CLOCK_PROBLEM: Final = 5 * SECOND
"""Beyond it a proposal of ours is held back, or one of theirs by us (DESIGN 7)."""
SPACE_WARNING: Final = 5 * 2**30
SPACE_PROBLEM: Final = 500 * 2**20
SYNC_WARNING: Final = 50
"""Milliseconds: every vote waits for a sync."""
EXPIRY_WARNING: Final = 90 * DAY
BLOCKS_BEHIND: Final = 20
_SYNCS: Final = 9
_REFUSAL_SECONDS: Final = 0.5
"""How long a peer that refuses our certificate may take to say so: TLS 1.3 says it after the handshake."""
_FIREWALL: Final = "is that node running, and is the port open in both firewalls?"
_ANOTHER: Final = "another certificate than the one in network.json"
_COMPARE: Final = "compare the fingerprint of network.json with that node's operator"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``hint`` is what to do, empty where there is nothing to do."""

    name: str
    target: str
    outcome: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node said of itself when it was asked between two moments of this machine's clock."""

    told: NodeStatus | CredchainError
    before: Millis
    after: Millis


async def check_node(home: Home, network: Network, now: Callable[[], Millis]) -> list[Check]:
    """Every check, in the order in which people read them; InvalidInput where this is no validator's home."""
    did = home.did()
    own = next((node for node in network.nodes if node.validator == did), None)
    if own is None:
        raise InvalidInput(
            f"{home.path} is not the home of a validator of this network",
            field="home",
            hint="name the validator's home with --home",
        )
    others = [node for node in network.nodes if node is not own]
    found = check_files(home, network, own, now())
    settings, checks = _settings(home)
    asked = await asyncio.gather(*(_ask(network, node, node.api, now) for node in others))
    mine = None if settings is None else await _ask(network, own, settings.local_url, now)
    highest = max((_height(each) for each in (*asked, mine) if each is not None), default=0)
    if settings is not None and mine is not None:
        checks += await _own_ports(home, network, own, settings, mine, highest)
    checks += found
    ports = await asyncio.gather(*(check_peer(home, network, node) for node in others))
    for node, port, answer in zip(others, ports, asked, strict=True):
        name = network.name_of(node.validator)
        checks += [port, judge_api(name, answer, network, highest)]
        checks += judge_clock(name, answer)
    return checks


# --- this machine -----------------------------------------------------------------------------


def check_files(home: Home, network: Network, own: NodeAddress, now: Millis) -> list[Check]:
    """Key files, certificate, safety record, disk."""
    return [
        *(_private(path) for path in (home.keys, home.tls_key)),
        _certificate(home, own, now),
        _record(home, alone=len(network.nodes) == 1),
        _space(home.path),
        _sync(home.path),
    ]


def _settings(home: Home) -> tuple[NodeSettings | None, list[Check]]:
    try:
        return NodeSettings.load(home), [Check("settings", home.node_settings.name, OK, "readable")]
    except InvalidInput as problem:
        hint = problem.hint or f"correct {home.node_settings}"
        return None, [Check("settings", home.node_settings.name, PROBLEM, problem.message, hint)]


def _private(path: Path) -> Check:
    try:
        check_private(path)
    except InvalidInput as problem:
        return Check("key file", path.name, PROBLEM, problem.message, problem.hint)
    return Check("key file", path.name, OK, "only its owner can read it")


def _certificate(home: Home, own: NodeAddress, now: Millis) -> Check:
    """It is the one in network.json, its key fits, and it does not expire soon."""
    name, target = "certificate", home.tls_certificate.name
    try:
        pem = home.tls_certificate.read_text(encoding="ascii")
        certificate = read_certificate(pem)
        peer_client_context(home.tls_certificate, home.tls_key, certificate_der(pem, "certificate"))
    except (OSError, UnicodeDecodeError) as problem:
        return Check(name, target, PROBLEM, f"cannot be read: {problem}", "restore it from your backup")
    except InvalidInput as problem:
        return Check(name, target, PROBLEM, problem.message, "restore it and its key from your backup")
    if own.certificate is not None and pem.split() != own.certificate.split():
        return Check(
            *(name, target, PROBLEM, "it is not the one in network.json"),
            "restore it from your backup: the others accept only the one that they know",
        )
    left = certificate.not_valid_after_utc - datetime.fromtimestamp(now / SECOND, UTC)
    return judge_expiry(target, int(left / timedelta(milliseconds=1)))


def judge_expiry(target: str, left: int) -> Check:
    """``left`` is milliseconds until it expires."""
    renew = "agree with the other operators on a new one: it must be in every node's network.json"
    if left <= 0:
        return Check("certificate", target, PROBLEM, "it has expired: nobody accepts it", renew)
    told = f"valid for another {describe_duration(left)}"
    if left < EXPIRY_WARNING:
        return Check("certificate", target, WARNING, told, renew)
    return Check("certificate", target, OK, told)


def _record(home: Home, *, alone: bool) -> Check:
    name, target = "safety record", home.safety.name
    try:
        store = SafetyStore.open(home.safety)
    except StorageError as problem:
        return Check(name, target, PROBLEM, problem.message, problem.hint)
    if store is not None:
        store.close()
        return Check(name, target, OK, "there and whole")
    if alone:
        return Check(name, target, OK, "not there; a validator that is alone needs none")
    return Check(
        *(name, target, WARNING, "lost: this validator will sign nothing until it is safe"),
        "start the node: it signs again when the others have made two more blocks; never copy an old one",
    )


def _space(path: Path) -> Check:
    try:
        return judge_space(shutil.disk_usage(path).free)
    except OSError as problem:
        return Check(
            "disk space", "home", PROBLEM, f"cannot be measured: {problem.strerror}", f"check {path}"
        )


def judge_space(free: int) -> Check:
    """``free`` is bytes."""
    told = f"{free / 2**30:.1f} GiB free"
    hint = "make room: a node whose disk is full stops"
    if free < SPACE_PROBLEM:
        return Check("disk space", "home", PROBLEM, told, hint)
    if free < SPACE_WARNING:
        return Check("disk space", "home", WARNING, told, hint)
    return Check("disk space", "home", OK, told)


def _sync(path: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            return judge_sync(median(_timed_sync(file.fileno()) for _ in range(_SYNCS)))
    except OSError as problem:
        told = f"cannot be written: {problem.strerror}"
        return Check("disk speed", "home", PROBLEM, told, "make it writable for the user who runs the node")


def _timed_sync(descriptor: int) -> float:
    """Milliseconds until 4 KiB are on the disk."""
    os.pwrite(descriptor, os.urandom(4096), 0)
    start = perf_counter()
    os.fsync(descriptor)
    return (perf_counter() - start) * SECOND


def judge_sync(milliseconds: float) -> Check:
    told = f"a write is safe after {milliseconds:.1f} ms"
    if milliseconds > SYNC_WARNING:
        hint = "use a faster disk, an SSD that is this machine's own: every vote waits for it"
        return Check("disk speed", "home", WARNING, told, hint)
    return Check("disk speed", "home", OK, told)


# --- this node's ports ------------------------------------------------------------------------


async def _own_ports(
    home: Home, network: Network, own: NodeAddress, settings: NodeSettings, mine: Asked, highest: int
) -> list[Check]:
    """Free for the node to take, or taken by it already. A validator alone takes no peer port."""
    running = isinstance(mine.told, NodeStatus) and mine.told.network == network.id.hex()
    api = _own_api_port(network, settings.listen_api, mine, highest)
    if len(network.nodes) == 1:
        return [api]
    return [await _own_peer_port(home, own, settings.listen_peer, running=running), api]


async def _own_peer_port(home: Home, own: NodeAddress, address: Address, *, running: bool) -> Check:
    name, target = "own peer port", str(address)
    problem = _cannot_take(address)
    if problem is None and running:
        return Check(name, target, WARNING, "the node runs and does not listen here", "see the node's log")
    if problem is None:
        return Check(name, target, OK, "free, the node is not running")
    if problem.errno != errno.EADDRINUSE:
        return _untakable(name, target, problem, "listen_peer")
    met = await _meet(home, own.certificate, address.on_this_machine())
    # A node takes nobody for itself, so it refuses this certificate; that it showed its own is enough.
    if met.known:
        return Check(name, target, OK, "this node listens here")
    return _taken(name, target, "listen_peer")


def _own_api_port(network: Network, address: Address, mine: Asked, highest: int) -> Check:
    name, target = "own API port", str(address)
    problem = _cannot_take(address)
    if problem is None:
        return Check(name, target, OK, "free, the node is not running")
    if problem.errno != errno.EADDRINUSE:
        return _untakable(name, target, problem, "listen_api")
    found = judge_api("", mine, network, highest)
    if isinstance(mine.told, CredchainError) or mine.told.network != network.id.hex():
        return _taken(name, target, "listen_api")
    return replace(found, name=name, target=target, detail=f"this node listens here, {found.detail}")


def _cannot_take(address: Address) -> OSError | None:
    """Why this machine's programs cannot listen there; None if they can."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do; without it a port that was just left would seem taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as problem:
        return problem
    return None


def _untakable(name: str, target: str, problem: OSError, setting: str) -> Check:
    hint = f"set {setting} in node.toml to an address of this machine, with a port from 1024 to 65535"
    return Check(name, target, PROBLEM, f"cannot listen here: {problem.strerror or problem}", hint)


def _taken(name: str, target: str, setting: str) -> Check:
    hint = f"stop that program, or set another port as {setting} in node.toml"
    return Check(name, target, PROBLEM, "another program listens here", hint)


# --- the other validators ---------------------------------------------------------------------


async def check_peer(home: Home, network: Network, node: NodeAddress) -> Check:
    """The other's port for peers: reached, its certificate the pinned one, and ours accepted."""
    target = f"{network.name_of(node.validator)} ({node.peer})"
    try:
        address = Address.parse(node.peer, "peer")
    except InvalidInput as problem:
        return Check("peer port", target, PROBLEM, problem.message, "ask the founder for a new network.json")
    met = await _meet(home, node.certificate, address)
    if not met.problem:
        return Check("peer port", target, OK, "reached, and it is the right node")
    return Check("peer port", target, PROBLEM, met.problem, met.hint)


@dataclass(frozen=True, slots=True)
class _Met:
    """Whether the other side showed the right certificate; what failed, then or later, and what to do."""

    known: bool
    problem: str = ""
    hint: str = ""


async def _meet(home: Home, certificate: str | None, address: Address) -> _Met:
    """A TLS 1.3 handshake with both certificates, as between peers."""
    try:
        if certificate is None:
            raise InvalidInput("network.json has no certificate for it", hint="found the network anew")
        pinned = certificate_der(certificate, "nodes.certificate")
        context = peer_client_context(home.tls_certificate, home.tls_key, pinned)
    except InvalidInput as problem:
        return _Met(False, f"not tried: {problem.message}", problem.hint or "see the other lines")
    try:
        async with asyncio.timeout(LIMITS.connect_timeout / SECOND):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except TimeoutError:
        return _Met(False, f"no answer within {LIMITS.connect_timeout // SECOND} seconds", _FIREWALL)
    except ssl.SSLCertVerificationError as problem:
        return _Met(False, f"{_ANOTHER} ({problem.verify_message})", _COMPARE)
    except (ssl.SSLError, ConnectionResetError):
        return _Met(False, "it does not speak TLS 1.3", "is another program on that port?")
    except OSError as problem:
        return _Met(False, _unreachable(problem), _FIREWALL)
    try:
        # A pinned certificate is a root, which could have signed another one.
        if peer_der(writer.get_extra_info("ssl_object")) != pinned:
            return _Met(False, _ANOTHER, _COMPARE)
        return await _refused(reader)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)


async def _refused(reader: asyncio.StreamReader) -> _Met:
    """Whether the other side ends the connection because of our certificate."""
    try:
        ended = await asyncio.wait_for(reader.read(1), _REFUSAL_SECONDS) == b""
    except TimeoutError:
        return _Met(True)
    except OSError:
        ended = True
    if not ended:
        return _Met(True)
    hint = "has it joined the same network.json? compare fingerprints with its operator"
    return _Met(True, "it does not accept this node's certificate", hint)


def _unreachable(problem: OSError) -> str:
    if isinstance(problem, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(problem, socket.gaierror):
        return "there is no such host name"
    return f"cannot be reached: {problem.strerror or type(problem).__name__}"


async def _ask(network: Network, node: NodeAddress, url: str, now: Callable[[], Millis]) -> Asked:
    """The node's status, with that node's certificate as the only one that is believed."""
    before = now()
    try:
        async with Client(replace(network, nodes=(node,)), now=now, urls=[url]) as client:
            before = now()
            ((_, told),) = await client.status()
    except CredchainError as problem:
        return Asked(problem, before, now())
    return Asked(NodeStatus.read(told) if isinstance(told, dict) else told, before, now())


def _height(asked: Asked) -> int:
    return 0 if isinstance(asked.told, CredchainError) else asked.told.height or 0


def judge_api(name: str, asked: Asked, network: Network, highest: int) -> Check:
    """Reached, of this network, of this version, and not far behind the highest that was met."""
    told = asked.told
    if isinstance(told, CredchainError):
        return Check("API", name, PROBLEM, told.message, _FIREWALL)
    if told.network != network.id.hex():
        return Check(
            *("API", name, PROBLEM, "a node of another network, or none"),
            _COMPARE,
        )
    detail = f"version {told.version}, height {told.height}"
    if told.version != __version__:
        hint = f"this program is version {__version__}: upgrade one node at a time until all are the same"
        return Check("API", name, WARNING, detail, hint)
    if highest - (told.height or 0) > BLOCKS_BEHIND:
        hint = "it is catching up, or the others cannot reach it: ask it with credchain node status"
        return Check("API", name, WARNING, f"{detail}, {highest - (told.height or 0)} blocks behind", hint)
    return Check("API", name, OK, detail)


def judge_clock(name: str, asked: Asked) -> list[Check]:
    """How far the other's clock is from ours, at least; nothing where it did not tell."""
    if isinstance(asked.told, CredchainError):
        return []
    theirs = parse_time(asked.told.clock)
    if theirs is None:
        return []
    middle, uncertain = (asked.before + asked.after) // 2, abs(asked.after - asked.before) // 2
    difference = theirs - middle
    least = max(0, abs(difference) - uncertain)
    if least <= CLOCK_WARNING:
        return [Check("clock", name, OK, f"within {CLOCK_WARNING // SECOND} s of this one")]
    where = "ahead of" if difference > 0 else "behind"
    outcome = PROBLEM if least > CLOCK_PROBLEM else WARNING
    hint = "set both clocks by NTP; where all others differ alike, this machine's is wrong"
    return [Check("clock", name, outcome, f"{least / SECOND:.1f} s {where} this one", hint)]
