"""Everything that goes wrong on the radiologist's side: exit code, field, hint, and nothing changed."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from credchain.cli.main import run as program

from credchain.credentials.addresses import PREFIX, Address
from credchain.credentials.subjects import HolderSubjects
from credchain.storage.home import Home, load_network
from credchain.verification.bundle import MAGIC
from tests.network.node_process import PASSPHRASE, free_port

from .network import BOARD, HOSPITAL, Done, SampleNetwork, claim_options, home_content, quick, run
from .wallet_helpers import (
    DESK,
    INSTITUTE,
    OTHER_HOSPITAL,
    RECIPIENT,
    Radiologist,
    attest_to,
    check,
    claims_file,
    day,
    enroll,
    fresh_hospital,
    new_npi,
    radiologist,
    share_words,
    verify,
    waiting_mail,
    with_bytes,
)

DAYS: Final = 300
METHOD: Final = "in person with government photo ID"


def refused(done: Done, code: int, field: str | None = None) -> str:
    """An error in the form of the contract; its sentence."""
    assert done.code == code, done
    assert done.out == "", done
    error = done.error
    assert set(error) == {"error", "field", "hint", "code"}, done
    assert error["code"] == code
    assert "internal error" not in error["error"], done
    assert error["hint"], done
    assert field is None or error["field"] == field, done
    return str(error["error"])


@dataclass(frozen=True)
class Shared:
    who: Radiologist
    bundle: Path


@pytest.fixture(scope="module")
def eve(network: SampleNetwork, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Enrolled, with one credential of each kind, and a bundle of both."""
    folder = tmp_path_factory.mktemp("eve")
    who = radiologist(network, folder).enrolled()
    who.by_npi(BOARD, "board_certification")
    who.to(INSTITUTE, "cme_credit")
    who.sync()
    return Shared(who, who.share(folder / "bundle.ccb", "board_certification", "cme_credit"))


@pytest.fixture(scope="module")
def other_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another consortium, of which no node runs: its folder."""
    folder = tmp_path_factory.mktemp("other")
    spec = Path(__file__).parents[2] / "samples" / "consortium.toml"
    url = f"http://127.0.0.1:{free_port()}"
    quick("network", "create", spec, "--out", folder / "try", "--dev", "--api", url, expect=0)
    return folder / "try"


# --- init, enroll -----------------------------------------------------------------------------


def test_init_needs_a_network(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = quick("init", "--radiologist", "--name", "Ada", "--json", home=home)
    refused(done, 2)
    assert "join" in done.hint
    assert not home.exists()


@pytest.mark.parametrize("more", [("--validator",), ("--api", "http://127.0.0.1:1"), ("--peer", "a:1")])
def test_init_of_a_radiologist_runs_no_node(
    network: SampleNetwork, tmp_path: Path, more: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    words = ("init", "--radiologist", "--name", "Ada", "--network", network.file, "--json")
    refused(quick(*words, *more, home=home), 2, "radiologist")
    assert not home.exists()


def test_init_overwrites_neither_keys_nor_backup(eve: Shared, tmp_path: Path) -> None:
    words = ("init", "--radiologist", "--name", "Ada", "--json", "--backup")
    before = home_content(eve.who.home)
    refused(eve.who.call(*words, tmp_path / "b.json"), 2, "home")
    assert (home_content(eve.who.home), (tmp_path / "b.json").exists()) == (before, False)
    new = tmp_path / "new"
    quick("join", eve.who.network.file, home=new, expect=0)
    refused(quick(*words, eve.who.first_backup, home=new), 2, "backup")
    assert not (new / "keys.json").exists()


def test_backup_goes_with_radiologists(tmp_path: Path) -> None:
    done = quick("init", "--name", "Board", "--backup", tmp_path / "b", "--json", home=tmp_path / "home")
    refused(done, 2, "backup")


def test_enroll_by_someone_else(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path)
    for desk in (HOSPITAL, BOARD):
        refused(enroll(who, desk=desk), 7)
    assert who.call("whoami", "--json", expect=0).json["enrolled"] is False


def test_a_second_radiologist_for_an_npi(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path, eve.who.npi)
    done = enroll(who)
    refused(done, 7)
    assert "--renews" not in done.hint, "enroll has no such option"
    assert who.call("whoami", "--json", expect=0).json["enrolled"] is False


def test_another_identity_for_the_same(eve: Shared) -> None:
    refused(enroll(eve.who, "--set", "middle_name=Another"), 7)


def test_a_second_npi_for_a_card(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    second = enroll(Radiologist(network, who.home, who.first_backup, new_npi()))
    assert second.code in (2, 7), second
    refused(second, second.code)


@pytest.mark.parametrize(
    ("npi", "more", "field"),
    [
        ("2012345677", (), "npi"),
        ("20123", (), "npi"),
        ("", (), "npi"),
        (None, ("--set", "verification_method=hearsay"), "verification_method"),
        (None, ("--set", "colour=red"), "colour"),
        (None, ("--from", "yesterday"), "from"),
        (None, ("--until", "2026-13-01"), "until"),
        (None, ("--from", day(), "--until", day(-3)), None),
    ],
)
def test_enroll_with_wrong_words(
    network: SampleNetwork, eve: Shared, npi: str | None, more: tuple[str, ...], field: str | None
) -> None:
    number = new_npi() if npi is None else npi
    name = ("--set", "family_name=A", "--set", "given_name=B")
    method = () if "verification_method" in "".join(more) else ("--set", "verification_method=" + METHOD)
    words = ("enroll", eve.who.card, "--npi", number, *name, *method, *more, "--json")
    refused(quick(*words, home=network.member(DESK)), 2, field)


def test_enroll_with_a_wrong_card(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    good = eve.who.card.read_text()
    line = next(each for each in good.splitlines() if each.startswith("subjects_root"))
    cards = {
        "organisation": (network.hospital / "member.toml").read_text(),
        "altered": good.replace(
            line, line[:-6] + ("00000" if line[-6:-1] != "00000" else "11111") + line[-1]
        ),
        "cut": good[: len(good) // 2],
        "empty": "",
        "text": "Dear desk, please enrol me.",
    }
    name = ("--set", "family_name=A", "--set", "given_name=B", "--set", f"verification_method={METHOD}")
    for each, text in cards.items():
        (tmp_path / each).write_text(text)
    for path in [*(tmp_path / each for each in cards), tmp_path / "nothing", tmp_path]:
        words = ("enroll", path, "--npi", new_npi(), *name, "--json")
        refused(quick(*words, home=network.member(DESK)), 2)


# --- addresses --------------------------------------------------------------------------------


def test_an_npi_does_not_lead_to_private_categories(network: SampleNetwork, eve: Shared) -> None:
    claims = ("--claims", claims_file(network, "cme_credit"))
    words = ("attest", "cme_credit", "--npi", eve.who.npi, *claims, "--json")
    done = quick(*words, home=network.member(INSTITUTE))
    refused(done, 2, "npi")
    assert "credchain wallet address cme_credit" in done.hint


def test_an_address_does_not_lead_to_public_categories(network: SampleNetwork, eve: Shared) -> None:
    done = attest_to(network, BOARD, "board_certification", eve.who.address())
    refused(done, 2, "to")
    assert "--npi" in done.hint


def test_npi_and_address_are_not_both(network: SampleNetwork, eve: Shared) -> None:
    more = ("--npi", eve.who.npi)
    refused(attest_to(network, INSTITUTE, "cme_credit", eve.who.address(), None, *more), 2)


def test_a_public_category_has_no_address(eve: Shared) -> None:
    for category in ("board_certification", "identity"):
        refused(eve.who.call("wallet", "address", category, "--json"), 2, "category")
    refused(eve.who.call("wallet", "address", "nonsense", "--json"), 2, "category")


def test_a_mistyped_address(network: SampleNetwork, eve: Shared) -> None:
    good = eve.who.address()
    state = network.state()
    wrong = [good[:-1], good[1:], good + "1", PREFIX, "", "2012345676", good + good, "x" * 3000]
    for at in (0, 5, len(PREFIX), len(PREFIX) + 1, len(good) // 3, len(good) // 2, len(good) - 1):
        wrong.append(good[:at] + ("2" if good[at] != "2" else "3") + good[at + 1 :])
    at = len(good) // 2
    wrong.append(good[:at] + good[at + 1] + good[at] + good[at + 2 :] if good[at] != good[at + 1] else "x")
    wrong.append(good[:at] + "0" + good[at + 1 :])
    wrong.append(good[:at] + "é" + good[at + 1 :])
    for text in wrong:
        refused(attest_to(network, INSTITUTE, "cme_credit", text), 2, "to")
    assert network.state() == state


def test_an_address_of_another_category(network: SampleNetwork, eve: Shared) -> None:
    done = attest_to(network, INSTITUTE, "cme_credit", eve.who.address("fellowship"))
    assert "fellowship" in refused(done, 2, "to")


def test_an_address_of_another_network(network: SampleNetwork, other_network: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    quick("join", other_network / "network.json", home=home, expect=0)
    quick("init", "--radiologist", "--name", "A", "--backup", tmp_path / "b", home=home, expect=0)
    address = quick("wallet", "address", "cme_credit", home=home, expect=0).out.strip()
    done = attest_to(network, INSTITUTE, "cme_credit", address)
    assert "another network" in refused(done, 2, "to")


def test_an_address_of_nobody_who_is_enrolled(network: SampleNetwork, tmp_path: Path) -> None:
    done = attest_to(network, INSTITUTE, "cme_credit", radiologist(network, tmp_path).address())
    refused(done, 2, "to")
    assert "enrol" in done.hint, "what to do, not where the options are listed"


def test_an_address_under_another_secret(network: SampleNetwork, eve: Shared) -> None:
    """Signed by its holder, but not a leaf that it committed to: a second dossier to hide behind."""
    made = load_network(network.file)
    keys = Home(eve.who.home).unlock(PASSPHRASE)
    private = [name for name, each in made.categories.items() if not each.by_npi]
    opening = HolderSubjects.of(secrets.token_bytes(32), private).open("cme_credit")
    text = Address.make(made.id, keys.did, keys.signing, opening).text
    state = network.state()
    assert "committed" in refused(attest_to(network, INSTITUTE, "cme_credit", text), 2, "to")
    assert network.state() == state


def test_a_table_with_a_wrong_address_sends_nothing(
    network: SampleNetwork, eve: Shared, tmp_path: Path
) -> None:
    stranger = radiologist(network, tmp_path).address()
    good = eve.who.address()
    lines = ["address,activity_title,provider,credit_type,credits,completion_date"]
    for title, address in (("A", good), ("B", stranger), ("C", good[:-2]), ("D", eve.who.npi), ("E", "")):
        lines.append(f"{address},{title},Sample,AMA PRA Category 1 Credit,1,2026-01-31")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines) + "\n")
    state, home = network.state(), network.copy(network.member(INSTITUTE), tmp_path / "issuer")
    done = quick("attest", "cme_credit", "--csv", table, "--json", home=home)
    assert (done.code, network.state()) == (2, state)
    rejects = tmp_path / "rejects.csv"
    words = ("attest", "cme_credit", "--csv", table, "--partial", "--rejects", rejects, "--json")
    done = quick(*words, home=home)
    assert done.json["attested"] == 1
    assert sorted(each["line"] for each in done.json["rejected"]) == [3, 4, 5, 6]
    assert {each["column"] for each in done.json["rejected"]} <= {"address", "to"}
    assert {each["column"] for each in done.json["rejected"]} == {"address"}, "the table has no column to"


# --- the wallet -------------------------------------------------------------------------------


ORGANISATIONS_CALLS: Final = (
    ("wallet", "sync", "--npi", "2012345676"),
    ("wallet", "list"),
    ("wallet", "address", "cme_credit"),
    ("wallet", "export", "12345678", "--audience", "a", "--nonce", "n"),
    ("wallet", "add", "-"),
    ("share", "--to", RECIPIENT, "--category", "cme_credit", "--purpose", "monitoring", "--expires", "1d"),
)


@pytest.mark.parametrize("words", ORGANISATIONS_CALLS, ids=lambda words: "-".join(words[:2]))
def test_an_organisation_has_no_wallet(
    network: SampleNetwork, tmp_path: Path, words: tuple[str, ...]
) -> None:
    home = network.copy(network.hospital, tmp_path / "home")
    before = home_content(home)
    out = ("--out", tmp_path / "b") if words[0] == "share" else ()
    refused(quick(*words, *out, "--json", home=home), 2, "home")
    assert home_content(home) == before, "no wallet is made in passing"


def test_hints_of_wallet_commands_name_commands_that_exist(eve: Shared, tmp_path: Path) -> None:
    done = eve.who.call("wallet", "add", tmp_path / "nothing", "--json")
    refused(done, 2, "credential")
    words = done.hint.partition("credchain ")[2].split()
    if "--help" in words:
        assert words[:2] == ["wallet", "add"], done.hint


def test_a_wrong_passphrase(eve: Shared, tmp_path: Path) -> None:
    before = home_content(eve.who.home)
    calls = (
        ("wallet", "sync"),
        ("wallet", "list"),
        ("wallet", "address", "cme_credit"),
        ("wallet", "export", "12345678", "--audience", "a", "--nonce", "n"),
        tuple(share_words(tmp_path / "b.ccb", "cme_credit")),
        ("backup", "--out", str(tmp_path / "backup")),
        ("restore", str(eve.who.first_backup), "--home", str(tmp_path / "restored")),
    )
    for words in calls:
        done = quick(*words, "--json", home=eve.who.home, CREDCHAIN_PASSPHRASE="wrong")
        assert "passphrase" in refused(done, 2, "passphrase")
    assert home_content(eve.who.home) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["half", "header", "garbage", "text", "empty"])
def test_a_damaged_wallet(eve: Shared, tmp_path: Path, damage: str) -> None:
    home = eve.who.network.copy(eve.who.home, tmp_path / "home")
    for each in home.glob("wallet.db-*"):
        each.unlink()
    path = home / "wallet.db"
    whole = path.read_bytes()
    garbage = bytes(range(251)) * (len(whole) // 251 + 1)
    content = {
        "half": whole[: len(whole) // 2],
        "header": whole[:100],
        "garbage": garbage[: len(whole)],
        "text": b"this is not a wallet\n" * 50,
        "empty": b"",
    }[damage]
    path.write_bytes(content)
    calls = (
        ("wallet", "list", "--json"),
        ("wallet", "sync", "--npi", eve.who.npi, "--json"),
        tuple(share_words(tmp_path / "b.ccb", "cme_credit")),
        ("backup", "--out", str(tmp_path / "backup"), "--json"),
    )
    for words in calls:
        done = quick(*words, home=home)
        assert "wallet" in refused(done, 1)
    assert not (tmp_path / "b.ccb").exists()
    assert not (tmp_path / "backup").exists()


def test_the_hint_for_a_damaged_wallet_can_be_followed(eve: Shared, tmp_path: Path) -> None:
    home = eve.who.network.copy(eve.who.home, tmp_path / "home")
    (home / "wallet.db").write_bytes(b"this is not a wallet\n" * 50)
    done = quick("wallet", "list", "--json", home=home)
    refused(done, 1)
    assert "audit" not in done.hint, "that is for nodes"
    assert "backup" in done.hint


def test_sync_needs_the_npi_once(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    refused(who.call("wallet", "sync", "--json"), 2, "npi")
    refused(who.call("wallet", "sync", "--npi", "2012345677", "--json"), 2, "npi")
    who.sync()
    refused(who.call("wallet", "sync", "--npi", new_npi(), "--json"), 2, "npi")


def test_a_mistyped_npi_can_be_put_right(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    """Mistyped once, the wallet must not be somebody else's for ever."""
    who = radiologist(network, tmp_path).enrolled()
    wrong = who.call("wallet", "sync", "--npi", eve.who.npi, "--json")
    assert wrong.code != 0 or wrong.json["collected"] == 0, "another person's credentials"
    right = who.call("wallet", "sync", "--npi", who.npi, "--json")
    assert right.code == 0, right


def test_a_mistyped_npi_loses_no_document(network: SampleNetwork, tmp_path: Path) -> None:
    """What a wallet refuses stays in the mailbox: the nodes have the only copy."""
    who = radiologist(network, tmp_path).enrolled()
    assert waiting_mail(network, who.did) == 1
    who.call("wallet", "sync", "--npi", new_npi(), "--json")
    assert waiting_mail(network, who.did) == 1


def test_export_of_what_is_not_there(eve: Shared) -> None:
    for identifier, audience, nonce in (
        ("00000000", "a", "n"),
        ("1234567", "a", "n"),
        ("zzzzzzzz", "a", "n"),
        ("", "a", "n"),
    ):
        words = ("wallet", "export", identifier, "--audience", audience, "--nonce", nonce, "--json")
        refused(eve.who.call(*words), 2, "attestation")
    known = eve.who.listed()[0]["attestation"]
    for field, audience, nonce in (
        ("audience", "a\nb", "n"),
        ("nonce", "a", "n\x1b[0m"),
        ("audience", "", "n"),
        ("nonce", "a", ""),
        ("audience", " ", "n"),
    ):
        words = ("wallet", "export", known, "--audience", audience, "--nonce", nonce, "--json")
        refused(eve.who.call(*words), 2, field)


def test_add_of_what_is_not_ours(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    stranger = radiologist(network, tmp_path / "stranger").enrolled()
    theirs = tmp_path / "theirs.txt"
    stranger.to(INSTITUTE, "cme_credit", None, "--out", str(theirs))
    text = theirs.read_text()
    files = {
        "theirs": text,
        "cut": text[: len(text) // 2],
        "empty": "",
        "text": "Dear wallet",
        "long": "a" * 40_000,
    }
    before = len(eve.who.listed())
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    for path in [*(tmp_path / name for name in files), eve.bundle, tmp_path, tmp_path / "nothing"]:
        refused(eve.who.call("wallet", "add", path, "--json"), 2, "credential")
    assert len(eve.who.listed()) == before


def test_add_of_an_altered_credential(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    out = tmp_path / "c.txt"
    eve.who.to(INSTITUTE, "cme_credit", None, "--out", str(out), "--set", "topic=altered")
    jwt, *rest = out.read_text().strip().split("~")
    head, payload, signature = jwt.split(".")
    at = len(signature) // 2
    other = signature[:at] + ("A" if signature[at] != "A" else "B") + signature[at + 1 :]
    for text in ("~".join([f"{head}.{payload}.{other}", *rest]), "~".join([jwt, *rest[1:], rest[0]])):
        out.write_text(text)
        refused(eve.who.call("wallet", "add", out, "--json"), 2, "credential")


# --- share ------------------------------------------------------------------------------------


def test_share_before_a_sync(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    who.by_npi(BOARD, "board_certification")
    done = who.call(*share_words(tmp_path / "b.ccb", "board_certification"))
    refused(done, 2, "npi")
    assert "wallet sync" in done.hint
    assert not (tmp_path / "b.ccb").exists()


def test_share_before_enrolment(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path)
    who.by_npi(BOARD, "board_certification")
    assert who.sync()["collected"] == 0, "nothing says yet that the NPI is this radiologist's"
    refused(who.call(*share_words(tmp_path / "b.ccb", "board_certification")), 2)
    assert not (tmp_path / "b.ccb").exists()


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (("fellowship",), "category"),
        (("cme_credit", "state_license"), "category"),
        (("nonsense",), "category"),
        (("cme_credit:colour",), "category"),
        (("cme_credit:credits,colour",), "category"),
        (("cme_credit", "cme_credit:credits"), "category"),
        (("identity",), "category"),
        (("",), "category"),
        ((":",), "category"),
        (("cme_credit:",), "category"),
        (("cme_credit:,",), "category"),
        ((), None),
    ],
)
def test_share_with_a_wrong_scope(
    eve: Shared, tmp_path: Path, scope: tuple[str, ...], field: str | None
) -> None:
    refused(eve.who.call(*share_words(tmp_path / "b.ccb", *scope)), 2, field)
    assert list(tmp_path.iterdir()) == []


def test_share_of_what_is_attested_and_not_in_the_wallet(network: SampleNetwork, tmp_path: Path) -> None:
    """It is in force: what is missing is the document, and that can be had."""
    who = radiologist(network, tmp_path).enrolled()
    who.sync()
    who.to(INSTITUTE, "cme_credit")
    done = who.call(*share_words(tmp_path / "b.ccb", "cme_credit"))
    why = refused(done, 2, "category")
    assert "attested" in why
    assert "not in this wallet" in why
    assert "credchain wallet sync" in done.hint
    assert "credchain wallet add" in done.hint
    who.sync()
    who.share(tmp_path / "b.ccb", "cme_credit")
    none = who.call(*share_words(tmp_path / "c.ccb", "state_license"))
    assert "has no state_license in force" in refused(none, 2, "category")


@pytest.mark.parametrize(
    "expires", ["", "30", "d", "-1d", "1.5d", "0d", "0s", "367d", "99999999999d", "2027-01-01"]
)
def test_share_for_a_wrong_time(eve: Shared, tmp_path: Path, expires: str) -> None:
    out = tmp_path / "b.ccb"
    words = share_words(out, "cme_credit")
    at = words.index("--expires")
    refused(eve.who.call(*words[:at], f"--expires={expires}", *words[at + 2 :]), 2, "expires")
    assert not out.exists()


def test_share_for_a_year(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    assert verify(network, eve.who.share(tmp_path / "b.ccb", "cme_credit", expires="366d")).code == 0


@pytest.mark.parametrize("purpose", ["curiosity", "", "Temporary privileges"])
def test_share_for_a_wrong_purpose(eve: Shared, tmp_path: Path, purpose: str) -> None:
    done = eve.who.call(*share_words(tmp_path / "b.ccb", "cme_credit", purpose=purpose))
    refused(done, 2, "purpose")
    assert "temporary_privileges" in done.hint


def test_share_with_whom(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    board = quick("whoami", "--json", home=network.board, expect=0).json["did"]
    stranger = radiologist(network, tmp_path / "stranger").did
    wrong = ["Lakeside", "Hospital", "", "did:key:z6Mk", "did:web:example.org", board, eve.who.did, stranger]
    wrong += ["Example Board of Radiology", "lakeside-hospital"]
    for to in wrong:
        refused(eve.who.call(*share_words(tmp_path / "b.ccb", "cme_credit", to=to)), 2, "to")
    assert not (tmp_path / "b.ccb").exists()


def test_share_overwrites_nothing(eve: Shared, tmp_path: Path) -> None:
    (tmp_path / "b.ccb").write_text("mine")
    refused(eve.who.call(*share_words(tmp_path / "b.ccb", "cme_credit")), 2, "out")
    refused(eve.who.call(*share_words(tmp_path, "cme_credit")), 2, "out")
    assert (tmp_path / "b.ccb").read_text() == "mine"
    words = share_words(tmp_path / "x", "cme_credit")
    refused(eve.who.call(*words[: words.index("--out")], "--json"), 2, "out")


def test_share_without_a_node(eve: Shared, tmp_path: Path) -> None:
    node = ("--node", f"http://127.0.0.1:{free_port()}")
    refused(eve.who.call(*share_words(tmp_path / "b.ccb", "cme_credit"), *node), 6)
    assert not (tmp_path / "b.ccb").exists()
    for words in (("wallet", "sync"), ("wallet", "list")):
        refused(eve.who.call(*words, "--json", *node), 6)


# --- verify -----------------------------------------------------------------------------------


def test_a_bundle_for_another_hospital(network: SampleNetwork, eve: Shared) -> None:
    for home in (network.member(OTHER_HOSPITAL), network.board, eve.who.home):
        refused(verify(network, eve.bundle, home=home), 2, "bundle")


def test_a_bundle_in_another_networks_home(network: SampleNetwork, eve: Shared, other_network: Path) -> None:
    home = other_network / "members" / HOSPITAL
    refused(verify(network, eve.bundle, home=home), 2, "bundle")
    anchor = ("--network", other_network / "network.json")
    offline = verify(network, eve.bundle, "--offline", "--max-age", "7d", *anchor)
    assert offline.code in (3, 6), offline
    online = verify(network, eve.bundle, *anchor, "--node", network.url)
    assert online.code in (3, 6), online


def test_a_bundle_damaged_anywhere(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    whole = eve.bundle.read_bytes()
    size = len(whole)
    places = [0, 5, len(MAGIC) - 1, len(MAGIC), len(MAGIC) + 31, len(MAGIC) + 32, len(MAGIC) + 48]
    places += [size // 4, size // 2, 3 * size // 4, size - 17, size - 1]
    path = tmp_path / "b.ccb"
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = verify(network, path, "--offline", "--max-age", "7d")
        assert done.code in (2, 3), (at, done)


def test_a_bundle_cut_short_or_with_more(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    whole = eve.bundle.read_bytes()
    path = tmp_path / "b.ccb"
    pieces = [whole[:at] for at in (0, 1, len(MAGIC), len(MAGIC) + 40, len(whole) // 2, len(whole) - 1)]
    for content in (*pieces, whole + b"\n", b"\n" + whole, whole + whole, whole + bytes(2**20)):
        path.write_bytes(content)
        refused(verify(network, path), 2, "bundle")
    for content in (b"", whole[:-1]):
        code, out, err = with_bytes("verify", "-", "--json", home=network.hospital, stdin=content)
        assert (code, out) == (2, b""), err
        assert json.loads(err)["field"] == "bundle"


def test_what_is_no_bundle(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("Dear hospital,\n")
    for path in (text, tmp_path, tmp_path / "nothing.ccb", eve.who.card, eve.who.first_backup):
        refused(verify(network, path), 2, "bundle")
    refused(verify(network, eve.bundle, "--category", "cme_credit"), 2, "category")
    refused(quick("verify", eve.who.npi, "--offline", "--json", home=network.hospital), 2, "offline")
    refused(verify(network, eve.bundle, "--max-age", "long"), 2, "max-age")


def test_a_text_that_is_no_bundle_by_a_real_process(network: SampleNetwork, tmp_path: Path) -> None:
    done = run("verify", "-", home=network.hospital, stdin="Dear hospital,\n")
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")


def test_an_expired_bundle(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    bundle = eve.who.share(tmp_path / "b.ccb", "cme_credit", expires="1s")
    time.sleep(1.1)
    for more in ((), ("--offline", "--max-age", "7d")):
        done = verify(network, bundle, *more, home=fresh_hospital(network, tmp_path / f"h{len(more)}"))
        assert (done.code, done.json["verdict"]) == (4, "not_current")
        assert (check(done, 10)["outcome"], "expired" in check(done, 10)["detail"]) == ("fail", True)
    shown = quick("verify", bundle, home=network.hospital)
    assert "expired" in shown.out.split("check ")[0], "the reason stands above the fold, not in row ten"


def test_a_suspended_privilege_cannot_be_left_out(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    good = who.to(HOSPITAL, "hospital_privileges", DAYS)
    bad = who.to(HOSPITAL, "hospital_privileges", DAYS, "--set", "department=Surgery")
    who.sync()
    words = ("--set", "suspended", "--reason", "disciplinary_action")
    quick("status", bad, *words, home=network.hospital, expect=0)
    done = verify(network, who.share(tmp_path / "b.ccb", "hospital_privileges"))
    assert (done.code, done.json["verdict"]) == (4, "adverse")
    found = {each["attestation"]: each for each in done.json["credentials"]}
    assert (found[good]["verdict"], found[good]["disclosed"]) == ("established", True)
    assert (found[bad]["status"], found[bad]["verdict"]) == ("suspended", "adverse")
    assert (found[bad]["disclosed"], found[bad]["claims"]) == (False, None)


def test_revoked_after_it_was_shared(network: SampleNetwork, tmp_path: Path) -> None:
    who = radiologist(network, tmp_path).enrolled()
    board = who.by_npi(BOARD, "board_certification")
    who.sync()
    bundle = who.share(tmp_path / "b.ccb", "board_certification")
    words = ("--set", "revoked", "--reason", "fraud", "--yes")
    quick("status", board, *words, home=network.board, expect=0)
    home = fresh_hospital(network, tmp_path / "hospital")
    offline = verify(network, bundle, "--offline", "--max-age", "7d", home=home)
    assert (offline.code, offline.json["verdict"]) == (0, "established")
    assert offline.json["as_of"]["time"] in check(offline, 3)["detail"]
    online = verify(network, bundle, home=home)
    assert (online.code, online.json["verdict"]) == (4, "adverse")
    assert online.json["as_of"]["height"] > offline.json["as_of"]["height"]
    after = verify(network, bundle, "--offline", "--max-age", "7d", home=home)
    assert after.code != 0, "what was seen is not unseen"
    refused(who.call(*share_words(tmp_path / "again.ccb", "board_certification")), 2, "category")


def test_offline_evidence_that_is_too_old(network: SampleNetwork, eve: Shared, tmp_path: Path) -> None:
    bundle = eve.who.share(tmp_path / "b.ccb", "cme_credit")
    time.sleep(1.1)
    home = fresh_hospital(network, tmp_path / "hospital")
    done = verify(network, bundle, "--offline", "--max-age", "1s", home=home)
    assert (done.code, done.json["verdict"]) == (6, "not_established")
    assert check(done, 3)["outcome"] != "pass"


def test_no_node_and_not_offline(network: SampleNetwork, eve: Shared) -> None:
    node = ("--node", f"http://127.0.0.1:{free_port()}")
    done = verify(network, eve.bundle, *node)
    assert (done.code, done.json["verdict"]) == (6, "not_established")
    assert done.json["subject"] == {"npi": eve.who.npi, "did": eve.who.did}
    assert (done.json["as_of"], done.json["credentials"]) == ({"height": None, "time": None}, [])
    assert "--offline" in done.err, "the way out"
    assert "pass" not in {each["outcome"] for each in done.json["checks"]}


# --- backup, restore --------------------------------------------------------------------------


def test_restore_into_a_used_home(network: SampleNetwork, eve: Shared) -> None:
    for home in (eve.who.home, network.hospital):
        before = home_content(home)
        refused(quick("restore", eve.who.first_backup, "--json", home=home), 2, "home")
        assert home_content(home) == before


def test_restore_of_what_is_no_backup(eve: Shared, tmp_path: Path) -> None:
    whole = eve.who.first_backup.read_bytes()
    at = len(whole) // 2
    files = {
        "cut": whole[:at],
        "empty": b"",
        "altered": whole[:at] + (b"A" if whole[at : at + 1] != b"A" else b"B") + whole[at + 1 :],
        "text": b"Dear wallet",
        "keys": (eve.who.home / "keys.json").read_bytes(),
        "bundle": eve.bundle.read_bytes(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    home = tmp_path / "home"
    for path in [*(tmp_path / name for name in files), tmp_path, tmp_path / "nothing"]:
        refused(quick("restore", path, "--json", home=home), 2)
        assert not home.exists()


def test_backup_overwrites_nothing(eve: Shared, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    refused(eve.who.call("backup", "--out", tmp_path / "b", "--json"), 2)
    assert (tmp_path / "b").read_text() == "mine"


def test_backup_of_nothing(tmp_path: Path) -> None:
    refused(quick("backup", "--out", tmp_path / "b", "--json", home=tmp_path / "home"), 2)
    assert list(tmp_path.iterdir()) == []


def test_the_first_backup_alone_does_not_bring_back_what_was_collected(
    network: SampleNetwork, tmp_path: Path
) -> None:
    """Sealed documents leave the nodes once collected: share says so, and a hint that can be followed."""
    who = radiologist(network, tmp_path).enrolled()
    who.by_npi(BOARD, "board_certification")
    who.sync()
    new = Radiologist(network, tmp_path / "new", who.first_backup, who.npi)
    quick("restore", who.first_backup, home=new.home, expect=0)
    assert new.sync()["collected"] == 0, "nothing confirms the NPI without the identity credential"
    done = new.call(*share_words(tmp_path / "b.ccb", "board_certification"))
    assert "identity" in refused(done, 2)
    assert done.hint != "credchain wallet sync", "that was just done, and brings nothing"


def test_a_radiologist_attests_nothing(network: SampleNetwork, eve: Shared) -> None:
    words = ("attest", "board_certification", "--npi", eve.who.npi, *claim_options(), "--json")
    refused(eve.who.call(*words), 7)


@pytest.mark.parametrize("group", [("wallet",), ("wallet", "nonsense"), ("wallet", "sync", "--nonsense")])
def test_words_that_are_no_command(group: tuple[str, ...]) -> None:
    assert program(list(group)) == 2
