"""`node check` over real sockets: four validators' homes, their ports played by small servers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from credchain import __version__
from credchain.certificates import Millis
from credchain.credentials.dates import rfc3339
from credchain.ledger.network import Network, NodeAddress
from credchain.node.checking import Check, check_node
from credchain.node.founding import create_network, read_spec
from credchain.node.peers import Peers
from credchain.node.settings import Address
from credchain.node.tls import make_certificate, server_context
from credchain.storage import keyfile
from credchain.storage.home import Home

from .node_process import free_port, now

NAMES: Final = ("Node A", "Node B", "Node C", "Node D")


@dataclass
class Four:
    """Four homes that have joined one network; the first is the one that checks."""

    network: Network
    homes: dict[str, Home]

    def node(self, name: str) -> NodeAddress:
        did = self.homes[name].did()
        return next(each for each in self.network.nodes if each.validator == did)

    @property
    def home(self) -> Home:
        return self.homes[NAMES[0]]

    async def check(self) -> dict[tuple[str, str], Check]:
        """By (what, the first word of where, or the validator)."""
        found = await check_node(self.home, self.network, now)
        return {(each.name, each.target.partition(" (")[0]): each for each in found}

    def status(self, **told: Any) -> dict[str, Any]:
        return {
            "version": __version__,
            "network": self.network.id.hex(),
            "height": 100,
            "clock": rfc3339(now()),
            **told,
        }


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Four:
    monkeypatch.setattr(keyfile, "MEMORY", 2**20)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "Four"\n'
        + "".join(
            f'[[member]]\nname = "{name}"\nroles = ["validator"]\npeer = "127.0.0.1:{free_port()}"\n'
            f'api = "http://127.0.0.1:{free_port()}"\n'
            for name in NAMES
        )
    )
    network, homes = create_network(
        read_spec(spec), tmp_path / "out", Millis(now()), dev=False, api=None, passphrase=lambda: "for tests"
    )
    return Four(network, {each.name: Home(each.path) for each in homes})


def peer_context(four: Four, name: str) -> ssl.SSLContext:
    """A validator's side of a peer connection: it wants a certificate of the network."""
    home = four.homes[name]
    context = server_context(home.tls_certificate, home.tls_key)
    pinned = "\n".join(each.certificate or "" for each in four.network.nodes)
    context.load_verify_locations(cadata=pinned)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def peer_port(
    four: Four, name: str, context: ssl.SSLContext | None = None, *, end: bool = False
) -> AsyncIterator[None]:
    """Something that listens where the validator should, and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not end:
            await reader.read()
        writer.close()

    host, _, port = four.node(name).peer.rpartition(":")
    server = await asyncio.start_server(serve, host, int(port), ssl=context)
    try:
        yield
    finally:
        server.close()


@asynccontextmanager
async def api_port(four: Four, name: str, tell: Callable[[], Any]) -> AsyncIterator[None]:
    async def status(request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(tell()), content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/status", status)
    runner = web.AppRunner(app)
    await runner.setup()
    port = int(four.node(name).api.rpartition(":")[2])
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def up(four: Four, *names: str, **told: Any) -> AsyncIterator[None]:
    """These validators, as they should be."""
    async with AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(peer_port(four, name, peer_context(four, name)))
            await stack.enter_async_context(api_port(four, name, lambda: four.status(**told)))
        yield


async def test_all_others_are_up_and_this_node_is_not_running(four: Four) -> None:
    async with up(four, *NAMES[1:]):
        found = await four.check()
    for name in NAMES[1:]:
        for what in ("peer port", "API", "clock"):
            assert found[what, name].outcome == "ok", found[what, name]
    for what, address in (("own peer port", four.node(NAMES[0]).peer), ("own API port", "")):
        check = next(each for each in found.values() if each.name == what)
        assert (check.outcome, check.detail) == ("ok", "free, the node is not running")
        assert address in check.target
    assert {each.outcome for each in found.values() if each.name == "settings"} == {"ok"}


async def test_this_node_is_running(four: Four) -> None:
    async with up(four, *NAMES):
        found = await four.check()
    details = {each.name: (each.outcome, each.detail) for each in found.values()}
    assert details["own peer port"] == ("ok", "this node listens here")
    assert details["own API port"] == ("ok", f"this node listens here, version {__version__}, height 100")


async def test_this_nodes_own_links_are_up(four: Four) -> None:
    """A real node's listener takes nobody for itself: it shows its certificate, and refuses ours."""
    home, network = four.home, four.network
    listen = Address.parse(four.node(NAMES[0]).peer, "peer")
    peers = Peers(network, home.did(), home.tls_certificate, home.tls_key, listen, lambda sender, frame: None)
    other = four.homes[NAMES[1]]
    beside = Peers(
        *(network, other.did(), other.tls_certificate, other.tls_key),
        *(Address.parse(four.node(NAMES[1]).peer, "peer"), lambda sender, frame: None),
    )
    try:
        await peers.start()
        await beside.start()
        found = await four.check()
    finally:
        await peers.stop()
        await beside.stop()
    check = next(each for each in found.values() if each.name == "own peer port")
    assert (check.outcome, check.detail) == ("ok", "this node listens here")
    assert found["peer port", NAMES[1]].outcome == "ok", found["peer port", NAMES[1]]


async def test_nobody_is_there(four: Four) -> None:
    found = await four.check()
    for name in NAMES[1:]:
        for what in ("peer port", "API"):
            assert found[what, name].outcome == "problem"
            assert "nobody listens" in found[what, name].detail
            assert "firewall" in found[what, name].hint
        assert ("clock", name) not in found


async def test_one_of_three_is_down(four: Four) -> None:
    async with up(four, NAMES[1], NAMES[3]):
        found = await four.check()
    outcomes = {name: found["peer port", name].outcome for name in NAMES[1:]}
    assert outcomes == {NAMES[1]: "ok", NAMES[2]: "problem", NAMES[3]: "ok"}


async def test_another_certificate_on_the_peer_port(four: Four, tmp_path: Path) -> None:
    """Also where it is a certificate of this network, but another validator's."""
    make_certificate("stranger", tmp_path / "key.pem", tmp_path / "certificate.pem")
    stranger = server_context(tmp_path / "certificate.pem", tmp_path / "key.pem")
    for context in (stranger, peer_context(four, NAMES[2])):
        async with peer_port(four, NAMES[1], context):
            check = (await four.check())["peer port", NAMES[1]]
        assert check.outcome == "problem"
        assert "another certificate" in check.detail
        assert "fingerprint" in check.hint


async def test_a_peer_that_does_not_know_this_node(four: Four) -> None:
    context = peer_context(four, NAMES[1])
    alone = server_context(four.homes[NAMES[1]].tls_certificate, four.homes[NAMES[1]].tls_key)
    alone.load_verify_locations(cadata=four.node(NAMES[2]).certificate)
    alone.verify_mode = ssl.CERT_REQUIRED
    async with peer_port(four, NAMES[1], alone), peer_port(four, NAMES[2], context):
        check = (await four.check())["peer port", NAMES[1]]
    assert (check.outcome, check.detail) == ("problem", "it does not accept this node's certificate")
    assert "network.json" in check.hint


@pytest.mark.parametrize("end", [True, False])
async def test_a_peer_port_without_tls(four: Four, end: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that closes, and one that never says a word."""
    from credchain.limits import Limits
    from credchain.node import checking

    monkeypatch.setattr(checking, "LIMITS", Limits(connect_timeout=1_000))
    async with peer_port(four, NAMES[1], end=end):
        check = (await four.check())["peer port", NAMES[1]]
    assert check.outcome == "problem"
    assert check.hint


async def test_an_old_tls_version(four: Four) -> None:
    context = peer_context(four, NAMES[1])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with peer_port(four, NAMES[1], context):
        check = (await four.check())["peer port", NAMES[1]]
    assert check.outcome == "problem"
    assert "TLS 1.3" in check.detail


@pytest.mark.parametrize(
    ("told", "what", "outcome", "detail"),
    [
        ({"network": "00" * 32}, "API", "problem", "another network"),
        ({"version": "0.0.1"}, "API", "warning", "version 0.0.1"),
        ({"clock": "2026-01-01T00:00:00Z"}, "clock", "problem", "behind this one"),
        ({"clock": "9999-01-01T00:00:00Z"}, "clock", "problem", "ahead of this one"),
    ],
)
async def test_what_another_tells(
    four: Four, told: dict[str, Any], what: str, outcome: str, detail: str
) -> None:
    async with up(four, NAMES[1], **told), up(four, NAMES[2]):
        found = await four.check()
    assert found[what, NAMES[1]].outcome == outcome
    assert detail in found[what, NAMES[1]].detail
    assert found[what, NAMES[2]].outcome == "ok"


async def test_one_that_is_behind(four: Four) -> None:
    async with up(four, NAMES[1], height=50), up(four, NAMES[2]):
        found = await four.check()
    assert found["API", NAMES[1]].outcome == "warning"
    assert "50 blocks behind" in found["API", NAMES[1]].detail
    assert found["API", NAMES[2]].outcome == "ok"


@pytest.mark.parametrize("answer", [[], None, "x", {}, {"version": ["\x1b[31m"], "network": 7, "height": -1}])
async def test_an_api_that_says_anything(four: Four, answer: Any) -> None:
    async with api_port(four, NAMES[1], lambda: answer):
        found = await four.check()
    assert found["API", NAMES[1]].outcome == "problem"
    assert ("clock", NAMES[1]) not in found


async def test_another_program_on_this_nodes_ports(four: Four) -> None:
    async with peer_port(four, NAMES[0]), api_port(four, NAMES[0], lambda: {"hello": "world"}):
        found = await four.check()
    for what, setting in (("own peer port", "listen_peer"), ("own API port", "listen_api")):
        check = next(each for each in found.values() if each.name == what)
        assert (check.outcome, check.detail) == ("problem", "another program listens here")
        assert setting in check.hint


async def test_the_node_runs_and_does_not_listen_to_peers(four: Four) -> None:
    async with api_port(four, NAMES[0], four.status):
        found = await four.check()
    check = next(each for each in found.values() if each.name == "own peer port")
    assert (check.outcome, check.detail) == ("warning", "the node runs and does not listen here")


async def test_an_address_that_is_not_this_machines(four: Four) -> None:
    settings = four.home.node_settings
    lines = settings.read_text().splitlines()
    moved = [each.replace("127.0.0.1", "192.0.2.1") if each.startswith("listen") else each for each in lines]
    settings.write_text("\n".join(moved))
    found = await four.check()
    for what in ("own peer port", "own API port"):
        check = next(each for each in found.values() if each.name == what)
        assert check.outcome == "problem"
        assert "node.toml" in check.hint


async def test_settings_that_cannot_be_read(four: Four) -> None:
    """The other checks are made all the same."""
    four.home.node_settings.write_text("listen_peer = ")
    async with up(four, *NAMES[1:]):
        found = await four.check()
    assert found["settings", "node.toml"].outcome == "problem"
    assert not [each for each in found.values() if each.name.startswith("own")]
    assert found["peer port", NAMES[1]].outcome == "ok"


async def test_without_the_tls_key_the_peers_are_not_tried(four: Four) -> None:
    four.home.tls_key.unlink()
    async with up(four, NAMES[1]):
        found = await four.check()
    assert found["peer port", NAMES[1]].outcome == "problem"
    assert "not tried" in found["peer port", NAMES[1]].detail
    assert found["API", NAMES[1]].outcome == "ok"
