"""The mailbox of a node: who may leave what, who gets it, and how it ends.

Through a `LedgerPort` in process, which continues the ledger of a `World`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from credchain.certificates import Millis
from credchain.client import Client, Mail
from credchain.encoding import Digest
from credchain.errors import CredchainError, InvalidInput, NetworkError, ProofError, Rejected
from credchain.keys import Did, seal
from credchain.ledger.operations import Attest, Erase, Operation
from credchain.ledger.records import Dossier, Member
from credchain.limits import LIMITS
from credchain.mailbox import ACKNOWLEDGE, COLLECT, DEPOSIT, WINDOW, Item, Request, sign_request
from credchain.node.ledger_port import LedgerPort
from credchain.storage.keyfile import KeyPair
from credchain.storage.wallet_store import WalletStore
from credchain.verification.evidence import ProvedState, open_answer
from credchain.wallet.syncing import Wallet
from tests.ledger_world import (
    BOARD,
    HOSPITAL,
    IDENTITY_ISSUER,
    PROVIDER,
    Attested,
    Person,
    World,
    box_key,
    did,
    npi,
    signing_key,
    some_digest,
)
from tests.values import replace

ELENA, MALLORY = Person("Elena's wallet", npi(1)), Person("Mallory's wallet", npi(2))


@dataclass
class Node:
    """A world, and a port that holds the same ledger."""

    world: World
    port: LedgerPort

    @property
    def now(self) -> Millis:
        return self.world.now

    def follow(self, *operations: Operation, sender: str = PROVIDER) -> None:
        """Commit these in the world and in the port alike."""
        executed = self.world.commit([self.world.transaction(sender, *operations)])
        self.port.commit(self.port.validate(executed.block), self.world.certified.certificate)

    def item(self, attested: Attested, person: Person = ELENA, **differing: Any) -> Item:
        sealed = b"sealed " + attested.id
        return replace(
            Item(person.did, attested.category, attested.subject, attested.id, sealed), **differing
        )

    def request(self, purpose: str, name: str, **differing: Any) -> Request:
        given: dict[str, Any] = {
            "purpose": purpose,
            "network": self.world.network.id,
            "member": did(name),
            "signer": signing_key(name),
            "time": self.now,
        }
        return sign_request(**{**given, **differing})

    def deposit(self, *items: Item, name: str = PROVIDER, at: int | None = None, **differing: Any) -> int:
        now = Millis(self.now if at is None else at)
        return self.port.deposit_mail(
            self.request(DEPOSIT, name, **{"items": items, "time": now, **differing}), now
        )

    def collect(self, person: Person = ELENA, at: int | None = None, **differing: Any) -> list[Item]:
        now = Millis(self.now if at is None else at)
        return self.port.collect_mail(self.request(COLLECT, person.name, **{"time": now, **differing}), now)

    def acknowledge(self, *attestations: Digest, person: Person = ELENA) -> None:
        request = self.request(ACKNOWLEDGE, person.name, attestations=attestations)
        self.port.acknowledge_mail(request, self.now)

    def waiting(self) -> int:
        return self.port.counts()["mailbox"]


def make_world(credits_: int = 3) -> tuple[World, list[Attested], list[Any]]:
    """A world with so many CME credits of Elena's, and its blocks with their certificates."""
    world = World()
    blocks: list[Any] = []
    keep = world._keep

    def keep_block(executed: Any) -> None:
        keep(executed)
        blocks.append((executed.block, world.certified.certificate))

    world._keep = keep_block  # type: ignore[method-assign]  # the port needs every block
    world.enroll(ELENA)
    world.enroll(MALLORY)
    made = [
        world.attest_to(ELENA, "cme_credit", activity_title=f"Activity {number}")
        for number in range(credits_)
    ]
    made.append(world.attest_to(ELENA, "board_certification"))
    world._keep = keep  # type: ignore[method-assign]  # from here `Node.follow` commits to both
    return world, made, blocks


@contextmanager
def opened(path: Path, credits_: int = 3) -> Iterator[tuple[Node, list[Attested]]]:
    world, made, blocks = make_world(credits_)
    port = LedgerPort(path / "ledger.db", world.network)
    try:
        for block, certificate in blocks:
            port.commit(port.validate(block), certificate)
        yield Node(world, port), made
    finally:
        port.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Node, list[Attested]]]:
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def node(both: tuple[Node, list[Attested]]) -> Node:
    return both[0]


@pytest.fixture
def cme(both: tuple[Node, list[Attested]]) -> list[Attested]:
    return both[1][:-1]


@pytest.fixture
def board(both: tuple[Node, list[Attested]]) -> Attested:
    return both[1][-1]


def assert_refused(node: Node, kind: type[CredchainError], *items: Item, **differing: Any) -> CredchainError:
    before = node.waiting()
    with pytest.raises(kind) as caught:
        node.deposit(*items, **differing)
    assert node.waiting() == before
    return caught.value


# Depositing


def test_deposited_collected_acknowledged(node: Node, cme: list[Attested]) -> None:
    items = [node.item(each) for each in cme]
    assert node.deposit(*items) == 3
    assert node.collect() == items
    assert node.collect() == items
    node.acknowledge(cme[0].id)
    assert node.collect() == items[1:]
    node.acknowledge(cme[1].id, cme[2].id)
    assert (node.collect(), node.waiting()) == ([], 0)


@pytest.mark.parametrize("name", [BOARD, HOSPITAL, ELENA.name, MALLORY.name])
def test_only_the_issuer_of_the_attestation_deposits(node: Node, cme: list[Attested], name: str) -> None:
    assert_refused(node, InvalidInput, node.item(cme[0]), name=name)


def test_a_stranger_is_refused_everything(node: Node, cme: list[Attested]) -> None:
    assert_refused(node, Rejected, node.item(cme[0]), name="Stranger")
    stranger = Person("Stranger", npi(9))
    with pytest.raises(Rejected):
        node.collect(stranger)
    with pytest.raises(Rejected):
        node.acknowledge(cme[0].id, person=stranger)


def test_another_members_name_under_ones_own_key(node: Node, cme: list[Attested]) -> None:
    assert_refused(node, Rejected, node.item(cme[0]), signer=signing_key(BOARD))
    with pytest.raises(Rejected):
        node.collect(signer=MALLORY.signer)


def test_a_wrong_signature(node: Node, cme: list[Attested]) -> None:
    node.deposit(node.item(cme[0]))
    for purpose, name in ((DEPOSIT, PROVIDER), (COLLECT, ELENA.name), (ACKNOWLEDGE, ELENA.name)):
        good = node.request(purpose, name, attestations=(cme[0].id,))
        call = {
            DEPOSIT: node.port.deposit_mail,
            COLLECT: node.port.collect_mail,
            ACKNOWLEDGE: node.port.acknowledge_mail,
        }[purpose]
        for forged in (
            replace(good, signature=bytes(64)),
            replace(good, time=Millis(good.time + 1)),
            replace(good, attestations=()),
            replace(good, purpose="mailbox-other"),
        ):
            with pytest.raises(ProofError):
                call(forged, node.now)
    assert node.waiting() == 1


def test_a_collection_that_was_overheard_does_not_acknowledge(node: Node, cme: list[Attested]) -> None:
    node.deposit(node.item(cme[0]))
    overheard = node.request(COLLECT, ELENA.name)
    with pytest.raises(ProofError):
        node.port.acknowledge_mail(replace(overheard, purpose=ACKNOWLEDGE), node.now)
    assert node.waiting() == 1


def test_a_key_that_has_ended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port reads the member record at its tip."""
    member = node.port._member(ELENA.did)
    assert member is not None
    [term] = member.keys
    ended = replace(member, keys=(replace(term, end=node.port.tip.height),))
    monkeypatch.setattr(node.port, "_member", lambda did: ended)  # rotation is a later operation
    with pytest.raises(Rejected):
        node.collect()


@pytest.mark.parametrize("off", [-WINDOW - 1, WINDOW + 1, -(10**9)])
def test_a_time_that_is_not_now(node: Node, cme: list[Attested], off: int) -> None:
    now = node.now
    with pytest.raises(InvalidInput):
        node.port.deposit_mail(
            node.request(DEPOSIT, PROVIDER, items=(node.item(cme[0]),), time=Millis(now + off)), now
        )
    with pytest.raises(InvalidInput):
        node.port.collect_mail(node.request(COLLECT, ELENA.name, time=Millis(now + off)), now)


@pytest.mark.parametrize("off", [-WINDOW, WINDOW])
def test_a_time_at_the_edge(node: Node, off: int) -> None:
    node.port.collect_mail(node.request(COLLECT, ELENA.name, time=Millis(node.now + off)), node.now)


def test_another_network(node: Node, cme: list[Attested]) -> None:
    assert_refused(node, InvalidInput, node.item(cme[0]), network=some_digest("another"))
    with pytest.raises(InvalidInput):
        node.collect(network=some_digest("another"))


def test_what_names_no_attestation_of_the_sender(node: Node, cme: list[Attested], board: Attested) -> None:
    good = node.item(cme[0])
    for wrong in (
        replace(good, attestation=some_digest("x")),
        replace(good, subject=MALLORY.subject("cme_credit")),
        replace(good, category="identity"),
        replace(good, category="zoology"),
        replace(good, recipient=did("Stranger")),
        node.item(board),
    ):
        assert_refused(node, InvalidInput, wrong)


def test_all_items_or_none(node: Node, cme: list[Attested]) -> None:
    problem = assert_refused(
        node, InvalidInput, node.item(cme[0]), node.item(cme[1], attestation=some_digest("x"))
    )
    assert problem.field == "items[1]"


def test_a_later_deposit_replaces_the_earlier(node: Node, cme: list[Attested]) -> None:
    node.deposit(node.item(cme[0]))
    again = node.item(cme[0], sealed=b"again")
    node.deposit(again)
    assert node.collect() == [again]


# Collecting


def test_nobody_gets_somebody_elses(node: Node, cme: list[Attested]) -> None:
    node.deposit(node.item(cme[0]))
    assert node.collect(MALLORY) == []
    node.acknowledge(cme[0].id, person=MALLORY)
    assert len(node.collect()) == 1


def test_page_by_page(node: Node, cme: list[Attested], monkeypatch: pytest.MonkeyPatch) -> None:
    patch_limits(monkeypatch, mailbox_items_per_collection=2)
    node.deposit(*(node.item(each) for each in cme))
    first = node.collect()
    assert [each.attestation for each in first] == [each.id for each in cme[:2]]
    node.acknowledge(*(each.attestation for each in first))
    assert [each.attestation for each in node.collect()] == [cme[2].id]


def test_an_item_that_is_deposited_again_keeps_its_place(node: Node, cme: list[Attested]) -> None:
    """Who reads on after it between two pages must still meet all that stood behind it."""
    for each in cme:
        node.deposit(node.item(each))
    first = node.collect()[0]
    node.deposit(node.item(cme[0], sealed=b"again"))
    rest = [each.attestation for each in node.collect(attestations=(first.attestation,))]
    assert rest == [each.id for each in cme[1:]]
    assert node.collect()[0].sealed == b"again"


def test_replays(node: Node, cme: list[Attested]) -> None:
    """Within its minute a request counts again, and changes nothing that its sender did not ask for."""
    deposit = node.request(DEPOSIT, PROVIDER, items=(node.item(cme[0]),))
    collect = node.request(COLLECT, ELENA.name)
    acknowledge = node.request(ACKNOWLEDGE, ELENA.name, attestations=(cme[0].id,))
    for _ in range(2):
        node.port.deposit_mail(deposit, node.now)
        assert len(node.port.collect_mail(collect, node.now)) == 1
        for _ in range(2):
            node.port.acknowledge_mail(acknowledge, node.now)
        assert node.waiting() == 0
    later = Millis(node.now + WINDOW + 1)
    for call, request in (
        (node.port.deposit_mail, deposit),
        (node.port.collect_mail, collect),
        (node.port.acknowledge_mail, acknowledge),
    ):
        with pytest.raises(InvalidInput):
            call(request, later)


# Bounds and ends


def patch_limits(monkeypatch: pytest.MonkeyPatch, **changes: int) -> None:
    monkeypatch.setattr("credchain.node.ledger_port.LIMITS", replace(LIMITS, **changes))


def test_the_quota_counts_items(node: Node, cme: list[Attested], monkeypatch: pytest.MonkeyPatch) -> None:
    patch_limits(monkeypatch, mailbox_items_per_sender=2)
    assert_refused(node, NetworkError, *(node.item(each) for each in cme))
    node.deposit(node.item(cme[0]), node.item(cme[1]))
    assert_refused(node, NetworkError, node.item(cme[2]))
    node.acknowledge(cme[0].id)
    node.deposit(node.item(cme[2]))


def test_the_quota_counts_bytes(node: Node, cme: list[Attested], monkeypatch: pytest.MonkeyPatch) -> None:
    patch_limits(monkeypatch, mailbox_bytes_per_sender=100)
    node.deposit(node.item(cme[0], sealed=bytes(60)))
    assert_refused(node, NetworkError, node.item(cme[1], sealed=bytes(41)))
    node.deposit(node.item(cme[1], sealed=bytes(40)))


def test_a_deposit_again_after_a_lost_reply_fits(
    node: Node, cme: list[Attested], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaces an item is not counted beside it."""
    patch_limits(monkeypatch, mailbox_items_per_sender=3)
    items = [node.item(each) for each in cme]
    node.deposit(*items)
    assert node.deposit(*items) == 3


def test_expired_ones_are_dropped(node: Node, cme: list[Attested]) -> None:
    node.deposit(node.item(cme[0]))
    last = node.now + LIMITS.mailbox_lifetime
    assert len(node.collect(at=last)) == 1
    assert node.collect(at=last + 1) == []
    node.deposit(node.item(cme[1]), at=last + 1)
    assert node.waiting() == 1


def test_expired_ones_do_not_count_against_the_quota(
    node: Node, cme: list[Attested], monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_limits(monkeypatch, mailbox_items_per_sender=1)
    node.deposit(node.item(cme[0]))
    node.deposit(node.item(cme[1]), at=node.now + LIMITS.mailbox_lifetime + 1)
    assert node.waiting() == 1


def test_erased_ones_are_dropped_and_not_taken_again(node: Node, cme: list[Attested]) -> None:
    node.deposit(node.item(cme[0]), node.item(cme[1]))
    node.follow(Erase("cme_credit", cme[0].subject, cme[0].id, "erasure_request"))
    assert [each.attestation for each in node.collect()] == [cme[1].id]
    assert_refused(node, Rejected, node.item(cme[0]))


def test_mail_outlives_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as (node, made):
        node.deposit(node.item(made[0]))
        node.port.close()
        node.port = LedgerPort(tmp_path / "ledger.db", node.world.network)
        assert len(node.collect()) == 1
        node.port.close()


# The wallet at the other end


class _Client:
    """As much of a client as a wallet's sync needs, straight at the port."""

    def __init__(self, node: Node) -> None:
        self.network, self.seen_height = node.world.network, 0
        self._node = node

    async def documents(self, wanted: list[tuple[str, Digest]]) -> ProvedState:
        return open_answer(self._node.port.dossiers(wanted, documents=True), self.network)

    async def dossiers(self, wanted: list[tuple[str, Digest]]) -> dict[tuple[str, Digest], Dossier]:
        state = await self.documents(wanted)
        return {each: state.dossier(*each) or Dossier(*each, ()) for each in wanted}

    async def member(self, did: Did) -> Member | None:
        return open_answer(self._node.port.members([did]), self.network).member(did)

    async def mail(self, request: Callable[[tuple[Digest, ...]], Request]) -> AsyncIterator[list[Mail]]:
        cursor: tuple[Digest, ...] = ()
        while found := self._node.port.collect_mail(request(cursor), self._node.now):
            yield [Mail(each.attestation, each.category, each.subject, each.sealed) for each in found]
            cursor = (found[-1].attestation,)

    async def document(self, credential: Digest) -> str | None:
        return self._node.port.document(credential)

    async def acknowledge_mail(self, request: Request) -> None:
        self._node.port.acknowledge_mail(request, self._node.now)


def test_a_document_that_the_wallet_cannot_place_yet_is_not_given_up(node: Node, tmp_path: Path) -> None:
    """A first sync without the NPI meets the sealed identity: a later one, with the NPI, must find it."""
    identity = node.world.issue("identity", npi(7), bound=ELENA.signer.public, **ELENA.identity_claims)
    node.follow(
        Attest("identity", identity.subject, identity.digest, identity.valid_from, None),
        sender=IDENTITY_ISSUER,
    )
    entry = node.world.dossier("identity", npi(7)).entries[0]
    sealed = seal(identity.text.encode(), box_key(ELENA.name).public)
    node.deposit(Item(ELENA.did, "identity", identity.subject, entry.id, sealed), name=IDENTITY_ISSUER)
    pair = KeyPair(ELENA.signer, box_key(ELENA.name), b"", b"", ELENA.subjects)
    store = WalletStore(tmp_path / "wallet.db", node.world.network.id, bytes(32))
    wallet = Wallet(store, cast(Client, _Client(node)), pair, lambda: node.now)
    asyncio.run(wallet.sync())
    assert store.held() == []
    asyncio.run(wallet.sync(npi(7)))
    assert [each.category for each in store.held()] == ["identity"]
    store.close()


def test_nobody_hides_a_document_behind_others(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer fills the first pages with what the wallet refuses: the identity behind it still arrives."""
    changed = replace(LIMITS, mailbox_items_per_collection=2)
    monkeypatch.setattr("credchain.node.ledger_port.LIMITS", changed)
    owners = [npi(number) for number in (31, 32, 33, 34, 35, 7)]
    for owner in owners:
        claims = ELENA.identity_claims if owner == npi(7) else {}
        identity = node.world.issue("identity", owner, bound=ELENA.signer.public, **claims)
        node.follow(
            Attest("identity", identity.subject, identity.digest, identity.valid_from, None),
            sender=IDENTITY_ISSUER,
        )
        entry = node.world.dossier("identity", owner).entries[0]
        sealed = seal(identity.text.encode(), box_key(ELENA.name).public)
        node.deposit(Item(ELENA.did, "identity", identity.subject, entry.id, sealed), name=IDENTITY_ISSUER)
    pair = KeyPair(ELENA.signer, box_key(ELENA.name), b"", b"", ELENA.subjects)
    store = WalletStore(tmp_path / "wallet.db", node.world.network.id, bytes(32))
    wallet = Wallet(store, cast(Client, _Client(node)), pair, lambda: node.now)
    synced = asyncio.run(wallet.sync(npi(7)))
    assert [each.category for each in store.held()] == ["identity"]
    assert len(synced.refused) == len(owners) - 1
    store.close()
    # What was kept is gone from the node, what was refused is not.
    monkeypatch.undo()
    assert len(node.collect()) == len(owners) - 1
