"""A link that this node dials to another validator: it sends, the other receives.

The link is kept up for ever: dialled again after each end, with growing pauses. What is to be sent
waits in a bounded queue while the link is up; what is said to a peer that is away, or that reads too
slowly, is dropped, because the replica says again what still counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import ClientWebSocketResponse, WSMsgType

from ..errors import NetworkError
from ..limits import Limits
from .tls import peer_der

logger = logging.getLogger("credchain.node")

_CONTROL_BYTES: Final = 1_024
"""The other side sends no data on this link."""

_HTTP_WORDS: Final = {
    403: "it does not know this node's certificate",
    404: "it runs another network",
}


def whereabouts(problem: BaseException) -> str:
    """A mistake of this program for the log: what and where, without contents."""
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    return f"error={type(problem).__name__} at={Path(frame.filename).name}:{frame.lineno}"


def dialing_session() -> aiohttp.ClientSession:
    """A session for all links: no pool, no cookies, no redirects, no proxy."""

    async def refuse(*_: Any) -> None:
        raise NetworkError("it answers with a redirect")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
    )


class DialedLink:
    """The link to one validator; `run` is its life."""

    def __init__(
        self,
        index: int,
        url: str,
        context: ssl.SSLContext,
        certificate: bytes,
        linked: Callable[[int], None],
        limits: Limits,
    ) -> None:
        """``certificate`` is the pinned one (DER); ``linked`` is told each time the link is up."""
        self._index = index
        self._url = url
        self._context = context
        self._certificate = certificate
        self._linked = linked
        self._limits = limits
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._overflow = asyncio.Event()
        self.connected = False
        self.since: float | None = None
        self.heard: float | None = None
        self.queued_bytes = 0
        self.reconnects = 0
        self.error = ""

    @property
    def queued(self) -> int:
        """Messages that are not handed to the system yet."""
        return len(self._queue)

    def send(self, data: bytes) -> None:
        """Queue a frame; if the queue is full, drop it all and the link with it."""
        if not self.connected:
            return
        full = len(self._queue) >= self._limits.peer_queue_messages
        if full or self.queued_bytes + len(data) > self._limits.peer_queue_bytes:
            self._forget()
            self.connected = False
            self._overflow.set()
            return
        self._queue.append(data)
        self.queued_bytes += len(data)
        self._wake.set()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Dial, carry, and dial again, until cancelled."""
        loop = asyncio.get_running_loop()
        pause = self._limits.peer_reconnect
        while True:
            began = loop.time()
            try:
                reason = await self._link(session)
            except (aiohttp.ClientError, NetworkError, OSError) as problem:
                reason = self._words(problem)
            except Exception as problem:  # noqa: BLE001 - the top of a task: nobody else would dial again
                reason = f"a mistake of this program: {type(problem).__name__}"
                logger.error("peer_dial_failed validator=%d %s", self._index, whereabouts(problem))
            if reason != self.error:
                logger.info("peer_unreached validator=%d reason=%s", self._index, reason.replace(" ", "_"))
            self.error = reason
            # Only a link that lasted shows that all is well: others are dialled ever more slowly.
            if loop.time() - began > self._limits.peer_silence / 1000:
                pause = self._limits.peer_reconnect
            await asyncio.sleep(pause * random.uniform(0.5, 1) / 1000)  # noqa: S311 - no secret
            pause = min(2 * pause, self._limits.peer_most_reconnect)

    async def _link(self, session: aiohttp.ClientSession) -> str:
        """One link from dialling to its end; why it ended."""
        async with asyncio.timeout(self._limits.peer_handshake / 1000):
            link = await session.ws_connect(
                self._url,
                ssl=self._context,
                autoping=False,
                compress=0,
                max_msg_size=_CONTROL_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=self._limits.peer_farewell / 1000),
            )
        try:
            if peer_der(link.get_extra_info("ssl_object")) != self._certificate:
                raise NetworkError("the certificate there is not the one in network.json")
            self._begin()
            return await self._carry(link)
        finally:
            self.connected = False
            self._forget()
            await self._hang_up(link)

    def _begin(self) -> None:
        now = asyncio.get_running_loop().time()
        self.reconnects += self.since is not None
        self.connected, self.since, self.heard, self.error = True, now, now, ""
        self._overflow.clear()
        logger.info("peer_connected validator=%d", self._index)
        self._linked(self._index)

    def _forget(self) -> None:
        self._queue.clear()
        self.queued_bytes = 0

    async def _carry(self, link: ClientWebSocketResponse) -> str:
        tasks = [
            asyncio.create_task(each)
            for each in (self._write(link), self._listen(link), self._wait_for_overflow())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_for_overflow(self) -> str:
        await self._overflow.wait()
        return "it reads too slowly: its queue was full"

    async def _write(self, link: ClientWebSocketResponse) -> str:
        """Send what is queued, in its order; in quiet times, that this end lives (RFC 6455, 5.5.3)."""
        while True:
            while self._queue:
                data = self._queue[0]
                await link.send_bytes(data)
                if self._queue:  # not dropped meanwhile
                    self._queue.popleft()
                    self.queued_bytes -= len(data)
            self._wake.clear()
            try:
                async with asyncio.timeout(self._limits.peer_heartbeat / 1000):
                    await self._wake.wait()
            except TimeoutError:
                await link.pong()

    async def _listen(self, link: ClientWebSocketResponse) -> str:
        """Nothing but signs of life is to be heard; why that ended."""
        silence = self._limits.peer_silence / 1000
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await link.receive(silence)
            except TimeoutError:
                return f"nothing was heard for {self._limits.peer_silence // 1000} s"
            if message.type not in (WSMsgType.PING, WSMsgType.PONG):
                said = message.type in (WSMsgType.TEXT, WSMsgType.BINARY)
                return "it sends where it only receives" if said else "it closed the link"
            self.heard = loop.time()

    async def _hang_up(self, link: ClientWebSocketResponse) -> None:
        """Now, whatever is still unsent: the other side may have stopped reading."""
        connection = link.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(self._limits.peer_farewell / 1000):
                await link.close()

    def _words(self, problem: Exception) -> str:
        """A failure as `node status` shows it."""
        if isinstance(problem, NetworkError):
            return problem.message
        if isinstance(problem, TimeoutError):
            return f"no answer in {self._limits.peer_handshake // 1000} s"
        if isinstance(problem, aiohttp.WSServerHandshakeError):
            return _HTTP_WORDS.get(problem.status, f"it answers with HTTP status {problem.status}")
        if isinstance(problem, aiohttp.ClientConnectorCertificateError):
            return "the certificate there is not the one in network.json"
        if isinstance(problem, aiohttp.ClientConnectorSSLError | ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(problem, aiohttp.ClientConnectorError):
            return f"cannot connect: {problem.strerror or type(problem.os_error).__name__}"
        return "it closed the connection in the handshake: it may not know this node's certificate"
