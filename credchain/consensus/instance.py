"""What a replica knows of the height that it works on: plain data, gone with the commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..certificates import Certificate, Height, Millis, View
from ..encoding import Digest
from .events import HeaderFacts, Outcome
from .messages import NewView, Prepared, PrePrepare, ViewChange
from .setting import Setting
from .votes import Votes


@dataclass(frozen=True, slots=True)
class Candidate:
    """The block that the view is about: this validator's own, its primary's, or the re-proposed one."""

    digest: Digest
    header: bytes


@dataclass(frozen=True, slots=True)
class Offer:
    """A proposal of a view's primary, read; ``found`` is None where its bytes are not a block that follows
    this chain and has the voted digest."""

    proposal: PrePrepare
    found: tuple[bytes, HeaderFacts] | None


@dataclass
class Instance:
    """What is known of one height. It begins empty (but for the record) and ends with the commit."""

    setting: Setting
    own: int | None
    opened: Millis
    votes: Votes
    view: View
    changing: bool = False
    candidate: Candidate | None = None
    choice: Prepared | None = None
    new_view: NewView | None = None
    view_changes: dict[int, ViewChange] = field(default_factory=dict)
    proposals: dict[int, Offer] = field(default_factory=dict)
    """Each primary's proposal of the highest view that it sent; considered once that view is entered."""
    refused: dict[int, int] = field(default_factory=dict)
    """How many NEW-VIEWs did not hold, by who sent them."""
    bodies: dict[Digest, bytes] = field(default_factory=dict)
    executed: dict[Digest, Outcome] = field(default_factory=dict)
    executing: dict[Digest, None] = field(default_factory=dict)
    certified: tuple[Digest, Certificate] | None = None
    evidence: dict[tuple[str, int, int], None] = field(default_factory=dict)
    proposing: bool = False
    committing: bool = False
    fetches: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replica stands, for operators and metrics."""

    height: Height
    view: View
    primary: int
    changing: bool
    opened: Millis
    heard_view_changes: int
    behind: int
    waiting: bool
    lost: bool
    waits_for: int | None
    halted: str | None
