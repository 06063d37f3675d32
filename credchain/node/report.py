"""What a node says of itself at `/v1/status`, and in metrics: gathered from the replica, links and pool.

The shape is `openapi`'s; how it is read again, `status`'s; the one sentence, `why`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .. import __version__
from ..consensus.instance import Standing
from ..credentials.dates import rfc3339
from ..keys import Did
from ..limits import LIMITS
from . import why
from .calls import Call
from .clock import both
from .driver import Driver
from .ledger_port import LedgerPort
from .peers import PeerStatus
from .pool import Pool
from .safety import SafetyDisk


class PeerLinks(Protocol):
    """Where the links stand."""

    def status(self) -> list[PeerStatus]: ...


@dataclass(frozen=True)
class NodeReport:
    """``names`` are the validators' by DID; ``on_disk`` runs a function on the safety record's thread."""

    ledger: LedgerPort
    pool: Pool
    driver: Driver
    links: PeerLinks
    safety: SafetyDisk
    names: Mapping[Did, str]
    on_disk: Call

    async def json(self) -> dict[str, Any]:
        """Not proved: for the operators."""
        standing = self.driver.replica.standing()
        tip = self.ledger.tip
        now = both()
        evidence = await self.on_disk(self.safety.evidence)
        return {
            "version": __version__,
            "network": tip.network.hex(),
            "height": tip.height,
            "time": rfc3339(tip.time),
            "clock": rfc3339(now.wall),
            "view": standing.view,
            "primary": self._name(standing.primary),
            "round_age_ms": max(0, now.monotonic - standing.opened) if standing.waiting else None,
            "state": self.state(standing),
            "validators": self._validators(),
            "pool": len(self.pool),
            "pool_operations": self.pool.operations,
            "evidence": [
                {"validator": each.validator, "height": each.height, "view": each.view, "kind": each.kind}
                for each in evidence
            ],
            "why_idle": why.why(self._facts(standing)),
        }

    def state(self, standing: Standing) -> str:
        """The gravest that applies."""
        if self.driver.halted is not None:
            return why.HALTED
        if standing.lost:
            return why.LOST_RECORD
        if standing.behind > 1:
            return why.CATCHING_UP
        if standing.changing:
            return why.VIEW_CHANGE
        age = both().monotonic - standing.opened
        return why.WAITING if standing.waiting and age > LIMITS.base_timeout else why.COMMITTING

    def missing_links(self) -> list[str]:
        """Names of the validators to which there is no link, in either direction."""
        return [
            self._name(each.index) for each in self.links.status() if not (each.connected and each.accepted)
        ]

    def _facts(self, standing: Standing) -> why.Facts:
        tip = self.ledger.tip
        now = both()
        ahead = tip.time - now.wall
        return why.Facts(
            state=self.state(standing),
            height=tip.height,
            validators=len(tip.validators.members),
            unreachable=tuple(self.missing_links()),
            ahead=ahead if ahead > LIMITS.proposal_early else 0,
            view=standing.view,
            primary=self._name(standing.primary),
            round_age=max(0, now.monotonic - standing.opened) if standing.waiting else None,
            known_height=tip.height + standing.behind if standing.behind else None,
            signs_from=standing.waits_for,
            problem=self.driver.halted or "",
            pool=len(self.pool),
        )

    def _name(self, index: int) -> str:
        did = self.ledger.tip.validators.members[index].did
        return self.names.get(did, did)

    def _validators(self) -> list[dict[str, Any]]:
        commits = self.driver.commits
        links = {each.index: each for each in self.links.status()}
        own = self.driver.own_index
        found: list[dict[str, Any]] = []
        for index, member in enumerate(self.ledger.tip.validators.members):
            heard = self.driver.last_heard(index)
            link = links.get(index)
            found.append(
                {
                    "did": member.did,
                    "name": self._name(index),
                    "connected": index == own or (link is not None and link.connected and link.accepted),
                    "last_heard_ms": None if heard is None else both().monotonic - heard[0],
                    "height": self.ledger.tip.height if index == own else heard and heard[1],
                    "missing_of_last": [commits.count(index), len(commits.missing)],
                }
            )
        return found
