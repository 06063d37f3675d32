"""Radiologists of the samples' network: their homes, what is attested to them, what they share."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.network.node_process import PATIENCE, command, environment

from .network import BOARD, HOSPITAL, Done, SampleNetwork, claim_options, npis, quick

DESK: Final = "example-identity-desk"
SCHOOL: Final = "placeholder-university-medicine"
INSTITUTE: Final = "sample-cme-institute"
INSURER: Final = "fictional-mutual-assurance"
LOOKUPS: Final = "sample-verification-service"
OTHER_HOSPITAL: Final = "example-harbor-hospital"
RECIPIENT: Final = "Lakeside Hospital"

METHOD: Final = "verification_method=in person with government photo ID"
NAME: Final = ("--set", "family_name=Example", "--set", "given_name=Ada", "--set", METHOD)

new_npi = npis(40_000_000)

PUBLIC: Final = (
    (BOARD, "board_certification", None),
    (SCHOOL, "medical_education", None),
    (LOOKUPS, "exclusion_check", 60),
)
PRIVATE: Final = (
    (SCHOOL, "fellowship", None),
    (INSTITUTE, "cme_credit", None),
    (INSTITUTE, "life_support", 300),
    (INSURER, "malpractice_coverage", 300),
    (HOSPITAL, "hospital_privileges", 300),
    (HOSPITAL, "mqsa_experience", 300),
)
"""(issuer, category, days until the last one): what the samples have claims for."""


def day(offset: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(days=offset)).strftime("%Y-%m-%d")


@dataclass(frozen=True)
class Radiologist:
    """A home with keys and a wallet; ``npi`` is what an identity issuer is told."""

    network: SampleNetwork
    home: Path
    first_backup: Path
    npi: str

    @property
    def card(self) -> Path:
        return self.home / "member.toml"

    @property
    def did(self) -> str:
        return str(self.call("whoami", "--json", expect=0).json["did"])

    def call(self, *arguments: str | Path, expect: int | None = None) -> Done:
        return quick(*arguments, home=self.home, expect=expect)

    def address(self, category: str = "cme_credit") -> str:
        return str(self.call("wallet", "address", category, "--json", expect=0).json["address"])

    def sync(self) -> Any:
        return self.call("wallet", "sync", "--npi", self.npi, "--json", expect=0).json

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("wallet", "list", "--json", expect=0).json["credentials"]
        return found

    def enrolled(self) -> Radiologist:
        enroll(self, expect=0)
        return self

    def to(self, issuer: str, category: str, days: int | None = None, *more: str) -> str:
        """One private credential with the samples' claims; its id."""
        done = attest_to(self.network, issuer, category, self.address(category), days, *more)
        assert done.code == 0, done
        return str(done.json["attestation"])

    def by_npi(self, issuer: str, category: str, days: int | None = None) -> str:
        if category == "board_certification":
            return self.network.attested(self.npi)
        claims = ("--claims", claims_file(self.network, category))
        until = () if days is None else ("--until", day(days))
        home = self.network.member(issuer)
        words = ("attest", category, "--npi", self.npi, *claims, *until, "--json")
        return str(quick(*words, home=home, expect=0).json["attestation"])

    def share(self, out: Path, *scope: str, expires: str = "30d", to: str = RECIPIENT) -> Path:
        done = self.call(*share_words(out, *scope, expires=expires, to=to), expect=0)
        assert out.exists(), done
        return out


def share_words(
    out: Path, *scope: str, expires: str = "30d", to: str = RECIPIENT, purpose: str = "temporary_privileges"
) -> list[str]:
    categories = [part for each in scope for part in ("--category", each)]
    return [
        *("share", "--to", to, *categories, "--purpose", purpose),
        *("--expires", expires, "--out", str(out), "--json"),
    ]


def radiologist(network: SampleNetwork, folder: Path, npi: str | None = None) -> Radiologist:
    """Joined and initialised, not enrolled yet."""
    home, backup = folder / "home", folder / "first-backup.json"
    quick("join", network.file, home=home, expect=0)
    quick("init", "--radiologist", "--name", "Ada", "--backup", backup, home=home, expect=0)
    return Radiologist(network, home, backup, npi or new_npi())


def enroll(who: Radiologist, *more: str, desk: str = DESK, expect: int | None = None) -> Done:
    arguments: list[str | Path] = ["enroll", who.card, "--npi", who.npi, *NAME, "--json", *more]
    return quick(*arguments, home=who.network.member(desk), expect=expect)


def claims_file(network: SampleNetwork, category: str) -> Path:
    return network.folder / "samples" / "claims" / f"{category}.json"


def attest_to(
    network: SampleNetwork, issuer: str, category: str, address: str, days: int | None = None, *more: str
) -> Done:
    until = () if days is None else ("--until", day(days))
    claims: list[str | Path] = ["--claims", claims_file(network, category)]
    if category == "board_certification":
        claims = [*claim_options()]
    words = ("attest", category, "--to", address, *claims, *until, "--json", *more)
    return quick(*words, home=network.member(issuer))


def verify(network: SampleNetwork, bundle: Path, *more: str | Path, home: Path | None = None) -> Done:
    return quick("verify", bundle, "--json", *more, home=home or network.hospital)


def fresh_hospital(network: SampleNetwork, into: Path) -> Path:
    """The hospital's home, as it was before it looked at anything."""
    home = network.copy(network.hospital, into)
    (home / "trust.json").unlink(missing_ok=True)
    return home


def check(done: Done, number: int) -> dict[str, Any]:
    """One check of `verify --json`."""
    found: dict[str, Any] = next(each for each in done.json["checks"] if each["id"] == number)
    return found


def of(done: Done, category: str) -> dict[str, Any]:
    """The one credential of a category of `verify --json`."""
    (found,) = [each for each in done.json["credentials"] if each["category"] == category]
    assert isinstance(found, dict)
    return found


def with_bytes(*arguments: str | Path, home: Path, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """A real process fed with bytes: (exit code, standard output, standard error)."""
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        env=environment(CREDCHAIN_HOME=str(home)),
        timeout=4 * PATIENCE,
        check=False,
    )
    err = done.stderr.decode()
    assert "Traceback" not in err, err
    return done.returncode, done.stdout, err


def waiting_mail(network: SampleNetwork, did: str) -> int:
    """How many sealed documents the node keeps for a member."""
    file = network.node_home / "ledger.db"
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        query = "select count(*) from mailbox where recipient = ?"
        return int(database.execute(query, (did,)).fetchone()[0])
