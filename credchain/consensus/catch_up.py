"""Catching up as a state machine: which peer to ask for certified blocks, and which to leave alone.

Nothing that a peer claims is believed: a claimed height only decides whom to ask, and a block counts by
its certificate. One peer is asked at a time; one that gives nothing, or nothing that holds, is left
alone for a while and the next is asked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..certificates import Height, Millis
from ..limits import LIMITS
from .messages import Blocks, CertifiedBlock

_NEVER = Millis(0)
_PATIENCE = 2 * LIMITS.retransmission
"""How long one peer is waited for."""
_SHUNNED = 3 * LIMITS.retransmission
"""How long a peer that failed is not asked."""


@dataclass
class CatchUp:
    """Blocks wait here until the replica has executed and committed those before."""

    heights: dict[int, int] = field(default_factory=dict)
    """The highest certified height that each peer claims."""
    blocks: deque[tuple[int, CertifiedBlock]] = field(default_factory=deque)
    """(who gave it, block), consecutive; the first is of the height that is worked on."""
    asked: int | None = None
    until: Millis = _NEVER
    _shunned: dict[int, Millis] = field(default_factory=dict)

    def note(self, peer: int, certified: int) -> None:
        """A peer claims to hold this height; claims may go down, when it has lost its ledger."""
        self.heights[peer] = certified

    def behind(self, height: Height) -> int:
        """By how many blocks some peer claims to be ahead; ``height`` is the one worked on."""
        return max(0, max(self.heights.values(), default=0) - height + 1)

    def ask(self, height: Height, now: Millis) -> int | None:
        """The peer to ask for this height now, or None: nobody has it, or an answer is awaited."""
        if self.blocks or self.asked is not None:
            return None
        having = [
            peer
            for peer, held in sorted(self.heights.items())
            if held >= height and self._shunned.get(peer, _NEVER) <= now
        ]
        if not having:
            return None
        # In turn, so that no peer serves all.
        peer = having[height // LIMITS.blocks_per_fetch % len(having)]
        self.asked, self.until = peer, Millis(now + _PATIENCE)
        return peer

    def expire(self, now: Millis) -> None:
        """An answer that did not come in time is not waited for. Called at every step, whatever else
        goes on: else the deadline would stay in the past."""
        if self.asked is not None and now >= self.until:
            self._shun(self.asked, now)

    def receive(self, peer: int, answer: Blocks, height: Height, now: Millis) -> None:
        """Take blocks that begin with the height worked on; while others wait, they are not needed, and
        who gave false ones is not listened to for a while, or it would keep the others' from coming in."""
        if self._shunned.get(peer, _NEVER) > now:
            return
        skipped = height - answer.height
        if not self.blocks and 0 <= skipped < len(answer.blocks):
            self.blocks.extend((peer, each) for each in answer.blocks[skipped:])
        elif not self.blocks and peer == self.asked:
            self._shun(peer, now)
        if peer == self.asked:
            self.asked = None

    def blame(self, peer: int, now: Millis) -> None:
        """What this peer gave does not hold: forget it, ask another next."""
        self.blocks.clear()
        self._shun(peer, now)

    def _shun(self, peer: int, now: Millis) -> None:
        self._shunned[peer] = Millis(now + _SHUNNED)
        if self.asked == peer:
            self.asked = None

    def committed(self) -> None:
        """The first block waiting is on the ledger."""
        if self.blocks:
            self.blocks.popleft()

    @property
    def deadline(self) -> Millis | None:
        return None if self.asked is None else self.until
