"""A follower, whose DID is not among the validators, commits what they commit and signs nothing."""

from __future__ import annotations

from collections import deque

from credchain import keys
from credchain.consensus.events import (
    Commit,
    Committed,
    Execute,
    Executed,
    Identity,
    Input,
    Persist,
    Received,
    Send,
    Tick,
    Work,
)
from credchain.consensus.messages import Beacon, FetchBlocks, FetchBody
from credchain.consensus.record import BORN
from credchain.encoding import Digest
from credchain.keys import PublicKey

from . import subject
from .stage import Stage
from .world import Cast


def _never(message: Digest) -> bytes:
    raise AssertionError("a follower signs")


def test_a_follower_commits_and_signs_nothing() -> None:
    stage = Stage(0, Cast(4, start=1))
    world = stage.world
    ledger = stage.machines[0].ledger.up_to(1)
    identity = Identity(keys.did_of(PublicKey(b"\x05" * 32)), _never, b"\x06" * 32)
    now = stage.machines[0].now()
    follower = subject.make(identity, world.keyring.verify, world.form, ledger.chain(), BORN, now)
    inputs: deque[Input] = deque([Tick(), Work(True)])

    stage.submit(1)
    while stage.held:
        inputs.extend(Received(each.sender, each.message) for each in stage.held if each.target == 3)
        stage.deliver(rounds=1)
    while inputs:
        for effect in follower.step(inputs.popleft(), now):
            match effect:
                case Execute(block, digest):
                    inputs.append(Executed(digest, ledger.execute(block, digest)))
                case Commit(digest, certificate):
                    ledger.commit(digest, certificate)
                    inputs.append(Committed(ledger.chain()))
                case Send(_, message):
                    assert isinstance(message, Beacon | FetchBlocks | FetchBody)
                case Persist(record):
                    assert not record.votes and record.view_change is None
    assert ledger.height == 2
