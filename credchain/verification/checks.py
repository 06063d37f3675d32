"""The numbered checks: their names, their outcomes, and the verdicts that follow from them.

The numbers are shared by code, results and documentation (PROTOCOL.md, checklist).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec


class Outcome(StrEnum):
    """Unknown is not pass: what could not be checked is never shown as established."""

    PASS = "pass"  # noqa: S105  # an outcome, no secret
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    INVALID = "invalid"
    UNTRUSTED = "untrusted"
    ADVERSE = "adverse"
    NOT_CURRENT = "not_current"
    NOT_ESTABLISHED = "not_established"
    ESTABLISHED = "established"


class Standing(StrEnum):
    """What an entry of a dossier is to the caller."""

    IN_FORCE = "in_force"
    ADVERSE = "adverse"
    NOT_CURRENT = "not_current"
    HISTORY = "history"


WELL_FORMED: Final = 1
CERTIFIED: Final = 2
FRESH: Final = 3
ISSUER_AUTHORISED: Final = 4
ISSUER_SIGNATURE: Final = 5
ATTESTED: Final = 6
IN_FORCE: Final = 7
DOSSIER_COMPLETE: Final = 8
HOLDER: Final = 9
GRANT: Final = 10

NAMES: Final[dict[int, str]] = {
    WELL_FORMED: "well_formed",
    CERTIFIED: "certified",
    FRESH: "fresh",
    ISSUER_AUTHORISED: "issuer_authorised",
    ISSUER_SIGNATURE: "issuer_signature",
    ATTESTED: "attested",
    IN_FORCE: "in_force",
    DOSSIER_COMPLETE: "dossier_complete",
    HOLDER: "holder",
    GRANT: "grant",
}

PRESENTERS: Final = frozenset((WELL_FORMED, ISSUER_SIGNATURE, ATTESTED, HOLDER))
"""Checks whose failure, once the node is cleared of it, makes the credential invalid."""

NOTHING_SHOWN_AFTER: Final = frozenset((WELL_FORMED, CERTIFIED, ISSUER_SIGNATURE, ATTESTED))
"""Checks after whose failure nothing of the credential is shown as fact."""


class Check(msgspec.Struct, frozen=True):
    """One check's outcome, with a sentence for people."""

    id: int
    outcome: Outcome
    detail: str

    @property
    def name(self) -> str:
        return NAMES[self.id]


_SEVERITY: Final = {
    outcome: severity
    for severity, outcome in enumerate((Outcome.NOT_APPLICABLE, Outcome.PASS, Outcome.UNKNOWN, Outcome.FAIL))
}


def worst(checks: Iterable[Check]) -> dict[int, Check]:
    """The one to report of several with the same number, by number; the first among equals."""
    found: dict[int, Check] = {}
    for check in checks:
        other = found.setdefault(check.id, check)
        if _SEVERITY[check.outcome] > _SEVERITY[other.outcome]:
            found[check.id] = check
    return found


class Findings(msgspec.Struct, frozen=True):
    """All that a verdict follows from.

    ``checks`` are those of every credential and of the whole; ``standings`` hold, for each required
    category, its entries' standings (empty: proved that there is none); ``adverse`` is whether any
    dossier that was read has an adverse entry; ``grant_ended``: expired or withdrawn; ``undisclosed``:
    a required category where nothing in force was disclosed, whatever the dossier lists.
    """

    checks: tuple[Check, ...]
    standings: tuple[tuple[Standing, ...], ...]
    credentials: int
    adverse: bool
    grant_ended: bool = False
    undisclosed: bool = False

    def lists_only_not_current(self) -> bool:
        """A required category with entries to judge, and none of them current."""
        return any(Standing.NOT_CURRENT in each and Standing.IN_FORCE not in each for each in self.standings)

    def established(self) -> bool:
        return (
            self.credentials > 0
            and not self.undisclosed
            and all(Standing.IN_FORCE in each for each in self.standings)
            and {each.outcome for each in self.checks} <= _GOOD
        )


_GOOD: Final = frozenset((Outcome.PASS, Outcome.NOT_APPLICABLE))

_RULES: Final[tuple[tuple[Callable[[Findings, frozenset[int]], bool], Verdict], ...]] = (
    (lambda _, failed: not failed.isdisjoint(PRESENTERS), Verdict.INVALID),
    (lambda _, failed: ISSUER_AUTHORISED in failed, Verdict.UNTRUSTED),
    (lambda found, _: found.adverse, Verdict.ADVERSE),
    (lambda found, _: found.grant_ended or found.lists_only_not_current(), Verdict.NOT_CURRENT),
    (lambda found, _: not found.established(), Verdict.NOT_ESTABLISHED),
)
"""First that applies, by the findings and the numbers of the checks that failed.

What no rule names is established; `Findings.established` says what that takes.
"""


def verdict(findings: Findings) -> Verdict:
    """The verdict (PROTOCOL.md, verdicts): a function of the findings alone."""
    fail = Outcome.FAIL
    failed = frozenset([check.id for check in findings.checks if check.outcome is fail])
    for applies, result in _RULES:
        if applies(findings, failed):
            return result
    return Verdict.ESTABLISHED
