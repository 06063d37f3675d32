"""What a node says of itself at `/v1/status`, as read by its operators' tools.

Nothing of it is proved, and an older node says less: what is missing or of another type is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from ..credentials.dates import rfc3339
from ..limits import LIMITS

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_TEXT: Final = 500
_MOST_ITEMS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ValidatorStatus:
    """Another validator, or the node's own, as the node sees it. ``missing`` of the ``of`` last
    certificates lack its signature; ``last_heard`` is milliseconds ago.
    """

    did: str | None
    name: str | None
    connected: bool | None
    last_heard: int | None
    height: int | None
    missing: int | None
    of: int | None

    def json(self) -> dict[str, Any]:
        missing = None if self.missing is None else {"missing": self.missing, "of": self.of}
        return {
            "did": self.did,
            "name": self.name,
            "connected": self.connected,
            "last_heard_ms": self.last_heard,
            "height": self.height,
            "missing_of_last": missing,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two statements of one validator that contradict each other."""

    validator: str | None
    height: int | None
    view: int | None
    kind: str | None

    def json(self) -> dict[str, Any]:
        return {"validator": self.validator, "height": self.height, "view": self.view, "kind": self.kind}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """``time`` is the last block's, ``clock`` the node's own when it answered; both RFC 3339.

    ``validators`` and ``evidence`` are None where the node says nothing of them.
    """

    version: str | None
    network: str | None
    height: int | None
    time: str | None
    clock: str | None
    view: int | None
    primary: str | None
    round_age: int | None
    state: str | None
    validators: tuple[ValidatorStatus, ...] | None
    pool: int | None
    pool_operations: int | None
    evidence: tuple[Evidence, ...] | None
    why_idle: str | None
    attestations: int | None
    members: int | None
    documents: int | None

    @staticmethod
    def read(document: dict[str, Any]) -> NodeStatus:
        """Of whatever a node answered."""
        return NodeStatus(
            version=_text(document.get("version")),
            network=_text(document.get("network")),
            height=_count(document.get("height")),
            time=_time(document.get("time")),
            clock=_time(document.get("clock")),
            view=_count(document.get("view")),
            primary=_text(document.get("primary")),
            round_age=_count(document.get("round_age_ms")),
            state=_text(document.get("state")),
            validators=_items(document.get("validators"), _validator),
            pool=_count(document.get("pool")),
            pool_operations=_count(document.get("pool_operations")),
            evidence=_items(document.get("evidence"), _evidence),
            why_idle=_text(document.get("why_idle")),
            attestations=_count(document.get("attestations")),
            members=_count(document.get("members")),
            documents=_count(document.get("documents")),
        )

    def json(self) -> dict[str, Any]:
        """The same keys as the node's own, lists as arrays of objects."""
        return {
            "version": self.version,
            "height": self.height,
            "time": self.time,
            "clock": self.clock,
            "state": self.state,
            "view": self.view,
            "primary": self.primary,
            "round_age_ms": self.round_age,
            "validators": None if self.validators is None else [each.json() for each in self.validators],
            "pool": self.pool,
            "pool_operations": self.pool_operations,
            "evidence": None if self.evidence is None else [each.json() for each in self.evidence],
            "attestations": self.attestations,
            "members": self.members,
            "documents": self.documents,
            "why_idle": self.why_idle,
        }


def _validator(document: dict[str, Any]) -> ValidatorStatus:
    connected = document.get("connected")
    missing = document.get("missing_of_last")
    pair = missing if type(missing) is list and len(missing) == 2 else [None, None]
    counts = [_count(each) for each in pair]
    return ValidatorStatus(
        did=_text(document.get("did")),
        name=_text(document.get("name")),
        connected=connected if type(connected) is bool else None,
        last_heard=_count(document.get("last_heard_ms")),
        height=_count(document.get("height")),
        missing=None if None in counts else counts[0],
        of=None if None in counts else counts[1],
    )


def _evidence(document: dict[str, Any]) -> Evidence:
    return Evidence(
        validator=_text(document.get("validator")),
        height=_count(document.get("height")),
        view=_count(document.get("view")),
        kind=_text(document.get("kind")),
    )


def _items(value: Any, read: Callable[[dict[str, Any]], T]) -> tuple[T, ...] | None:
    if type(value) is not list:
        return None
    return tuple(read(each) for each in value[:_MOST_ITEMS] if type(each) is dict)


def _text(value: Any) -> str | None:
    return value[:_MOST_TEXT] if type(value) is str and value else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= LIMITS.max_integer else None


def _time(value: Any) -> str | None:
    found = parse_time(value)
    return None if found is None else rfc3339(found)


def parse_time(value: Any) -> int | None:
    """Milliseconds UTC of an RFC 3339 text with Z; None for anything else."""
    if type(value) is not str or len(value) > 40 or not value.endswith("Z"):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1)
