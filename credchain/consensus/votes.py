"""The votes of one height, counted: one a validator, phase and view.

A second, different vote of the same validator in the same phase and view is not counted (Castro &
Liskov, section 4.2: from distinct replicas, all matching); it is evidence.
"""

from __future__ import annotations

from ..certificates import Certificate, View
from ..encoding import Digest
from ..limits import LIMITS
from .messages import COMMIT, Vote


class Votes:
    """At most ``votes_kept`` views a validator and phase are kept, the highest: a liar who votes in
    many views loses its own votes only."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._votes: dict[tuple[str, int], dict[View, Vote]] = {}

    def get(self, phase: str, validator: int, view: View) -> Vote | None:
        return self._votes.get((phase, validator), {}).get(view)

    def add(self, vote: Vote) -> None:
        """A vote whose signature holds; the first of its validator, phase and view."""
        views = self._votes.setdefault((vote.phase, vote.validator), {})
        views.setdefault(vote.view, vote)
        if len(views) > LIMITS.votes_kept:
            del views[min(views)]

    def certificate(self, phase: str, view: View, block: Digest) -> Certificate | None:
        """A quorum's matching votes, ascending by validator, or None."""
        found = [
            (validator, views[view].signature)
            for (voted, validator), views in sorted(self._votes.items())
            if voted == phase and view in views and views[view].block == block
        ]
        if len(found) < self._quorum:
            return None
        return Certificate(view, tuple(found[: self._quorum]))

    def committed(self) -> tuple[Digest, Certificate] | None:
        """(block, certificate) of any view with a quorum of COMMITs (section 4.2, committed-local)."""
        said: dict[tuple[View, Digest], int] = {}
        for (phase, _), views in self._votes.items():
            for vote in views.values() if phase == COMMIT else ():
                said[vote.view, vote.block] = said.get((vote.view, vote.block), 0) + 1
        for (view, block), count in sorted(said.items()):
            certificate = self.certificate(COMMIT, view, block) if count >= self._quorum else None
            if certificate is not None:
                return block, certificate
        return None

    def voters(self, phase: str, block: Digest) -> tuple[int, ...]:
        """Who voted so for this block in any view, ascending."""
        return tuple(
            validator
            for (voted, validator), views in sorted(self._votes.items())
            if voted == phase and any(vote.block == block for vote in views.values())
        )

    def __len__(self) -> int:
        return sum(len(views) for views in self._votes.values())
