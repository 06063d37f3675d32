"""The demo's second half: a radiologist enrols, collects, shares; and who tries to cheat is caught."""

from __future__ import annotations

import csv
import time

from .demo_nodes import asked_in_order, status_of
from .demo_processes import PASSPHRASE
from .demo_stage import Stage
from .output import say

_WALLET = "members/radiologist"
_SECOND = "members/another-radiologist"
_IDENTITY = "members/example-identity-desk"
_CME = "members/sample-cme-institute"
_PRIVILEGES = "members/example-harbor-hospital"
_HOSPITAL = "members/lakeside-hospital"


def tell_radiologist(stage: Stage) -> None:
    """Every step; CredchainError if one does not end as the story says."""
    with (stage.samples / "roster.csv").open(newline="", encoding="utf-8") as file:
        _, first, second = (row for _, row in zip(range(3), csv.DictReader(file), strict=False))
    _enrol(stage, _WALLET, first, "A radiologist enrols: an identity issuer confirms who it is")
    _collect(stage, first["npi"])
    bundle = str(stage.folder / "bundle.ccb")
    _share_and_verify(stage, bundle)
    _enrol(stage, _SECOND, second, "Meanwhile another radiologist enrols")
    _cheat(stage, bundle, second["npi"])
    _leave_out(stage)


def _enrol(stage: Stage, home: str, person: dict[str, str], title: str) -> None:
    stage.title(title)
    at = stage.at(home)
    stage.run(0, f"join {stage.at('network.json')} --home {at}")
    stage.run(0, f"init --radiologist --name Radiologist --home {at}")
    names = f"--set family_name='{person['family_name']}' --set given_name='{person['given_name']}'"
    if "'" in person["family_name"]:
        names = f'--set family_name="{person["family_name"]}" --set given_name={person["given_name"]}'
    how = "--set verification_method='in person with government photo ID'"
    card = stage.at(f"{home}/member.toml")
    stage.run(0, f"enroll {card} --npi {person['npi']} {names} {how} --home {stage.at(_IDENTITY)}")


def _attest_private(stage: Stage, category: str, issuer: str, more: str = "") -> str:
    """The attestation's id."""
    import json

    say(f"$ ADDRESS=$(credchain wallet address {category} --home {stage.at(_WALLET)})")
    address = stage.quietly(f"wallet address {category} --home {stage.at(_WALLET)}").output.strip()
    claims = stage.sample(f"claims/{category}.json")
    home = stage.at(issuer)
    line = f"attest {category} --to {{}} --claims {claims} {more}--home {home}"
    say(f"$ credchain {line.format('$ADDRESS')}")
    told = stage.quietly(line.format(address) + " --json")
    attestation = str(json.loads(told.output)["attestation"])
    say(f"  attested {attestation[:12]}")
    return attestation


def _collect(stage: Stage, npi: str) -> None:
    stage.title("Private credentials: the radiologist gives an address, the issuer attests to it")
    _attest_private(stage, "cme_credit", _CME)
    _attest_private(stage, "hospital_privileges", _PRIVILEGES, "--until 2027-12-31 ")
    stage.title("The wallet collects them, and what boards attested by NPI before it existed")
    stage.run(0, _sync(stage, npi, _WALLET))


def _sync(stage: Stage, npi: str, home: str) -> str:
    """Published documents are read at the first node asked, and boards hand them to f+1: one with them."""
    first = max(stage.validators, key=lambda each: int(status_of(each).get("documents", -1)))
    return f"wallet sync --npi {npi} {asked_in_order(stage.validators, first)} --home {stage.at(home)}"


def _share(stage: Stage, home: str, scope: str, expires: str, out: str) -> str:
    """The bundle's path, as a user would type it."""
    path = stage.at(out)
    to = '--to "Lakeside Hospital" --purpose temporary_privileges'
    stage.run(0, f"share {to} {scope} --expires {expires} --out {path} --home {stage.at(home)}")
    return path


def _share_and_verify(stage: Stage, bundle: str) -> None:
    stage.title("Chosen categories and claims for one hospital: verified, without a node and with one")
    scope = "--category board_certification --category cme_credit:credits,credit_type"
    shared = _share(stage, _WALLET, scope, "30d", "bundle.ccb")
    hospital = f"--home {stage.at(_HOSPITAL)}"
    # In this order: after a look online the hospital knows a later height than the bundle's.
    stage.briefly(0, f"verify {shared} --offline --max-age 7d {hospital}")
    stage.run(0, f"verify {shared} {hospital}")
    stage.title("It is for that hospital alone: another cannot open it, exit code 2")
    stage.run(2, f"verify {shared} --home {stage.at(_PRIVILEGES)}")
    stage.title("And for its time: an expired one is not current, exit code 4")
    scope = "--category board_certification"
    expired = _share(stage, _WALLET, scope, "1s", "expired.ccb")
    time.sleep(1.1)
    stage.briefly(4, f"verify {expired} {hospital}")


def _cheat(stage: Stage, bundle: str, npi: str) -> None:
    """Forgeries that only the holder of a wallet could make."""
    from .demo_forger import Forger

    forger = Forger(stage.folder, bundle, PASSPHRASE, _HOSPITAL)
    hospital = f"--home {stage.at(_HOSPITAL)}"
    stage.title("A radiologist changes one claim and signs the bundle again: invalid, exit code 3")
    forger.change_claim(_WALLET, "forged.ccb")
    stage.briefly(3, f"verify {stage.at('forged.ccb')} {hospital}")
    stage.title("Another puts a published credential of the first into a bundle of its own: invalid")
    stage.quietly(_sync(stage, npi, _SECOND))
    scope = "--category board_certification"
    _share(stage, _SECOND, scope, "30d", "own.ccb")
    forger.borrow(_SECOND, "own.ccb", "borrowed.ccb")
    stage.briefly(3, f"verify {stage.at('borrowed.ccb')} {hospital}")


def _leave_out(stage: Stage) -> None:
    stage.title(
        "Privileges at a second hospital are suspended; the bundle leaves them out: adverse, exit code 4"
    )
    suspended = _attest_private(
        stage, "hospital_privileges", "members/sample-prairie-hospital", "--until 2027-12-31 "
    )
    home = stage.at("members/sample-prairie-hospital")
    stage.run(0, f"status {suspended[:12]} --set suspended --reason disciplinary_action --home {home}")
    scope = "--category hospital_privileges"
    left = _share(stage, _WALLET, scope, "30d", "left-out.ccb")
    stage.run(4, f"verify {left} --home {stage.at(_HOSPITAL)}")
