"""A validator that has lost its safety record: when it may sign again.

It may have voted for a block two above what a quorum of others holds: if its last certified height was L,
a quorum committed at L, so among any q others one honest one was working at L and holds L-1; its own votes
reach L+1. With M the highest height of q others, M >= L-1, so a certified block of M+2 is at or above
everything that it may have voted for. M+1 is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..certificates import Height
from ..keys import Did
from .messages import COMMIT, TipQuery, TipReply
from .setting import Setting

_AHEAD = 2


@dataclass
class LostRecord:
    """Collects where others stand, in answers to this run's nonce only: old answers would be too low."""

    nonce: bytes
    replies: dict[Did, int] = field(default_factory=dict)
    """The first answer of each validator, until there is a quorum of them. Later ones are not counted: in
    an idle network each would move the goal by the block that was waited for."""

    def query(self) -> TipQuery:
        return TipQuery(self.nonce)

    def receive(self, sender: int, reply: TipReply, setting: Setting) -> None:
        """Count a proved height; one that only claims to hold nothing counts as 0."""
        did = setting.members[sender].did
        if did in self.replies or len(self.replies) >= setting.quorum:
            return
        if reply.nonce == self.nonce and _proved(reply, setting):
            self.replies[did] = reply.height

    def recovered(self, height: int, quorum: int) -> bool:
        """Whether the certified height held is beyond all that may have been signed before."""
        return len(self.replies) >= quorum and height >= max(self.replies.values()) + _AHEAD

    def waits_for(self, quorum: int) -> int | None:
        """The height to reach, once enough others have answered."""
        return max(self.replies.values()) + _AHEAD if len(self.replies) >= quorum else None


def _proved(reply: TipReply, setting: Setting) -> bool:
    if reply.height == 0:
        return True
    if reply.header is None or reply.certificate is None:
        return False
    facts = setting.facts_of(reply.header)
    if facts is None or facts.height != reply.height:
        return False
    return setting.certificate_holds(COMMIT, Height(reply.height), facts.digest, reply.certificate)
