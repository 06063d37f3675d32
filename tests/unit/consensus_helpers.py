"""Statements of four validators, signed with real keys, for tests of the consensus' parts."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from credchain.certificates import Certificate, Height, Millis, Validator, ValidatorSet, View
from credchain.consensus.events import Chain, HeaderFacts, Identity, Now
from credchain.consensus.messages import COMMIT, PREPARE, NewView, Prepared, ViewChange, Vote
from credchain.consensus.record import BORN
from credchain.consensus.replica import Replica
from credchain.consensus.setting import Setting
from credchain.encoding import Digest, Fields, decode, digest, encode
from credchain.keys import Did, SigningKey, did_of, verify

NETWORK = Digest(sha256(b"network").digest())
_KEYS = sorted(
    (SigningKey.from_seed(bytes([each]) * 32) for each in range(10)), key=lambda k: did_of(k.public)
)

T = TypeVar("T", Vote, ViewChange, NewView)


def validators(count: int = 4) -> ValidatorSet:
    return ValidatorSet(tuple(Validator(did_of(key.public), key.public) for key in _KEYS[:count]))


def header(
    height: int = 1, view: int = 0, *, parent: Digest = NETWORK, time: int = 1_000, tag: int = 0
) -> bytes:
    """A header that the reader below understands; ``tag`` makes another block of the same place."""
    return encode(
        {
            "network": NETWORK,
            "height": height,
            "parent": parent,
            "view": view,
            "proposer": did_of(_KEYS[0].public),
            "time": time,
            "tag": tag,
        }
    )


def block(header_bytes: bytes) -> bytes:
    return encode({"header": header_bytes})


def digest_of(header_bytes: bytes) -> Digest:
    return digest("header", header_bytes)


class TestHeaders:
    """Reads `header` and `block`."""

    __test__ = False

    def of_header(self, data: bytes) -> HeaderFacts:
        def read(fields: Fields) -> HeaderFacts:
            fields.integer("tag")
            return HeaderFacts(
                fields.digest("network"),
                Height(fields.integer("height")),
                digest_of(data),
                fields.digest("parent"),
                View(fields.integer("view")),
                Did(fields.text("proposer")),
                Millis(fields.integer("time")),
            )

        return decode(data, read, lambda facts: {**_fields(data)}, "header")

    def of_block(self, data: bytes) -> tuple[bytes, HeaderFacts]:
        inner: bytes = decode(
            data, lambda fields: fields.binary("header"), lambda each: {"header": each}, "block"
        )
        return inner, self.of_header(inner)


def _fields(data: bytes) -> dict[str, object]:
    import msgpack

    found: dict[str, object] = msgpack.unpackb(data)
    return found


def setting(count: int = 4, *, height: int = 0, view: int = 0) -> Setting:
    """The setting of the height above a chain of that height."""
    chain_digest = NETWORK if height == 0 else digest_of(header(height))
    chain = Chain(
        network=NETWORK,
        height=height,
        digest=chain_digest,
        time=Millis(0),
        view=View(view),
        header=None if height == 0 else header(height),
        certificate=None if height == 0 else certificate(COMMIT, height, view, chain_digest),
        validators=validators(count),
    )
    return Setting(chain, TestHeaders(), verify)


def signed(statement: T, *, by: int | None = None) -> T:
    key = _KEYS[statement.validator if by is None else by]
    return replace(statement, signature=key.sign(statement.signed(NETWORK)))


def vote(phase: str, height: int, view: int, of: Digest, validator: int) -> Vote:
    return signed(Vote(phase, Height(height), View(view), of, validator))


def certificate(
    phase: str, height: int, view: int, of: Digest, signers: tuple[int, ...] = (0, 1, 2)
) -> Certificate:
    votes = [vote(phase, height, view, of, each) for each in signers]
    return Certificate(View(view), tuple((each.validator, each.signature) for each in votes))


def prepared(height: int, view: int, header_bytes: bytes, signers: tuple[int, ...] = (0, 1, 2)) -> Prepared:
    return Prepared(header_bytes, certificate(PREPARE, height, view, digest_of(header_bytes), signers))


def view_change(
    height: int,
    view: int,
    validator: int,
    shown: Prepared | None = None,
    parent: Certificate | None = None,
) -> ViewChange:
    return signed(ViewChange(Height(height), View(view), validator, shown, parent))


def new_view(
    height: int, view: int, changes: tuple[ViewChange, ...], validator: int | None = None
) -> NewView:
    return signed(NewView(Height(height), View(view), view % 4 if validator is None else validator, changes))


def replica(own: int, now: int = 1_000) -> Replica:
    """One of four validators at height 1, with the record that was born with its key."""
    key = _KEYS[own]
    identity = Identity(did_of(key.public), key.sign, bytes(32))
    chain = setting().chain
    return Replica(identity, verify, TestHeaders(), chain, BORN, Now(Millis(now), Millis(now)))
