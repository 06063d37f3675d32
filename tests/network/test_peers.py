"""Links between validators over real sockets: who gets in, what is bounded, what comes back.

Run as a program, this module is one validator that sends every frame back to whom it came from.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from credchain.errors import InvalidInput, NetworkError
from credchain.ledger.network import Network
from credchain.limits import LIMITS, Limits
from credchain.node.peers import Peers, PeerStatus, peer_path
from credchain.node.settings import Address
from credchain.node.tls import certificate_der, make_certificate, peer_client_context, peer_server_context
from credchain.storage.home import load_network
from tests.ledger_world import make_network

from .node_process import PATIENCE, ROOT, environment, free_port

_COUNT: Final = 4
_CALM: Final = replace(LIMITS, peer_reconnect=50, peer_most_reconnect=500)
_BRISK: Final = replace(_CALM, peer_heartbeat=200, peer_silence=3_000)
"""Silence that a test need not wait long for; a busy machine could break such a link by itself."""

_PATIENT: Final = replace(_CALM, peer_silence=int(10 * PATIENCE * 1000), peer_queue_bytes=8 * 2**20)
"""Silence alone does not end a link."""


@cache
def _ledger() -> Network:
    return make_network(validators=_COUNT)


@cache
def _other_ledger() -> Network:
    return replace(_ledger(), genesis=replace(_ledger().genesis, name="Another Network"))


@dataclass
class Site:
    """A network whose validators are on loopback, with their certificates in a folder."""

    folder: Path
    network: Network

    @staticmethod
    def make(folder: Path, ledger: Network) -> Site:
        nodes = []
        for index, node in enumerate(ledger.nodes):
            pem = make_certificate(f"Node {index}", folder / f"{index}.key", folder / f"{index}.pem")
            nodes.append(replace(node, peer=f"127.0.0.1:{free_port()}", certificate=pem))
        return Site(folder, replace(ledger, nodes=tuple(nodes)))

    def port(self, index: int) -> int:
        return Address.parse(self.network.nodes[index].peer, "peer").port

    def files(self, index: int) -> tuple[Path, Path]:
        return self.folder / f"{index}.pem", self.folder / f"{index}.key"

    def der(self, index: int) -> bytes:
        return certificate_der(self.network.nodes[index].certificate or "", "certificate")

    def with_address(self, index: int, port: int) -> Network:
        """The network as one would have it who is told another address of this validator."""
        nodes = list(self.network.nodes)
        nodes[index] = replace(nodes[index], peer=f"127.0.0.1:{port}")
        return replace(self.network, nodes=tuple(nodes))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path, _ledger())


@dataclass
class Node:
    """A validator's `Peers`, and what it received, by sender."""

    site: Site
    index: int
    network: Network | None = None
    limits: Limits = _CALM
    receive: Callable[[int, bytes], Awaitable[None] | None] | None = None
    received: dict[int, list[bytes]] = field(default_factory=dict)
    linked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        network = self.network or self.site.network
        self.peers = Peers(
            network,
            network.nodes[self.index].validator,
            *self.site.files(self.index),
            Address("127.0.0.1", self.site.port(self.index)),
            self.receive or self._keep,
            linked=self.linked.append,
            limits=self.limits,
        )

    def _keep(self, sender: int, data: bytes) -> None:
        self.received.setdefault(sender, []).append(data)

    def status(self, index: int) -> PeerStatus:
        return next(each for each in self.peers.status() if each.index == index)

    def got(self, sender: int) -> list[bytes]:
        return self.received.get(sender, [])

    def linked_with(self, *indexes: int) -> bool:
        return all(self.status(each).connected and self.status(each).accepted for each in indexes)


async def _until(condition: Callable[[], Any]) -> None:
    """The time only ends a hang."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _running(*nodes: Node, linked: bool = True) -> AsyncIterator[tuple[Node, ...]]:
    try:
        for node in nodes:
            await node.peers.start()
        if linked:
            for node in nodes:
                others = [each.index for each in nodes if each is not node]
                await _until(partial(node.linked_with, *others))
        yield nodes
    finally:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(node.peers.stop() for node in nodes))


def _has(node: Node, sender: int, frames: list[bytes]) -> bool:
    return node.got(sender) == frames


async def _echoed(node: Node, index: int, mark: bytes) -> None:
    """From the other process; said again, because its own link to here may not be up yet."""
    async with asyncio.timeout(PATIENCE):
        while mark not in node.got(index):
            node.peers.send(index, mark)
            await asyncio.sleep(0.05)


async def _exchange(one: Node, other: Node, mark: bytes) -> None:
    """Both ways."""
    one.peers.send(other.index, mark)
    other.peers.send(one.index, mark)
    await _until(lambda: mark in one.got(other.index) and mark in other.got(one.index))


@asynccontextmanager
async def _dial(
    site: Site, to: int, certificate: Path | None, key: Path | None, path: str | None = None
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A link as anybody may try to make it: right server, any certificate, any path."""
    if certificate is None or key is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=site.der(to))
    else:
        context = peer_client_context(certificate, key, site.der(to))
    url = f"wss://127.0.0.1:{site.port(to)}{path or peer_path(site.network.id)}"
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession() as session,
        session.ws_connect(
            url, ssl=context, max_msg_size=1024, timeout=aiohttp.ClientWSTimeout(ws_close=0.1)
        ) as link,
    ):
        yield link


async def _ends(link: aiohttp.ClientWebSocketResponse) -> None:
    """The other side closes it."""
    while (await link.receive()).type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
        pass


# --- frames -----------------------------------------------------------------------------------


async def test_four_validators_exchange_frames(site: Site) -> None:
    nodes = tuple(Node(site, index) for index in range(_COUNT))
    async with _running(*nodes):
        for node in nodes:
            node.peers.broadcast(b"from %d to all" % node.index)
            for to in range(_COUNT):
                if to != node.index:
                    node.peers.send(to, b"from %d to %d" % (node.index, to))
        for node in nodes:
            for sender in range(_COUNT):
                if sender != node.index:
                    expected = [b"from %d to all" % sender, b"from %d to %d" % (sender, node.index)]
                    await _until(partial(_has, node, sender, expected))
            assert node.index not in node.received
            assert sorted(node.linked) == [each for each in range(_COUNT) if each != node.index]


async def test_order_is_kept_and_large_frames_pass(site: Site) -> None:
    one, other = Node(site, 0, limits=LIMITS), Node(site, 1, limits=LIMITS)
    async with _running(one, other):
        large = bytes(LIMITS.message_bytes)
        frames = [b"%d" % number for number in range(2_000)]
        for number, frame in enumerate(frames):
            one.peers.send(1, frame)
            if number == 1_000:
                one.peers.send(1, large)
        await _until(lambda: len(other.got(0)) == len(frames) + 1)
        assert [each for each in other.got(0) if each != large] == frames
        assert other.got(0)[1_001] == large
        with pytest.raises(InvalidInput):
            one.peers.send(1, large + b"x")
        with pytest.raises(InvalidInput):
            one.peers.broadcast(large + b"x")


async def test_what_is_said_to_an_absent_peer_is_dropped(site: Site) -> None:
    node = Node(site, 0)
    async with _running(node, linked=False):
        for _ in range(10):
            node.peers.broadcast(bytes(10**6))
        assert all(each.queued == each.queued_bytes == 0 for each in node.peers.status())
        await _until(lambda: all("cannot connect" in each.error for each in node.peers.status()))


async def test_frames_wait_for_the_one_before(site: Site) -> None:
    """The next frame is not given on before the last is dealt with; signs of life still pass."""
    begun: list[bytes] = []
    gate = asyncio.Event()

    async def slow(_: int, data: bytes) -> None:
        begun.append(data)
        await gate.wait()

    one, other = Node(site, 0, limits=_BRISK), Node(site, 1, limits=_BRISK, receive=slow)
    async with _running(one, other):
        one.peers.send(1, b"first")
        one.peers.send(1, b"second")
        await _until(lambda: begun)
        await asyncio.sleep(1.5 * _BRISK.peer_silence / 1000)
        assert begun == [b"first"]
        assert one.linked_with(1)
        assert one.status(1).reconnects == 0
        gate.set()
        await _until(lambda: begun == [b"first", b"second"])


# --- who gets in ------------------------------------------------------------------------------


async def test_strangers_are_refused_in_the_handshake(site: Site, tmp_path: Path) -> None:
    make_certificate("Stranger", tmp_path / "stranger.key", tmp_path / "stranger.pem")
    one, other = Node(site, 0), Node(site, 1)
    async with _running(one, other):
        for certificate in (tmp_path / "stranger.pem", None):
            key = None if certificate is None else tmp_path / "stranger.key"
            with pytest.raises((aiohttp.ClientError, OSError)) as caught:
                async with _dial(site, 0, certificate, key):
                    pass
            assert not isinstance(caught.value, aiohttp.WSServerHandshakeError), "it came to the request"
        await _exchange(one, other, b"still here")
        assert set(one.received) == {1}


async def test_older_tls_is_refused(site: Site) -> None:
    context = peer_client_context(*site.files(1), site.der(0))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with _running(Node(site, 0), linked=False):
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", site.port(0), ssl=context)


def _issued_by(site: Site, index: int) -> tuple[Path, Path]:
    """A certificate that a validator's certificate signed, and its key."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    certificate, key = (each.read_bytes() for each in site.files(index))
    issuer_key = serialization.load_pem_private_key(key, None)
    assert isinstance(issuer_key, Ed25519PrivateKey)
    made = Ed25519PrivateKey.generate()
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issued")]))
        .issuer_name(x509.load_pem_x509_certificate(certificate).subject)
        .public_key(made.public_key())
        .serial_number(7)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .sign(issuer_key, None)
    )
    paths = site.folder / "issued.pem", site.folder / "issued.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


async def test_a_certificate_that_a_validator_issued_is_no_validators(site: Site) -> None:
    async with _running(Node(site, 0), linked=False):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with _dial(site, 0, *_issued_by(site, 1)):
                pass
        assert caught.value.status == 403


async def test_a_server_with_an_issued_certificate_hears_nothing(site: Site) -> None:
    """Its chain holds; only the comparison of the certificate itself tells."""
    heard: list[Any] = []

    async def accept(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        link = aiohttp.web.WebSocketResponse()
        await link.prepare(request)
        heard.extend([each.data async for each in link])
        return link

    context = peer_server_context(*_issued_by(site, 1), [site.der(0)])
    server = await asyncio.get_running_loop().create_server(
        aiohttp.web.Server(accept), "127.0.0.1", site.port(1), ssl=context
    )
    node = Node(site, 0)
    async with _running(node, linked=False):
        await _until(lambda: "certificate" in node.status(1).error)
        node.peers.send(1, b"secret")
        assert not node.status(1).connected
        assert node.linked == []
    server.close()
    assert heard == []


async def test_a_validator_at_anothers_address_is_refused(site: Site) -> None:
    """What is meant for validator 1 is not said to validator 2."""
    misled = Node(site, 0, network=site.with_address(1, site.port(2)))
    other = Node(site, 2)
    async with _running(misled, other):
        await _until(lambda: "certificate" in misled.status(1).error)
        misled.peers.send(1, b"for 1")
        await _exchange(misled, other, b"for 2")
        assert other.got(0) == [b"for 2"]
        assert not misled.status(1).connected


async def test_another_network_is_refused_before_the_upgrade(site: Site) -> None:
    """The same validators with the same certificates, another genesis."""
    foreign = replace(site.network, genesis=_other_ledger().genesis)
    assert foreign.id != site.network.id
    here, there, same = Node(site, 0), Node(site, 1, network=foreign), Node(site, 2)
    async with _running(here, there, same, linked=False):
        await _until(lambda: there.status(0).error == here.status(1).error == "it runs another network")
        await _until(lambda: here.linked_with(2))
        here.peers.broadcast(b"here")
        await _until(lambda: same.got(0) == [b"here"])
        assert there.received == {}
        assert not here.status(1).accepted


async def test_other_requests_of_a_validator_are_refused(site: Site) -> None:
    async with _running(Node(site, 0), linked=False):
        for path in ("/", "/v1/peers/", peer_path(site.network.id) + "/", "/metrics"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with _dial(site, 0, *site.files(1), path=path):
                    pass
            assert caught.value.status == 404


async def test_a_redirect_is_not_followed(site: Site) -> None:
    asked: list[str] = []

    async def redirect(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        asked.append(request.path)
        return aiohttp.web.Response(status=302, headers={"Location": "/elsewhere"})

    context = peer_server_context(*site.files(1), [site.der(0)])
    server = await asyncio.get_running_loop().create_server(
        aiohttp.web.Server(redirect), "127.0.0.1", site.port(1), ssl=context
    )
    node = Node(site, 0)
    async with _running(node, linked=False):
        await _until(lambda: "redirect" in node.status(1).error)
    server.close()
    assert set(asked) == {peer_path(site.network.id)}


def test_what_is_wrong_is_named_before_anything_starts(site: Site) -> None:
    with pytest.raises(InvalidInput, match="not a validator"):
        Peers(site.network, "did:key:none", *site.files(0), Address("127.0.0.1", 1), print)  # type: ignore[arg-type]
    own, second = (site.network.nodes[index].certificate or "" for index in (0, 1))
    for certificate, words in (
        (None, "no certificate"),
        ("PEM", "in PEM"),
        (own.replace("M", "N"), "in PEM"),
        (own + second, "in PEM"),
        (second, "same"),
    ):
        nodes = (replace(site.network.nodes[0], certificate=certificate), *site.network.nodes[1:])
        with pytest.raises(InvalidInput, match=words):
            Node(site, 2, network=replace(site.network, nodes=nodes))
    with pytest.raises(InvalidInput, match="not the certificate"):
        Peers(
            site.network,
            site.network.nodes[0].validator,
            *site.files(1),
            Address("127.0.0.1", 1),
            lambda sender, data: None,
        )


async def test_a_taken_port_is_a_network_error(site: Site) -> None:
    node = Node(site, 0)
    with socket.create_server(("127.0.0.1", site.port(0))):
        with pytest.raises(NetworkError) as caught:
            await node.peers.start()
        assert caught.value.field == "node.toml listen_peer"
        await node.peers.stop()


# --- bad frames -------------------------------------------------------------------------------


async def _text(link: aiohttp.ClientWebSocketResponse) -> None:
    await link.send_str("text")


async def _oversized(link: aiohttp.ClientWebSocketResponse) -> None:
    with suppress(ConnectionError):
        await link.send_bytes(bytes(LIMITS.message_bytes + 1))


async def _broken(link: aiohttp.ClientWebSocketResponse) -> None:
    await link.send_frame(b"x" * 200, aiohttp.WSMsgType.PING)


async def _compressed(link: aiohttp.ClientWebSocketResponse) -> None:
    await link.send_bytes(b"x" * 200, compress=15)


async def _refused(link: aiohttp.ClientWebSocketResponse) -> None:
    await link.send_bytes(b"bad")


async def _breaks(link: aiohttp.ClientWebSocketResponse) -> None:
    await link.send_bytes(b"worse")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_text, "it sent text"),
        (_oversized, "its frames are broken"),
        (_broken, "its frames are broken"),
        (_compressed, "its frames are broken"),
        (_refused, "it sent what is not valid"),
        (_breaks, "KeyError"),
    ],
)
async def test_bad_frames_end_that_link_only(
    site: Site, harm: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]], words: str
) -> None:
    received: list[tuple[int, bytes]] = []

    def receive(sender: int, data: bytes) -> None:
        if data == b"bad":
            raise InvalidInput("it is bad")
        if data == b"worse":
            raise KeyError("a mistake of the receiver")
        received.append((sender, data))

    one, other = Node(site, 0, receive=receive), Node(site, 1)
    async with _running(one, other):
        async with _dial(site, 0, *site.files(2)) as link:
            await link.send_bytes(b"good")
            await _until(lambda: (2, b"good") in received)
            assert one.status(2).accepted
            await harm(link)
            await _ends(link)
        await _until(lambda: not one.status(2).accepted)
        assert one.peers._listener.error(2).startswith(words)
        other.peers.send(0, b"goes on")
        await _until(lambda: (1, b"goes on") in received)
        assert received == [(2, b"good"), (1, b"goes on")]
        assert one.status(1).reconnects == other.status(0).reconnects == 0


async def test_garbage_inside_and_outside_of_tls(site: Site) -> None:
    one, other = Node(site, 0), Node(site, 1)
    async with _running(one, other):
        for context in (None, peer_client_context(*site.files(2), site.der(0))):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port(0), ssl=context)
            writer.write(os.urandom(5_000))
            async with asyncio.timeout(PATIENCE):
                with suppress(OSError):
                    await reader.read()
            writer.close()
        await _exchange(one, other, b"goes on")
        assert one.status(1).reconnects == 0
        await _until(lambda: one.peers._listener.arrivals == 0)


@pytest.mark.parametrize("proven", [False, True], ids=["no_tls", "no_upgrade"])
async def test_a_handshake_that_stops_halfway_ends(site: Site, proven: bool) -> None:
    """Also that of a validator that never asks for the upgrade."""
    limits = replace(_CALM, peer_handshake=500)
    one, other = Node(site, 0, limits=limits), Node(site, 1)
    async with _running(one, other):
        context = peer_client_context(*site.files(2), site.der(0)) if proven else None
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port(0), ssl=context)
        await _until(lambda: one.peers._listener.arrivals == 1)
        async with asyncio.timeout(PATIENCE):
            with suppress(OSError):
                assert await reader.read() == b""
        writer.close()
        await _until(lambda: one.peers._listener.arrivals == 0)
        await _exchange(one, other, b"goes on")


async def test_a_newer_link_replaces_the_older(site: Site) -> None:
    node = Node(site, 0)
    async with _running(node, linked=False), _dial(site, 0, *site.files(1)) as old:
        await old.send_bytes(b"old")
        await _until(lambda: node.got(1) == [b"old"])
        async with _dial(site, 0, *site.files(1)) as new:
            await _ends(old)
            await new.send_bytes(b"new")
            await _until(lambda: node.got(1) == [b"old", b"new"])
            assert node.status(1).accepted
        await _until(lambda: not node.status(1).accepted)


async def test_linking_all_the_time_does_not_fill_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "credchain.node")
    async with _running(Node(site, 0), linked=False):
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            async with _dial(site, 0, *site.files(1)):
                pass
        seconds = asyncio.get_running_loop().time() - began
    lines = [each.getMessage() for each in caplog.records if each.getMessage().startswith("peer_")]
    about = [each for each in lines if "validator=1" in each and "peer_unreached" not in each]
    assert 2 <= len(about) <= seconds + 6


async def test_events_name_no_contents(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "credchain")
    one, other = Node(site, 0), Node(site, 1)
    async with _running(one, other):
        await _exchange(one, other, b"a secret")
        async with _dial(site, 0, *site.files(2)) as link:
            await link.send_str("a secret")
            await _ends(link)
    lines = [each.getMessage() for each in caplog.records]
    assert any(each.startswith("peer_connected validator=1") for each in lines)
    assert any(each == "peer_left validator=2 reason=it_sent_text" for each in lines)
    assert not any("secret" in each for each in lines)
    for each in lines:
        assert all("=" in part for part in each.split()[1:]), each


async def test_reconnecting_does_not_get_round_the_bound(site: Site) -> None:
    """However often one links anew, one frame of it is being dealt with at a time."""
    under_way = most = 0

    async def slow(_: int, __: bytes) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(PATIENCE)
        finally:  # it takes a while to let go
            await asyncio.sleep(0.1)
            under_way -= 1

    async with _running(Node(site, 0, receive=slow), linked=False):
        for _ in range(20):
            async with _dial(site, 0, *site.files(1)) as link:
                await link.send_bytes(b"frame")
        await _until(lambda: under_way <= 1)
        assert most == 1


# --- floods -----------------------------------------------------------------------------------

_FLOOD: Final = """
import socket, sys
host, port, count, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
held = []
for number in range(count):
    each = socket.socket()
    each.settimeout(30)
    try:
        each.connect((host, port))
        if how == "garbage":
            each.send(b"x" * 1000)
        held.append(each)
    except OSError:
        each.close()
print(len(held), flush=True)
sys.stdin.read()
"""


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate(timeout=PATIENCE)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208


@pytest.mark.parametrize("how", ["silent", "garbage"])
async def test_a_thousand_strangers_do_not_stop_the_links(site: Site, how: str) -> None:
    one, other, late = Node(site, 0), Node(site, 1), Node(site, 2)
    async with _running(one, other):
        before = _open_files()
        with _process("-c", _FLOOD, "127.0.0.1", str(site.port(0)), "1000", how) as flood:
            assert flood.stdout is not None
            ready = asyncio.create_task(asyncio.to_thread(flood.stdout.readline))
            rounds = 0
            while not ready.done():
                await _exchange(one, other, b"round %d" % rounds)
                rounds += 1
                assert one.peers._listener.arrivals <= LIMITS.peer_arrivals
                assert _open_files() <= before + 2 * LIMITS.peer_arrivals
            assert rounds
            # Another validator gets in while the strangers hold what they can.
            async with _running(late, linked=False):
                await _until(lambda: one.status(2).accepted)
                await _exchange(one, other, b"at the end")
        assert one.status(1).reconnects == other.status(0).reconnects == 0
        await _until(lambda: one.peers._listener.arrivals == 0)


# --- peers that die, hang and return ----------------------------------------------------------


@contextmanager
def _echo(site: Site, index: int) -> Iterator[subprocess.Popen[str]]:
    """A validator in a process of its own, listening when this returns."""
    (site.folder / "network.json").write_text(json.dumps(site.network.json()))
    with _process("-m", "tests.network.test_peers", str(site.folder), str(index)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child


async def test_a_killed_peer_is_linked_again_when_it_is_back(site: Site) -> None:
    one, other = Node(site, 0), Node(site, 1)
    async with _running(one, other):
        for round_ in range(2):
            with _echo(site, 2) as child:
                await _until(lambda: one.linked_with(2) and other.linked_with(2))
                await _echoed(one, 2, b"round %d" % round_)
                child.kill()
                await _until(lambda: not (one.status(2).connected or one.status(2).accepted))
                assert one.status(2).error
            await _exchange(one, other, b"without it %d" % round_)
        assert one.status(2).reconnects == 1
        assert one.status(1).reconnects == 0


async def test_a_restarted_peer_in_the_same_loop(site: Site) -> None:
    one = Node(site, 0)
    async with _running(one, linked=False):
        for round_ in range(3):
            other = Node(site, 1)
            async with _running(other, linked=False):
                await _until(partial(one.linked_with, 1))
                await _until(partial(other.linked_with, 0))
                await _exchange(one, other, b"round %d" % round_)


async def test_a_frozen_peer_is_noticed_without_traffic(site: Site) -> None:
    one, other = Node(site, 0, limits=_BRISK), Node(site, 1, limits=_BRISK)
    with _echo(site, 2) as child:
        async with _running(one, other):
            await _until(lambda: one.linked_with(2))
            os.kill(child.pid, signal.SIGSTOP)
            await _until(lambda: not (one.status(2).connected or one.status(2).accepted))
            await _exchange(one, other, b"goes on")
            os.kill(child.pid, signal.SIGCONT)
            await _until(lambda: one.linked_with(2))
            await _echoed(one, 2, b"back")


async def test_the_queue_to_a_frozen_peer_is_bounded(site: Site) -> None:
    one, other = Node(site, 0, limits=_PATIENT), Node(site, 1, limits=_PATIENT)
    with _echo(site, 2) as child:
        async with _running(one, other):
            await _until(lambda: one.linked_with(2))
            os.kill(child.pid, signal.SIGSTOP)
            await _overflow(one, other, 2)
            await _exchange(one, other, b"goes on")
            os.kill(child.pid, signal.SIGCONT)
            await _until(lambda: one.linked_with(2))


async def _overflow(one: Node, other: Node, stuck: int) -> None:
    """Broadcast until the stuck peer is dropped; the other gets all of it."""
    frame = bytes(256 * 1024)
    sent = len(other.got(one.index))
    async with asyncio.timeout(PATIENCE):
        while one.status(stuck).connected:
            one.peers.broadcast(frame)
            sent += 1
            assert one.status(stuck).queued_bytes <= one.limits.peer_queue_bytes
            await _until(lambda: len(other.got(one.index)) == sent)  # noqa: B023
    assert one.status(stuck).queued == one.status(stuck).queued_bytes == 0
    await _until(lambda: "slowly" in one.status(stuck).error)
    assert one.status(other.index).connected


async def test_many_small_frames_overflow_as_well(site: Site) -> None:
    limits = replace(_PATIENT, peer_queue_messages=100)
    one, other = Node(site, 0, limits=limits), Node(site, 1)
    async with _running(one, other):
        for _ in range(101):
            one.peers.send(1, b"x")
        assert not one.status(1).connected
        assert one.status(1).queued == 0
        await _until(lambda: one.status(1).reconnects == 1 and one.linked_with(1))
        await _exchange(one, other, b"again")


async def test_a_peer_that_never_finishes_a_frame(site: Site) -> None:
    """It reads nothing more: its sender drops it, and the others go on."""
    forever = asyncio.Event()

    async def stuck(_: int, __: bytes) -> None:
        await forever.wait()

    one, other = Node(site, 0, limits=_PATIENT), Node(site, 1, limits=_PATIENT)
    hanging = Node(site, 2, limits=_PATIENT, receive=stuck)
    async with _running(one, other, hanging):
        await _overflow(one, other, 2)
        await _exchange(one, other, b"goes on")


# --- the end ----------------------------------------------------------------------------------


async def test_stopping_does_not_wait_for_anybody(site: Site) -> None:
    """Not for linked peers, a frozen one, a frame that is never dealt with, an open handshake."""
    forever = asyncio.Event()

    async def stuck(_: int, __: bytes) -> None:
        await forever.wait()

    one, other = Node(site, 0, receive=stuck, limits=_PATIENT), Node(site, 1)
    with _echo(site, 2) as child:
        async with _running(one, other):
            await _until(lambda: one.linked_with(1, 2))
            other.peers.send(0, b"frame")
            _, writer = await asyncio.open_connection("127.0.0.1", site.port(0))
            os.kill(child.pid, signal.SIGSTOP)
            for _ in range(4):
                one.peers.send(2, bytes(10**6))
            await _until(lambda: one.peers._listener.arrivals == 1)
            async with asyncio.timeout(PATIENCE / 4):
                await one.peers.stop()
            assert not any(each.connected or each.accepted for each in one.peers.status())
            with socket.create_server(("127.0.0.1", site.port(0))):
                pass  # the port is free again
            await one.peers.stop()
            writer.close()


async def test_stopping_leaves_no_task_and_no_socket(site: Site) -> None:
    before, tasks = _open_files(), asyncio.all_tasks()
    nodes = tuple(Node(site, index) for index in range(_COUNT))
    async with _running(*nodes):
        nodes[0].peers.broadcast(b"frame")
    await _until(lambda: asyncio.all_tasks() == tasks)
    await _until(lambda: _open_files() <= before)


async def test_peers_that_never_started_stop(site: Site) -> None:
    await Node(site, 0).peers.stop()


# --- a validator in a process of its own ------------------------------------------------------


async def _serve(folder: Path, index: int) -> None:
    network = load_network(folder / "network.json")

    def echo(sender: int, data: bytes) -> None:
        node.peers.send(sender, data)

    node = Node(Site(folder, network), index, receive=echo, limits=replace(_CALM, peer_heartbeat=200))
    await node.peers.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
