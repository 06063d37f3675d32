"""The radiologist's side: keys, enrolment, a wallet, bundles that hospitals verify, backups."""

from __future__ import annotations

import base64
import csv
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from credchain.cli import hospital
from credchain.cli.session import Session
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]  # the package has no types
from sd_jwt.verifier import SDJWTVerifier

from credchain.credentials.sdjwt import parse
from credchain.errors import StorageError
from credchain.keys import key_of
from credchain.limits import HOUR
from credchain.storage import files
from credchain.verification.bundle import MAGIC
from credchain.verification.checks import Verdict
from credchain.verification.statement import Statement
from tests.network.node_process import environment, free_port

from .network import BOARD, HOSPITAL, RFC3339, SampleNetwork, quick
from .wallet_helpers import (
    INSTITUTE,
    LOOKUPS,
    PRIVATE,
    PUBLIC,
    RECIPIENT,
    Radiologist,
    attest_to,
    check,
    claims_file,
    enroll,
    fresh_hospital,
    new_npi,
    of,
    radiologist,
    share_words,
    verify,
    waiting_mail,
    with_bytes,
)

PUBLIC_NAMES: Final = {category for _, category, _ in PUBLIC}
PRIVATE_NAMES: Final = {category for _, category, _ in PRIVATE}
EIGHT: Final = (
    *("board_certification", "medical_education", "exclusion_check", "fellowship", "life_support"),
    *("malpractice_coverage", "hospital_privileges", "cme_credit:credits,credit_type"),
)


@dataclass(frozen=True)
class Stocked:
    """A radiologist with everything that the samples have, and what came of each step."""

    who: Radiologist
    ids: dict[str, str]
    before_sync: list[dict[str, Any]]
    mail_before: int
    synced: Any


@pytest.fixture(scope="module")
def ada(network: SampleNetwork, tmp_path_factory: pytest.TempPathFactory) -> Stocked:
    npi = new_npi()
    board = network.attested(npi)  # long before the radiologist has a key
    who = radiologist(network, tmp_path_factory.mktemp("ada"), npi).enrolled()
    ids = {"board_certification": board}
    ids |= {category: who.by_npi(issuer, category, days) for issuer, category, days in PUBLIC[1:]}
    ids |= {category: who.to(issuer, category, days) for issuer, category, days in PRIVATE}
    before, mail = who.listed(), waiting_mail(network, who.did)
    return Stocked(who, ids, before, mail, who.sync())


@pytest.fixture(scope="module")
def bundle(ada: Stocked) -> Path:
    return ada.who.share(
        ada.who.home.parent / "bundle.ccb", "board_certification", "cme_credit:credits,credit_type"
    )


# --- keys and enrolment -----------------------------------------------------------------------


def test_init_makes_a_home_and_the_first_backup(network: SampleNetwork, tmp_path: Path) -> None:
    home, backup = tmp_path / "home", tmp_path / "b.json"
    quick("join", network.file, home=home, expect=0)
    words = ("init", "--radiologist", "--name", "Ada", "--backup", backup)
    made = quick(*words, "--json", home=home, expect=0).json
    assert set(made) == {"did", "home", "card", "backup"}
    assert made["did"].startswith("did:key:")
    assert Path(made["card"]) == home / "member.toml"
    assert backup.stat().st_mode & 0o077 == 0
    assert (home / "keys.json").stat().st_mode & 0o077 == 0
    assert "Ada" not in (home / "member.toml").read_text(), "a radiologist's name is nobody's but its own"


def test_the_first_backup_has_a_place_by_default(network: SampleNetwork, tmp_path: Path) -> None:
    home = tmp_path / "home"
    quick("join", network.file, home=home, expect=0)
    done = quick("init", "--radiologist", "--name", "Ada", "--json", home=home, expect=0)
    assert Path(done.json["backup"]).is_file()


def test_enroll_tells_whom_and_where(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path)
    assert who.call("whoami", "--json", expect=0).json["enrolled"] is False
    done = enroll(who, expect=0)
    assert set(done.json) >= {"did", "npi", "attestation", "height", "time"}
    assert (done.json["did"], done.json["npi"]) == (who.did, who.npi)
    assert RFC3339.match(done.json["time"])
    me = who.call("whoami", "--json", expect=0).json
    assert (me["enrolled"], me["name"], me["roles"]) == (True, None, [{"role": "radiologist"}])
    listed = quick("members", "--role", "radiologist", "--json", home=network.hospital, expect=0).json
    assert who.did in [each["did"] for each in listed["members"]]


def test_enrolling_again_is_done_already(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path)
    first, second = enroll(who, expect=0), enroll(who, expect=0)
    assert first.json["attestation"] == second.json["attestation"]
    assert waiting_mail(network, who.did) == 1
    assert who.sync()["collected"] == 1


# --- the wallet -------------------------------------------------------------------------------


def test_sync_collects_everything_once(ada: Stocked) -> None:
    assert ada.synced == {"collected": len(PUBLIC) + len(PRIVATE) + 1, "refused": []}
    assert ada.who.sync() == {"collected": 0, "refused": []}
    assert ada.who.call("wallet", "sync", "--json", expect=0).json["collected"] == 0, "the NPI is known now"


def test_what_was_attested_before_there_was_a_key_arrives(ada: Stocked) -> None:
    (board,) = [each for each in ada.who.listed() if each["category"] == "board_certification"]
    assert (board["attestation"], board["held"]) == (ada.ids["board_certification"], True)


def test_sealed_documents_leave_the_mailbox(network: SampleNetwork, ada: Stocked) -> None:
    assert ada.mail_before == len(PRIVATE) + 1
    assert waiting_mail(network, ada.who.did) == 0


def test_before_a_sync_private_ones_are_listed_as_not_held(ada: Stocked) -> None:
    assert {each["category"] for each in ada.before_sync} >= PRIVATE_NAMES
    assert not any(each["held"] for each in ada.before_sync)
    assert {each["change"] for each in ada.before_sync} == {"new"}


def test_list_before_the_wallet_knows_its_npi(network: SampleNetwork, tmp_path: Path) -> None:
    """What was not looked at is not called nothing."""
    who = radiologist(network, tmp_path).enrolled()
    network.attest(who.npi)
    told = who.call("wallet", "list", expect=0).err
    assert "nothing is attested about you" not in told
    assert "only private categories were looked at" in told
    assert "credchain wallet sync --npi NPI" in told
    who.sync()
    assert "only private" not in who.call("wallet", "list", expect=0).err


def test_list_says_what_to_do_about_what_is_not_held(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    who.to(INSTITUTE, "cme_credit")
    words = "not in the wallet: wallet sync, or ask its issuer to send it again"
    assert words in who.call("wallet", "list", expect=0).out
    who.sync()
    assert "not in the wallet" not in who.call("wallet", "list", expect=0).out


def test_list_tells_all_in_the_words_of_the_contract(ada: Stocked) -> None:
    listed = ada.who.call("wallet", "list", "--json", expect=0).json
    assert set(listed) == {"credentials", "as_of"}
    assert listed["as_of"]["height"] > 0
    found = {each["category"]: each for each in listed["credentials"]}
    assert set(found) == PUBLIC_NAMES | PRIVATE_NAMES | {"identity"}
    for each in found.values():
        assert set(each) >= {
            *("attestation", "category", "issuer", "issuer_name", "status"),
            *("valid_from", "valid_until", "change", "held"),
        }
        assert each["issuer"].startswith("did:key:")
        assert each["held"] is True
        assert RFC3339.match(each["valid_from"])
    assert found["fellowship"]["valid_until"] is None
    assert RFC3339.match(found["life_support"]["valid_until"])
    assert {name: found[name]["attestation"] for name in ada.ids} == ada.ids


def test_list_marks_new_and_changed_since_the_last_look(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    board = who.by_npi(BOARD, "board_certification")
    who.sync()
    assert {each["category"]: each["change"] for each in who.listed()} == {
        "identity": "new",
        "board_certification": "new",
    }
    assert {each["change"] for each in who.listed()} == {None}
    quick("status", board, "--set", "suspended", "--reason", "nonpayment", home=network.board, expect=0)
    text = who.call("wallet", "list", expect=0).out
    assert "was active" in text
    assert "suspended" in text
    assert {each["change"] for each in who.listed()} == {None}
    quick("status", board, "--set", "active", "--reason", "reinstated", home=network.board, expect=0)
    changes = {each["category"]: (each["status"], each["change"]) for each in who.listed()}
    assert changes == {"identity": ("active", None), "board_certification": ("active", "was suspended")}


def test_an_address_is_one_line_and_for_one_category(network: SampleNetwork, ada: Stocked) -> None:
    printed = ada.who.call("wallet", "address", "cme_credit", expect=0).out
    assert printed.count("\n") == 1
    assert printed.strip() == ada.who.address("cme_credit"), "the same each time"
    assert printed.strip() != ada.who.address("fellowship")
    assert ada.who.npi not in printed
    body = json.loads(ada.who.call("wallet", "address", "cme_credit", "--json", expect=0).out)
    assert body == {"category": "cme_credit", "address": printed.strip()}


def test_an_address_broken_over_lines_still_leads_there(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    text = who.address()
    broken = "  " + text[:70] + "\r\n" + text[70:160] + "\n   " + text[160:] + " \n"
    assert attest_to(network, INSTITUTE, "cme_credit", broken).code == 0
    assert who.sync()["collected"] == 2


def test_a_table_of_addresses(network: SampleNetwork, tmp_path: Path) -> None:
    """The column is `address`; each radiologist gets its own, under its own subject."""
    people = [radiologist(network, tmp_path / each).enrolled() for each in ("one", "two")]
    template = quick("categories", "cme_credit", "--csv-template", home=network.hospital, expect=0).out
    columns = template.splitlines()[0].split(",")
    assert columns[0] == "address"
    claims = json.loads(claims_file(network, "cme_credit").read_text())
    table = tmp_path / "credits.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for who in people:
            for title in ("First", "Second"):
                cells = {
                    name: str(value).lower() if value is True else value for name, value in claims.items()
                }
                writer.writerow({**cells, "activity_title": title, "address": who.address()})
    words = ("attest", "cme_credit", "--csv", table, "--json")
    home = network.member(INSTITUTE)
    assert quick(*words, "--dry-run", home=home, expect=0).json["attested"] == 0
    done = quick(*words, home=home, expect=0).json
    assert (done["rows"], done["attested"], done["already"], done["rejected"]) == (4, 4, 0, [])
    again = quick(*words, home=home, expect=0).json
    assert (again["attested"], again["already"]) == (0, 4)
    for who in people:
        assert who.sync() == {"collected": 3, "refused": []}
        who.share(tmp_path / f"{who.npi}.ccb", "cme_credit")
        done_verify = verify(network, tmp_path / f"{who.npi}.ccb")
        titles = [
            each["claims"]["activity_title"]
            for each in done_verify.json["credentials"]
            if each["category"] == "cme_credit"
        ]
        assert (done_verify.code, sorted(titles)) == (0, ["First", "Second"])


def test_a_credential_handed_over_is_added(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    out = tmp_path / "credential.txt"
    made = who.to(INSTITUTE, "cme_credit", None, "--out", str(out))
    done = who.call("wallet", "add", out, "--json", expect=0)
    assert done.json == {"attestation": made, "category": "cme_credit"}
    assert who.call("wallet", "add", out, "--json", expect=0).json == done.json, "again changes nothing"
    assert [(each["category"], each["held"]) for each in who.listed()] == [("cme_credit", True)]
    assert who.sync()["collected"] == 1, "the identity; the other is held already"


def test_an_export_verifies_by_the_reference_package(ada: Stocked) -> None:
    identifier = ada.ids["cme_credit"]
    words = ("wallet", "export", identifier[:10], "--audience", "https://example.org", "--nonce", "n-0S6")
    done = ada.who.call(*words, "--json", expect=0)
    assert done.json["attestation"] == identifier
    text = done.json["presentation"]
    issuer = parse(text.rpartition("~")[0] + "~").issuer
    x = base64.urlsafe_b64encode(key_of(issuer)).rstrip(b"=").decode()
    key = JWK(kty="OKP", crv="Ed25519", x=x)
    verifier = SDJWTVerifier(text, lambda *_: key)
    verifier._verify_key_binding_jwt("https://example.org", "n-0S6", "EdDSA")
    payload = verifier.get_verified_payload()
    assert payload["vct"] == "urn:credchain:cme_credit"
    claims = json.loads(claims_file(ada.who.network, "cme_credit").read_text())
    assert {name: payload[name] for name in claims} == claims
    with pytest.raises(ValueError, match="nonce"):
        verifier._verify_key_binding_jwt("https://example.org", "another", "EdDSA")
    with pytest.raises(ValueError, match="audience"):
        verifier._verify_key_binding_jwt("https://example.com", "n-0S6", "EdDSA")


# --- bundles ----------------------------------------------------------------------------------


def test_share_tells_what_it_made(ada: Stocked, tmp_path: Path) -> None:
    out = tmp_path / "b.ccb"
    done = ada.who.call(*share_words(out, "board_certification"), expect=0)
    assert set(done.json) >= {"bundle", "to", "purpose", "expires", "credentials", "file", "bytes"}
    assert RFC3339.match(done.json["expires"])
    assert (done.json["purpose"], done.json["credentials"]) == ("temporary_privileges", 1)
    assert done.json["bytes"] == out.stat().st_size
    assert out.stat().st_mode & 0o077 == 0
    content = out.read_bytes()
    assert content.startswith(MAGIC)
    for secret in (ada.who.npi.encode(), b"Example Board", ada.who.did.encode()):
        assert secret not in content


def test_verify_in_the_words_of_the_contract(network: SampleNetwork, ada: Stocked, bundle: Path) -> None:
    done = verify(network, bundle)
    assert done.code == 0, done
    found = done.json
    assert set(found) == {
        *("verdict", "verified_at", "as_of", "subject", "credentials", "absent", "checks", "statement")
    }
    assert found["verdict"] == "established"
    assert found["subject"] == {"npi": ada.who.npi, "did": ada.who.did}
    assert (set(found["as_of"]), found["absent"]) == ({"height", "time"}, [])
    assert RFC3339.match(found["verified_at"])
    assert RFC3339.match(found["as_of"]["time"])
    assert [each["id"] for each in found["checks"]] == list(range(1, 11))
    assert {each["outcome"] for each in found["checks"]} == {"pass"}
    assert {each["category"] for each in found["credentials"]} == {
        *("board_certification", "cme_credit", "identity")
    }
    for each in found["credentials"]:
        assert set(each) >= {
            *("category", "attestation", "issuer", "issuer_name", "primary_source", "status"),
            *("valid_from", "valid_until", "verdict", "disclosed", "claims"),
        }
        assert each["disclosed"] is True
    assert of(done, "cme_credit")["claims"] == {"credits": 6.25, "credit_type": "AMA PRA Category 1 Credit"}
    assert of(done, "board_certification")["attestation"] == ada.ids["board_certification"]
    assert "verification_method" not in of(done, "identity")["claims"]


def test_people_read_the_verdict_first(network: SampleNetwork, ada: Stocked, bundle: Path) -> None:
    done = quick("verify", bundle, home=network.hospital, expect=0)
    first, second, third, *_ = done.out.splitlines()
    assert first.startswith("ESTABLISHED")
    assert ada.who.npi in second
    assert third.startswith("as of: height")
    for words in ("CME credit", "temporary_privileges", "Credits: 6.25"):
        assert words in done.out
    assert "tomosynthesis" not in done.out, "a claim that was not shared"


def test_what_is_not_disclosed_is_listed_without_claims(network: SampleNetwork, tmp_path: Path) -> None:
    """One cme_credit is in the wallet, the other was attested after the last sync."""
    who = radiologist(network, tmp_path).enrolled()
    held = who.to(INSTITUTE, "cme_credit")
    who.sync()
    other = tmp_path / "other.json"
    claims = json.loads(claims_file(network, "cme_credit").read_text())
    other.write_text(json.dumps({**claims, "activity_title": "Another"}))
    words = ("attest", "cme_credit", "--to", who.address(), "--claims", other, "--json")
    late = quick(*words, home=network.member(INSTITUTE), expect=0).json["attestation"]
    done = verify(network, who.share(tmp_path / "b.ccb", "cme_credit"))
    found = {each["attestation"]: each for each in done.json["credentials"]}
    assert found[held]["disclosed"] is True
    assert (found[late]["disclosed"], found[late]["claims"]) == (False, None)
    assert (found[late]["status"], found[late]["issuer_name"]) == ("active", "Sample CME Institute")
    assert RFC3339.match(found[late]["valid_from"])


def test_offline_names_its_age(network: SampleNetwork, bundle: Path, tmp_path: Path) -> None:
    home, nowhere = fresh_hospital(network, tmp_path / "hospital"), f"http://127.0.0.1:{free_port()}"
    done = verify(network, bundle, "--offline", "--max-age", "7d", "--node", nowhere, home=home)
    assert (done.code, done.json["verdict"]) == (0, "established")
    assert done.json["as_of"]["height"] <= verify(network, bundle, home=home).json["as_of"]["height"]
    assert done.json["as_of"]["time"] in check(done, 3)["detail"]


def test_people_read_the_age_of_an_offline_verdict(
    network: SampleNetwork, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fresh_hospital(network, tmp_path / "hospital")
    words = ("verify", bundle, "--offline", "--max-age", "7d")
    made = quick(*words, "--json", home=home, expect=0).json["as_of"]
    now = Session.now
    monkeypatch.setattr(Session, "now", lambda self: now(self) + 3 * HOUR)
    told = quick(*words, home=home, expect=0).out.splitlines()[2]
    assert told.startswith(f"as of: height {made['height']}, {made['time']}, ")
    assert told.endswith("; 3 h before now, offline: what changed since cannot show")
    monkeypatch.undo()
    assert "offline" not in quick("verify", bundle, home=home, expect=0).out.splitlines()[2]


def test_a_category_of_the_bundle_without_an_attestation_is_a_reason(
    network: SampleNetwork, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fresh_hospital(network, tmp_path / "hospital")
    judge = hospital._verify_bundle

    def absent(*given: Any, **options: Any) -> tuple[Statement, bytes]:
        statement, data = judge(*given, **options)
        return replace(statement, absent=("fellowship",), verdict=Verdict.NOT_ESTABLISHED), data

    monkeypatch.setattr(hospital, "_verify_bundle", absent)
    done = quick("verify", bundle, home=home, expect=6)
    assert "because: nothing is attested in fellowship, which the bundle shares" in done.out.splitlines()


NOT_FOR_A_BUNDLE: Final = {
    *("aiohttp", "asyncio", "concurrent", "email", "http", "logging", "socket", "ssl"),  # no node is asked
    *("sqlite3", "sqlite_utils", "tempfile", "tomllib", "secrets", "random"),  # no database, no new file
    *("pydantic", "pydantic_core", "rich", "click"),  # Typer's, for what is neither text nor a pipe
    *("cryptography", "jsonschema", "prometheus_client", "platformdirs", "importlib.metadata"),
    *(f"credchain.{each}" for each in ("client", "node", "issuing", "wallet", "mailbox", "consensus")),
    *("credchain.ledger.operations", "credchain.ledger.execution", "credchain.verification.by_npi"),
    *(f"credchain.cli.{each}" for each in ("demo", "issuer", "wallet", "member", "operator")),
}


def test_offline_imports_only_what_it_needs(network: SampleNetwork, bundle: Path) -> None:
    """Twice the time of importing Typer is the bound on the whole call: each of these would be too much."""
    program = (
        "import sys; from credchain.cli.main import run; code = run(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", bundle, "--offline", "--max-age", "7d"],
        env=environment(CREDCHAIN_HOME=str(network.hospital)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ESTABLISHED")
    assert NOT_FOR_A_BUNDLE & set(done.stderr.split()) == set()


def test_an_older_bundle_is_not_believed_after_a_later_look(
    network: SampleNetwork, bundle: Path, tmp_path: Path
) -> None:
    home = fresh_hospital(network, tmp_path / "hospital")
    assert verify(network, bundle, "--offline", "--max-age", "7d", home=home).code == 0
    network.attested(new_npi())  # a block later
    assert verify(network, bundle, home=home).code == 0
    done = verify(network, bundle, "--offline", "--max-age", "7d", home=home)
    assert (done.code, check(done, 3)["outcome"]) == (6, "fail")
    assert "seen before" in check(done, 3)["detail"]


def test_a_bundle_comes_by_a_pipe(network: SampleNetwork, ada: Stocked, bundle: Path) -> None:
    code, out, err = with_bytes("verify", "-", "--json", home=network.hospital, stdin=bundle.read_bytes())
    assert (code, json.loads(out)["verdict"]) == (0, "established"), err


def test_a_bundle_goes_by_a_pipe(network: SampleNetwork, ada: Stocked, tmp_path: Path) -> None:
    words = ("share", "--to", RECIPIENT, "--category", "fellowship", "--purpose", "monitoring")
    code, out, err = with_bytes(*words, "--expires", "12h", "--out", "-", home=ada.who.home)
    assert (code, out.startswith(MAGIC)) == (0, True), err
    (tmp_path / "piped.ccb").write_bytes(out)
    assert verify(network, tmp_path / "piped.ccb").code == 0


def test_a_recipient_by_did_and_in_any_case(network: SampleNetwork, ada: Stocked, tmp_path: Path) -> None:
    did = quick("whoami", "--json", home=network.hospital, expect=0).json["did"]
    for name, to in (("did", did), ("lower", RECIPIENT.lower())):
        assert verify(network, ada.who.share(tmp_path / name, "fellowship", to=to)).code == 0


def test_what_is_saved(network: SampleNetwork, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    first = verify(network, bundle, "--save", folder)
    assert first.code == 0
    names = ["bundle.ccb", "given.ccb", "network.json", "result.json"]
    assert sorted(each.name for each in folder.iterdir()) == names
    assert json.loads((folder / "result.json").read_text()) == first.json
    assert (folder / "given.ccb").read_bytes() == bundle.read_bytes()
    for name in ("bundle.ccb", "given.ccb"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    again = verify(network, folder / "bundle.ccb", "--network", folder / "network.json")
    assert (again.code, again.json["subject"]) == (0, first.json["subject"])
    assert verify(network, bundle, "--save", folder).code == 2, "never overwritten"


def test_a_verdict_is_told_though_it_cannot_be_saved(
    network: SampleNetwork, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full on the way: nothing of the folder is left, so that the next try can make it."""
    folder, write = tmp_path / "kept" / "evidence", files.write_new

    def full(path: Path, content: bytes, *, mode: int = files.READABLE) -> None:
        if path.name == "bundle.ccb":
            raise StorageError(f"cannot write {path}: No space left on device")
        write(path, content, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_new", full)
        for what in ((), ("--json",)):
            done = quick("verify", bundle, *what, "--save", folder, home=network.hospital, expect=1)
            assert "No space left" in done.err
            assert done.json["verdict"] == "established" if what else done.out.startswith("ESTABLISHED")
            assert not folder.exists()
    assert verify(network, bundle, "--save", folder).code == 0
    (tmp_path / "file").touch()
    done = verify(network, bundle, "--save", tmp_path / "file" / "evidence")
    assert (done.code, done.json["verdict"]) == (1, "established")


@pytest.mark.parametrize("how", [("--offline", "--max-age", "7d"), ()], ids=["offline", "online"])
def test_what_is_saved_can_be_checked_again_without_a_node(
    network: SampleNetwork, bundle: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    """Its evidence is in the folder: for an auditor, later, in the home that kept it."""
    folder, home = tmp_path / "evidence", fresh_hospital(network, tmp_path / "hospital")
    network.attested(new_npi())  # a block later than the bundle's
    first = verify(network, bundle, *how, "--save", folder, home=home)
    assert first.code == 0
    words = ("--offline", "--max-age", "7d", "--network", folder / "network.json")
    again = verify(network, folder / "bundle.ccb", *words, home=home)
    assert (again.code, again.json["subject"]) == (0, first.json["subject"]), again.json["statement"]
    assert again.json["as_of"] == first.json["as_of"]


def test_eight_credentials_fit_in_forty_kilobytes(
    network: SampleNetwork, ada: Stocked, tmp_path: Path
) -> None:
    out = ada.who.share(tmp_path / "eight.ccb", *EIGHT)
    done = verify(network, out)
    assert (done.code, len(done.json["credentials"])) == (0, 9), "eight, and the identity"
    assert out.stat().st_size <= 40_000
    shared = {each["category"] for each in done.json["credentials"]}
    assert shared == {each.partition(":")[0] for each in EIGHT} | {"identity"}


def test_a_bundle_of_a_year_of_credits(network: SampleNetwork, tmp_path: Path) -> None:
    """More credits in one category than a bundle holds: refused by share, or good; never a bad bundle."""
    who = radiologist(network, tmp_path).enrolled()
    address = who.address()
    table = tmp_path / "credits.csv"
    rows = ["address,activity_title,provider,credit_type,credits,completion_date"]
    activity = "Sample CME Institute,AMA PRA Category 1 Credit,1,2026-01-31"
    rows += [f"{address},Activity {each},{activity}" for each in range(65)]
    table.write_text("\n".join(rows) + "\n")
    quick("attest", "cme_credit", "--csv", table, home=network.member(INSTITUTE), expect=0)
    assert who.sync()["collected"] == 66
    out = tmp_path / "b.ccb"
    done = who.call(*share_words(out, "cme_credit:credits"))
    if done.code == 0:
        assert verify(network, out).code == 0
    else:
        assert (done.code, out.exists()) == (2, False)


# --- backups ----------------------------------------------------------------------------------


def test_a_lost_home_comes_back(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    who.to(INSTITUTE, "cme_credit")
    who.sync()
    backup = tmp_path / "backup.json"
    done = who.call("backup", "--out", backup, "--json", expect=0)
    assert done.json == {"did": who.did, "backup": str(backup), "documents": 2}
    assert backup.stat().st_mode & 0o077 == 0
    assert who.npi not in backup.read_text()
    board = who.by_npi(BOARD, "board_certification")
    late = who.to(HOSPITAL, "mqsa_experience", 300)
    did, address = who.did, who.address()
    who.home.rename(tmp_path / "lost")

    new = Radiologist(network, tmp_path / "new", who.first_backup, who.npi)
    restored = quick("restore", backup, "--json", home=new.home, expect=0)
    assert restored.json == {"did": did, "home": str(new.home), "documents": 2}
    assert (new.did, new.address()) == (did, address)
    assert new.call("wallet", "sync", "--json", expect=0).json == {"collected": 2, "refused": []}
    assert {each["attestation"] for each in new.listed()} >= {board, late}
    scope = ("board_certification", "cme_credit", "mqsa_experience")
    assert verify(network, new.share(tmp_path / "b.ccb", *scope)).code == 0


def test_the_first_backup_restores_before_anything_is_collected(
    network: SampleNetwork, tmp_path: Path
) -> None:
    who = radiologist(network, tmp_path).enrolled()
    who.by_npi(LOOKUPS, "exclusion_check", 60)
    who.home.rename(tmp_path / "lost")
    new = Radiologist(network, tmp_path / "new", who.first_backup, who.npi)
    quick("restore", who.first_backup, home=new.home, expect=0)
    assert new.sync()["collected"] == 2
    assert verify(network, new.share(tmp_path / "b.ccb", "exclusion_check")).code == 0


def test_two_homes_of_one_radiologist_go_on_side_by_side(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    who.sync()
    who.call("backup", "--out", tmp_path / "b.json", expect=0)
    twin = Radiologist(network, tmp_path / "twin", who.first_backup, who.npi)
    quick("restore", tmp_path / "b.json", home=twin.home, expect=0)
    who.by_npi(BOARD, "board_certification")
    who.to(INSTITUTE, "cme_credit")
    assert who.sync()["collected"] == 2
    assert twin.sync()["collected"] == 1, "what is published; the sealed one was collected by the other"
    held = {each["category"]: each["held"] for each in twin.listed()}
    assert held == {"identity": True, "board_certification": True, "cme_credit": False}
    for each in (who, twin):
        out = each.share(tmp_path / f"{each.home.name}.ccb", "board_certification")
        assert verify(network, out).code == 0
    lacking = twin.call(*share_words(tmp_path / "no.ccb", "cme_credit"))
    assert (lacking.code, (tmp_path / "no.ccb").exists()) == (2, False)
