"""A real node in a real process: what it takes, what it refuses, how it stops and starts again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from credchain.certificates import Millis
from credchain.client import Client
from credchain.credentials.sdjwt import Credential
from credchain.encoding import Digest
from credchain.errors import NetworkError, Rejected
from credchain.keys import SigningKey
from credchain.ledger.blocks import Receipt
from credchain.ledger.operations import Enroll, Erase, SetStatus, attestation_id
from credchain.ledger.transactions import MAX_BYTES, Transaction, encode_batch
from credchain.limits import HOUR, LIMITS, MINUTE
from credchain.node import api as node_api
from credchain.node.openapi import description
from credchain.storage.audit import audit
from credchain.storage.ledger_store import LedgerStore
from tests.values import replace

from .node_process import (
    HOSPITAL,
    ISSUER,
    PASSPHRASE,
    VALIDATOR,
    MadeNetwork,
    NodeProcess,
    attest,
    credchain,
    free_port,
    make_credential,
    make_network,
    now,
    request,
    request_json,
    running,
    sign,
    start_node,
    wait_until,
)

_MSGPACK = "application/vnd.msgpack"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeNetwork:
    return make_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def node(made: MadeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all tests that leave it running; its ledger must be whole in the end."""
    home = made.validator(tmp_path_factory.mktemp("node") / "home")
    with running(home) as found:
        yield found
        assert found.stop() == 0
        audit(home.ledger, made.network)
        assert "Traceback" not in found.log.read_text()


_numbers = iter(range(1, 1_000_000))


def _fresh(made: MadeNetwork) -> Credential:
    """A credential that no other test attests."""
    return make_credential(made, next(_numbers))


def _id(made: MadeNetwork, credential: Credential) -> Digest:
    issuer = made.keys(ISSUER).did
    return attestation_id(made.network.id, issuer, credential.category, credential.subject, credential.digest)


def _submit(node: NodeProcess, transaction: Transaction | bytes) -> tuple[int, dict[str, Any]]:
    data = transaction if isinstance(transaction, bytes) else transaction.encoded
    return request_json(f"{node.url}/v1/transactions", data=data, content=_MSGPACK)


def _submit_batch(node: NodeProcess, data: bytes) -> tuple[int, dict[str, Any]]:
    content = "application/vnd.credchain.transactions"
    return request_json(f"{node.url}/v1/transactions", data=data, content=content)


def _client(made: MadeNetwork, node: NodeProcess, **how: Any) -> Client:
    return Client(made.network, now=now, urls=[node.url], **how)


def _receipt(body: dict[str, Any]) -> Receipt:
    import base64

    return Receipt.decode(base64.b64decode(body["receipt"], validate=True))


def _check(made: MadeNetwork, transaction: Transaction, receipt: Receipt) -> None:
    receipt.check(transaction.encoded, made.network.validators, made.network.id)


async def _dossier_ids(made: MadeNetwork, node: NodeProcess, *credentials: Credential) -> list[bool]:
    """Whether each is attested, proved."""
    async with _client(made, node) as client:
        found = await client.dossiers([(each.category, each.subject) for each in credentials])
    return [found[each.category, each.subject].entry(_id(made, each)) is not None for each in credentials]


# --- transactions -----------------------------------------------------------------------------


async def test_a_submitted_transaction_gets_a_receipt_that_holds(
    made: MadeNetwork, node: NodeProcess
) -> None:
    credential = _fresh(made)
    transaction = sign(made, attest(credential))
    async with _client(made, node) as client:
        receipt = await client.submit(transaction.encoded)
        _check(made, transaction, receipt)
        outcome = await client.outcome(transaction.encoded, transaction.id)
        assert outcome.receipt is not None
        assert outcome.receipt.certified.header == receipt.certified.header
        assert (await client.head()).header.height >= receipt.certified.header.height
    assert await _dossier_ids(made, node, credential) == [True]


def test_a_repeated_transaction_is_refused_with_its_receipt(made: MadeNetwork, node: NodeProcess) -> None:
    transaction = sign(made, attest(_fresh(made)))
    status, first = _submit(node, transaction)
    assert status == 200
    status, second = _submit(node, transaction)
    assert (status, second["rule"]) == (409, "repeated")
    _check(made, transaction, _receipt(second))
    assert _receipt(second).certified.header == _receipt(first).certified.header


def test_many_in_one_request_have_their_outcomes_in_order(made: MadeNetwork, node: NodeProcess) -> None:
    known = sign(made, attest(_fresh(made)))
    assert _submit(node, known)[0] == 200
    fresh = [sign(made, attest(_fresh(made))) for _ in range(3)]
    stranger = sign(made, attest(_fresh(made)), sender=HOSPITAL)
    forged = replace(sign(made, attest(_fresh(made))), signature=bytes(64))
    wires = [fresh[0].encoded, b"junk", known.encoded, *(each.encoded for each in fresh[1:])]
    wires += [stranger.encoded, forged.encoded, fresh[0].encoded]
    status, body = _submit_batch(node, encode_batch(wires))
    outcomes = body["outcomes"]
    assert status == 200
    assert [each["status"] for each in outcomes] == [200, 400, 409, 200, 200, 409, 400, 200]
    for place, transaction in ((0, fresh[0]), (2, known), (3, fresh[1]), (4, fresh[2]), (7, fresh[0])):
        _check(made, transaction, _receipt(outcomes[place]))
    assert [outcomes[place]["rule"] for place in (2, 5)] == ["repeated", "authority"]
    assert outcomes[6]["field"] == "signature"


@pytest.mark.parametrize("wires", [[], [b"x"] * 1_001, "junk"])
def test_a_body_that_is_no_batch_is_refused_whole(node: NodeProcess, wires: Any) -> None:
    data = b"junk" if wires == "junk" else encode_batch(wires)
    assert _submit_batch(node, data)[0] == 400


async def test_the_client_takes_the_receipt_of_a_repeated_transaction(
    made: MadeNetwork, node: NodeProcess
) -> None:
    transaction = sign(made, attest(_fresh(made)))
    async with _client(made, node) as client:
        first = await client.submit(transaction.encoded)
        again = await client.submit(transaction.encoded)
    assert again.certified.header == first.certified.header


async def test_one_transaction_sent_many_times_at_once_is_applied_once(
    made: MadeNetwork, node: NodeProcess
) -> None:
    transaction = sign(made, attest(_fresh(made)))
    async with _client(made, node) as client:
        receipts = await asyncio.gather(*(client.submit(transaction.encoded) for _ in range(30)))
    assert len({(each.certified.header.height, each.index) for each in receipts}) == 1


def test_a_credential_attested_again_is_refused(made: MadeNetwork, node: NodeProcess) -> None:
    credential = _fresh(made)
    assert _submit(node, sign(made, attest(credential)))[0] == 200
    status, body = _submit(node, sign(made, attest(credential), expiry=now() + 9 * MINUTE))
    assert (status, body["rule"], body["operation"]) == (409, "attested", 0)


def _stranger() -> SigningKey:
    return SigningKey.from_seed(b"x" * 32)


def _refused(made: MadeNetwork) -> dict[str, tuple[Transaction, int, str | None]]:
    """By name: the transaction, the status, and the rule that refuses it."""
    from credchain import keys

    operation = attest(_fresh(made))
    good, nothing = sign(made, operation), Digest(bytes(32))
    other = sign(made, operation, expiry=now() + MINUTE)
    stranger = Transaction.sign(
        made.network.id, keys.did_of(_stranger().public), _stranger(), Millis(now() + MINUTE), (operation,)
    )
    return {
        "expired": (sign(made, operation, expiry=now() - 1), 409, "expired"),
        "long expired": (sign(made, operation, expiry=0), 409, "expired"),
        "too far": (sign(made, operation, expiry=now() + HOUR + MINUTE), 409, "expiry_too_far"),
        "never": (sign(made, operation, expiry=2**53 - 1), 409, "expiry_too_far"),
        "another network": (sign(made, operation, network=Digest(bytes(32))), 409, "network"),
        "a stranger": (stranger, 409, "sender"),
        "another's key": (sign(made, operation, signer=made.keys(HOSPITAL).signing), 409, "key"),
        "a signature of nothing": (replace(good, signature=bytes(64)), 400, None),
        "the signature of another": (replace(good, signature=other.signature), 400, None),
        "no issuer": (sign(made, operation, sender=HOSPITAL), 409, "authority"),
        "no such category": (sign(made, replace(operation, category="nothing")), 409, "category"),
        "not its category": (sign(made, replace(operation, category="identity")), 409, "authority"),
        "no such attestation": (
            sign(made, SetStatus(operation.category, operation.subject, nothing, "revoked", "fraud")),
            409,
            "attestation",
        ),
        "a card that is none": (sign(made, Enroll(b"card", bytes(64), ("radiologist",))), 409, "card"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "expired", "long expired", "too far", "never", "another network", "a stranger", "another's key",
        "a signature of nothing", "the signature of another", "no issuer", "no such category",
        "not its category", "no such attestation", "a card that is none",
    ],
)  # fmt: skip
def test_a_transaction_that_the_rules_refuse(made: MadeNetwork, node: NodeProcess, name: str) -> None:
    transaction, expected, rule = _refused(made)[name]
    status, body = _submit(node, transaction)
    assert (status, body.get("rule")) == (expected, rule), body
    assert body["error"]
    found, answer = request_json(f"{node.url}/v1/transactions/{transaction.id.hex()}")
    assert (found, answer["receipt"]) == (404, None)


async def test_an_envelope_with_one_bad_operation_is_not_applied_at_all(
    made: MadeNetwork, node: NodeProcess
) -> None:
    credentials = [_fresh(made) for _ in range(5)]
    operations = [attest(each) for each in credentials]
    for place in (0, 2, 4):
        bad = [*operations]
        bad[place] = replace(bad[place], category="identity")
        transaction = sign(made, *bad)
        status, body = _submit(node, transaction)
        assert (status, body["rule"], body["operation"]) == (409, "authority", place)
        async with _client(made, node) as client:
            with pytest.raises(Rejected) as caught:
                await client.submit(transaction.encoded)
        assert (caught.value.rule, caught.value.operation) == ("authority", place)
    assert await _dossier_ids(made, node, *credentials) == [False] * 5
    assert _submit(node, sign(made, *operations))[0] == 200
    assert await _dossier_ids(made, node, *credentials) == [True] * 5


async def test_the_same_operation_twice_in_an_envelope(made: MadeNetwork, node: NodeProcess) -> None:
    credential = _fresh(made)
    status, body = _submit(node, sign(made, attest(credential), attest(credential)))
    assert (status, body["rule"], body["operation"]) == (409, "attested", 1)
    assert await _dossier_ids(made, node, credential) == [False]


def _garbage(made: MadeNetwork) -> Sequence[bytes]:
    good = sign(made, attest(_fresh(made))).encoded
    return [
        b"",
        b"\x00",
        b"\xc1",
        b"\x80",
        b"{}",
        b"\x91" * 2000,
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xff" * 1000,
        b"\x81\xa4body\xc0",
        good[:-1],
        good + b"\x00",
        good[: len(good) // 2],
        b"\x82\xa9signature"
        + good[good.index(b"\xc4\x40") : good.index(b"\xc4\x40") + 66]
        + b"\xa4body\xc4\x00",
        json.dumps({"body": "", "signature": ""}).encode(),
    ]


def test_garbage_is_refused_and_the_node_goes_on(made: MadeNetwork, node: NodeProcess) -> None:
    for data in _garbage(made):
        status, body = _submit(node, data)
        assert status == 400, (data[:40], body)
        assert body["error"]
    assert _submit(node, sign(made, attest(_fresh(made))))[0] == 200


def test_every_flipped_byte_of_a_transaction_is_refused(made: MadeNetwork, node: NodeProcess) -> None:
    data = sign(made, attest(_fresh(made))).encoded
    for at in range(0, len(data), 7):
        status, body = _submit(node, bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]]))
        assert status in (400, 409), (at, body)


@pytest.mark.parametrize("size", [MAX_BYTES + 1, LIMITS.message_bytes, LIMITS.message_bytes + 1])
@pytest.mark.parametrize("path", ["/v1/transactions", "/v1/documents"])
def test_a_huge_body_is_refused(node: NodeProcess, path: str, size: int) -> None:
    status, body = request(node.url + path, data=b"\x00" * size, content=_MSGPACK)
    assert status in (400, 413)
    assert json.loads(body)["error"]


def test_a_body_that_never_ends_does_not_hold_up_others(made: MadeNetwork, node: NodeProcess) -> None:
    address = node.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as slow:
        slow.sendall(b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert _submit(node, sign(made, attest(_fresh(made))))[0] == 200


def test_what_is_no_http_is_refused(made: MadeNetwork, node: NodeProcess) -> None:
    address = node.url.removeprefix("http://").split(":")
    for data in (b"\x16\x03\x01\x00\xa5\x01", b"GET\r\n\r\n", b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((address[0], int(address[1]))) as conn:
            conn.sendall(data)
            conn.shutdown(socket.SHUT_WR)
            conn.settimeout(30)
            while conn.recv(65536):
                pass
    assert request(f"{node.url}/healthz") == (200, b"ok\n")


# --- reads ------------------------------------------------------------------------------------


def test_the_dossiers_of_a_request_are_bounded(node: NodeProcess) -> None:
    def ask(count: int) -> int:
        query = "&".join(f"dossier=board_certification:{number:064x}" for number in range(count))
        return request(f"{node.url}/v1/dossiers?{query}")[0]

    assert ask(LIMITS.dossiers_per_request) == 200
    assert ask(LIMITS.dossiers_per_request + 1) == 400
    assert ask(0) == 400


@pytest.mark.parametrize(
    "path",
    [
        "/v1/dossiers?dossier=x", "/v1/dossiers?dossier=board_certification:zz",
        "/v1/dossiers?dossier=board_certification:" + "0" * 65,
        "/v1/dossiers?dossier=%00:" + "0" * 64, "/v1/dossiers?dossier=%ff%fe:" + "0" * 63,
        "/v1/dossiers?dossier=%e2%80%ae:" + "0" * 64,
        "/v1/members?role=king", "/v1/members/did:key:z6Mk", "/v1/members/%00", "/v1/members/%ED%A0%80",
        "/v1/members/did:key:z" + "%C3%A9" * 47, "/v1/attestations/1234567", "/v1/attestations/zzzzzzzz",
        "/v1/attestations/" + "0" * 65, "/v1/attestations/%F0%9D%9F%98" + "0" * 8,
        "/v1/documents/00", "/v1/documents/" + "g" * 64, "/v1/transactions/00",
    ],
)  # fmt: skip
def test_a_read_that_is_not_well_formed_is_a_400(node: NodeProcess, path: str) -> None:
    status, body = request(node.url + path)
    assert status == 400, body
    assert json.loads(body)["error"]


@pytest.mark.parametrize("after", ["", "%00", "%ED%A0%80", "%FF", "did:key:zzzz", "'; drop table members"])
def test_members_after_anything(made: MadeNetwork, node: NodeProcess, after: str) -> None:
    from urllib.parse import quote

    status, body = request_json(f"{node.url}/v1/members?after={quote(after, safe='%')}")
    assert status == 200
    assert len(body["members"]) <= len(made.network.genesis.members)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v2/head", 404), ("GET", "/v1/head/", 404),
        ("GET", "/../../etc/passwd", 404), ("GET", "/v1/documents", 405), ("PUT", "/v1/head", 405),
        ("DELETE", "/v1/transactions/" + "0" * 64, 405), ("POST", "/v1/head", 405),
        ("GET", "/v1/transactions", 405), ("GET", "/v1/documents/" + "0" * 64, 404),
        ("GET", "/v1/transactions/" + "0" * 64, 404),
    ],
)  # fmt: skip
def test_unknown_routes_and_methods(node: NodeProcess, method: str, path: str, expected: int) -> None:
    status, body = request(node.url + path, method=method, data=b"" if method in ("PUT", "POST") else None)
    assert status == expected
    assert type(json.loads(body)) is dict


def test_what_is_not_there_is_an_empty_answer(node: NodeProcess) -> None:
    assert request_json(f"{node.url}/v1/attestations/{'0' * 64}") == (200, {"matches": []})


def test_health(node: NodeProcess) -> None:
    assert request(f"{node.url}/healthz") == (200, b"ok\n")


def test_metrics_are_in_prometheus_format(node: NodeProcess, made: MadeNetwork) -> None:
    status, body = request(f"{node.url}/metrics")
    assert status == 200
    families = {each.name: each for each in text_string_to_metric_families(body.decode())}
    height = families["credchain_height"].samples[0].value
    assert height >= 1
    kinds = {each.labels["kind"]: each.value for each in families["credchain_records"].samples}
    assert kinds["members"] == len(made.network.genesis.members)
    assert families["credchain_requests"].samples[0].value >= 1


def test_openapi_lists_exactly_the_served_routes(node: NodeProcess) -> None:
    status, body = request_json(f"{node.url}/v1/openapi.json")
    assert status == 200
    assert body == description()
    listed = {(method, path) for path, methods in body["paths"].items() for method in methods}
    api = node_api.Api.application(
        node_api.Api(*[None] * 6)  # type: ignore[arg-type]  # routes need nothing of it
    )
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in api.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert listed == served
    for path, methods in body["paths"].items():
        for operation in methods.values():
            named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_an_error_never_shows_a_traceback(node: NodeProcess) -> None:
    for data in (b"[]", b"{", b'{"documents": 1}', b'{"documents": []}', b"\xff", b"[" * 100_000):
        status, body = request(f"{node.url}/v1/documents", data=data)
        assert status == 400
        assert b"Traceback" not in body


# --- documents --------------------------------------------------------------------------------


def _deposit(node: NodeProcess, *credentials: Credential, **differing: str) -> tuple[int, dict[str, Any]]:
    documents = [
        {"category": each.category, "subject": each.subject.hex(), "document": each.text, **differing}
        for each in credentials
    ]
    return request_json(f"{node.url}/v1/documents", data=json.dumps({"documents": documents}).encode())


def test_a_published_document_is_served_until_it_is_erased(made: MadeNetwork, node: NodeProcess) -> None:
    credential = _fresh(made)
    url = f"{node.url}/v1/documents/{credential.digest.hex()}"
    assert _deposit(node, credential)[0] == 400, "not attested yet"
    assert _submit(node, sign(made, attest(credential)))[0] == 200
    assert request(url)[0] == 404
    assert _deposit(node, credential) == (200, {"stored": 1})
    assert request(url) == (200, credential.text.encode())
    assert _deposit(node, credential) == (200, {"stored": 1})
    erase = Erase(credential.category, credential.subject, _id(made, credential), "erasure_request")
    assert _submit(node, sign(made, erase))[0] == 200
    assert request(url)[0] == 404
    status, body = _deposit(node, credential)
    assert (status, body["rule"]) == (409, "erased")
    assert request(url)[0] == 404


async def test_a_verifier_gets_the_document_with_the_dossier(made: MadeNetwork, node: NodeProcess) -> None:
    credential = _fresh(made)
    assert _submit(node, sign(made, attest(credential)))[0] == 200
    query = f"dossier={credential.category}:{credential.subject.hex()}"
    assert request_json(f"{node.url}/v1/dossiers?{query}")[1]["documents"] == []
    assert _deposit(node, credential)[0] == 200
    assert request_json(f"{node.url}/v1/dossiers?{query}")[1]["documents"] == [credential.text]
    assert request_json(f"{node.url}/v1/dossiers?{query}&documents=0")[1]["documents"] == []


def test_deposits_that_are_refused(made: MadeNetwork, node: NodeProcess) -> None:
    credential, other = _fresh(made), _fresh(made)
    assert _submit(node, sign(made, attest(credential)))[0] == 200
    jwt, *disclosures = credential.text.split("~")
    refused: list[dict[str, str]] = [
        {"document": "~".join((jwt, *disclosures[1:]))},
        {"document": jwt},
        {"document": jwt + "~"},
        {"document": credential.text + "x"},
        {"document": credential.text + disclosures[0] + "~"},
        {"document": other.text},
        {"subject": other.subject.hex()},
        {"subject": "zz"},
        {"category": "state_license"},
        {"category": "residency"},
        {"category": "nothing"},
        {"category": "\u202e"},
        {"document": "\ud800~"},
        {"document": "\u00e9~"},
        {"document": ""},
    ]
    for differing in refused:
        status, body = _deposit(node, credential, **differing)
        assert status == 400, (differing, status)
        assert body["error"]
    assert request(f"{node.url}/v1/documents/{credential.digest.hex()}")[0] == 404
    assert _deposit(node, credential, other)[0] == 400, "one wrong document, and none is stored"
    assert request(f"{node.url}/v1/documents/{credential.digest.hex()}")[0] == 404


def test_too_many_documents_in_one_deposit(node: NodeProcess) -> None:
    entry = {"category": "board_certification", "subject": "0" * 64, "document": "x"}
    documents = [entry] * (LIMITS.documents_per_deposit + 1)
    status, _ = request(f"{node.url}/v1/documents", data=json.dumps({"documents": documents}).encode())
    assert status == 400


@pytest.mark.parametrize(
    "document", [1, None, {}, [], {"category": 1, "subject": "0" * 64, "document": "x"}, {"category": "x"}]
)
def test_deposits_of_another_shape(node: NodeProcess, document: object) -> None:
    assert request(f"{node.url}/v1/documents", data=json.dumps({"documents": [document]}).encode())[0] == 400


# --- several clients --------------------------------------------------------------------------


async def test_two_clients_interleaved_each_get_their_own_receipts(
    made: MadeNetwork, node: NodeProcess
) -> None:
    from credchain.keys import BoxKey
    from credchain.ledger.cards import MemberCard

    first = [[_fresh(made) for _ in range(20)] for _ in range(15)]

    async def attests(client: Client) -> list[tuple[Transaction, Receipt]]:
        envelopes = [sign(made, *(attest(each) for each in part)) for part in first]
        return [(each, await client.submit(each.encoded)) for each in envelopes]

    async def refusals(client: Client) -> int:
        """The other keeps sending what is refused; it must not disturb the first."""
        count = 0
        for number in range(15):
            card = MemberCard(
                SigningKey.from_seed(bytes([number]) * 32).public, BoxKey.from_seed(b"b" * 32).public
            )
            operation = Enroll(card.encode(), bytes(64), ("radiologist",))
            with pytest.raises(Rejected):
                await client.submit(sign(made, operation, sender=HOSPITAL).encoded)
            count += 1
        return count

    async with _client(made, node) as one, _client(made, node) as two:
        sent, count = await asyncio.gather(attests(one), refusals(two))
    assert count == 15
    for transaction, receipt in sent:
        _check(made, transaction, receipt)
    assert all(await _dossier_ids(made, node, *(each for part in first for each in part)))


# --- blocks without transactions --------------------------------------------------------------


def test_an_idle_node_makes_heartbeat_blocks(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.validator(tmp_path / "home")
    with running(home) as node:

        def height() -> int:
            return int(request_json(f"{node.url}/v1/status")[1]["height"])

        before = height()
        wait_until(lambda: height() > before, "a heartbeat")
        assert node.stop() == 0
    store = LedgerStore(home.ledger, made.network)
    last = store.block(store.height())
    assert last is not None
    assert last[0].transactions == ()
    store.close()
    audit(home.ledger, made.network)


# --- stopping and starting --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_node_in_order_and_it_goes_on_from_there(
    made: MadeNetwork, tmp_path: Path, number: signal.Signals
) -> None:
    home = made.validator(tmp_path / "home")
    credentials = [_fresh(made), _fresh(made)]
    transactions = [sign(made, attest(each)) for each in credentials]
    with running(home) as node:
        first = _receipt(_submit(node, transactions[0])[1])
        assert node.stop(number) == 0
        assert "Traceback" not in node.log.read_text()
    assert audit(home.ledger, made.network).attestations == 1
    with running(home) as node:
        status, body = _submit(node, transactions[0])
        assert (status, body["rule"]) == (409, "repeated")
        assert _receipt(body).certified.header == first.certified.header
        second = _receipt(_submit(node, transactions[1])[1])
        assert second.certified.header.height > first.certified.header.height
        assert node.stop(number) == 0
    assert audit(home.ledger, made.network).attestations == 2


async def _load(
    made: MadeNetwork, node: NodeProcess, kill_after: int
) -> tuple[dict[Digest, Receipt], list[Transaction]]:
    """Submit from several clients until so many receipts came, then SIGKILL."""
    receipts: dict[Digest, Receipt] = {}
    sent: list[Transaction] = []
    dead = False

    async def one(client: Client) -> None:
        nonlocal dead
        while not dead:
            transaction = sign(made, *(attest(_fresh(made)) for _ in range(3)))
            sent.append(transaction)
            try:
                receipts[transaction.id] = await client.submit(transaction.encoded)
            except NetworkError:
                return
            if len(receipts) >= kill_after and not dead:
                dead = True
                node.process.kill()

    async with _client(made, node) as first, _client(made, node) as second:
        await asyncio.gather(*(one(client) for client in (first, first, second, second)))
    return receipts, sent


@pytest.mark.parametrize("kill_after", [1, 7, 23])
async def test_every_receipt_given_out_before_a_kill_is_on_the_ledger_once(
    made: MadeNetwork, tmp_path: Path, kill_after: int
) -> None:
    home = made.validator(tmp_path / "home")
    with running(home) as node:
        receipts, sent = await _load(made, node, kill_after)
        assert node.kill() == -signal.SIGKILL
    assert len(receipts) >= kill_after
    with running(home) as node:
        async with _client(made, node) as client:
            again = await asyncio.gather(*(client.submit(each.encoded) for each in sent))
        for transaction, receipt in zip(sent, again, strict=True):
            _check(made, transaction, receipt)
            if transaction.id in receipts:
                assert receipt.certified.header == receipts[transaction.id].certified.header
        assert node.stop() == 0
    assert audit(home.ledger, made.network).attestations == 3 * len(sent)
    store = LedgerStore(home.ledger, made.network)
    found = [row[0] for row in store.rows("select id from transactions order by height, position")]
    assert sorted(found) == sorted(each.id for each in sent)
    store.close()


# --- what keeps a node from running -----------------------------------------------------------


def _run(home: Path, **variables: str) -> tuple[int, str]:
    done = credchain("node", "run", "--home", home, **variables)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_second_node_in_the_same_home_is_refused(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.validator(tmp_path / "home")
    with running(home) as node:
        code, told = _run(home.path)
        assert code == 6
        assert "in use by another process" in told
        assert str(node.process.pid) in told
        assert request(f"{node.url}/healthz")[0] == 200
        assert node.kill() == -signal.SIGKILL
    with running(home) as node:
        assert node.stop() == 0


def test_a_port_in_use_is_named(made: MadeNetwork, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        home = made.validator(tmp_path / "home", port)
        code, told = _run(home.path)
    assert code == 6
    assert f"127.0.0.1:{port}" in told
    assert audit(home.ledger, made.network).transactions == 0
    with running(home) as node:
        assert node.stop() == 0


def test_a_wrong_passphrase(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.validator(tmp_path / "home")
    code, told = _run(home.path, CREDCHAIN_PASSPHRASE="wrong")
    assert code == 2
    assert "passphrase" in told
    assert not home.ledger.exists()


def test_a_passphrase_that_is_no_text(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.validator(tmp_path / "home")
    code, told = _run(home.path, CREDCHAIN_PASSPHRASE=os.fsdecode(b"\xff\xfe"))
    assert code == 2
    assert "passphrase" in told


def test_a_member_that_is_no_validator_runs_no_node(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.member(ISSUER, tmp_path / "home")
    code, told = _run(home.path)
    assert code == 2
    assert "validator" in told


def test_keys_that_others_can_read(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.validator(tmp_path / "home")
    home.keys.chmod(0o640)
    code, told = _run(home.path)
    assert code == 2
    assert "chmod 600" in told


@pytest.mark.parametrize("text", ["", "not toml =", 'listen_peer = 1\napi = "http://127.0.0.1:1"'])
def test_settings_that_are_wrong(made: MadeNetwork, tmp_path: Path, text: str) -> None:
    home = made.validator(tmp_path / "home")
    home.node_settings.write_text(text)
    code, told = _run(home.path)
    assert code == 2
    assert "node.toml" in told


def test_a_damaged_ledger_stops_the_node_before_it_signs(made: MadeNetwork, tmp_path: Path) -> None:
    import sqlite3

    home = made.validator(tmp_path / "home")
    with running(home) as node:
        assert _submit(node, sign(made, attest(_fresh(made))))[0] == 200
        assert node.stop() == 0
    with closing(sqlite3.connect(home.ledger)) as conn, conn:
        conn.execute("delete from state where kind = 'dossier'")
    height = LedgerStore(home.ledger, made.network).height()
    code, told = _run(home.path)
    assert code == 1
    assert "audit" in told
    assert LedgerStore(home.ledger, made.network).height() == height


def test_a_damaged_genesis_state_stops_the_node_before_it_signs(made: MadeNetwork, tmp_path: Path) -> None:
    import sqlite3

    home = made.validator(tmp_path / "home")
    LedgerStore(home.ledger, made.network).close()
    with closing(sqlite3.connect(home.ledger)) as conn, conn:
        conn.execute("delete from state where rowid = (select max(rowid) from state where kind = 'member')")
    node = start_node(home, wait=False)
    try:
        wait_until(
            lambda: node.process.poll() is not None or LedgerStore(home.ledger, made.network).height() > 0,
            "the node to refuse or to sign",
        )
        assert LedgerStore(home.ledger, made.network).height() == 0
        assert node.process.wait(60) == 1
    finally:
        node.kill()


def test_a_ledger_that_cannot_be_written_ends_the_node(made: MadeNetwork, tmp_path: Path) -> None:
    """A disk that fails: no receipt is given, and the node ends with an error instead of going on."""
    import sqlite3

    home = made.validator(tmp_path / "home")
    transaction = sign(made, attest(_fresh(made)))
    with running(home) as node:
        with closing(sqlite3.connect(home.ledger)) as conn, conn:
            conn.execute(
                "create trigger full before insert on blocks begin select raise(abort, 'disk is full'); end"
            )
        try:
            status, _ = request(f"{node.url}/v1/transactions", data=transaction.encoded, content=_MSGPACK)
        except OSError:
            status = 0
        assert status == 0 or status >= 500
        wait_until(lambda: node.process.poll() is not None, "the node to end")
        assert node.process.returncode == 1
        assert "disk is full" in node.log.read_text()
        node.kill()
    with closing(sqlite3.connect(home.ledger)) as conn, conn:
        conn.execute("drop trigger full")
    with running(home) as node:
        _check(made, transaction, _receipt(_submit(node, transaction)[1]))
        assert node.stop() == 0
    assert audit(home.ledger, made.network).attestations == 1


# --- logs -------------------------------------------------------------------------------------


def test_json_logs_are_json_lines(made: MadeNetwork, tmp_path: Path) -> None:
    home = made.validator(tmp_path / "home")
    text = home.node_settings.read_text().replace('log_format = "text"', 'log_format = "json"')
    home.node_settings.write_text(text)
    with running(home) as node:
        assert _submit(node, sign(made, attest(_fresh(made))))[0] == 200
        assert node.stop() == 0
    lines = [line for line in node.log.read_text().splitlines() if not line.startswith("node is up")]
    events = [json.loads(line)["event"] for line in lines]
    assert {"started", "committed", "stopping"} <= set(events)


def test_a_log_holds_no_secret_and_nothing_of_a_person(made: MadeNetwork, tmp_path: Path) -> None:
    """Also where requests are odd, and where a client goes away in the middle of one."""
    home = made.validator(tmp_path / "home")
    credential = _fresh(made)
    pair = made.keys(VALIDATOR)
    with running(home) as node:
        transaction = sign(made, attest(credential))
        assert _submit(node, transaction)[0] == 200
        assert _submit(node, transaction)[0] == 409
        assert _submit(node, b"2012345676")[0] == 400
        for path in ("/v1/npi/2012345676", "/v1/documents/2012345676", "/v1/members?after=2012345676"):
            request(node.url + path)
        address = node.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as gone:
            gone.sendall(b"POST /v1/documents?2012345676 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert node.stop() == 0
    text = node.log.read_text().lower()
    assert "committed height=" in text
    secrets = [pair.signing.secret.hex()[:64], pair.encryption.secret.hex(), PASSPHRASE.lower()]
    persons = ["2012345676", "navarro", credential.text[:40].lower(), credential.digest.hex()]
    assert [each for each in (*secrets, *persons, "begin private key") if each in text] == []


# --- HTTPS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MadeNetwork, NodeProcess]]:
    made = make_network(tmp_path_factory.mktemp("https"), https=True)
    home = made.validator(tmp_path_factory.mktemp("https-node") / "home")
    with running(home) as node:
        yield made, node


async def test_an_https_node_with_its_pinned_certificate(https: tuple[MadeNetwork, NodeProcess]) -> None:
    made, node = https
    assert node.url.startswith("https://")
    transaction = sign(made, attest(make_credential(made, 1)))
    async with _client(made, node) as client:
        _check(made, transaction, await client.submit(transaction.encoded))
        assert (await client.head()).header.network == made.network.id


async def test_a_client_with_another_certificate_pinned_refuses(
    https: tuple[MadeNetwork, NodeProcess], tmp_path: Path
) -> None:
    from credchain.node.tls import make_certificate

    made, node = https
    other = make_certificate("another", tmp_path / "key.pem", tmp_path / "certificate.pem")
    nodes = tuple(replace(each, certificate=other) for each in made.network.nodes)
    async with Client(replace(made.network, nodes=nodes), now=now, urls=[node.url]) as client:
        with pytest.raises(NetworkError, match="certificate"):
            await client.head()
        with pytest.raises(NetworkError, match="certificate"):
            await client.submit(sign(made, attest(make_credential(made, 2))).encoded)


async def test_a_client_without_any_certificate_refuses(https: tuple[MadeNetwork, NodeProcess]) -> None:
    made, node = https
    nodes = tuple(replace(each, certificate=None) for each in made.network.nodes)
    async with Client(replace(made.network, nodes=nodes), now=now, urls=[node.url]) as client:
        with pytest.raises(NetworkError):
            await client.head()


async def test_plain_http_to_an_https_node(https: tuple[MadeNetwork, NodeProcess]) -> None:
    made, node = https
    async with Client(made.network, now=now, urls=[node.url.replace("https", "http")]) as client:
        with pytest.raises(NetworkError):
            await client.head()


async def test_an_old_tls_version_is_refused(https: tuple[MadeNetwork, NodeProcess]) -> None:
    import ssl

    _, node = https
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{node.url}/healthz", ssl=context)


def test_the_network_file_pins_the_certificate_that_the_node_serves(
    https: tuple[MadeNetwork, NodeProcess],
) -> None:
    import ssl

    made, node = https
    host, _, port = node.url.removeprefix("https://").rpartition(":")
    served = ssl.get_server_certificate((host, int(port)))
    pinned = made.network.nodes[0].certificate
    assert pinned is not None
    assert ssl.PEM_cert_to_DER_cert(served) == ssl.PEM_cert_to_DER_cert(pinned)


# --- node status ------------------------------------------------------------------------------


def test_node_status_of_a_node_that_is_up_and_of_one_that_is_not(
    made: MadeNetwork, node: NodeProcess, tmp_path: Path
) -> None:
    home = made.member(HOSPITAL, tmp_path / "home")
    up = credchain("node", "status", "--home", home.path, "--node", node.url, "--json")
    assert up.returncode == 0
    (found,) = json.loads(up.stdout)["nodes"]
    assert (found["url"], found["reachable"], found["problem"]) == (node.url, True, None)
    down = credchain(
        "node", "status", "--home", home.path, "--node", f"http://127.0.0.1:{free_port()}", "--json"
    )
    assert down.returncode == 6
    (found,) = json.loads(down.stdout)["nodes"]
    assert (found["reachable"], found["height"]) == (False, None)
