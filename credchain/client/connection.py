"""One node's API over HTTP: its answers bounded in size and time, its errors as ours.

What an answer is worth is not decided here (`client`).
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp

from ..errors import CredchainError, InvalidInput, NetworkError, Rejected
from ..ledger.network import Network
from ..limits import LIMITS, SECOND


@dataclass(frozen=True, slots=True)
class Node:
    """One node, and the session to it."""

    url: str
    session: aiohttp.ClientSession
    context: ssl.SSLContext | bool

    async def get(self, path: str) -> dict[str, Any]:
        """A JSON object; the node's error (`problem_of`), or as `request`."""
        status, data = await self.request("GET", path)
        if status != 200:
            raise problem_of(status, data)
        return json_object(data)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str | None = None,
        timeout: int | None = None,
    ) -> tuple[int, bytes]:
        """(status, body); NetworkError for a node that is down, slow or says too much."""
        headers = {"Content-Type": content_type} if content_type else {}
        limit = aiohttp.ClientTimeout(
            total=(timeout or LIMITS.request_timeout) / SECOND,
            sock_connect=LIMITS.connect_timeout / SECOND,
        )
        try:
            async with self.session.request(
                method,
                self.url + path,
                data=body,
                headers=headers,
                ssl=self.context,
                timeout=limit,
                allow_redirects=False,
            ) as response:
                return response.status, await _read_bounded(response)
        except TimeoutError as problem:
            raise NetworkError("the node did not answer in time", field="node") from problem
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise NetworkError(f"cannot be asked ({_reason(problem)})", field="node") from problem


class RefusedInput(InvalidInput):
    """A node says that the request itself is wrong."""


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        data += chunk
        if len(data) > LIMITS.answer_bytes:
            raise NetworkError("the node's answer is too large", field="node")
    return bytes(data)


def problem_of(status: int, data: bytes) -> CredchainError:
    """A node's error, as ours."""
    try:
        body = json_object(data)
    except InvalidInput:
        return NetworkError(f"the node answered with status {status}", field="node")
    message = str(body.get("error"))[:500]
    field, hint = str(body.get("field") or "")[:100], str(body.get("hint") or "")[:500]
    if status == 409:
        operation = body.get("operation")
        return Rejected(
            str(body.get("rule"))[:40],
            message,
            operation=operation if type(operation) is int else None,
            field=field,
            hint=hint,
        )
    if status in (400, 413):
        return RefusedInput(message, field=field, hint=hint)
    return NetworkError(message, field="node", hint=hint)


def json_object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise InvalidInput("the node's answer is not JSON", field="node") from problem
    if type(body) is not dict:
        raise InvalidInput("the node's answer is not a JSON object", field="node")
    return body


def _reason(problem: Exception) -> str:
    """A connection error in a few words."""
    cause = problem.__cause__ or problem
    if isinstance(cause, ConnectionRefusedError) or "Connect call failed" in str(problem):
        return "nobody listens there"
    if isinstance(problem, aiohttp.ClientConnectorCertificateError) or "CERTIFICATE" in str(problem):
        return "its certificate is not one of this network's"
    if isinstance(problem, aiohttp.ClientConnectorError):
        # Its own text shows our TLS context, an object.
        cause = problem.os_error
        return cause.strerror or type(cause).__name__
    return str(problem)[:200] or type(problem).__name__


def pinned_context(network: Network) -> ssl.SSLContext | bool:
    """TLS 1.3 that trusts exactly the certificates in network.json of nodes that serve HTTPS.

    Also a node with plain HTTP has one, for its peers; clients do not meet it.
    """
    served = [node for node in network.nodes if node.api.lower().startswith("https://")]
    certificates = [node.certificate for node in served if node.certificate]
    if not certificates:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata="\n".join(certificates))
    except ssl.SSLError as problem:
        raise InvalidInput(f"a certificate in network.json is not PEM: {problem}", field="nodes") from problem
    return context
