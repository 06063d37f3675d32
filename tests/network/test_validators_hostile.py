"""One validator is an impostor: it has a real one's home, keys and certificate, and says what it likes.

It floods, sends garbage and frames that are too large, opens a thousand connections, serves forged
and gapped blocks, and contradicts itself. The other three are all that a quorum needs, so each of them
must come through. Each under load.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

import aiohttp
import pytest

from credchain.certificates import Certificate, Height, View
from credchain.consensus.messages import (
    COMMIT,
    PREPARE,
    Beacon,
    Blocks,
    CertifiedBlock,
    FetchBlocks,
    Message,
    PrePrepare,
    ViewChange,
    Vote,
    decode_message,
    encode_message,
)
from credchain.encoding import Digest
from credchain.errors import InvalidInput
from credchain.keys import SigningKey
from credchain.ledger.blocks import Block
from credchain.ledger.transactions import encode_batch
from credchain.limits import LIMITS
from credchain.node.peers import Peers, peer_path
from credchain.node.settings import Address
from credchain.node.tls import certificate_der, peer_client_context
from credchain.storage.ledger_store import LedgerStore

from .node_process import PASSPHRASE, PATIENCE
from .validators import CATCH_UP_PATIENCE, Background, Validator, ValidatorNetwork, wait_until

pytestmark = pytest.mark.long

_MESSAGE: Final = b"\x01"
_TRANSACTIONS: Final = b"\x02"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidatorNetwork]:
    with ValidatorNetwork(tmp_path_factory.mktemp("hostile")).running() as network:
        yield network


@pytest.fixture(autouse=True)
def _whole(network: ValidatorNetwork) -> None:
    network.whole()


# --- the impostor -----------------------------------------------------------------------------


@dataclass
class Impostor:
    """Sits where a real validator was, on its port, with its keys. ``heard`` are the last messages."""

    network: ValidatorNetwork
    place: Validator
    loop: Background
    answer: Callable[[Impostor, int, Message], None]
    asked: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        home = self.place.home
        self.signing: SigningKey = home.unlock(PASSPHRASE).signing
        self.peers = Peers(
            self.network.network,
            home.did(),
            home.tls_certificate,
            home.tls_key,
            Address("127.0.0.1", self.place.peer_port),
            self._receive,
        )

    def _receive(self, sender: int, frame: bytes) -> None:
        self.frames += 1
        if frame[:1] != _MESSAGE:
            return
        with suppress(InvalidInput):
            self.answer(self, sender, decode_message(frame[1:]))

    def say(self, message: Message, to: int | None = None) -> None:
        frame = _MESSAGE + encode_message(message)
        if to is None:
            self.peers.broadcast(frame)
        else:
            self.peers.send(to, frame)

    def vote(self, phase: str, height: int, view: int, block: Digest) -> Vote:
        vote = Vote(phase, Height(height), View(view), block, self.place.index)
        return replace(vote, signature=self.signing.sign(vote.signed(self.network.network.id)))

    def start(self) -> None:
        self.loop.run(self.peers.start())
        alive = [each.index for each in self.network if each.running]
        wait_until(
            lambda: all(each.connected for each in self.peers.status() if each.index in alive),
            "the impostor's links",
        )

    def stop(self) -> None:
        self.loop.run(self.peers.stop())


@contextmanager
def impostor(
    network: ValidatorNetwork,
    place: Validator,
    answer: Callable[[Impostor, int, Message], None] = lambda own, sender, message: None,
    *,
    linked: bool = True,
) -> Iterator[Impostor]:
    """The validator is stopped, and this one in its place until the body ends; then it is back."""
    if place.running:
        place.kill()
    loop = Background()
    own = Impostor(network, place, loop, answer)
    try:
        if linked:
            own.start()
        yield own
    finally:
        if linked:
            own.stop()
        loop.close()


def _back(network: ValidatorNetwork, place: Validator) -> None:
    network.start(place)
    network.caught_up(place)


# --- noise ------------------------------------------------------------------------------------


def test_a_flood_of_garbage(network: ValidatorNetwork) -> None:
    """Frames of no kind, frames that are no message, messages whose signatures do not hold, of heights and
    views that are none, transactions of nobody: as fast as they are taken."""
    place = network[1]
    others = network.others(place)
    with network.load() as load, impostor(network, place) as own:
        own.loop.loop.call_soon_threadsafe(own.loop.loop.create_task, _flood(own))
        network.committed(20, others)
        load.more(50)
        sizes = [each.memory() for each in others]
        network.committed(20, others)
        assert all(each.memory() < 2 * size for each, size in zip(others, sizes, strict=True))
    with network.load() as after:
        _back(network, place)
        after.more(5)
    network.account(load, after)


async def _flood(own: Impostor) -> None:
    chance = random.Random("flood")
    makers = (
        lambda: chance.randbytes(chance.randrange(200)),
        lambda: b"",
        lambda: _MESSAGE + chance.randbytes(300),
        lambda: _TRANSACTIONS + chance.randbytes(300),
        lambda: _MESSAGE + b"\x81" * 5_000,
        lambda: _MESSAGE + encode_message(_unsigned_vote(own, chance)),
        lambda: _MESSAGE + encode_message(_far_view(own, chance)),
        lambda: _TRANSACTIONS + encode_batch([_altered(own.network.transaction().encoded, chance)] * 3),
        lambda: _MESSAGE + encode_message(FetchBlocks(Height(1))),
        lambda: _MESSAGE + encode_message(Beacon(Height(2**50), View(2**50), True, True)),
    )
    while True:
        for _ in range(20):
            own.peers.broadcast(chance.choice(makers)())
        await asyncio.sleep(0.005)


def _unsigned_vote(own: Impostor, chance: random.Random) -> Vote:
    height = Height(1 + chance.randrange(5_000))
    block = Digest(chance.randbytes(32))
    phase = chance.choice((PREPARE, COMMIT))
    return Vote(phase, height, View(chance.randrange(50)), block, chance.randrange(4), chance.randbytes(64))


def _far_view(own: Impostor, chance: random.Random) -> ViewChange:
    """Signed, but without the certificate that it must show; of a view up to 2^53."""
    height = Height(1 + chance.randrange(5_000))
    view = View(2 ** chance.randrange(53))
    change = ViewChange(height, view, own.place.index, None, None)
    return replace(change, signature=own.signing.sign(change.signed(own.network.network.id)))


def _altered(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_frames_that_are_too_large(network: ValidatorNetwork) -> None:
    """Such a link ends, each time anew; the frame is not kept."""
    place = network[2]
    others = network.others(place)
    with network.load() as load, impostor(network, place, linked=False) as own:
        for _ in range(3):
            for victim in others:
                assert own.loop.run(_send_too_large(own, victim)), "the link did not end"
        network.committed(10, others)
        load.more(20)
        assert all("frames_are_broken" in each.said() for each in others)
    with network.load() as after:
        _back(network, place)
        after.more(5)
    network.account(load, after)


async def _send_too_large(own: Impostor, victim: Validator) -> bool:
    """Whether the victim ended the link."""
    network, home = own.network.network, own.place.home
    pinned = certificate_der(network.nodes[victim.index].certificate or "", "certificate")
    context = peer_client_context(home.tls_certificate, home.tls_key, pinned)
    url = f"wss://127.0.0.1:{victim.peer_port}{peer_path(network.id)}"
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, ssl=context, autoping=False) as link,
    ):
        with suppress(ConnectionError, aiohttp.ClientError):
            await link.send_bytes(_MESSAGE + bytes(LIMITS.message_bytes + 1_000))
        while True:
            message = await link.receive()
            if message.type not in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                return True


def test_a_thousand_connections(network: ValidatorNetwork) -> None:
    """To the peer port and to the clients' of one validator, silent ones, all at once: those who are
    somebody are served."""
    victim = network[0]
    with network.load() as load:
        load.more(10)
        for port in (victim.peer_port, int(victim.url.rpartition(":")[2])):
            with ExitStack() as held:
                for _ in range(1_000):
                    held.enter_context(_dial(port))
                network.committed(10)
                load.more(20)
                assert victim.status() is not None
        network.whole()
    network.account(load)


def _dial(port: int) -> socket.socket:
    found = socket.socket()
    found.setblocking(False)
    found.connect_ex(("127.0.0.1", port))
    return found


# --- blocks that do not hold ------------------------------------------------------------------


@dataclass
class Forger:
    """Answers each question for blocks with ones that do not hold, another kind each time."""

    stored: list[tuple[bytes, bytes]]
    """(block, certificate), from height 1 on."""
    kinds: dict[str, int] = field(default_factory=dict)

    def answer(self, own: Impostor, sender: int, message: Message) -> None:
        if not isinstance(message, FetchBlocks):
            return
        forgeries = (
            self._gapped,
            self._of_another_height,
            self._with_forged_certificates,
            self._without_its_transactions,
            self._nothing,
        )
        made = forgeries[own.asked % len(forgeries)]
        own.asked += 1
        self.kinds[made.__name__] = self.kinds.get(made.__name__, 0) + 1
        own.say(Blocks(message.height, tuple(made(message.height))), sender)

    def _range(self, height: int) -> list[CertifiedBlock]:
        chosen = self.stored[height - 1 : height + 7]
        return [CertifiedBlock(block, Certificate.decode(certificate)) for block, certificate in chosen]

    def _gapped(self, height: int) -> list[CertifiedBlock]:
        found = self._range(height)
        return found[:1] + found[2:]

    def _of_another_height(self, height: int) -> list[CertifiedBlock]:
        return self._range(height + 1)

    def _with_forged_certificates(self, height: int) -> list[CertifiedBlock]:
        return [
            CertifiedBlock(
                each.block,
                replace(
                    each.certificate,
                    signatures=tuple((place, bytes(64)) for place, _ in each.certificate.signatures),
                ),
            )
            for each in self._range(height)
        ]

    def _without_its_transactions(self, height: int) -> list[CertifiedBlock]:
        """Header and certificate hold; the body is not the header's."""
        found = []
        for each in self._range(height):
            block = Block.decode(each.block)
            found.append(CertifiedBlock(replace(block, transactions=()).encoded, each.certificate))
        return found

    def _nothing(self, height: int) -> list[CertifiedBlock]:
        return []


def test_forged_and_gapped_blocks_for_one_that_catches_up(network: ValidatorNetwork) -> None:
    """The liar claims to be ahead of all. What it gives is refused, the next is asked; the three others
    commit again, which takes the one that catches up."""
    laggard, place = network[0], network[3]
    with network.load() as load:
        laggard.kill()
        network.committed(100, network.others(laggard), CATCH_UP_PATIENCE)
        forger = Forger(_stored_blocks(network, place))
        with impostor(network, place, forger.answer) as own:
            beacons = own.loop.loop.create_task
            own.loop.loop.call_soon_threadsafe(beacons, _claim(own, len(forger.stored) + 500))
            network.start(laggard)
            network.committed(5, network.others(place), CATCH_UP_PATIENCE)
            wait_until(lambda: own.asked >= 10, "the liar to be asked")
            network.committed(5, network.others(place))
            assert forger.kinds, "nothing was forged"
        _back(network, place)
    network.account(load)


def test_forged_blocks_that_nobody_asked_for(network: ValidatorNetwork) -> None:
    """As many as the link takes: they must not keep out the honest answer."""
    laggard, place = network[1], network[3]
    with network.load() as load:
        laggard.kill()
        network.committed(60, network.others(laggard), CATCH_UP_PATIENCE)
        forger = Forger(_stored_blocks(network, place))
        with impostor(network, place) as own:
            own.loop.loop.call_soon_threadsafe(own.loop.loop.create_task, _spam(own, forger, laggard.index))
            network.start(laggard)
            network.committed(5, network.others(place), CATCH_UP_PATIENCE)
        _back(network, place)
    network.account(load)


async def _claim(own: Impostor, height: int) -> None:
    while True:
        own.say(Beacon(Height(height), View(0), True, True))
        await asyncio.sleep(0.2)


async def _spam(own: Impostor, forger: Forger, to: int) -> None:
    """For each height that the laggard may work at, blocks that are certified and have no body."""
    frames = [
        _MESSAGE + encode_message(Blocks(Height(height), tuple(forger._without_its_transactions(height)[:1])))
        for height in range(1, len(forger.stored))
    ]
    while True:
        for frame in frames[-200:]:
            own.peers.send(to, frame)
        await asyncio.sleep(0.02)


def _stored_blocks(network: ValidatorNetwork, place: Validator) -> list[tuple[bytes, bytes]]:
    """What this validator has, from its database."""
    store = LedgerStore(place.home.ledger, network.network)
    try:
        blocks = []
        for height in range(1, store.height() + 1):
            found = store.block(Height(height))
            assert found is not None
            blocks.append((found[0].encoded, found[1].encode()))
        return blocks
    finally:
        store.close()


# --- two things at once -----------------------------------------------------------------------


def test_conflicting_votes_are_evidence(network: ValidatorNetwork) -> None:
    """Two votes of one validator for the same height and view: shown by the others, and kept by them."""
    place = network[2]
    others = network.others(place)

    def contradict(own: Impostor, sender: int, message: Message) -> None:
        if isinstance(message, PrePrepare | Vote):
            vote = message.vote if isinstance(message, PrePrepare) else message
            for phase in (PREPARE, COMMIT):
                for name in (b"one", b"other"):
                    block = Digest(sha256(name).digest())
                    own.say(own.vote(phase, vote.height, vote.view, block))

    did = network.network.nodes[place.index].validator
    with network.load() as load:
        with impostor(network, place, contradict):
            wait_until(lambda: all(did in _accused(each) for each in others), "all to show the evidence")
            network.committed(5, others)
        _back(network, place)
        for validator in others:
            validator.stop()
            network.start(validator)
            assert did in _accused(validator), "evidence was not kept"
            network.caught_up(validator)
    network.account(load, accused=[place])


def _accused(validator: Validator) -> set[str]:
    status = validator.status()
    return set() if status is None else {each["validator"] for each in status["evidence"]}


def test_afterwards_every_ledger_is_what_its_blocks_say(network: ValidatorNetwork) -> None:
    network.audit()
