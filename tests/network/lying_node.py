"""A node that lies: a proxy in front of an honest one, which alters the answers on their way."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

Lie = Callable[[web.Request, int, bytes], Awaitable[web.StreamResponse]]
"""Gets the client's request, and the honest node's status and body; gives what the client is told."""


@dataclass
class LyingNode:
    """Where it listens, and the requests that it was asked: (method, path)."""

    url: str
    asked: list[tuple[str, str]] = field(default_factory=list)


@asynccontextmanager
async def lying(
    honest: str, lie: Lie, *, rewrite: Callable[[str], str] = lambda path: path
) -> AsyncIterator[LyingNode]:
    """A liar for as long as the body runs. ``rewrite`` changes what it asks the honest node."""
    node = LyingNode("")

    async def handle(request: web.Request) -> web.StreamResponse:
        node.asked.append((request.method, request.path_qs))
        async with session.request(
            request.method, honest + rewrite(request.path_qs), data=await request.read()
        ) as answer:
            status, body = answer.status, await answer.read()
        return await lie(request, status, body)

    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield node
        finally:
            await runner.cleanup()


def answer(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


async def the_truth(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    return answer(status, body)


def always(body: bytes, status: int = 200) -> Lie:
    """The same, whatever was asked."""

    async def lie(request: web.Request, _: int, honest: bytes) -> web.StreamResponse:
        return answer(status, body)

    return lie


def altered(change: Callable[[dict[str, Any]], Any]) -> Lie:
    """The honest answer's JSON, changed: in place, or into what ``change`` gives."""

    async def lie(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
        document = json.loads(body)
        changed = change(document)
        return answer(status, json.dumps(document if changed is None else changed).encode())

    return lie


def only_on(method: str, prefix: str, lie: Lie) -> Lie:
    """Lies about some requests and tells the truth about the others."""

    async def chosen(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
        if request.method == method and request.path.startswith(prefix):
            return await lie(request, status, body)
        return answer(status, body)

    return chosen


def refusing(rule: str, message: str = "no", **more: Any) -> Lie:
    """Says that the ledger's rules refuse it."""
    return always(json.dumps({"error": message, "rule": rule, **more}).encode(), 409)


async def never_answers(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return answer(status, body)


async def answers_without_end(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def closes_in_the_middle(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(body) + 100)})
    await response.prepare(request)
    await response.write(body)
    assert request.transport is not None
    request.transport.close()
    return response


async def zip_bomb(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = packer.compress(b" " * (64 * 2**20)) + packer.flush()
    return web.Response(body=data, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})


def redirecting(url: str) -> Lie:
    async def lie(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": url + request.path_qs})

    return lie


def flip(text: str, at: int) -> str:
    """Base64 text with one byte of its content changed."""
    data = bytearray(base64.b64decode(text))
    data[at % len(data)] ^= 1
    return base64.b64encode(bytes(data)).decode()
