"""The HTTP API under /v1: thin handlers between requests and the ledger port."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from .. import keys
from ..encoding import Digest
from ..errors import CredchainError, InvalidInput, NetworkError, ProofError, Rejected
from ..ledger.blocks import Receipt
from ..ledger.codes import ROLES
from ..ledger.transactions import MAX_BYTES, Transaction, decode_batch
from ..limits import LIMITS, SECOND
from ..mailbox import ACKNOWLEDGE, COLLECT, DEPOSIT, decode_request
from ..verification.evidence import certified_json
from .clock import both, now
from .driver import LOOK_AGAIN, Driver, Submitted
from .ledger_port import Deposit, LedgerPort
from .metrics import Metrics
from .openapi import description
from .pool import RETRY_AFTER, Pool
from .report import NodeReport

logger = logging.getLogger("credchain.node")

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BATCH_TYPE = "application/vnd.credchain.transactions"
"""The content type of a body that holds many transactions."""
_MOST_BODY = LIMITS.message_bytes
_ALWAYS = ("/healthz", "/metrics")
"""Answered also when the node is busy: that is when operators ask."""


class Submissions:
    """How many bytes of transactions clients have handed in that have no outcome yet."""

    def __init__(self) -> None:
        self._size = 0

    @contextmanager
    def hold(self, request: web.Request) -> Iterator[None]:
        """While one is dealt with; NetworkError where they are too many. Of unknown length: the most."""
        size = _MOST_BODY if request.content_length is None else request.content_length
        if self._size + size > LIMITS.submission_bytes:
            raise NetworkError("the node is busy", hint=f"try again after {RETRY_AFTER} seconds")
        self._size += size
        try:
            yield
        finally:
            self._size -= size


@dataclass(frozen=True)
class Api:
    """What the handlers need. ``call`` runs a function on the ledger thread."""

    ledger: LedgerPort
    pool: Pool
    driver: Driver
    metrics: Metrics
    call: Callable[[Callable[[], Any]], Awaitable[Any]]
    report: NodeReport
    submissions: Submissions = field(default_factory=Submissions)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors], client_max_size=_MOST_BODY)
        app.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.get("/metrics", self.get_metrics),
                web.get("/v1/openapi.json", self.openapi),
                web.get("/v1/head", self.head),
                web.get("/v1/status", self.status),
                web.get("/v1/dossiers", self.dossiers),
                web.get("/v1/members", self.members),
                web.get("/v1/members/{did}", self.member),
                web.get("/v1/attestations/{prefix}", self.locate),
                web.get("/v1/documents/{credential}", self.document),
                web.post("/v1/documents", self.deposit),
                web.post("/v1/mailbox/deposit", self.deposit_mail),
                web.post("/v1/mailbox/collect", self.collect_mail),
                web.post("/v1/mailbox/acknowledge", self.acknowledge_mail),
                web.post("/v1/transactions", self.submit),
                web.get("/v1/transactions/{id}", self.receipt),
            ]
        )
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Our errors as JSON with a fitting status; never a traceback."""
        with self.metrics.request() as under_way:
            try:
                if under_way > LIMITS.requests_under_way and request.path not in _ALWAYS:
                    raise NetworkError("the node is busy", hint=f"try again after {RETRY_AFTER} seconds")
                return await handler(request)
            except (Rejected, InvalidInput, ProofError, NetworkError) as problem:
                return _error(_status(problem) or 500, problem)
            except web.HTTPException as problem:
                shown = CredchainError(problem.reason or "refused", field="request")
                return _error(problem.status, shown)
            except ConnectionError:
                logger.info("client_gone route=%s", _route(request))
                raise
            except Exception as problem:  # noqa: BLE001  # the top of a request
                logger.error("internal_error kind=%s route=%s", type(problem).__name__, _route(request))
                return _error(500, CredchainError("internal error", field="node"))

    # --- reads ----------------------------------------------------------------------------

    async def healthz(self, request: web.Request) -> web.Response:
        await self.call(self.ledger.head)
        return web.Response(text="ok\n")

    async def get_metrics(self, request: web.Request) -> web.Response:
        counts = await self.call(self.ledger.counts)
        text = self.metrics.render(self.ledger.tip, counts, await self.report.json())
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def openapi(self, request: web.Request) -> web.Response:
        return web.json_response(description())

    async def head(self, request: web.Request) -> web.Response:
        return web.json_response(certified_json(await self.call(self.ledger.head)))

    async def status(self, request: web.Request) -> web.Response:
        counts = await self.call(self.ledger.counts)
        return web.json_response({**await self.report.json(), **counts})

    async def dossiers(self, request: web.Request) -> web.Response:
        wanted = [_dossier(text) for text in request.query.getall("dossier", [])]
        if not 1 <= len(wanted) <= LIMITS.dossiers_per_request:
            raise InvalidInput(f"ask for 1 to {LIMITS.dossiers_per_request} dossiers", field="dossier")
        documents = request.query.get("documents", "1") != "0"
        dids = [keys.check_did(text, "member") for text in request.query.getall("member", [])]
        if len(dids) > LIMITS.dossiers_per_request:
            raise InvalidInput(f"ask for at most {LIMITS.dossiers_per_request} members", field="member")
        answer = await self.call(lambda: self.ledger.dossiers(wanted, documents=documents, dids=dids).json())
        return web.json_response(answer)

    async def members(self, request: web.Request) -> web.Response:
        role = request.query.get("role")
        if role is not None and role not in ROLES:
            raise InvalidInput(f"there is no role {role}", field="role", hint=", ".join(ROLES))
        after = request.query.get("after", "")
        page = LIMITS.members_per_page

        def read() -> dict[str, Any]:
            dids = self.ledger.member_page(role, after, page)
            following = dids[-1] if len(dids) == page else None
            return {"members": dids, "next": following, **self.ledger.members(dids).json()}

        return web.json_response(await self.call(read))

    async def member(self, request: web.Request) -> web.Response:
        did = keys.check_did(request.match_info["did"])
        return web.json_response(await self.call(lambda: self.ledger.members([did]).json()))

    async def locate(self, request: web.Request) -> web.Response:
        text = request.match_info["prefix"]
        prefix, odd = parse_prefix(text)
        matches = await self.call(lambda: self.ledger.locate(prefix, odd))
        shown = [
            {
                "attestation": each.attestation.hex(),
                "category": each.category,
                "subject": each.subject.hex(),
                "issuer": each.issuer,
            }
            for each in matches
        ]
        return web.json_response({"matches": shown})

    async def document(self, request: web.Request) -> web.Response:
        credential = _digest(request.match_info["credential"], "credential")
        text = await self.call(lambda: self.ledger.document(credential))
        if text is None:
            raise web.HTTPNotFound(reason="there is no such document here")
        return web.Response(text=text, content_type="application/dc+sd-jwt")

    async def receipt(self, request: web.Request) -> web.Response:
        transaction = _digest(request.match_info["id"], "id")
        found = await self.call(lambda: self.ledger.receipt(transaction))
        if found is not None:
            return web.json_response({"receipt": _base64(found.encode())})
        head = certified_json(await self.call(self.ledger.head))
        return web.json_response({"receipt": None, **head}, status=404)

    # --- writes ---------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> web.Response:
        with self.submissions.hold(request):
            data = await _read(request)
            if request.content_type == BATCH_TYPE:
                return await self._submit_batch(data)
            return await self._submit_one(data)

    async def _submit_one(self, data: bytes) -> web.Response:
        if len(data) > MAX_BYTES:
            raise InvalidInput(f"a transaction has at most {MAX_BYTES} bytes", field="transaction")
        (outcome,) = await self._outcomes([data])
        return _response(*outcome)

    async def _submit_batch(self, data: bytes) -> web.Response:
        """All of them are taken as if each came alone: of each its receipt, or why there is none."""
        outcomes = await self._outcomes(decode_batch(data))
        return web.json_response({"outcomes": [{"status": status, **body} for status, body in outcomes]})

    async def _outcomes(self, wires: Sequence[bytes]) -> list[tuple[int, dict[str, Any]]]:
        """(HTTP status, JSON) of each transaction, when all have one or the time is over."""
        submitted = await self.driver.submit(wires)
        waiting = [each for each in submitted if isinstance(each, asyncio.Future)]
        if waiting:
            await asyncio.wait(waiting, timeout=LIMITS.submit_timeout / SECOND)
        repeated = [wire for wire, each in zip(wires, submitted, strict=True) if _is_repeated(each)]
        receipts = await self.call(lambda: self._receipts(repeated)) if repeated else {}
        return [_outcome(each, receipts.get(wire)) for wire, each in zip(wires, submitted, strict=True)]

    def _receipts(self, wires: Sequence[bytes]) -> dict[bytes, Receipt | None]:
        """What the senders of repeated transactions may have missed."""
        return {wire: self.ledger.receipt(Transaction.decode(wire).id) for wire in wires}

    async def deposit(self, request: web.Request) -> web.Response:
        body = _json(await _read(request))
        documents = body.get("documents")
        if type(documents) is not list or not 1 <= len(documents) <= LIMITS.documents_per_deposit:
            raise InvalidInput(
                f"documents is a list of 1 to {LIMITS.documents_per_deposit}", field="documents"
            )
        deposits = [_deposit(each) for each in documents]
        stored = await self._once_committed(lambda: self.ledger.deposit(deposits))
        return web.json_response({"stored": stored})

    async def deposit_mail(self, request: web.Request) -> web.Response:
        signed = decode_request(DEPOSIT, await _read(request))
        stored = await self._once_committed(lambda: self.ledger.deposit_mail(signed, now()))
        return web.json_response({"stored": stored})

    async def _once_committed(self, deposit: Callable[[], int]) -> int:
        """A deposit may name what another validator committed a moment ago: it gets this one's next
        few blocks' time before it is refused."""
        until = both().monotonic + LIMITS.refusal_settles
        while True:
            try:
                stored: int = await self.call(deposit)
                return stored
            except (InvalidInput, Rejected):
                if self.ledger.alone or both().monotonic >= until:
                    raise
            await asyncio.sleep(LOOK_AGAIN)

    async def collect_mail(self, request: web.Request) -> web.Response:
        signed = decode_request(COLLECT, await _read(request))
        items = await self.call(lambda: self.ledger.collect_mail(signed, now()))
        shown = [
            {
                "category": each.category,
                "subject": each.subject.hex(),
                "attestation": each.attestation.hex(),
                "sealed": _base64(each.sealed),
            }
            for each in items
        ]
        return web.json_response({"items": shown})

    async def acknowledge_mail(self, request: web.Request) -> web.Response:
        signed = decode_request(ACKNOWLEDGE, await _read(request))
        await self.call(lambda: self.ledger.acknowledge_mail(signed, now()))
        return web.json_response({"deleted": True})


async def _read(request: web.Request) -> bytes:
    """The body, if it arrives in time."""
    try:
        return await asyncio.wait_for(request.read(), LIMITS.request_timeout / SECOND)
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason="the request's body did not arrive in time") from None


def _route(request: web.Request) -> str:
    """Which handler was asked, without what was asked for: that is nobody's to keep in a log."""
    resource = request.match_info.route.resource
    return "unknown" if resource is None else resource.canonical


def _error(status: int, problem: CredchainError) -> web.Response:
    return _response(status, _body(problem))


def _response(status: int, body: dict[str, Any]) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    return web.json_response(body, status=status, headers=headers)


def _body(problem: CredchainError) -> dict[str, Any]:
    body: dict[str, Any] = {"error": problem.message}
    body |= {"field": problem.field or None, "hint": problem.hint or None}
    if isinstance(problem, Rejected):
        body |= {"rule": problem.rule, "operation": problem.operation}
    return body


def _status(problem: CredchainError) -> int | None:
    """What an error of ours is in HTTP; None for one that is the node's own."""
    if isinstance(problem, Rejected):
        return 409
    if isinstance(problem, InvalidInput | ProofError):
        return 400
    return 503 if isinstance(problem, NetworkError) else None


def _is_repeated(submitted: Submitted) -> bool:
    return isinstance(submitted, Rejected) and submitted.rule == "repeated"


def _outcome(submitted: Submitted, receipt: Receipt | None) -> tuple[int, dict[str, Any]]:
    """(HTTP status, JSON) of one transaction; ``receipt`` is that of a repeated one."""
    problem = _problem(submitted)
    if problem is None and isinstance(submitted, asyncio.Future):
        return 200, {"receipt": _base64(submitted.result().encode())}
    status = None if problem is None else _status(problem)
    if problem is None or status is None:
        raise problem or CredchainError("a transaction without an outcome")
    more = {} if receipt is None else {"receipt": _base64(receipt.encode())}
    return status, _body(problem) | more


def _problem(submitted: Submitted) -> CredchainError | None:
    """Why there is no receipt."""
    if isinstance(submitted, CredchainError):
        return submitted
    if not submitted.done():
        return NetworkError(
            "the transaction waits for its block",
            hint="ask again: the same transaction is never applied twice",
        )
    problem = submitted.exception()
    if problem is None or isinstance(problem, CredchainError):
        return problem
    raise problem


def parse_prefix(text: str) -> tuple[bytes, str]:
    """(whole bytes, one more digit or nothing) of 8 to 64 hexadecimal digits."""
    valid = text.isascii() and 8 <= len(text) <= 64 and all(each in "0123456789abcdef" for each in text)
    if not valid:
        raise InvalidInput(f"{text[:70]!r} is not 8 to 64 hexadecimal digits", field="attestation")
    whole = len(text) // 2 * 2
    return bytes.fromhex(text[:whole]), text[whole:]


def _digest(text: str, field: str) -> Digest:
    if len(text) != 64:
        raise InvalidInput(f"{field} must be 64 hexadecimal digits", field=field)
    return Digest(parse_prefix(text)[0])


def _dossier(text: str) -> tuple[str, Digest]:
    category, _, subject = text.partition(":")
    return category[:64], _digest(subject, "dossier")


def _deposit(document: Any) -> Deposit:
    names = ("category", "subject", "document")
    if type(document) is not dict or not all(type(document.get(name)) is str for name in names):
        raise InvalidInput("a document has category, subject and document", field="documents")
    return Deposit(document["category"], _digest(document["subject"], "subject"), document["document"])


def _json(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise InvalidInput("the request is not JSON", field="request") from problem
    if type(body) is not dict:
        raise InvalidInput("the request is not a JSON object", field="request")
    return body


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
