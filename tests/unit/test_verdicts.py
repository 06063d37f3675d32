"""The verdict of every finding and of every pair of findings, against DESIGN section 8 written again.

"First that applies": a presenter's fail on 1, 5, 6, 9 is invalid; on 4, untrusted; an adverse entry;
not current; anything short of all checks passed on at least one credential is not established.
"""

from __future__ import annotations

from itertools import combinations

import pytest

from credchain.verification.checks import NAMES, Check, Findings, Outcome, Standing, Verdict, verdict

ORDER = (
    Verdict.INVALID,
    Verdict.UNTRUSTED,
    Verdict.ADVERSE,
    Verdict.NOT_CURRENT,
    Verdict.NOT_ESTABLISHED,
    Verdict.ESTABLISHED,
)

FACTS: dict[str, Verdict] = {
    "fail 1": Verdict.INVALID,
    "fail 5": Verdict.INVALID,
    "fail 6": Verdict.INVALID,
    "fail 9": Verdict.INVALID,
    "fail 4": Verdict.UNTRUSTED,
    "an adverse entry": Verdict.ADVERSE,
    "an adverse entry in a category not required": Verdict.ADVERSE,
    "the grant has ended": Verdict.NOT_CURRENT,
    "a required category only not current": Verdict.NOT_CURRENT,
    "a required category not current and history": Verdict.NOT_CURRENT,
    "fail 2": Verdict.NOT_ESTABLISHED,
    "fail 3": Verdict.NOT_ESTABLISHED,
    "fail 7": Verdict.NOT_ESTABLISHED,
    "fail 8": Verdict.NOT_ESTABLISHED,
    "fail 10": Verdict.NOT_ESTABLISHED,
    **{f"unknown {number}": Verdict.NOT_ESTABLISHED for number in range(1, 11)},
    "a required category proved empty": Verdict.NOT_ESTABLISHED,
    "a required category only history": Verdict.NOT_ESTABLISHED,
    "no credential": Verdict.NOT_ESTABLISHED,
    "not applicable 1": Verdict.ESTABLISHED,
    "not applicable 5": Verdict.ESTABLISHED,
    "not applicable 9": Verdict.ESTABLISHED,
    "not applicable 10": Verdict.ESTABLISHED,
    "a required category in force and expired": Verdict.ESTABLISHED,
    "a required category in force and history": Verdict.ESTABLISHED,
}
"""Each finding, beside an otherwise perfect credential, and the verdict it gives alone."""

STANDINGS = {
    "an adverse entry": (Standing.ADVERSE,),
    "a required category only not current": (Standing.NOT_CURRENT, Standing.NOT_CURRENT),
    "a required category not current and history": (Standing.HISTORY, Standing.NOT_CURRENT),
    "a required category proved empty": (),
    "a required category only history": (Standing.HISTORY,),
    "a required category in force and expired": (Standing.NOT_CURRENT, Standing.IN_FORCE),
    "a required category in force and history": (Standing.HISTORY, Standing.IN_FORCE),
}

OUTCOMES = {"fail": Outcome.FAIL, "unknown": Outcome.UNKNOWN, "not applicable": Outcome.NOT_APPLICABLE}


def findings(*facts: str) -> Findings:
    checks = [Check(number, Outcome.PASS, "") for number in NAMES]
    standings: list[tuple[Standing, ...]] = [] if "no credential" in facts else [(Standing.IN_FORCE,)]
    for fact in facts:
        kind, _, number = fact.rpartition(" ")
        if number.isdigit():
            checks.append(Check(int(number), OUTCOMES[kind], ""))
        if fact in STANDINGS:
            standings.append(STANDINGS[fact])
    return Findings(
        checks=tuple(checks),
        standings=tuple(standings),
        credentials=0 if "no credential" in facts else 1,
        adverse=any(fact.startswith("an adverse") for fact in facts),
        grant_ended="the grant has ended" in facts,
    )


def test_a_perfect_credential_is_established() -> None:
    assert verdict(findings()) is Verdict.ESTABLISHED


@pytest.mark.parametrize(("fact", "expected"), FACTS.items())
def test_each_finding_alone(fact: str, expected: Verdict) -> None:
    assert verdict(findings(fact)) is expected


def test_the_first_that_applies_decides_between_any_two_findings() -> None:
    wrong = {}
    for pair in combinations(FACTS, 2):
        expected = min((FACTS[fact] for fact in pair), key=ORDER.index)
        for order in (pair, pair[::-1]):
            found = verdict(findings(*order))
            if found is not expected:
                wrong[order] = (found, expected)
    assert wrong == {}


def test_a_third_finding_never_makes_it_better() -> None:
    for first, second, third in combinations(FACTS, 3):
        of_two = verdict(findings(first, second))
        of_three = verdict(findings(first, second, third))
        assert ORDER.index(of_three) <= ORDER.index(of_two), (first, second, third)


def test_no_findings_at_all_establish_nothing() -> None:
    assert verdict(Findings((), (), 0, False)) is Verdict.NOT_ESTABLISHED
