"""What goes into a replica and what comes out: the whole interface of the consensus.

The node calls ``replica.step(input, now)`` and carries out the effects in their order, each finished
before the next: what is persisted is on disk before the message after it leaves. Effects with an answer
(`Propose`, `Execute`, `Commit`) get it as a later input; the node may do them beside others, but
answers each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..certificates import Certificate, Height, Millis, ValidatorSet, View
from ..encoding import Digest
from ..keys import Did, PublicKey
from .messages import Message, NewView, ViewChange, Vote
from .record import Record


@dataclass(frozen=True, slots=True)
class Now:
    """Two clocks: ``monotonic`` for how long something takes, ``wall`` to compare with header times."""

    monotonic: Millis
    wall: Millis


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What agreement needs to know of a header. ``view`` is that of its first proposal."""

    network: Digest
    height: Height
    digest: Digest
    parent: Digest
    view: View
    proposer: Did
    time: Millis


class Headers(Protocol):
    """How the ledger's bytes are read; both raise InvalidInput. Neither asks whether they are valid."""

    def of_header(self, header: bytes) -> HeaderFacts:
        """The facts in a header's bytes."""

    def of_block(self, block: bytes) -> tuple[bytes, HeaderFacts]:
        """A block's header bytes, and the facts in them; InvalidInput also where the rest of the bytes
        is not the content that the header names: a digest must stand for one body."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this replica is. ``nonce`` (32 random bytes) is new in every run."""

    did: Did
    sign: Callable[[Digest], bytes]
    nonce: bytes


Verify = Callable[[PublicKey, Digest, bytes], bool]
"""Whether a signature holds: (key, what was signed, signature)."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the ledger stands. At height 0: digest = parent of block 1, certificate None.

    ``view`` is the last header's, ``validators`` are those of the next height.
    """

    network: Digest
    height: int
    digest: Digest
    time: Millis
    view: View
    header: bytes | None
    certificate: Certificate | None
    validators: ValidatorSet


# --- inputs ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """A message over the authenticated link of a validator, by its index."""

    sender: int
    message: Message


@dataclass(frozen=True, slots=True)
class Proposed:
    """The answer to `Propose`: a block that is valid here, or None if nothing applies."""

    height: Height
    view: View
    block: bytes | None


class Outcome(Enum):
    """What executing a block showed."""

    VALID = "valid"
    WRONG_BODY = "the bytes are not the content that the header names"
    INVALID = "the block breaks a rule, or its roots are wrong"


@dataclass(frozen=True, slots=True)
class Executed:
    """The answer to `Execute`."""

    block: Digest
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to `Commit`: the ledger's new tip."""

    chain: Chain


@dataclass(frozen=True, slots=True)
class Work:
    """Whether transactions wait in the pool that apply to the tip."""

    waiting: bool


@dataclass(frozen=True, slots=True)
class Neglected:
    """This proposer's blocks leave out a transaction that it has had for longer than the timeout."""

    proposer: Did


@dataclass(frozen=True, slots=True)
class Tick:
    """The replica's ``deadline`` has passed."""


Input = Received | Proposed | Executed | Committed | Work | Neglected | Tick


# --- effects --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Put the record on disk, in the place of the one before, before any later effect."""

    record: Record


@dataclass(frozen=True, slots=True)
class Send:
    """To one validator, or with None to all others."""

    to: int | None
    message: Message


@dataclass(frozen=True, slots=True)
class Propose:
    """Make a block for this height and view; its bounds halved as often as views have failed.

    With ``heartbeat`` an empty block is wanted where nothing applies.
    """

    height: Height
    view: View
    time: Millis
    halvings: int
    heartbeat: bool


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a block on the tip and keep its effects under this header digest until the next commit."""

    block: bytes
    digest: Digest


@dataclass(frozen=True, slots=True)
class Commit:
    """Store an executed block with its certificate: final."""

    block: Digest
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Serve:
    """Read certified blocks from this height on and send them as `Blocks`, as many as a message holds."""

    to: int
    height: Height


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two statements of one validator, both signed, of which an honest one signs only one."""

    validator: int
    first: Vote | ViewChange | NewView
    second: Vote | ViewChange | NewView


@dataclass(frozen=True, slots=True)
class Halt:
    """A certified block does not hold here: this node or too many others are broken. Sign nothing more."""

    reason: str


Effect = Persist | Send | Propose | Execute | Commit | Serve | Evidence | Halt
