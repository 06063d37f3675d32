"""Links between the validators of a network: frames from each to each, in order, authenticated.

Handled here: who may link, keeping links up, bounds on what waits. Left to others: what the frames mean,
saying again what was lost (the replica), and clients (`api`).

Each pair of validators has two links, one in each direction: a node sends on the links that it dialled
and receives on those that it accepted. Where one link served both ways, two nodes that dial each other at
once must agree which of the two stays, by rules that go wrong when the ends disagree on what is still
alive. Here each end decides alone: the dialler when to dial anew, the listener that a newer link
replaces the older. The price is a second TCP connection a pair.

Both sides show their certificates from network.json (TLS 1.3), and the request names the network's
digest, so neither strangers nor peers of another network get to the upgrade. Order is kept on a
link; frames that were under way when a link ends are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ..encoding import Digest
from ..errors import InvalidInput
from ..keys import Did
from ..ledger.network import Network
from ..limits import LIMITS, Limits
from ..storage.files import read_text
from .peer_dialer import DialedLink, dialing_session
from .peer_listener import PeerListener, Receive
from .settings import Address
from .tls import certificate_der, peer_client_context, peer_server_context


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A validator as this node reaches it; ``since`` and ``heard`` are monotonic seconds.

    ``connected`` is the link that was dialled, up since ``since``; ``accepted`` the one from there.
    ``queued`` messages and bytes wait to be sent. ``error`` says why the last link ended or failed.
    """

    index: int
    did: Did
    address: str
    connected: bool
    accepted: bool
    since: float | None
    queued: int
    queued_bytes: int
    heard: float | None
    reconnects: int
    error: str


class Peers:
    """All links of one node. Use from one event loop, where ``receive`` runs as well."""

    def __init__(
        self,
        network: Network,
        own: Did,
        certificate: Path,
        key: Path,
        listen: Address,
        receive: Receive,
        *,
        linked: Callable[[int], None] = lambda index: None,
        limits: Limits = LIMITS,
    ) -> None:
        """``certificate`` and ``key`` are this node's files; ``receive`` gets (validator, frame).

        ``linked`` is told a validator's index each time frames can be sent to it: what was said to it
        before is lost. Errors: InvalidInput where ``own`` is no validator, a certificate is missing,
        or the file is not the certificate that network.json names.
        """
        index = network.validators.index_of(own)
        if index is None:
            raise InvalidInput("this node is not a validator of the network", field="home")
        pinned = _pinned(network)
        if certificate_der(_pem(certificate), "tls") != pinned[index]:
            raise InvalidInput(
                f"{certificate} is not the certificate that network.json names for this node",
                field="tls",
                hint="the other validators would refuse it: use the home that made the member card",
            )
        others = {place: each for place, each in enumerate(pinned) if place != index}
        path = peer_path(network.id)
        self._network = network
        self._limits = limits
        self._listener = PeerListener(
            listen,
            path,
            peer_server_context(certificate, key, others.values()),
            {each: place for place, each in others.items()},
            receive,
            limits,
        )
        self._links = {
            place: DialedLink(
                place,
                _url(network.nodes[place].peer, path),
                peer_client_context(certificate, key, each),
                each,
                linked,
                limits,
            )
            for place, each in others.items()
        }
        self._session: aiohttp.ClientSession | None = None
        self._dialing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, and begin to dial; NetworkError if the port is taken."""
        self._listener.start()
        self._session = session = dialing_session()
        self._dialing = {asyncio.create_task(link.run(session)) for link in self._links.values()}

    async def stop(self) -> None:
        """End all links now, also those whose other end is stuck. May be called twice."""
        for task in self._dialing:
            task.cancel()
        stopping = asyncio.create_task(self._listener.stop())
        await asyncio.wait({*self._dialing, stopping}, timeout=2 * self._limits.peer_farewell / 1000)
        if self._session is not None:
            await self._session.close()

    def send(self, to: int, data: bytes) -> None:
        """Queue a frame for a validator; dropped if it is not linked. Never blocks."""
        self._check(data)
        self._links[to].send(data)

    def broadcast(self, data: bytes) -> None:
        """The same bytes to all other validators."""
        self._check(data)
        for link in self._links.values():
            link.send(data)

    def status(self) -> list[PeerStatus]:
        """Of all other validators, by index."""
        return [self._status(index, link) for index, link in sorted(self._links.items())]

    def _status(self, index: int, link: DialedLink) -> PeerStatus:
        node = self._network.nodes[index]
        times = [each for each in (link.heard, self._listener.heard(index)) if each is not None]
        return PeerStatus(
            index=index,
            did=node.validator,
            address=node.peer,
            connected=link.connected,
            accepted=self._listener.connected(index),
            since=link.since if link.connected else None,
            queued=link.queued,
            queued_bytes=link.queued_bytes,
            heard=max(times, default=None),
            reconnects=link.reconnects,
            error=link.error or self._listener.error(index),
        )

    def _check(self, data: bytes) -> None:
        if len(data) > self._limits.message_bytes:
            raise InvalidInput(f"a frame of {len(data)} bytes is too large to send", field="message")


def peer_path(network: Digest) -> str:
    """What a link of this network asks for."""
    return f"/v1/peers/{network.hex()}"


def _pinned(network: Network) -> list[bytes]:
    """The certificates (DER) of all validators, by index; InvalidInput if one is missing or stands twice."""
    found = []
    for node in network.nodes:
        if node.certificate is None:
            raise InvalidInput(
                f"network.json has no certificate of the validator {node.validator}",
                field="nodes.certificate",
                hint="ask its operator for network.json anew",
            )
        found.append(certificate_der(node.certificate, "nodes.certificate"))
    if len(set(found)) != len(found):
        raise InvalidInput("two validators have the same certificate", field="nodes.certificate")
    return found


def _pem(certificate: Path) -> str:
    return read_text(certificate, "tls", at_most=LIMITS.claims_file_bytes)


def _url(peer: str, path: str) -> str:
    address = Address.parse(peer, "nodes.peer")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"wss://{host}:{address.port}{path}"
