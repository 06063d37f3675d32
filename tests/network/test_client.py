"""The client against nodes that lie: it gives the honest node's answer, or none."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from credchain.certificates import Certificate, Millis, certify
from credchain.client import Client, connection
from credchain.client import client as client_module
from credchain.credentials.sdjwt import Credential
from credchain.encoding import Digest
from credchain.errors import CredchainError, InvalidInput, NetworkError, Rejected
from credchain.issuing.outbox import Outbox
from credchain.keys import SigningKey
from credchain.ledger.blocks import CertifiedHeader, Header
from credchain.ledger.transactions import Transaction
from credchain.limits import LIMITS, MINUTE, SECOND
from credchain.mailbox import COLLECT, Request, sign_request
from credchain.storage.member_store import PENDING, MemberStore
from credchain.verification.by_npi import Question
from credchain.verification.checks import Verdict
from credchain.verification.evidence import certified_json
from tests.ledger_world import World, npi
from tests.values import replace

from .lying_node import (
    Lie,
    altered,
    always,
    answers_without_end,
    closes_in_the_middle,
    flip,
    lying,
    never_answers,
    only_on,
    redirecting,
    refusing,
    the_truth,
    zip_bomb,
)
from .node_process import (
    HOSPITAL,
    ISSUER,
    MadeNetwork,
    NodeProcess,
    attest,
    credchain,
    free_port,
    make_credential,
    make_network,
    now,
    request_json,
    running,
    sign,
    some_npi,
)

PERSON: Final = 1
NOBODY: Final = 2


@dataclass(frozen=True)
class Stage:
    """A network, an honest node, and what is on its ledger."""

    made: MadeNetwork
    node: NodeProcess
    credential: Credential
    transaction: Transaction

    def client(self, *urls: str, clock: Callable[[], Millis] = now, **how: Any) -> Client:
        return Client(self.made.network, now=clock, urls=urls, **how)

    @property
    def dossier(self) -> tuple[str, Digest]:
        return self.credential.category, self.credential.subject


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = make_network(tmp_path_factory.mktemp("network"))
    credential = make_credential(made, PERSON)
    transaction = sign(made, attest(credential))
    with running(made.validator(tmp_path_factory.mktemp("node") / "home")) as node:
        url = f"{node.url}/v1/transactions"
        assert request_json(url, data=transaction.encoded)[0] == 200
        document = {
            "category": credential.category,
            "subject": credential.subject.hex(),
            "document": credential.text,
        }
        body = json.dumps({"documents": [document]}).encode()
        assert request_json(f"{node.url}/v1/documents", data=body)[0] == 200
        yield Stage(made, node, credential, transaction)
        assert node.stop() == 0


# --- what is asked ----------------------------------------------------------------------------

Ask = Callable[[Stage, Client], Awaitable[Any]]


def _question(stage: Stage, client: Client, number: int = PERSON) -> Callable[[int], Question]:
    return lambda seen: Question(
        network=stage.made.network,
        npi=some_npi(number),
        required=("board_certification",),
        now=client.now(),
        max_age=client.max_age,
        seen_height=seen,
        trusted_at=stage.made.network.genesis.time,
    )


async def _head(stage: Stage, client: Client) -> Any:
    return (await client.head()).header.network


async def _verify(stage: Stage, client: Client) -> Any:
    return (await client.verify(_question(stage, client))).verdict


async def _dossiers(stage: Stage, client: Client) -> Any:
    return await client.dossiers([stage.dossier])


async def _member(stage: Stage, client: Client) -> Any:
    return await client.member(stage.made.keys(ISSUER).did)


async def _members(stage: Stage, client: Client) -> Any:
    return await client.members("issuer")


async def _outcome(stage: Stage, client: Client) -> Any:
    found = await client.outcome(stage.transaction.encoded, stage.transaction.id)
    return found.receipt and found.receipt.certified.header


async def _no_outcome(stage: Stage, client: Client) -> Any:
    other = sign(stage.made, attest(stage.credential), expiry=7)
    return (await client.outcome(other.encoded, other.id)).receipt


async def _submit(stage: Stage, client: Client) -> Any:
    return (await client.submit(stage.transaction.encoded)).certified.header


_PROVED: Final[dict[str, Ask]] = {
    "head": _head,
    "verify": _verify,
    "dossiers": _dossiers,
    "member": _member,
    "members": _members,
    "no outcome": _no_outcome,
}
_RECEIPTS: Final[dict[str, Ask]] = {"outcome": _outcome, "submit": _submit}
_EVERY: Final = {**_PROVED, **_RECEIPTS}


async def _not_believed(stage: Stage, ask: Ask, lie: Lie, **how: Any) -> None:
    """Alone the liar gives nothing; with an honest node after it, the honest answer comes."""
    async with stage.client(stage.node.url) as client:
        truth = await ask(stage, client)
    async with lying(stage.node.url, lie) as liar:
        async with stage.client(liar.url, **how) as client:
            with pytest.raises(NetworkError):
                await ask(stage, client)
        assert liar.asked
        before = len(liar.asked)
        async with stage.client(liar.url, stage.node.url) as client:
            assert await ask(stage, client) == truth
        assert len(liar.asked) > before


async def test_the_proxy_itself_changes_nothing(stage: Stage) -> None:
    async with lying(stage.node.url, the_truth) as node, stage.client(node.url) as client:
        for ask in _EVERY.values():
            await ask(stage, client)
        assert await _verify(stage, client) is Verdict.ESTABLISHED


# --- one byte ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _PROVED)
@pytest.mark.parametrize("field", ["header", "certificate"])
@pytest.mark.parametrize("at", [0, 1, 40, 100, -1])
async def test_a_changed_byte_of_header_or_certificate(stage: Stage, name: str, field: str, at: int) -> None:
    def change(body: dict[str, Any]) -> None:
        body[field] = flip(body[field], at)

    await _not_believed(stage, _PROVED[name], altered(change))


@pytest.mark.parametrize("name", ["verify", "dossiers", "member", "members"])
@pytest.mark.parametrize("field", ["value", "proof", "key"])
@pytest.mark.parametrize("at", [0, 5, 60, -1])
async def test_a_changed_byte_of_a_record(stage: Stage, name: str, field: str, at: int) -> None:
    def change(body: dict[str, Any]) -> None:
        record = body["records"][0]
        if field == "key":
            data = bytearray.fromhex(record["key"])
            data[at % 32] ^= 1
            record["key"] = data.hex()
        else:
            record[field] = flip(record[field], at)

    await _not_believed(stage, _PROVED[name], altered(change))


@pytest.mark.parametrize("name", _RECEIPTS)
@pytest.mark.parametrize("at", [0, 1, 20, 60, 100, 150, 200, 300, -1])
async def test_a_changed_byte_of_a_receipt(stage: Stage, name: str, at: int) -> None:
    def change(body: dict[str, Any]) -> None:
        body["receipt"] = flip(body["receipt"], at)

    await _not_believed(stage, _RECEIPTS[name], altered(change))


@pytest.mark.parametrize("at", [0, 30, 200, 500, -2])
async def test_a_changed_byte_of_a_document(stage: Stage, at: int) -> None:
    def change(body: dict[str, Any]) -> None:
        text = body["documents"][0]
        place = at % len(text)
        body["documents"][0] = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]

    async with lying(stage.node.url, altered(change)) as liar:
        async with stage.client(liar.url) as client:
            try:
                verdict = await _verify(stage, client)
            except NetworkError:
                verdict = Verdict.NOT_ESTABLISHED
            assert verdict is Verdict.NOT_ESTABLISHED
        async with stage.client(liar.url, stage.node.url) as client:
            assert await _verify(stage, client) is Verdict.ESTABLISHED


@pytest.mark.parametrize("body", [b"junk~", b"", b"\xff~", b"a.b.c~"])
async def test_another_document_than_the_one_asked_for(stage: Stage, body: bytes) -> None:
    digest, text = stage.credential.digest, stage.credential.text
    async with lying(stage.node.url, always(body)) as liar:
        async with stage.client(liar.url) as client:
            assert await client.document(digest) is None
        async with stage.client(liar.url, stage.node.url) as client:
            assert await client.document(digest) == text


async def test_a_node_that_took_long_to_say_nothing_makes_no_other_too_new(stage: Stage) -> None:
    """The next node's header is judged by the clock when it came, not when the first was asked."""
    late = 0

    async def slow(*_: Any) -> web.StreamResponse:
        nonlocal late
        late = MINUTE
        return web.Response(status=503)

    def clock() -> Millis:
        return Millis(now() - MINUTE + late)

    async with (
        lying(stage.node.url, slow) as first,
        stage.client(first.url, stage.node.url, clock=clock) as client,
    ):
        assert await _verify(stage, client) is Verdict.ESTABLISHED


async def test_a_mailbox_that_never_ends(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is not full is the last, whatever else there could be."""
    key = stage.made.keys(HOSPITAL)

    async def one_more(*_: Any) -> web.StreamResponse:
        item = {"category": "cme_credit", "subject": "00" * 32, "attestation": os.urandom(32).hex()}
        return web.json_response({"items": [{**item, "sealed": ""}]})

    def ask(after: tuple[Digest, ...]) -> Request:
        return sign_request(COLLECT, stage.made.network.id, key.did, key.signing, now(), attestations=after)

    async with lying(stage.node.url, one_more) as liar, stage.client(liar.url) as client:
        async with asyncio.timeout(60):
            pages = [page async for page in client.mail(ask)]
        assert (len(pages), len(liar.asked)) == (1, 1)
        # Nor do full pages go on for ever: beyond what one sender may leave, nothing more is asked for.
        monkeypatch.setattr(
            client_module,
            "LIMITS",
            replace(LIMITS, mailbox_items_per_collection=1, mailbox_items_per_sender=7),
        )
        async with asyncio.timeout(60):
            pages = [page async for page in client.mail(ask)]
        assert (len(pages), len(liar.asked)) == (7, 8)


# --- headers ----------------------------------------------------------------------------------


def _certified(body: dict[str, Any]) -> CertifiedHeader:
    return CertifiedHeader(
        Header.decode(base64.b64decode(body["header"])),
        Certificate.decode(base64.b64decode(body["certificate"])),
    )


def _signed_by(key: SigningKey, change: Callable[[Header], Header]) -> Callable[[dict[str, Any]], None]:
    def lie(body: dict[str, Any]) -> None:
        header = change(_certified(body).header)
        signature = certify(header.network, header.height, header.view, header.digest, key)
        body.update(certified_json(CertifiedHeader(header, Certificate(header.view, ((0, signature),)))))

    return lie


@pytest.mark.parametrize("name", _PROVED)
async def test_a_certificate_of_another_key(stage: Stage, name: str) -> None:
    lie = altered(_signed_by(SigningKey.from_seed(b"f" * 32), lambda header: header))
    await _not_believed(stage, _PROVED[name], lie)


async def test_a_certificate_of_another_members_key(stage: Stage) -> None:
    lie = altered(_signed_by(stage.made.keys(ISSUER).signing, lambda header: header))
    await _not_believed(stage, _head, lie)


@pytest.mark.parametrize("name", _PROVED)
@pytest.mark.parametrize("signatures", [(), ((1,)), ((0, 0))])
async def test_a_certificate_without_a_quorum(stage: Stage, name: str, signatures: tuple[int, ...]) -> None:
    def change(body: dict[str, Any]) -> None:
        certified = _certified(body)
        signature = certified.certificate.signatures[0][1]
        forged = Certificate(certified.header.view, tuple((index, signature) for index in signatures))
        body["certificate"] = base64.b64encode(forged.encode()).decode()

    await _not_believed(stage, _PROVED[name], altered(change))


@pytest.mark.parametrize("name", _PROVED)
async def test_a_header_of_another_network(stage: Stage, name: str) -> None:
    world = World()
    world.attest("board_certification", npi(1))
    await _not_believed(
        stage, _PROVED[name], altered(lambda body: body.update(certified_json(world.certified)))
    )


@pytest.mark.parametrize("name", _PROVED)
async def test_a_header_older_than_one_seen(stage: Stage, name: str) -> None:
    async with stage.client(stage.node.url) as client:
        await client.head()
        height = client.seen_height
    async with stage.client(stage.node.url, seen_height=height + 100) as client:
        with pytest.raises(NetworkError, match="below"):
            await _PROVED[name](stage, client)
        assert client.head_seen is None


@pytest.mark.parametrize("name", _PROVED)
async def test_a_stale_header(stage: Stage, name: str) -> None:
    later = lambda: Millis(now() + LIMITS.freshness + 11 * SECOND)  # noqa: E731
    async with stage.client(stage.node.url, clock=later) as client:
        with pytest.raises(NetworkError, match="old"):
            await _PROVED[name](stage, client)
        assert client.head_seen is None


@pytest.mark.parametrize("name", _PROVED)
async def test_a_header_of_the_future(stage: Stage, name: str) -> None:
    earlier = lambda: Millis(now() - 60 * SECOND)  # noqa: E731
    async with stage.client(stage.node.url, clock=earlier) as client:
        with pytest.raises(NetworkError, match="future"):
            await _PROVED[name](stage, client)
        assert client.head_seen is None


async def test_an_old_answer_played_again_once_a_newer_was_seen(stage: Stage) -> None:
    old = request_json(f"{stage.node.url}/v1/head")[1]
    async with stage.client(stage.node.url) as client:
        transaction = sign(stage.made, attest(make_credential(stage.made, 70)))
        await client.submit(transaction.encoded)
        seen = client.seen_height
    async with (
        lying(stage.node.url, always(json.dumps(old).encode())) as liar,
        stage.client(liar.url, seen_height=seen) as client,
    ):
        with pytest.raises(NetworkError):
            await client.head()


async def test_the_height_seen_never_falls(stage: Stage) -> None:
    async with stage.client(stage.node.url) as client:
        await client.head()
        seen = client.seen_height
        await client.outcome(stage.transaction.encoded, stage.transaction.id)
        assert client.seen_height >= seen
        assert client.head_seen is not None
        assert client.head_seen.height >= seen


# --- other answers than asked -----------------------------------------------------------------


async def test_proofs_of_another_person(stage: Stage) -> None:
    from credchain.credentials.subjects import npi_subject

    other = npi_subject("board_certification", some_npi(NOBODY)).hex()

    def rewrite(path: str) -> str:
        return path.replace(stage.credential.subject.hex(), other)

    async with lying(stage.node.url, the_truth, rewrite=rewrite) as liar:
        for ask in (_verify, _dossiers):
            async with stage.client(liar.url) as client:
                with pytest.raises(NetworkError):
                    await ask(stage, client)
        async with stage.client(liar.url, stage.node.url) as client:
            assert await _verify(stage, client) is Verdict.ESTABLISHED


async def test_the_record_of_another_member(stage: Stage) -> None:
    mine, other = stage.made.keys(ISSUER).did, stage.made.keys(HOSPITAL).did
    async with lying(stage.node.url, the_truth, rewrite=lambda path: path.replace(mine, other)) as liar:
        async with stage.client(liar.url) as client:
            with pytest.raises(NetworkError):
                await client.member(mine)
        async with stage.client(liar.url, stage.node.url) as client:
            member = await client.member(mine)
            assert member is not None
            assert member.did == mine


def _without_records(body: dict[str, Any]) -> None:
    body["records"] = []


def _without_the_first(body: dict[str, Any]) -> None:
    del body["records"][0]


def _without_the_issuer(body: dict[str, Any]) -> None:
    del body["records"][-1]


def _as_absent(body: dict[str, Any]) -> None:
    body["records"][0]["value"] = None


@pytest.mark.parametrize("change", [_without_records, _without_the_first, _as_absent])
@pytest.mark.parametrize("name", ["verify", "dossiers", "member"])
async def test_a_withheld_record(stage: Stage, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    await _not_believed(stage, _PROVED[name], altered(change))


async def test_a_withheld_issuer(stage: Stage) -> None:
    await _not_believed(stage, _verify, altered(_without_the_issuer))


async def test_a_withheld_document_is_never_established(stage: Stage) -> None:
    lie = altered(lambda body: body.update(documents=[]))
    async with lying(stage.node.url, lie) as liar, stage.client(liar.url) as client:
        try:
            verdict = await _verify(stage, client)
        except NetworkError:
            verdict = Verdict.NOT_ESTABLISHED
        assert verdict is Verdict.NOT_ESTABLISHED


async def test_a_withheld_document_is_asked_of_the_next_node(stage: Stage) -> None:
    lie = altered(lambda body: body.update(documents=[]))
    async with (
        lying(stage.node.url, lie) as liar,
        stage.client(liar.url, stage.node.url) as client,
    ):
        assert await _verify(stage, client) is Verdict.ESTABLISHED


async def test_documents_that_nobody_asked_for(stage: Stage) -> None:
    other = make_credential(stage.made, 71).text
    for documents in ([other], [stage.credential.text, other], ["x~"] * 1000 + [stage.credential.text]):
        lie = altered(lambda body, told=documents: body.update(documents=told))  # type: ignore[misc]
        async with lying(stage.node.url, lie) as liar, stage.client(liar.url) as client:
            try:
                verdict = await _verify(stage, client)
            except NetworkError:
                verdict = Verdict.NOT_ESTABLISHED
        expected = Verdict.ESTABLISHED if stage.credential.text in documents else Verdict.NOT_ESTABLISHED
        assert verdict is expected


async def test_a_receipt_for_another_transaction(stage: Stage) -> None:
    other = sign(stage.made, attest(make_credential(stage.made, 72)))
    _, body = request_json(f"{stage.node.url}/v1/transactions", data=other.encoded)
    for name in _RECEIPTS:
        await _not_believed(stage, _RECEIPTS[name], always(json.dumps(body).encode()))


@pytest.mark.parametrize("name", _RECEIPTS)
@pytest.mark.parametrize("receipt", [None, 7, "", "zz", "=", "AAAA", [], {}])
async def test_a_receipt_that_is_none(stage: Stage, name: str, receipt: object) -> None:
    await _not_believed(stage, _RECEIPTS[name], always(json.dumps({"receipt": receipt}).encode()))


async def test_a_committed_transaction_that_a_node_denies(stage: Stage) -> None:
    """The claim is 404 with a good head: only a receipt would show that it is a lie."""
    head = request_json(f"{stage.node.url}/v1/head")[1]
    lie = always(json.dumps({"receipt": None, **head}).encode(), 404)
    async with lying(stage.node.url, lie) as liar, stage.client(liar.url) as client:
        found = await client.outcome(stage.transaction.encoded, stage.transaction.id)
    assert found.receipt is None
    assert found.head.header.time <= stage.transaction.expiry, "so it is not taken as lost"


@pytest.mark.parametrize("following", ["", "a", 7, "did:key:z"])
async def test_a_member_list_that_does_not_go_on(stage: Stage, following: object) -> None:
    lie = altered(lambda body: body.update(next=following))
    async with (
        lying(stage.node.url, only_on("GET", "/v1/members", lie)) as liar,
        stage.client(liar.url) as client,
    ):
        with pytest.raises(NetworkError):
            await client.members()


async def test_a_member_list_without_end(stage: Stage) -> None:
    """A page that only repeats what came before must end it: there are three members."""
    pages = 0

    def go_on(body: dict[str, Any]) -> None:
        nonlocal pages
        pages += 1
        body["next"] = None if pages == 200 else f"did:key:{pages:09d}"

    async with (
        lying(stage.node.url, only_on("GET", "/v1/members", altered(go_on))) as liar,
        stage.client(liar.url) as client,
    ):
        with pytest.raises(NetworkError):
            await client.members()
    assert pages < 200


_NO_LOCATIONS: Final[list[Any]] = [
    None,
    7,
    [],
    "x",
    {"matches": 7},
    {"matches": [7]},
    {"matches": [{}]},
    {"matches": [{"attestation": "1" * 64, "category": "c", "subject": "0" * 64, "issuer": "x"}]},
    {"matches": [{"attestation": "0" * 63, "category": "c", "subject": "0" * 64, "issuer": "x"}]},
    {"matches": [{"attestation": "1" * 64, "category": "c", "subject": "0" * 64, "issuer": "ISSUER"}]},
]


@pytest.mark.parametrize("body", _NO_LOCATIONS)
async def test_locations_that_do_not_fit(stage: Stage, body: Any) -> None:
    told = json.dumps(body).replace("ISSUER", stage.made.keys(ISSUER).did)
    async with lying(stage.node.url, always(told.encode())) as liar, stage.client(liar.url) as client:
        with pytest.raises(NetworkError):
            await client.locate("0" * 16)


# --- answers that are none --------------------------------------------------------------------


_NO_ANSWERS: Final[dict[str, Lie]] = {
    "500": always(b"Internal Server Error", 500),
    "503": always(b'{"error": "busy"}', 503),
    "204": always(b"", 204),
    "404": always(b"", 404),
    "empty": always(b""),
    "not JSON": always(b"<html>"),
    "not UTF-8": always(b"\xff\xfe{"),
    "a list": always(b"[]"),
    "a number": always(b"7"),
    "null": always(b"null"),
    "NaN": always(b"NaN"),
    "nothing in it": always(b"{}"),
    "deep": always(b"[" * 200_000),
    "deep object": always(b'{"a":' * 100_000),
    "a long number": always(b"1" * 200_000),
    "deep in a field": always(b'{"header":' + b"[" * 500 + b"]" * 500 + b"}"),
    "other types": always(b'{"header": 7, "certificate": [], "records": {}, "documents": "x", "members": 7}'),
    "broken base64": always(b'{"header": "!", "certificate": "!", "records": [], "documents": []}'),
    "surrogates": always(b'{"header": "\\ud800", "certificate": "\\ud800", "receipt": "\\ud800"}'),
    "closed in the middle": closes_in_the_middle,
    "a zip bomb": zip_bomb,
}


@pytest.mark.parametrize("what", _NO_ANSWERS)
@pytest.mark.parametrize("name", _EVERY)
async def test_what_is_no_answer(stage: Stage, name: str, what: str) -> None:
    await _not_believed(stage, _EVERY[name], _NO_ANSWERS[what])


_RECORDS: Final[list[list[Any]]] = [
    [7],
    [{}],
    [{"key": "zz"}],
    [{"key": "0" * 64}],
    [{"key": "0" * 64, "proof": "AA=="}],
]


@pytest.mark.parametrize("records", _RECORDS)
async def test_records_of_other_shapes(stage: Stage, records: list[Any]) -> None:
    await _not_believed(stage, _dossiers, altered(lambda body: body.update(records=records)))


@pytest.mark.parametrize("documents", [["\ud800~"], ["\u00e9"], [7], [None], [{}], 7, None])
async def test_documents_of_other_shapes(stage: Stage, documents: object) -> None:
    await _not_believed(stage, _verify, altered(lambda body: body.update(documents=documents)))


@pytest.mark.parametrize("name", ["head", "verify", "submit"])
async def test_a_node_that_never_answers(stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(LIMITS, request_timeout=400, submit_timeout=400)
    for module in (client_module, connection):
        monkeypatch.setattr(module, "LIMITS", short)
    await _not_believed(stage, _EVERY[name], never_answers)


@pytest.mark.parametrize("name", ["head", "verify", "submit"])
async def test_an_answer_without_end(stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LIMITS", replace(LIMITS, answer_bytes=2**20))
    await _not_believed(stage, _EVERY[name], answers_without_end)


@pytest.mark.parametrize("name", _EVERY)
async def test_a_redirect_is_not_followed(stage: Stage, name: str) -> None:
    async with lying(stage.node.url, the_truth) as other:
        await _not_believed(stage, _EVERY[name], redirecting(other.url))
        assert other.asked == []


@pytest.mark.parametrize("name", _EVERY)
async def test_a_node_that_is_not_there(stage: Stage, name: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with stage.client(gone) as client:
        with pytest.raises(NetworkError, match="nobody listens"):
            await _EVERY[name](stage, client)
    async with stage.client(gone, stage.node.url) as client:
        await _EVERY[name](stage, client)


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "ftp://127.0.0.1", "http://127.0.0.1:99999", "http://[::1"]
)
async def test_an_address_that_is_none(stage: Stage, url: str) -> None:
    async with stage.client(url) as client:
        with pytest.raises(CredchainError):
            await client.head()


async def test_no_node_at_all(stage: Stage) -> None:
    client = Client(replace(stage.made.network, nodes=()), now=now)
    async with client:
        with pytest.raises(NetworkError):
            await client.head()


# --- refusals that are lies -------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["expired", "transition", "sender", "repeated", "made_up", ""])
async def test_a_false_refusal_is_not_believed_where_another_node_has_the_receipt(
    stage: Stage, rule: str
) -> None:
    async with (
        lying(stage.node.url, refusing(rule, operation=0)) as liar,
        stage.client(liar.url, stage.node.url) as client,
    ):
        assert (await client.submit(stage.transaction.encoded)).certified.header.height >= 1


async def test_a_false_bad_request_is_not_believed_where_another_node_has_the_receipt(stage: Stage) -> None:
    async with (
        lying(stage.node.url, always(b'{"error": "no", "field": "x"}', 400)) as liar,
        stage.client(liar.url, stage.node.url) as client,
    ):
        assert (await client.submit(stage.transaction.encoded)).certified.header.height >= 1


@pytest.mark.parametrize("more", [{}, {"receipt": None}, {"receipt": "AAAA"}])
async def test_repeated_without_a_receipt_that_holds_is_no_refusal(
    stage: Stage, more: dict[str, Any]
) -> None:
    """It says that the transaction *is* on the ledger: closing it as refused would be wrong."""
    async with lying(stage.node.url, refusing("repeated", **more)) as liar, stage.client(liar.url) as client:
        with pytest.raises(NetworkError):
            await client.submit(stage.transaction.encoded)


@pytest.mark.parametrize(
    "body",
    [
        b'{"rule": 7, "error": 7, "operation": "x", "field": 7, "hint": 7}',
        b'{"rule": null}',
        b'{"rule": "x", "error": {"a": []}, "field": [1], "hint": {}}',
        b'{"rule": "' + b"x" * 100_000 + b'", "error": "' + b"y" * 100_000 + b'"}',
    ],
)
async def test_refusals_of_other_shapes(stage: Stage, body: bytes) -> None:
    async with lying(stage.node.url, always(body, 409)) as liar, stage.client(liar.url) as client:
        with pytest.raises(CredchainError) as caught:
            await client.submit(stage.transaction.encoded)
    assert len(caught.value.message) < 2000


@dataclass
class Desk:
    """An issuer's outbox."""

    store: MemberStore
    outbox: Outbox


def _desk(stage: Stage, client: Client, path: Path) -> Desk:
    store = MemberStore(path, stage.made.network.id)
    return Desk(store, Outbox(store, client, stage.made.keys(ISSUER), now))


async def test_expired_is_believed_only_under_a_header_past_the_expiry(stage: Stage, tmp_path: Path) -> None:
    """The outbox keeps the envelope, and the next run gets its receipt from an honest node."""
    lie = only_on("POST", "/v1/transactions", refusing("expired"))
    credential = make_credential(stage.made, 80)
    async with lying(stage.node.url, lie) as liar, stage.client(liar.url) as client:
        desk = _desk(stage, client, tmp_path / "member.db")
        envelope = desk.outbox.enqueue([attest(credential)])
        # The liar handed the transaction on before it lied.
        sent = await desk.outbox.send(envelope)
        sent.receipt.check(envelope.data, stage.made.network.validators, stage.made.network.id)
        desk.store.close()


async def test_expired_and_denied_leaves_the_envelope_pending(stage: Stage, tmp_path: Path) -> None:
    lie = only_on("POST", "/v1/transactions", refusing("expired"))
    credential = make_credential(stage.made, 81)
    nowhere = f"{stage.node.url}/v1/nothing"

    def rewrite(path: str) -> str:
        return path if path != "/v1/transactions" else nowhere.removeprefix(stage.node.url)

    async with lying(stage.node.url, lie, rewrite=rewrite) as liar, stage.client(liar.url) as client:
        desk = _desk(stage, client, tmp_path / "member.db")
        envelope = desk.outbox.enqueue([attest(credential)])
        with pytest.raises(NetworkError):
            await desk.outbox.send(envelope)
        assert [each.id for each in desk.store.pending()] == [envelope.id]
        assert desk.store.pending()[0].state == PENDING
        desk.store.close()
    async with stage.client(stage.node.url) as client:
        desk = _desk(stage, client, tmp_path / "member.db")
        resumed = await desk.outbox.resume()
        assert len(resumed.sent) == 1
        assert desk.store.pending() == []
        desk.store.close()


async def test_an_unreachable_node_leaves_the_envelope_pending(stage: Stage, tmp_path: Path) -> None:
    async with stage.client(f"http://127.0.0.1:{free_port()}") as client:
        desk = _desk(stage, client, tmp_path / "member.db")
        envelope = desk.outbox.enqueue([attest(make_credential(stage.made, 82))])
        with pytest.raises(NetworkError):
            await desk.outbox.send(envelope)
        assert [each.id for each in desk.store.pending()] == [envelope.id]
        desk.store.close()


async def test_a_refusal_of_the_rules_closes_the_envelope(stage: Stage, tmp_path: Path) -> None:
    async with stage.client(stage.node.url) as client:
        desk = _desk(stage, client, tmp_path / "member.db")
        envelope = desk.outbox.enqueue([replace(attest(stage.credential), category="identity")])
        with pytest.raises(Rejected):
            await desk.outbox.send(envelope)
        assert desk.store.pending() == []
        desk.store.close()


# --- through the command line -----------------------------------------------------------------

_ESCAPES: Final = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202egreen\u2066 ESTABLISHED\r\n"


async def _told(stage: Stage, tmp_path: Path, lie: Lie, *arguments: str, member: str = HOSPITAL) -> Any:
    """What a user sees who asks the liar alone."""
    home = stage.made.member(member, tmp_path / "home")
    async with lying(stage.node.url, lie) as liar:
        return await asyncio.to_thread(credchain, *arguments, "--home", str(home.path), "--node", liar.url)


def _steers_a_terminal(text: str) -> bool:
    return any(not each.isprintable() and each != "\n" for each in text)


async def test_verify_with_an_honest_node_is_established(stage: Stage, tmp_path: Path) -> None:
    asked = ["verify", some_npi(PERSON), "--category", "board_certification"]
    done = await _told(stage, tmp_path, the_truth, *asked)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(
    "what", ["500", "not JSON", "deep", "nothing in it", "closed in the middle", "404", "503"]
)
async def test_verify_with_a_liar_alone_exits_6_and_is_never_established(
    stage: Stage, tmp_path: Path, what: str
) -> None:
    asked = ["verify", some_npi(PERSON), "--category", "board_certification", "--json"]
    done = await _told(stage, tmp_path, _NO_ANSWERS[what], *asked)
    assert done.returncode == 6, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "not_established"
    assert (told["as_of"], told["credentials"]) in [(None, []), ({"height": None, "time": None}, [])]


async def test_verify_with_a_false_bad_request_is_not_established(stage: Stage, tmp_path: Path) -> None:
    lie = always(b'{"error": "no", "field": "dossier"}', 400)
    done = await _told(stage, tmp_path, lie, "verify", some_npi(PERSON), "--json")
    assert done.returncode == 6, done.stderr
    assert json.loads(done.stdout)["verdict"] == "not_established"


async def test_verify_with_a_false_refusal_is_not_established(stage: Stage, tmp_path: Path) -> None:
    done = await _told(stage, tmp_path, refusing("made_up"), "verify", some_npi(PERSON), "--json")
    assert done.returncode == 6, done.stderr
    assert json.loads(done.stdout)["verdict"] == "not_established"


async def test_verify_with_a_withheld_document_is_not_established(stage: Stage, tmp_path: Path) -> None:
    lie = altered(lambda body: body.update(documents=[]))
    asked = ["verify", some_npi(PERSON), "--category", "board_certification", "--json"]
    done = await _told(stage, tmp_path, lie, *asked)
    assert done.returncode == 6, done.stderr
    assert json.loads(done.stdout)["verdict"] == "not_established"


_COMMANDS: Final = {
    "verify": ["verify", some_npi(PERSON)],
    "whoami": ["whoami"],
    "members": ["members"],
    "node status": ["node", "status"],
    "status": ["status", "0" * 16],
}


@pytest.mark.parametrize("status", [503, 409, 400])
@pytest.mark.parametrize("name", _COMMANDS)
async def test_a_nodes_error_text_cannot_steer_the_terminal(
    stage: Stage, tmp_path: Path, name: str, status: int
) -> None:
    body = {"error": _ESCAPES, "hint": _ESCAPES, "field": _ESCAPES, "rule": _ESCAPES}
    done = await _told(stage, tmp_path, always(json.dumps(body).encode(), status), *_COMMANDS[name])
    assert not _steers_a_terminal(done.stderr), done.stderr
    assert not _steers_a_terminal(done.stdout), done.stdout
    assert "Traceback" not in done.stderr


async def test_a_nodes_status_cannot_steer_the_terminal(stage: Stage, tmp_path: Path) -> None:
    lie = altered(lambda body: body.update(version=_ESCAPES, why_idle=_ESCAPES, time=_ESCAPES))
    done = await _told(stage, tmp_path, lie, "node", "status")
    assert not _steers_a_terminal(done.stdout), done.stdout


async def test_a_refused_rows_column_cannot_steer_the_terminal(stage: Stage, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "npi,family_name,given_name,board,certificate_number,discipline,initial_certification_date\n"
        f"{some_npi(90)},Navarro,Elena,Board,T-990001,Diagnostic Radiology,2018-10-05\n"
    )
    lie = only_on(
        "POST", "/v1/transactions", refusing("made_up", _ESCAPES, operation=0, field=_ESCAPES, hint=_ESCAPES)
    )
    rejects = tmp_path / "rejects.csv"
    done = await _told(
        stage, tmp_path, lie, "attest", "board_certification", "--csv", str(table),
        "--partial", "--rejects", str(rejects), member=ISSUER,
    )  # fmt: skip
    assert rejects.exists()
    assert not _steers_a_terminal(done.stderr), done.stderr
    assert not _steers_a_terminal(done.stdout), done.stdout


async def test_what_a_home_has_seen_protects_its_next_command(stage: Stage, tmp_path: Path) -> None:
    """An older state is refused in a later process too."""
    old = request_json(f"{stage.node.url}/v1/head")[1]
    async with stage.client(stage.node.url) as client:
        await client.submit(sign(stage.made, attest(make_credential(stage.made, 91))).encoded)
    home = stage.made.member(HOSPITAL, tmp_path / "home")
    first = await asyncio.to_thread(
        credchain, "whoami", "--home", home.path, "--node", stage.node.url, "--json"
    )
    seen = json.loads(first.stdout)["as_of"]["height"]
    assert home.trust.seen(stage.made.network).height == seen
    assert seen > _certified(old).header.height
    lie = altered(lambda body: body.update(old))
    async with lying(stage.node.url, lie) as liar:
        again = await asyncio.to_thread(
            credchain, "members", "--home", home.path, "--node", liar.url, "--json"
        )
    assert again.returncode == 6
    assert home.trust.seen(stage.made.network).height == seen


async def test_a_bad_address_on_the_command_line(stage: Stage, tmp_path: Path) -> None:
    home = stage.made.member(HOSPITAL, tmp_path / "home")
    for url in ("x", "http://", "file:///etc/passwd", "http://127.0.0.1:99999"):
        done = await asyncio.to_thread(credchain, "members", "--home", home.path, "--node", url)
        assert done.returncode in (2, 6), done.stderr
        assert "Traceback" not in done.stderr


def test_the_errors_used_here_are_siblings() -> None:
    """`pytest.raises(NetworkError)` above does not accept a refusal or an input error."""
    assert not issubclass(Rejected, NetworkError)
    assert not issubclass(InvalidInput, NetworkError)
