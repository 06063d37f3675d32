"""The statement: the result of a verification, as values and as the JSON of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..certificates import Height, Millis
from ..credentials.categories import Claims
from ..credentials.dates import rfc3339
from ..encoding import Digest
from ..keys import Did
from .checks import HOLDER, NAMES, Check, Outcome, Standing, Verdict, worst


class CredentialResult(msgspec.Struct, frozen=True):
    """One entry of a dossier, judged. ``claims`` is None where they are not disclosed.

    After a failed check 1, 5 or 6 ``status``, dates and claims are None: nothing of the credential
    is shown as fact. ``verdict`` is a `Verdict`, "history", or "undisclosed" for an entry in force of
    which the bundle has no document (``presented`` is False). ``document_missing``: the node gave no
    document of a published entry; another node may have it.
    """

    category: str
    attestation: Digest
    issuer: Did
    issuer_name: str | None
    primary_source: str
    status: str | None
    valid_from: Millis | None
    valid_until: Millis | None
    standing: Standing
    verdict: str
    claims: Claims | None
    checks: tuple[Check, ...]
    presented: bool = True
    document_missing: bool = False

    def json(self) -> dict[str, Any]:
        return {
            "category": self.category,
            "attestation": self.attestation.hex(),
            "issuer": self.issuer,
            "issuer_name": self.issuer_name,
            "primary_source": self.primary_source,
            "status": self.status,
            "valid_from": _time(self.valid_from),
            "valid_until": _time(self.valid_until),
            "verdict": self.verdict,
            "disclosed": self.claims is not None,
            "claims": None if self.claims is None else dict(self.claims),
            "checks": [_check_json(each) for each in self.checks],
        }


@dataclass(frozen=True, slots=True)
class AsOf:
    """The certified header that the statement speaks of."""

    height: Height
    time: Millis


@dataclass(frozen=True, slots=True)
class Statement:
    """The verdict and what it rests on. ``as_of`` is None where no node could be believed."""

    verdict: Verdict
    verified_at: Millis
    as_of: AsOf | None
    npi: str | None
    did: Did | None
    credentials: tuple[CredentialResult, ...]
    absent: tuple[str, ...]
    checks: tuple[Check, ...]
    sentence: str

    @property
    def is_the_holders(self) -> bool:
        """Whether it is a bundle of the radiologist whom it names, made for the caller: check 9 passed."""
        return any(each.id == HOLDER and each.outcome is Outcome.PASS for each in self.checks)

    @property
    def lacks_documents(self) -> bool:
        """Whether another node may know more."""
        return any(each.document_missing for each in self.credentials)

    def json(self) -> dict[str, Any]:
        """The keys of ``verify --json``."""
        as_of = self.as_of
        return {
            "verdict": self.verdict.value,
            "verified_at": rfc3339(self.verified_at),
            "as_of": {
                "height": None if as_of is None else as_of.height,
                "time": None if as_of is None else rfc3339(as_of.time),
            },
            "subject": {"npi": self.npi, "did": self.did},
            "credentials": [each.json() for each in self.credentials],
            "absent": [{"category": each} for each in self.absent],
            "checks": [_check_json(each) for each in self.checks],
            "statement": self.sentence,
        }


def summarise(checks: Iterable[Check]) -> tuple[Check, ...]:
    """One check a number, the worst of all credentials; a number nobody checked is not applicable."""
    found = worst(checks)
    return tuple(
        found.get(number) or Check(number, Outcome.NOT_APPLICABLE, "there is no credential to check")
        for number in NAMES
    )


_WORDS: Final = {
    Verdict.ESTABLISHED: "is established",
    Verdict.ADVERSE: "has an adverse entry",
    Verdict.NOT_CURRENT: "is not current",
    Verdict.UNTRUSTED: "has an attestation of an issuer not to be trusted",
    Verdict.INVALID: "does not hold",
    Verdict.NOT_ESTABLISHED: "is not established",
}


def sentence(who: str, result: Verdict, credentials: int, height: Height) -> str:
    """The statement in one sentence."""
    if not credentials:
        return f"{who}: nothing is attested in what was asked for, proved as of height {height}"
    read = f"{credentials} attestation{'s' if credentials != 1 else ''}"
    return f"{who} {_WORDS[result]}: {read} read, as of height {height}"


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "name": check.name,
        "outcome": check.outcome.value,
        "detail": check.detail,
    }


def _time(value: Millis | None) -> str | None:
    return None if value is None else rfc3339(value)
