"""Links that other validators dialled: they send, this node receives.

A connection proves in bounded time which validator it is: by a pinned certificate in the TLS handshake,
and by asking for this network's path, before the upgrade. Until then it is one of a bounded number of
arrivals; when they are too many, the host with the most loses its oldest, so strangers displace each
other first. Arrivals are also taken at a bounded rate, because a handshake costs a millisecond of the
one event loop that carries the links there are. What the frames mean is the receiver's affair.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from ..errors import InvalidInput, NetworkError
from ..limits import Limits
from .peer_dialer import whereabouts
from .settings import Address
from .tls import peer_der

logger = logging.getLogger("credchain.node")

Receive = Callable[[int, bytes], Awaitable[None] | None]
"""What is done with a frame of a validator, by its index. The next frame of that validator is read when
it is done. It may be cancelled when the link ends; InvalidInput ends the link."""

_BACKLOG: Final = 128
_ALIVE: Final = (WSMsgType.PING, WSMsgType.PONG)


@dataclass(eq=False)
class _Arrival:
    """A connection of which it is not known yet whose it is."""

    host: str
    connection: socket.socket | None
    settled: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class _Link:
    """An accepted link; ``task`` reads it."""

    transport: asyncio.Transport
    task: asyncio.Task[str] | None = None
    heard: float | None = None

    def end(self) -> None:
        self.transport.abort()
        if self.task is not None:
            self.task.cancel()


class PeerListener:
    """``whose`` are the pinned certificates (DER) of the other validators, with their indexes."""

    def __init__(
        self,
        listen: Address,
        path: str,
        context: SSLContext,
        whose: Mapping[bytes, int],
        receive: Receive,
        limits: Limits,
    ) -> None:
        self._listen = listen
        self._path = path
        self._context = context
        self._whose = whose
        self._receive = receive
        self._limits = limits
        self._socket: socket.socket | None = None
        self._server: web.Server | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._arrivals: dict[_Arrival, asyncio.Task[None]] = {}
        self._protocols: dict[Any, _Arrival] = {}
        self._links: dict[int, _Link] = {}
        self._heard: dict[int, float] = {}
        self._errors: dict[int, str] = {}
        self._logged: dict[int, float] = {}
        self._refused = 0
        self._refusal_logged = float("-inf")

    def start(self) -> None:
        """Listen; NetworkError if the port is taken."""
        self._socket = _listening(self._listen)
        self._server = web.Server(self._handle, access_log=None, lingering_time=0)
        self._accepting = asyncio.create_task(self._accept(self._socket, self._server))

    async def stop(self) -> None:
        """End all links, without waiting for the other side."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._socket is not None:
            self._socket.close()
        for task in self._arrivals.values():
            task.cancel()
        ending = [link.task for link in self._links.values() if link.task is not None]
        for link in self._links.values():
            link.end()
        waiting = {*self._arrivals.values(), *ending}
        if waiting:
            await asyncio.wait(waiting, timeout=self._limits.peer_farewell / 1000)
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(self._limits.peer_farewell / 1000)

    def connected(self, index: int) -> bool:
        return index in self._links

    def heard(self, index: int) -> float | None:
        """When the last frame came (monotonic seconds)."""
        return self._heard.get(index)

    def error(self, index: int) -> str:
        """Why its last link ended."""
        return self._errors.get(index, "")

    @property
    def arrivals(self) -> int:
        """Connections that have not shown whose they are."""
        return len(self._arrivals)

    # --- arrivals -------------------------------------------------------------------------

    async def _accept(self, listening: socket.socket, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        pause = 1 / self._limits.peer_arrivals_per_second
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as problem:  # out of descriptors, or it is gone again
                self._refuse(str(problem.strerror), "unknown")
                await asyncio.sleep(10 * pause)
                continue
            self._admit(connection, str(address[0]), server)
            await asyncio.sleep(pause)

    def _admit(self, connection: socket.socket, host: str, server: web.Server) -> None:
        if len(self._arrivals) >= self._limits.peer_arrivals:
            self._displace()
        arrival = _Arrival(host, connection)
        task = self._arrivals[arrival] = asyncio.create_task(self._settle(arrival, server))
        task.add_done_callback(lambda _: self._forget(arrival))

    def _forget(self, arrival: _Arrival) -> None:
        self._arrivals.pop(arrival, None)
        if arrival.connection is not None:  # cancelled before it began
            arrival.connection.close()

    def _displace(self) -> None:
        """The oldest arrival of the host that has the most."""
        counts = Counter(each.host for each in self._arrivals)
        crowded = counts.most_common(1)[0][0]
        oldest = next(each for each in self._arrivals if each.host == crowded)
        self._arrivals.pop(oldest).cancel()
        self._refuse("too many at once", crowded)

    async def _settle(self, arrival: _Arrival, server: web.Server) -> None:
        """Until the handshakes of TLS and WebSocket are over, in bounded time."""
        connection, arrival.connection = arrival.connection, None
        if connection is None:
            return
        protocol = server()
        self._protocols[protocol] = arrival
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(self._limits.peer_handshake / 1000):
                transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._limits.peer_handshake / 1000,
                    ssl_shutdown_timeout=self._limits.peer_farewell / 1000,
                )
                await arrival.settled.wait()
        except OSError as problem:  # of TLS and of time as well
            self._refuse(_handshake_words(problem), arrival.host)
        finally:
            if transport is not None and not arrival.settled.is_set():
                transport.abort()
            self._protocols.pop(protocol, None)

    def _refuse(self, reason: str, host: str) -> None:
        """Logged at most once a second, with how many there were since."""
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._refusal_logged >= 1:
            logger.warning(
                "peers_refused count=%d host=%s reason=%s", self._refused, host, reason.replace(" ", "_")
            )
            self._refused, self._refusal_logged = 0, now

    # --- links ----------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request on a connection with a pinned certificate."""
        arrival = self._protocols.get(request.protocol)
        transport = request.transport
        if arrival is None or transport is None:
            return _refusal(400)
        arrival.settled.set()
        certificate = peer_der(transport.get_extra_info("ssl_object"))
        index = None if certificate is None else self._whose.get(certificate)
        if index is None:
            self._refuse("not a validator's certificate", arrival.host)
            return _refusal(403)
        if request.path != self._path:
            self._refuse("another network", arrival.host)
            return _refusal(404)
        return await self._link(request, transport, index)

    async def _link(
        self, request: web.BaseRequest, transport: asyncio.Transport, index: int
    ) -> web.StreamResponse:
        """Carry the link until it ends; it takes the place of an older one of the same validator."""
        socket_ = web.WebSocketResponse(
            timeout=self._limits.peer_farewell / 1000,
            autoping=False,
            max_msg_size=self._limits.message_bytes + 1,
            compress=False,
        )
        if not socket_.can_prepare(request):
            return _refusal(400)
        before = self._links.get(index)
        link = self._links[index] = _Link(transport)
        link.task = asyncio.create_task(self._carry(request, socket_, index, before))
        try:
            await asyncio.wait({link.task})
            self._ended(index, link, link.task)
        finally:
            link.end()
            if self._links.get(index) is link:
                del self._links[index]
        return socket_

    async def _carry(
        self, request: web.BaseRequest, socket_: web.WebSocketResponse, index: int, before: _Link | None
    ) -> str:
        """Why the link ended."""
        if before is not None and before.task is not None:
            before.end()
            await asyncio.wait({before.task})  # order: nothing new before the old is dealt with
        await socket_.prepare(request)
        self._log(index, "peer_accepted validator=%d", index)
        beating = asyncio.create_task(self._beat(socket_))
        try:
            reason = await self._read(socket_, index)
            await socket_.close(code=WSCloseCode.POLICY_VIOLATION, drain=False)
        except InvalidInput as problem:
            return f"it sent what is not valid: {problem.message}"
        except TimeoutError:
            return f"nothing was heard for {self._limits.peer_silence // 1000} s"
        finally:
            beating.cancel()
        return reason

    def _ended(self, index: int, link: _Link, task: asyncio.Task[str]) -> None:
        if task.cancelled():
            reason = "a newer link of it, or this node stops"
        elif (problem := task.exception()) is not None:
            reason = type(problem).__name__
            if not isinstance(problem, OSError):
                logger.error("peer_frame_failed validator=%d %s", index, whereabouts(problem))
        else:
            reason = task.result()
        self._errors[index] = reason
        self._log(index, "peer_left validator=%d reason=%s", index, reason.replace(" ", "_"))

    def _log(self, index: int, event: str, *values: object) -> None:
        """A few a second: a validator that links all the time does not fill the log."""
        now = asyncio.get_running_loop().time()
        earlier = self._logged.get(index, now - 2)
        if earlier <= now + 1:
            logger.info(event, *values)
            self._logged[index] = max(earlier, now - 2) + 1

    async def _read(self, socket_: web.WebSocketResponse, index: int) -> str:
        """Give the frames on, each when the one before is done; why there are no more."""
        silence = self._limits.peer_silence / 1000
        loop = asyncio.get_running_loop()
        while True:
            message = await socket_.receive(silence)
            if message.type in _ALIVE:
                self._heard[index] = loop.time()
                continue
            if message.type is not WSMsgType.BINARY or len(message.data) > self._limits.message_bytes:
                return _end_words(message)
            self._heard[index] = loop.time()
            work = self._receive(index, message.data)
            if work is not None:
                await work

    async def _beat(self, socket_: web.WebSocketResponse) -> None:
        """Show that this end lives, also while a frame is being dealt with (RFC 6455, 5.5.3)."""
        while True:
            await asyncio.sleep(self._limits.peer_heartbeat / 1000)
            try:
                await socket_.pong()
            except ConnectionError:
                return


def _listening(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    both = address.host == "::" and socket.has_dualstack_ipv6()
    try:
        found = socket.create_server(
            (address.host, address.port), family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
    except OSError as problem:
        raise NetworkError(
            f"cannot listen on {address.host}:{address.port}: {problem.strerror}",
            field="node.toml listen_peer",
            hint="another program uses the port, or the address is not this machine's",
        ) from problem
    found.setblocking(False)
    return found


def _refusal(status: int) -> web.Response:
    response = web.Response(status=status)
    response.force_close()
    return response


def _handshake_words(problem: OSError) -> str:
    if isinstance(problem, TimeoutError):
        return "no handshake in time"
    return str(getattr(problem, "reason", None) or problem.strerror or type(problem).__name__)


def _end_words(message: WSMessage) -> str:
    if message.type is WSMsgType.TEXT:
        return "it sent text"
    if message.type is WSMsgType.BINARY:
        return "it sent a frame that is too large"
    if message.type is WSMsgType.ERROR:
        return f"its frames are broken: {type(message.data).__name__}"
    return "it closed the link"
