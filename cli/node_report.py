"""How a node is, for people: its status, and what a check of its surroundings found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .output import print_pairs, print_table, printable, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credchain.ledger.network import Network
    from credchain.node.checking import Check
    from credchain.node.status import Evidence, NodeStatus, ValidatorStatus

_OUTCOMES = {"ok": "ok", "warning": "to look at", "problem": "to mend"}


def print_status(url: str, status: NodeStatus, problem: str | None, network: Network, now: int) -> None:
    """A node: whether it is up, its pairs, then a line for each validator and each piece of evidence."""
    say(f"{printable(url)}: {'up' if problem is None else 'not reached'}")
    pairs = [("problem", problem)] if problem is not None else _pairs(status, network, now)
    print_pairs([("  " + name, value) for name, value in pairs if value is not None])
    if status.validators:
        say("")
        columns = ["validator", "connected", "height", "last heard", "missing from certificates"]
        print_table(columns, [_validator(each) for each in status.validators])
    if status.evidence:
        say("")
        rows = [_evidence(each, network) for each in status.evidence]
        print_table(["evidence against", "height", "view", "contradicting"], rows)


def _pairs(status: NodeStatus, network: Network, now: int) -> list[tuple[str, Any]]:
    evidence = None if status.evidence is None else len(status.evidence) or "none"
    return [
        ("state", None if status.state is None else status.state.replace("_", " ")),
        ("height", status.height),
        ("last block", _moment(status.time, now)),
        ("view", status.view),
        ("primary", _name_of(status.primary, network)),
        ("round", None if status.round_age is None else f"for {_duration(status.round_age)}"),
        ("validators", _who_is_missing(status)),
        ("pool", _pool(status)),
        ("evidence", evidence),
        ("attestations", status.attestations),
        ("members", status.members),
        ("documents", status.documents),
        ("version", status.version),
        ("why idle", status.why_idle),
    ]


def _who_is_missing(status: NodeStatus) -> str | None:
    """In words, which validators this node is not connected to, and whether the others suffice."""
    from credchain.certificates import quorum

    every = status.validators or ()
    if len(every) < 2 or any(each.connected is None for each in every):
        return None
    missing = [each.name or each.did or "one" for each in every if not each.connected]
    if not missing:
        return f"all {len(every)} connected"
    left, needed = len(every) - len(missing), quorum(len(every))
    enough = "enough" if left >= needed else "too few"
    names = ", ".join(missing[:-1]) + " and " + missing[-1] if missing[1:] else missing[0]
    return (
        f"{names} {'are' if missing[1:] else 'is'} missing; {left} of {len(every)} are left,"
        f" {enough} to commit ({needed} are needed)"
    )


def _pool(status: NodeStatus) -> str | None:
    if not status.pool:
        return None if status.pool is None else "empty"
    transactions = _counted(status.pool, "transaction")
    if status.pool_operations is None:
        return transactions
    return f"{transactions} with {_counted(status.pool_operations, 'operation')}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _validator(validator: ValidatorStatus) -> tuple[Any, ...]:
    heard = None if validator.last_heard is None else f"{_duration(validator.last_heard)} ago"
    missing = None if validator.missing is None else f"{validator.missing} of the last {validator.of}"
    return (validator.name or validator.did, _connected(validator), validator.height, heard, missing)


def _connected(validator: ValidatorStatus) -> str | None:
    if validator.connected is None:
        return None
    if validator.connected:
        return "yes"
    if validator.last_heard is None:
        return "no, never was"
    return f"not for {_duration(validator.last_heard)}"


def _evidence(evidence: Evidence, network: Network) -> tuple[Any, ...]:
    return (_name_of(evidence.validator, network), evidence.height, evidence.view, evidence.kind)


def _name_of(who: str | None, network: Network) -> str | None:
    """A DID's name; what is none stays."""
    from credchain.keys import Did

    return None if who is None else network.name_of(Did(who))


def _moment(time: str | None, now: int) -> str | None:
    """The time, and how long ago by this machine's clock."""
    from credchain.node.status import parse_time

    at = parse_time(time)
    if at is None:
        return None
    ago = f"{_duration(now - at)} ago" if now >= at else f"{_duration(at - now)} ahead of this clock"
    return f"{time} ({ago})"


def _duration(milliseconds: int) -> str:
    from credchain.credentials.dates import describe_duration

    return f"{milliseconds / 1000:.1f} s" if milliseconds < 10_000 else describe_duration(milliseconds)


def check_json(check: Check) -> dict[str, str | None]:
    return {
        "name": check.name,
        "target": check.target,
        "outcome": check.outcome,
        "detail": check.detail,
        "hint": check.hint or None,
    }


def print_checks(checks: Sequence[Check]) -> None:
    """A line a check, then how many of each outcome."""
    rows = [(each.outcome, each.name, each.target, each.detail, each.hint) for each in checks]
    print_table(["result", "what", "where", "found", "what to do"], rows)
    outcomes = [each.outcome for each in checks]
    say("")
    say(", ".join(f"{outcomes.count(each)} {words}" for each, words in _OUTCOMES.items()))
