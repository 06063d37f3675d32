"""In one sentence, why no transaction is being committed: for operators, from what a node knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..certificates import quorum
from ..limits import SECOND

COMMITTING: Final = "committing"
WAITING: Final = "waiting"
VIEW_CHANGE: Final = "view_change"
CATCHING_UP: Final = "catching_up"
LOST_RECORD: Final = "lost_record"
HALTED: Final = "halted"
STATES: Final = (COMMITTING, WAITING, VIEW_CHANGE, CATCHING_UP, LOST_RECORD, HALTED)
"""What `/v1/status` says of a node: blocks are made · the network cannot commit now · a new primary is
being agreed on · it fetches blocks that the others have · its safety record was lost · it stopped itself.
"""

_MOST_NAMES: Final = 5


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node knows of itself. Durations are milliseconds.

    ``validators`` counts all, this one included; ``unreachable`` names the others that are not connected.
    ``ahead`` is how far the last block's time is ahead of this clock, 0 where that is within bounds.
    ``round_age`` is how long the current round has lasted, None where none runs.
    ``known_height`` is the highest block that others have certified, where it is above ``height``.
    ``signs_from`` is the height from which a validator with a lost record signs again, None until the
    others have answered. ``problem`` is what halted the node, in words.
    """

    state: str
    height: int
    validators: int = 1
    unreachable: tuple[str, ...] = ()
    ahead: int = 0
    view: int = 0
    primary: str | None = None
    round_age: int | None = None
    known_height: int | None = None
    signs_from: int | None = None
    problem: str = ""
    pool: int = 0


def why(facts: Facts) -> str:
    """The first that applies, the gravest first."""
    if facts.state == HALTED:
        return _halted(facts)
    if facts.state == LOST_RECORD:
        return _lost_record(facts)
    needed = quorum(facts.validators)
    connected = facts.validators - len(facts.unreachable)
    if connected < needed:
        return (
            f"{needed} of {facts.validators} validators are needed and {connected}"
            f" {'is' if connected == 1 else 'are'} connected, this one included:"
            f" {_named(facts.unreachable)} cannot be reached"
        )
    if facts.ahead > 0:
        return (
            f"the last block's time is {_seconds(facts.ahead)} ahead of this machine's clock: check the clock"
        )
    if facts.state == CATCHING_UP:
        return _catching_up(facts)
    if facts.state == VIEW_CHANGE:
        since = "" if facts.round_age is None else f" for {_seconds(facts.round_age)}"
        return f"the validators have been agreeing on a new primary{since}, for view {facts.view}"
    if facts.state == WAITING and facts.pool:
        whom = f"the primary {facts.primary}" if facts.primary else "the primary"
        since = "" if facts.round_age is None else f" since {_seconds(facts.round_age)}"
        return f"{_transactions(facts.pool)} for a block from {whom}{since}"
    if facts.pool:
        return f"{_transactions(facts.pool)} for the next block"
    return "nothing waits; a heartbeat block follows every 10 seconds"


def _halted(facts: Facts) -> str:
    told = facts.problem or "it says no reason; see its log"
    return f"this node has stopped itself at height {facts.height}: {told}"


def _lost_record(facts: Facts) -> str:
    """DESIGN 7: nothing is signed before a certified block two above the highest that others told of."""
    begins = "the safety record of this validator was lost, so it signs nothing"
    if facts.signs_from is None:
        needed = quorum(facts.validators)
        return f"{begins}: first {needed} other validators must tell it how far they are"
    left = max(1, facts.signs_from - facts.height)
    blocks = "one more block" if left == 1 else "two more blocks" if left == 2 else f"{left} more blocks"
    return f"{begins} until the others have made {blocks} (height {facts.signs_from})"


def _catching_up(facts: Facts) -> str:
    if facts.known_height is None or facts.known_height <= facts.height:
        return f"this node is at height {facts.height} and fetches blocks that the others have"
    return f"this node is catching up: it is at height {facts.height}, the others are at {facts.known_height}"


def _named(names: tuple[str, ...]) -> str:
    """`A`, `A and B`, `A, B and C`; a long list is cut."""
    shown = list(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        shown.append(f"{len(names) - _MOST_NAMES} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _transactions(count: int) -> str:
    return "1 transaction waits" if count == 1 else f"{count} transactions wait"


def _seconds(duration: int) -> str:
    if duration < 10 * SECOND:
        return f"{duration / SECOND:.1f} s"
    return f"{duration // SECOND} s"
