"""The client of a node's API: it verifies all that it is told, and asks the next node after a bad
answer.

An answer that does not hold, a node that is down, slow, stale or another network's all mean the same
for the caller: not that node. Only when no node is left does the caller hear of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from .. import keys
from ..certificates import Millis, faults
from ..credentials.sdjwt import credential_digest
from ..encoding import Digest
from ..errors import CredchainError, InvalidInput, NetworkError, Rejected
from ..keys import Did
from ..ledger.blocks import CertifiedHeader, Header, Receipt
from ..ledger.network import Network
from ..ledger.records import Dossier, Member
from ..limits import LIMITS, SECOND
from ..mailbox import Request
from ..verification.by_bundle import BundleQuestion, verify_bundle
from ..verification.by_npi import Question, verify_npi
from ..verification.evidence import Answer, ProvedState, open_answer, parse_certified
from ..verification.judging import check_freshness
from ..verification.statement import Statement
from .connection import Node, RefusedInput, json_object, pinned_context, problem_of

T = TypeVar("T")
Get = Callable[[Node], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Location:
    """Which dossier an attestation is in, as a node says; the dossier's proof decides."""

    attestation: Digest
    category: str
    subject: Digest
    issuer: Did


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction's outcome at a node: its receipt, or the head under which it is not there."""

    receipt: Receipt | None
    head: CertifiedHeader


@dataclass(frozen=True, slots=True)
class Mail:
    """A sealed document as a node gives it."""

    attestation: Digest
    category: str
    subject: Digest
    sealed: bytes


class Client:
    """Use as an async context manager. ``seen_height`` rises with each header that was verified, and
    ``head_seen`` is the highest of them.

    ``now`` is the caller's clock in milliseconds, ``max_age`` how old a header may be.
    """

    def __init__(
        self,
        network: Network,
        *,
        now: Callable[[], Millis],
        urls: Sequence[str] = (),
        seen_height: int = 0,
        max_age: Millis = Millis(LIMITS.freshness),  # noqa: B008  # a constant
    ) -> None:
        self.network = network
        self.now = now
        self.max_age = max_age
        self.seen_height = seen_height
        self.head_seen: Header | None = None
        self._urls = list(urls) or _shuffled([node.api for node in network.nodes])
        self._nodes: list[Node] = []

    async def __aenter__(self) -> Client:
        context = pinned_context(self.network)
        session = aiohttp.ClientSession(trust_env=False)
        self._session = session
        self._nodes = [Node(url.rstrip("/"), session, context) for url in self._urls]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    # --- proved reads ---------------------------------------------------------------------

    async def head(self) -> CertifiedHeader:
        """A fresh certified header."""
        return (await self._first(self._head)).certified

    async def verify(self, ask: Callable[[int], Question]) -> Statement:
        """A statement about an NPI; NetworkError if no node gave an answer that holds.

        ``ask`` makes the question, given the highest height that this client has seen.
        """
        await self._highest_head()
        path = _dossier_path(ask(self.seen_height).subjects, documents=True)
        incomplete: list[Statement] = []

        async def one(node: Node) -> Statement:
            answer = await self._answer(node, path)
            state = open_answer(answer, self.network)
            # Asked anew, now: the nodes before this one may have taken long to say nothing.
            statement = verify_npi(ask(self.seen_height), state)
            self._note(state.certified)
            if statement.lacks_documents:
                incomplete.append(statement)
                raise NetworkError("has not every published document", field="node")
            return statement

        try:
            return await self._first(one)
        except NetworkError:
            if incomplete:
                return incomplete[-1]
            raise

    async def dossiers(self, wanted: Sequence[tuple[str, Digest]]) -> dict[tuple[str, Digest], Dossier]:
        """The dossiers as proved now; an empty one where there is none."""
        found: dict[tuple[str, Digest], Dossier] = {}
        for start in range(0, len(wanted), LIMITS.dossiers_per_request):
            part = wanted[start : start + LIMITS.dossiers_per_request]

            async def one(node: Node, part: Sequence[tuple[str, Digest]] = part) -> dict[Any, Dossier]:
                state = await self._state(node, _dossier_path(part, documents=False))
                return {key: state.dossier(*key) or Dossier(*key, ()) for key in part}

            found.update(await self._first(one))
        return found

    async def member(self, did: Did) -> Member | None:
        """A member's record, or None where it is proved that there is none."""

        async def one(node: Node) -> Member | None:
            state = await self._state(node, f"/v1/members/{quote(did, safe=':')}")
            return state.member(did)

        return await self._first(one)

    async def members(self, role: str | None = None) -> list[Member]:
        """Members, each proved; that none is left out is only the node's word."""
        found: list[Member] = []
        after = ""
        while True:
            page, following = await self._first(self._member_page(role, after))
            found.extend(page)
            if following is None:
                return found
            after = following

    def _member_page(self, role: str | None, after: str) -> Get[tuple[list[Member], str | None]]:
        path = f"/v1/members?after={quote(after, safe='')}" + (f"&role={role}" if role else "")

        async def one(node: Node) -> tuple[list[Member], str | None]:
            body = await node.get(path)
            state = self._open(Answer.parse(body))
            dids = body.get("members")
            if type(dids) is not list:
                raise InvalidInput("members is not a list", field="members")
            height = state.certified.header.height
            page: list[Member] = []
            last = after
            for did in dids:
                member = state.member(keys.check_did(str(did)))
                if member is None or did <= last or not (role is None or member.has_role(role, height)):
                    raise InvalidInput("the member list is not in order", field="members")
                page.append(member)
                last = did
            following = body.get("next")
            if following is not None and (not page or following != last):
                raise InvalidInput("the member list does not go on", field="next")
            return page, following

        return one

    async def locate(self, prefix: str) -> Location:
        """Which dossier an attestation is in, by at least 8 digits of its id.

        InvalidInput if no node knows it, or two fit. The caller then reads the dossier, with proof.
        """

        async def one(node: Node) -> list[Location]:
            body = await node.get(f"/v1/attestations/{quote(prefix, safe='')}")
            matches = body.get("matches")
            if type(matches) is not list:
                raise InvalidInput("matches is not a list", field="matches")
            found = [_location(each) for each in matches]
            if any(not each.attestation.hex().startswith(prefix) for each in found):
                raise InvalidInput("a match does not fit what was asked", field="matches")
            return found

        found = await self._first(one)
        if not found:
            raise InvalidInput(
                f"no attestation starts with {prefix}",
                field="attestation",
                hint="credchain issued lists yours",
            )
        if len(found) > 1:
            raise InvalidInput(
                f"more than one attestation starts with {prefix}",
                field="attestation",
                hint="give more digits",
            )
        return found[0]

    async def document(self, credential: Digest) -> str | None:
        """A published document as some node has it, None where no node that answers does; the caller
        checks it against the ledger. Issuers deposit at f+1 nodes, so not all have it."""
        problems: list[tuple[str, CredchainError]] = []
        for node in self._nodes:
            try:
                status, data = await node.request("GET", f"/v1/documents/{credential.hex()}")
                if status == 200 and _is_of(data, credential):
                    return data.decode("ascii")
                if status not in (200, 404):
                    raise problem_of(status, data)
            except CredchainError as problem:
                problems.append((node.url, problem))
        if len(problems) == len(self._nodes):
            raise self._failed(problems, writing=False)
        return None

    # --- writes ---------------------------------------------------------------------------

    async def submit(self, transaction: bytes) -> Receipt:
        """Send, wait for the certificate, check the receipt.

        Errors: Rejected by the rules; NetworkError if no node took it, or none gave a receipt that
        holds: then the transaction may still be committed until it expires.
        """

        waited = False

        async def one(node: Node) -> Receipt:
            nonlocal waited
            timeout = LIMITS.request_timeout + (0 if waited else LIMITS.submit_timeout)
            status, data = await node.request(
                "POST", "/v1/transactions", transaction, "application/vnd.msgpack", timeout
            )
            body = json_object(data)
            if status == 409 and body.get("rule") == "repeated":
                return self._receipt(body, transaction)
            if status != 200:
                # Where one node has waited in vain, the others need not be waited for as long.
                waited = waited or status == 503
                raise problem_of(status, data)
            return self._receipt(body, transaction)

        return await self._first(one, writing=True)

    async def outcome(self, transaction: bytes, identifier: Digest) -> Committed:
        """Whether a transaction is on the ledger, and the head that says how late it is."""

        async def one(node: Node) -> Committed:
            status, data = await node.request("GET", f"/v1/transactions/{identifier.hex()}")
            body = json_object(data)
            if status == 200:
                receipt = self._receipt(body, transaction)
                return Committed(receipt, receipt.certified)
            if status != 404:
                raise problem_of(status, data)
            return Committed(None, self._open(Answer(parse_certified(body))).certified)

        return await self._first(one)

    @property
    def _honest(self) -> int:
        """f+1: of so many nodes, one at least is honest."""
        return faults(len(self.network.validators.members)) + 1

    async def deposit(self, documents: Sequence[tuple[str, Digest, str]]) -> None:
        """Published documents, (category, subject, text) each, to f+1 nodes."""
        body = json.dumps(
            {
                "documents": [
                    {"category": category, "subject": subject.hex(), "document": text}
                    for category, subject, text in documents
                ]
            }
        ).encode()

        async def one(node: Node) -> None:
            status, data = await node.request("POST", "/v1/documents", body, "application/json")
            if status != 200:
                raise problem_of(status, data)

        await self._several(one, self._honest, writing=True)

    async def deposit_mail(self, request: Request) -> None:
        """Sealed documents, to f+1 nodes: at least one of them is honest and keeps them."""
        await self._several(self._mail("deposit", request), self._honest, writing=True)

    async def mail(self, request: Callable[[tuple[Digest, ...]], Request]) -> AsyncIterator[list[Mail]]:
        """What waits for the signer, page by page, at every node that answers.

        ``request`` signs one for what follows an attestation (none: from the start). What the mail is
        worth, the ledger decides. NetworkError if no node answered.
        """
        problems: list[CredchainError] = []
        for node in self._nodes:
            try:
                async for page in self._mail_of(node, request):
                    yield page
            except CredchainError as problem:
                problems.append(problem)
        if len(problems) == len(self._nodes):
            raise problems[0] if problems else NetworkError("there is no node to ask", field="node")

    async def _mail_of(
        self, node: Node, request: Callable[[tuple[Digest, ...]], Request]
    ) -> AsyncIterator[list[Mail]]:
        """Until a page is not full; a node that never ends is left after a while."""
        met: dict[Digest, None] = {}
        cursor: tuple[Digest, ...] = ()
        clock = asyncio.get_running_loop().time
        until = clock() + LIMITS.collection_time / SECOND
        while clock() < until and len(met) < LIMITS.mailbox_items_per_sender:
            body = await self._mail("collect", request(cursor))(node)
            items = body.get("items")
            mails = [_mail(each) for each in items] if type(items) is list else []
            new = [mail for mail in mails if mail.attestation not in met]
            if not new:
                return
            met.update(dict.fromkeys(mail.attestation for mail in new))
            cursor = (new[-1].attestation,)
            yield new
            if len(mails) < LIMITS.mailbox_items_per_collection:
                return

    async def acknowledge_mail(self, request: Request) -> None:
        """Have the collected documents deleted at every node that can be reached, one at least."""
        await self._several(self._mail("acknowledge", request), 1, all_nodes=True)

    def _mail(self, action: str, request: Request) -> Get[dict[str, Any]]:
        async def one(node: Node) -> dict[str, Any]:
            status, data = await node.request(
                "POST", f"/v1/mailbox/{action}", request.encode(), "application/vnd.msgpack"
            )
            if status != 200:
                raise problem_of(status, data)
            return json_object(data)

        return one

    async def verify_bundle(self, question: BundleQuestion) -> tuple[Statement, Answer]:
        """A statement about a bundle, and the fresh evidence that it rests on.

        NetworkError if no node gave any that holds.
        """
        await self._highest_head()
        path = _dossier_path(question.subjects, documents=False) + f"&member={question.body.holder}"

        async def one(node: Node) -> tuple[Statement, Answer]:
            answer = await self._answer(node, path)
            # Now: the nodes before this one may have taken long to say nothing.
            return verify_bundle(replace(question, now=self.now()), self._open(answer)), answer

        return await self._first(one)

    async def evidence(
        self, wanted: Sequence[tuple[str, Digest]], members: Sequence[Did]
    ) -> tuple[Answer, ProvedState]:
        """Dossiers, their issuers and these members under one header: as given, and as proved."""
        path = _dossier_path(wanted, documents=False) + "".join(f"&member={did}" for did in members)

        async def one(node: Node) -> tuple[Answer, ProvedState]:
            answer = await self._answer(node, path)
            return answer, self._open(answer)

        return await self._first(one)

    async def documents(self, wanted: Sequence[tuple[str, Digest]]) -> ProvedState:
        """Dossiers with their published documents, as proved now."""

        async def one(node: Node) -> ProvedState:
            return await self._state(node, _dossier_path(wanted, documents=True))

        return await self._first(one)

    async def status(self) -> list[tuple[str, dict[str, Any] | CredchainError]]:
        """What each node says of itself, or why it could not be asked. Not proved."""

        async def one(node: Node) -> tuple[str, dict[str, Any] | CredchainError]:
            try:
                return node.url, await node.get("/v1/status")
            except CredchainError as problem:
                return node.url, problem

        return list(await asyncio.gather(*(one(node) for node in self._nodes)))

    # --- asking ---------------------------------------------------------------------------

    async def _first(self, ask: Get[T], *, writing: bool = False) -> T:
        """The first node's answer that holds.

        If none does: NetworkError with a line for each node. What the rules or the form refuse is a
        node's word; only who writes is told of it as such.
        """
        return (await self._several(ask, 1, writing=writing))[0]

    async def _several(
        self, ask: Get[T], wanted: int, *, writing: bool = False, all_nodes: bool = False
    ) -> list[T]:
        """The answers of so many nodes (or of all that there are, if fewer; with ``all_nodes``, of all that
        answer, so many at least)."""
        answers: list[T] = []
        problems: list[tuple[str, CredchainError]] = []
        for node in self._nodes:
            if len(answers) >= wanted and not all_nodes:
                break
            try:
                answers.append(await ask(node))
            except CredchainError as problem:
                problems.append((node.url, problem))
        if answers and len(answers) >= min(wanted, len(self._nodes)):
            return answers
        if not answers:
            raise self._failed(problems, writing=writing)
        told = "; ".join(f"{url}: {each.message}" for url, each in problems)
        raise NetworkError(
            f"{len(answers)} of the {wanted} nodes that are needed took it ({told})",
            field="node",
            hint="try again when the others can be reached",
        )

    def _failed(self, problems: list[tuple[str, CredchainError]], *, writing: bool) -> CredchainError:
        rejected = next((each for _, each in problems if isinstance(each, Rejected)), None)
        if rejected is not None and writing:
            return rejected
        if not problems:
            return NetworkError("there is no node to ask", field="node", hint="name one with --node URL")
        told = "; ".join(f"{url}: {each.message}" for url, each in problems)
        hints = [each.hint for _, each in problems if each.hint]
        refused = [each for _, each in problems if isinstance(each, RefusedInput)]
        if refused and writing:
            return InvalidInput(refused[0].message, field=refused[0].field, hint=refused[0].hint)
        return NetworkError(
            f"no node gave an answer that holds ({told})",
            field="node",
            hint=hints[0] if hints else "check the network, or name another node with --node URL",
        )

    async def _highest_head(self) -> None:
        """See the heads of f+1 nodes: one honest one's is recent, and no answer below it is taken.

        Nodes that do not answer make no difference here: a header's age is bounded anyway.
        """
        if self._honest > 1:
            with suppress(NetworkError):
                await self._several(self._head, self._honest)

    async def _head(self, node: Node) -> ProvedState:
        return self._open(Answer(parse_certified(await node.get("/v1/head"))))

    async def _state(self, node: Node, path: str) -> ProvedState:
        return self._open(await self._answer(node, path))

    async def _answer(self, node: Node, path: str) -> Answer:
        return Answer.parse(await node.get(path))

    def _open(self, answer: Answer) -> ProvedState:
        """Certificate, proofs and freshness."""
        state = open_answer(answer, self.network)
        check_freshness(state, self.now(), self.max_age, self.seen_height)
        self._note(state.certified)
        return state

    def _note(self, certified: CertifiedHeader) -> None:
        header = certified.header
        self.seen_height = max(self.seen_height, header.height)
        if self.head_seen is None or header.height >= self.head_seen.height:
            self.head_seen = header

    def _receipt(self, body: dict[str, Any], transaction: bytes) -> Receipt:
        text = body.get("receipt")
        if type(text) is not str:
            raise InvalidInput("the node gave no receipt", field="receipt")
        try:
            receipt = Receipt.decode(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as problem:
            raise InvalidInput("the receipt is not base64", field="receipt") from problem
        receipt.check(transaction, self.network.validators, self.network.id)
        self._note(receipt.certified)
        return receipt


def _is_of(document: bytes, credential: Digest) -> bool:
    """Whether it has this JWT; what else a node wrote beside it, the caller sees."""
    return document.isascii() and credential_digest(document.partition(b"~")[0].decode()) == credential


def _location(document: Any) -> Location:
    try:
        return Location(
            attestation=_digest(document["attestation"]),
            category=str(document["category"]),
            subject=_digest(document["subject"]),
            issuer=keys.check_did(document["issuer"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise InvalidInput("a match is not well formed", field="matches") from problem


def _mail(document: Any) -> Mail:
    try:
        return Mail(
            attestation=_digest(document["attestation"]),
            category=str(document["category"]),
            subject=_digest(document["subject"]),
            sealed=base64.b64decode(document["sealed"], validate=True),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise InvalidInput("a sealed document is not well formed", field="items") from problem


def _digest(text: str) -> Digest:
    data = bytes.fromhex(text)
    if len(data) != 32:
        raise ValueError("not 32 bytes")
    return Digest(data)


def _dossier_path(wanted: Sequence[tuple[str, Digest]], *, documents: bool) -> str:
    query = "&".join(f"dossier={category}:{subject.hex()}" for category, subject in wanted)
    return f"/v1/dossiers?{query}&documents={int(documents)}"


def _shuffled(urls: list[str]) -> list[str]:
    random.shuffle(urls)
    return urls
