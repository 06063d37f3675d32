"""The outbox against a client that answers as told: every envelope's fate is written down once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from credchain.certificates import Millis
from credchain.client import Client
from credchain.encoding import Digest
from credchain.errors import NetworkError, Rejected
from credchain.issuing.outbox import LIFETIME, Outbox
from credchain.ledger.operations import SetStatus
from credchain.ledger.transactions import Transaction
from credchain.mailbox import Request
from credchain.storage.keyfile import KeyPair
from credchain.storage.member_store import REFUSED, Issued, MemberStore
from tests.values import replace

NETWORK = Digest(b"n" * 32)
PAIR = KeyPair.from_seeds(b"s" * 32, b"e" * 32)
START = Millis(1_800_000_000_000)
CHANGE = SetStatus("cme_credit", Digest(b"u" * 32), Digest(b"a" * 32), "suspended", "fraud")


@dataclass
class Node:
    """What a client would tell: each submission is refused by the next rule."""

    rules: list[str]
    time: int = START
    erased: frozenset[Digest] = frozenset()
    submitted: list[bytes] = field(default_factory=list)
    mailed: list[Digest] = field(default_factory=list)
    network: Any = field(
        default_factory=lambda: SimpleNamespace(
            id=NETWORK, category=lambda name: SimpleNamespace(published=False)
        )
    )

    async def submit(self, data: bytes) -> None:
        self.submitted.append(data)
        raise Rejected(self.rules.pop(0), "refused")

    async def outcome(self, data: bytes, identifier: Digest) -> Any:
        header = SimpleNamespace(time=self.time)
        return SimpleNamespace(receipt=None, head=SimpleNamespace(header=header))

    async def deposit(self, documents: Any) -> None:
        raise AssertionError("nothing here is published")

    async def deposit_mail(self, request: Request) -> None:
        found = [item.attestation for item in request.items]
        if self.erased.intersection(found):
            raise Rejected("erased", "items[0] was erased")
        self.mailed += found


def office(tmp_path: Path, node: Node) -> tuple[MemberStore, Outbox]:
    store = MemberStore(tmp_path / "member.db", NETWORK)
    return store, Outbox(store, cast(Client, node), PAIR, lambda: START)


def test_a_lost_envelope_whose_successor_is_refused_is_closed(tmp_path: Path) -> None:
    """Its sender is told of a refusal: no later run may send it after all."""
    node = Node(["expired", "transition"], time=START + LIFETIME + 1)
    store, outbox = office(tmp_path, node)
    envelope = outbox.enqueue([CHANGE])
    with pytest.raises(Rejected) as refusal:
        asyncio.run(outbox.send(envelope))
    assert refusal.value.rule == "transition"
    first, second = (Transaction.decode(each) for each in node.submitted)
    assert (first.operations, second.operations) == ((CHANGE,), (CHANGE,))
    assert store.pending() == []
    closed = store.envelope(envelope.id)
    assert closed is not None
    assert closed.state == REFUSED
    store.close()


def test_a_successor_that_expires_at_once_stays_pending(tmp_path: Path) -> None:
    """A node that calls everything expired is not believed for ever: nothing is known, so it stays."""
    node = Node(["expired", "expired"], time=START + LIFETIME + 1)
    store, outbox = office(tmp_path, node)
    envelope = outbox.enqueue([CHANGE])
    with pytest.raises(NetworkError):
        asyncio.run(outbox.send(envelope))
    assert [each.id for each in store.pending()] == [envelope.id]
    store.close()


def issued(number: int) -> Issued:
    each = Digest(bytes([number]) * 32)
    return Issued(
        row=each,
        envelope=None,
        state="",
        attestation=each,
        category="cme_credit",
        npi=None,
        subject=each,
        credential=each,
        document=f"document {number}",
        claims={},
        matching="",
        valid_from=START,
        valid_until=None,
        recipient=PAIR.did,
        encryption_key=PAIR.encryption.public,
    )


def test_an_erased_sealed_document_does_not_hold_up_the_others(tmp_path: Path) -> None:
    rows = [issued(number) for number in (1, 2, 3)]
    node = Node([], erased=frozenset([rows[1].attestation]))
    store, outbox = office(tmp_path, node)
    envelope = outbox.enqueue([replace(CHANGE, attestation=each.attestation) for each in rows], rows)
    store.commit(envelope, cast(Any, 1), START, b"receipt")
    assert asyncio.run(outbox.deliver()) == 3
    assert node.mailed == [rows[0].attestation, rows[2].attestation]
    assert store.undelivered(10) == []
    store.close()
