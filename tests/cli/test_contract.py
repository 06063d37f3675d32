"""The command line's contract: JSON keys, exit codes, common options, help, prompts, output channels."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from credchain.cli import roles
from credchain.cli.main import app
from credchain.cli.member import PANEL as MEMBER_PANEL
from credchain.cli.session import COMMON
from typer.main import get_command

from credchain.certificates import Millis
from credchain.client import Client
from credchain.credentials.categories import check_claims
from credchain.issuing.attesting import Attesting
from credchain.issuing.outbox import Outbox
from credchain.issuing.rows import Defaults, Issuer, make_row
from credchain.storage.home import Home, load_network
from credchain.storage.member_store import MemberStore
from tests.network.node_process import PASSPHRASE, command, environment

from .network import (
    BOARD,
    CALIFORNIA,
    RFC3339,
    Done,
    SampleNetwork,
    home_content,
    npis,
    on_terminal,
    quick,
    row,
    run,
    write_table,
)

new_npi = npis(10_000_000)
HEX_64: Final = re.compile(r"[0-9a-f]{64}\Z")


# --- JSON -------------------------------------------------------------------------------------


def walk(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a document with its key; what is in a list carries the list's key."""
    yield name, value
    if isinstance(value, dict):
        for key, each in value.items():
            # Claims are the issuer's own words: the contract is silent on what is in them.
            if key != "claims" or isinstance(each, list):
                yield from walk(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each, name)


TIMES: Final = frozenset(("time", "verified_at", "valid_from", "valid_until"))
# categories --json: "valid_until" says whether the category has one, a word and no time.
WORDS: Final = frozenset(("required", "optional", "never"))


def check_document(document: Any) -> None:
    """Times RFC 3339 with Z, null for no value, lists as arrays of objects."""
    assert isinstance(document, dict)
    for name, value in walk(document):
        assert value not in ("", "None", "null"), (name, value)
        if name in TIMES and value is not None and value not in WORDS:
            assert RFC3339.match(value), (name, value)
        if isinstance(value, list):
            assert all(isinstance(each, dict) for each in value), (name, value)


@pytest.fixture(scope="session")
def receipt(network: SampleNetwork) -> dict[str, Any]:
    """What one `attest --json` printed."""
    found = network.attest(new_npi(), "--until", "2034-05-31").json
    assert type(found) is dict
    return found


RECEIPT: Final = {"attestation", "transaction", "height", "time", "certificate"}


def test_attest_one(receipt: dict[str, Any]) -> None:
    assert set(receipt) >= RECEIPT
    assert HEX_64.match(receipt["attestation"])
    assert HEX_64.match(receipt["transaction"])
    assert receipt["certificate"]["signatures"]
    check_document(receipt)


def test_attest_table(network: SampleNetwork, tmp_path: Path) -> None:
    good, bad = row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")
    table, rejects = write_table(tmp_path / "t.csv", [good, bad]), tmp_path / "rejects.csv"
    options = ("--csv", table, "--partial", "--rejects", rejects, "--json")
    done = run("attest", "board_certification", *options, home=network.board)
    told = done.json
    assert set(told) >= {"rows", "attested", "already", "rejected"}
    assert (told["rows"], told["attested"], told["already"]) == (2, 1, 0)
    assert set(told["rejected"][0]) >= {"line", "column", "reason"}
    assert (told["rejected"][0]["line"], told["rejected"][0]["column"]) == (3, "npi")
    check_document(told)


def test_rejected_rows_make_exit_code_2(network: SampleNetwork, tmp_path: Path) -> None:
    """A script must not take a table with refused rows for done."""
    table = write_table(tmp_path / "t.csv", [row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")])
    options = ("--csv", table, "--partial", "--rejects", tmp_path / "rejects.csv", "--json")
    done = run("attest", "board_certification", *options, home=network.board)
    assert len(done.json["rejected"]) == 1
    assert done.code == 2


def test_status(network: SampleNetwork, receipt: dict[str, Any]) -> None:
    changed = run(
        *("status", receipt["attestation"], "--set", "suspended", "--reason", "under_investigation"),
        *("--note", "for the test", "--json"),
        home=network.board,
        expect=0,
    ).json
    assert set(changed) >= {*RECEIPT, "status", "reason"}
    check_document(changed)
    shown = run("status", receipt["attestation"], "--json", home=network.board, expect=0).json
    names = {"attestation", "category", "issuer", "issuer_name", "status", "valid_from", "valid_until"}
    assert set(shown) >= {*names, "history", "as_of"}
    assert shown["status"] == "suspended"
    last = shown["history"][-1]
    assert set(last) >= {"status", "reason", "by", "height", "time", "note"}
    assert last["note"] == "for the test"
    check_document(shown)
    elsewhere = run("status", receipt["attestation"], "--json", home=network.hospital, expect=0).json
    assert elsewhere["history"][-1]["note"] is None, "the text stays in the issuer's home"


def test_status_table(network: SampleNetwork, tmp_path: Path) -> None:
    cells = {"attestation": network.attested(new_npi()), "status": "lapsed", "reason": "not_renewed"}
    table = write_table(tmp_path / "t.csv", [cells], ("attestation", "status", "reason"))
    told = run("status", "--csv", table, "--json", home=network.board, expect=0).json
    assert set(told) >= {"rows", "changed", "already", "rejected"}
    check_document(told)


def test_issued(network: SampleNetwork, receipt: dict[str, Any]) -> None:
    told = run("issued", "--json", home=network.board, expect=0).json
    names = {"attestation", "category", "npi", "status", "valid_from", "valid_until", "height", "time"}
    assert set(told["issued"][0]) >= names
    assert receipt["attestation"] in [each["attestation"] for each in told["issued"]]
    check_document(told)


def test_erase(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    told = run(
        "erase", identifier, "--reason", "erasure_request", "--yes", "--json", home=network.board, expect=0
    ).json
    assert set(told) >= {*RECEIPT, "reason"}
    check_document(told)


VERIFY: Final = {
    "": {"verdict", "verified_at", "as_of", "subject", "credentials", "absent", "checks", "statement"},
    "as_of": {"height", "time"},
    "subject": {"npi", "did"},
    "credentials": {
        *("category", "attestation", "issuer", "issuer_name", "primary_source", "status"),
        *("valid_from", "valid_until", "verdict", "disclosed", "claims"),
    },
    "checks": {"id", "name", "outcome", "detail"},
    "absent": {"category"},
}


@pytest.mark.parametrize("kind", ["established", "absent", "unreachable"])
def test_verify(network: SampleNetwork, kind: str) -> None:
    npi = new_npi()
    if kind == "established":
        network.attest(npi)
    node = ("--node", "http://127.0.0.1:1") if kind == "unreachable" else ()
    done = run("verify", npi, "--json", *node, home=network.hospital)
    assert done.code == (0 if kind == "established" else 6)
    told = done.json
    assert set(told) >= VERIFY[""]
    for part in ("as_of", "subject"):
        assert set(told[part]) >= VERIFY[part]
    for part in ("credentials", "checks", "absent"):
        for each in told[part]:
            assert set(each) >= VERIFY[part]
    assert [each["id"] for each in told["checks"]] == list(range(1, 11))
    outcomes = {each["outcome"] for each in told["checks"]}
    assert outcomes <= {"pass", "fail", "unknown", "not_applicable"}
    assert told["subject"] == {"npi": npi, "did": None}
    assert bool(told["credentials"]) == (kind == "established")
    assert bool(told["absent"]) == (kind != "unreachable")
    assert told["verdict"] == ("established" if kind == "established" else "not_established")
    check_document(told)


def test_claims_of_an_erased_document_are_null(network: SampleNetwork) -> None:
    npi = new_npi()
    identifier = network.attested(npi)
    run("erase", identifier, "--reason", "data_error", "--yes", home=network.board, expect=0)
    told = run("verify", npi, "--json", home=network.hospital, expect=6).json
    assert told["credentials"][0]["claims"] is None
    assert told["credentials"][0]["disclosed"] is False


def plain(network: SampleNetwork, tmp_path: Path) -> dict[str, tuple[tuple[str | Path, ...], set[str]]]:
    """Commands that only tell: their arguments, and the keys that must be there."""
    board = ("--home", network.board)
    node = ("--home", network.node_home)
    return {
        "whoami": (
            ("whoami", *board),
            {"did", "name", "roles", "categories", "jurisdictions", "keys", "network", "fingerprint"},
        ),
        "members": (("members", *board), {"members"}),
        "categories": (("categories", *board), {"categories"}),
        "category": (
            ("categories", "board_certification", *board),
            {"category", "title", "subject", "document", "primary_source", "claims"},
        ),
        "node status": (("node", "status", *board), {"nodes"}),
        "node check": (("node", "check", *node), {"checks"}),
        "audit": (("audit", *node), {"height", "blocks", "transactions", "attestations", "documents"}),
        "init": (("init", "--name", "Some Board", "--home", tmp_path / "a"), {"did", "home", "card"}),
        "join": (
            ("join", network.file, "--home", tmp_path / "b"),
            {"network", "name", "fingerprint", "home"},
        ),
        "network create": (
            ("network", "create", network.folder / "samples/consortium.toml", "--dev")
            + ("--out", tmp_path / "c"),
            {"network", "name", "fingerprint", "file", "homes"},
        ),
    }


PLAIN: Final = (
    *("whoami", "members", "categories", "category", "node status", "audit", "init", "join"),
    *("network create", "node check"),
)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_command(network: SampleNetwork, tmp_path: Path, name: str) -> None:
    arguments, keys = plain(network, tmp_path)[name]
    told = run(*arguments, "--json", expect=0).json
    assert set(told) >= keys
    check_document(told)


IN_THE_WALLETS_STORY: Final = {
    *("enroll", "share", "backup", "restore"),
    *("wallet sync", "wallet list", "wallet address", "wallet add", "wallet export"),
}


def test_every_command_is_looked_at() -> None:
    """A new command needs a test of its JSON here."""
    looked_at = {*PLAIN, "attest", "status", "issued", "erase", "verify", "demo", "node run"} - {"category"}
    assert set(commands()) == looked_at | IN_THE_WALLETS_STORY


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "2012345677"),
        ("attest", "board_certification", "--npi", "2012345677"),
        ("status", "1234567"),
        ("verify",),
        ("nonsense",),
        ("verify", "2012345676", "--nonsense"),
        ("demo",),
        ("categories", "nonsense"),
    ],
    ids=" ".join,
)
def test_failures_in_json(network: SampleNetwork, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--json", home=network.board, expect=2)
    assert done.out == ""
    assert set(done.error) >= {"error", "field", "hint", "code"}
    assert done.error["code"] == 2
    assert done.error["error"]
    for name in ("field", "hint"):
        assert done.error[name] is None or done.error[name].strip()


def test_failures_for_people(network: SampleNetwork) -> None:
    done = run("verify", "2012345677", home=network.board, expect=2)
    assert done.out == ""
    lines = done.err.splitlines()
    assert [each.partition(":")[0] for each in lines] == ["error", "hint"]


# --- exit codes -------------------------------------------------------------------------------


def test_exit_0(network: SampleNetwork) -> None:
    npi = new_npi()
    network.attest(npi)
    assert run("verify", npi, home=network.hospital).code == 0


def test_exit_1_storage(network: SampleNetwork, tmp_path: Path) -> None:
    """A member database that is none."""
    home = network.copy(network.board, tmp_path / "home")
    for each in home.glob("member.db*"):
        each.unlink()
    (home / "member.db").write_bytes(b"this is no database at all" * 100)
    done = run("issued", "--json", home=home, expect=1)
    assert "internal error" not in done.error["error"]


def test_exit_2_wrong_passphrase(network: SampleNetwork) -> None:
    before = home_content(network.board)
    done = run(
        *("status", "00000000", "--set", "active", "--reason", "reinstated", "--json"),
        home=network.board,
        passphrase="wrong",
        expect=2,
    )
    assert done.error["field"] == "passphrase"
    assert done.hint
    assert home_content(network.board) == before


def test_exit_3_audit_mismatch(network: SampleNetwork, tmp_path: Path) -> None:
    """One changed day in a copy of the ledger."""
    receipt = network.attest(new_npi()).json
    home = ledger_copy(network, tmp_path)
    with closing(sqlite3.connect(home / "ledger.db")) as database, database:
        changed = database.execute(
            "update attestations set valid_from = valid_from + 86400000 where lower(hex(id)) = ?",
            (receipt["attestation"],),
        )
        assert changed.rowcount == 1
    done = run("audit", "--json", home=home, expect=3)
    assert "attestations" in done.error["error"]
    assert f"height {receipt['height']}" in done.error["error"]
    assert done.hint


def ledger_copy(network: SampleNetwork, tmp_path: Path) -> Path:
    """The node's home, with one moment of its database."""
    home = tmp_path / "node"
    shutil.copytree(network.node_home, home, ignore=shutil.ignore_patterns("ledger.db*", "*.lock"))
    with (
        closing(sqlite3.connect(network.node_home / "ledger.db")) as source,
        closing(sqlite3.connect(home / "ledger.db")) as target,
    ):
        source.backup(target)
    return home


def test_exit_4_adverse(network: SampleNetwork) -> None:
    npi = new_npi()
    identifier = network.attested(npi)
    run(
        *("status", identifier, "--set", "revoked", "--reason", "fraud", "--yes"),
        home=network.board,
        expect=0,
    )
    done = run("verify", npi, "--json", home=network.hospital, expect=4)
    assert done.json["verdict"] == "adverse"


def test_exit_4_not_current(network: SampleNetwork) -> None:
    npi = new_npi()
    network.attest(npi, "--from", "2020-01-01", "--until", "2021-12-31")
    done = run("verify", npi, "--json", home=network.hospital, expect=4)
    assert done.json["verdict"] == "not_current"
    assert done.json["credentials"][0]["status"] == "expired"


def test_a_required_category_without_an_attestation_is_a_reason(network: SampleNetwork) -> None:
    npi = new_npi()
    network.attest(npi)
    asked = ("verify", npi, "--category", "board_certification", "--category", "state_license")
    done = quick(*asked, home=network.hospital, expect=6)
    reasons = [line for line in done.out.splitlines() if line.startswith("because: ")]
    assert reasons == ["because: nothing is attested in state_license, which you require"]
    assert "because: " not in quick("verify", npi, home=network.hospital, expect=0).out


def test_nothing_to_verify(network: SampleNetwork) -> None:
    done = quick("verify", "", "--json", home=network.hospital, expect=2)
    assert "nothing was named" in done.error["error"]


def test_exit_5_untrusted(network: SampleNetwork, tmp_path: Path) -> None:
    """California's board attests a Texas licence with a program of its own: the ledger cannot see that,
    a verifier can.
    """
    npi = new_npi()
    home = Home(network.copy(network.member(CALIFORNIA), tmp_path / "home"))
    asyncio.run(_attest_without_jurisdiction(network, home, npi))
    done = run("verify", npi, "--json", home=network.hospital, expect=5)
    assert done.json["verdict"] == "untrusted"
    failed = [each["id"] for each in done.json["checks"] if each["outcome"] == "fail"]
    assert failed == [4]


async def _attest_without_jurisdiction(network: SampleNetwork, home: Home, npi: str) -> None:
    def now() -> Millis:
        return Millis(time.time_ns() // 1_000_000)

    known = load_network(network.file)
    category = known.category("state_license")
    claims = check_claims(
        category,
        {
            "family_name": "Example",
            "given_name": "Ada",
            "state": "TX",
            "license_number": "Z9999",
            "license_type": "full",
            "issued_date": "2023-02-10",
            "conditions": False,
        },
    )
    made = make_row(
        category,
        Issuer(known.id, None),
        to=npi,
        claims=claims,
        valid_from="2026-01-01",
        valid_until="2027-12-31",
        defaults=Defaults(None, None, now()),
    )
    keys = home.unlock(PASSPHRASE)
    store = MemberStore(home.member_database, known.id)
    try:
        async with Client(known, now=now) as client:
            outbox = Outbox(store, client, keys, now)
            attesting = Attesting(store, client, outbox, keys, category, now)
            assert (await attesting.run([made], partial=False)).attested == 1
    finally:
        store.close()


def test_exit_6_unreachable(network: SampleNetwork) -> None:
    npi = new_npi()
    done = run("members", "--json", "--node", "http://127.0.0.1:1", home=network.hospital, expect=6)
    assert done.error["field"] == "node"
    assert done.hint
    assert run("verify", npi, home=network.hospital).code == 6


def test_exit_6_busy(network: SampleNetwork, tmp_path: Path) -> None:
    """Two commands on one home: the second does not wait, and says why."""
    import fcntl

    home = network.copy(network.board, tmp_path / "home")
    with (home / "member.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(
            *("status", "00000000", "--set", "active", "--reason", "reinstated", "--json"),
            home=home,
            expect=6,
        )
    assert done.error["field"] == "home"
    assert done.hint


def test_exit_7_refused(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    change = ("status", identifier, "--set", "lapsed", "--reason", "not_renewed", "--json")
    run(*change, home=network.board, expect=0)
    again = run(*change, home=network.board, expect=7)
    assert again.error["field"] == "status"


# --- common options and help ------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command by its words, from the program itself."""
    found: dict[str, Any] = {}

    def look(command: Any, words: tuple[str, ...]) -> None:
        for name, each in getattr(command, "commands", {}).items():
            if getattr(each, "commands", None):
                look(each, (*words, name))
            else:
                found[" ".join((*words, name))] = each

    look(get_command(app), ())
    return found


def test_the_program_lists_what_the_roles_register() -> None:
    names = [(role, name) for name, role in roles.ROLE_OF.items()]
    registered = [(role, name) for role in {each for each, _ in names} for name in roles.commands_of(role)]
    assert sorted(names) == sorted(registered)


COMMON_OPTIONS: Final = ("--home", "--network", "--node", "--passphrase-file", "--json", "--yes")
NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "attest": ("board_certification",),
    "verify": ("2012345676",),
    "erase": ("00000000", "--reason", "data_error"),
    "init": ("--name", "X"),
    "join": ("nowhere.json",),
    "network create": ("nowhere.toml", "--out", "nowhere"),
    "status": ("00000000",),
    "enroll": ("nowhere.toml", "--npi", "2012345676"),
    "backup": ("--out", "nowhere.json"),
    "restore": ("nowhere.json",),
    "share": ("--to", "X", "--category", "cme_credit", "--purpose", "monitoring", "--expires", "1d"),
    "wallet add": ("nowhere.txt",),
    "wallet address": ("cme_credit",),
    "wallet export": ("00000000", "--audience", "A", "--nonce", "N"),
}


@pytest.mark.parametrize("name", sorted(commands()))
def test_common_options_are_accepted_after_every_command(name: str, tmp_path: Path) -> None:
    """They are read, and what is refused is their content: there is no such network file."""
    missing = tmp_path / "missing"
    done = quick(
        *name.split(),
        *NEEDED.get(name, ()),
        *("--home", missing / "home", "--network", missing),
        *("--node", "http://127.0.0.1:1", "--node", "http://127.0.0.1:2"),
        *("--passphrase-file", missing, "--json", "--yes"),
        expect=2,
    )
    assert done.error["field"] != "arguments", done
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(commands()))
def test_help(name: str) -> None:
    """Usage, own words, every common option in its panel, an example that starts with this command."""
    done = quick(*name.split(), "--help", expect=0, COLUMNS="100")
    assert done.err == ""
    assert COMMON in done.out
    panel = done.out.partition(COMMON)[2]
    for option in COMMON_OPTIONS:
        assert option in panel
    assert f"Example:  credchain {name}" in " ".join(done.out.split(" ")).replace("\n", " ")


def test_help_of_the_program() -> None:
    done = run("--help", expect=0, COLUMNS="100")
    for panel in ("Start here", "Hospitals", "Boards and other issuers", MEMBER_PANEL, "Operators"):
        assert panel in done.out
    for name in commands():
        assert re.search(rf"│ {name.split()[0]} ", done.out), name


@pytest.mark.parametrize("words", [(), ("node",), ("network",)], ids=str)
def test_no_command_shows_the_help(words: tuple[str, ...]) -> None:
    done = run(*words, expect=2)
    assert "Usage" in done.out + done.err
    assert not (done.out and done.err), "the other stream gets nothing, not even an empty line"


def test_version() -> None:
    assert re.fullmatch(r"credchain \d+\.\d+\.\d+\n", run("--version", expect=0).out)


def test_completion_script_for_bash() -> None:
    """As typed in bash, which the program finds out by itself."""
    line = 'credchain() { "$@"; }; ' + " ".join(f"'{each}'" for each in command("--show-completion"))
    shown = subprocess.run(
        ["bash", "-c", f"{line}; exit $?"], capture_output=True, text=True, env=environment(), check=False
    )
    assert shown.returncode == 0, shown
    assert "complete -o default -F _" in shown.stdout
    assert "_COMPLETE=complete_bash" in shown.stdout


def test_completion_completes() -> None:
    """What the script asks the program for: the commands that start so."""
    asked = run(_CREDCHAIN_COMPLETE="complete_bash", COMP_WORDS="credchain ver", COMP_CWORD="1")
    assert asked.out.split() == ["verify"]


# --- asking -----------------------------------------------------------------------------------

REVOKE: Final = ("--set", "revoked", "--reason", "fraud")


@pytest.fixture(scope="session")
def active(network: SampleNetwork) -> str:
    """An attestation that the tests of questions must leave active."""
    return network.attested(new_npi())


@pytest.mark.parametrize("kind", ["status", "status --csv", "erase"])
def test_final_needs_yes_without_a_terminal(
    network: SampleNetwork, active: str, tmp_path: Path, kind: str
) -> None:
    cells = {"attestation": active, "status": "revoked", "reason": "fraud"}
    table = write_table(tmp_path / "t.csv", [cells], ("attestation", "status", "reason"))
    arguments: dict[str, tuple[str | Path, ...]] = {
        "status": ("status", active, *REVOKE),
        "status --csv": ("status", "--csv", table),
        "erase": ("erase", active, "--reason", "data_error"),
    }
    before = network.state(), home_content(network.board)
    done = run(*arguments[kind], "--json", home=network.board, expect=2)
    assert done.error["field"] == "yes"
    assert "--yes" in done.hint
    piped = run(*arguments[kind], "--json", home=network.board, stdin="y\n", expect=2)
    assert piped.error["field"] == "yes", "a yes that comes through a pipe is none"
    assert (network.state(), home_content(network.board)) == before


def test_final_asks_on_a_terminal_and_takes_no(network: SampleNetwork, active: str) -> None:
    for answer in ("n", "", "nonsense"):
        code, screen = on_terminal(
            "status", active, *REVOKE, home=network.board, answers=(("[y/N]", answer),)
        )
        assert code == 2
        assert active[:12] in screen
        assert "nothing was done" in screen
    assert network.status_of(active) == "active"


def test_final_asks_on_a_terminal_and_takes_yes(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    code, screen = on_terminal("status", identifier, *REVOKE, home=network.board, answers=(("[y/N]", "y"),))
    assert code == 0, screen
    assert network.status_of(identifier) == "revoked"


def test_a_status_that_is_not_final_asks_nothing(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    code, screen = on_terminal(
        *("status", identifier, "--set", "suspended", "--reason", "fraud"), home=network.board
    )
    assert code == 0
    assert "[y/N]" not in screen


# --- the passphrase ---------------------------------------------------------------------------

NEEDS_KEYS: Final = ("status", "00000000", "--set", "active", "--reason", "reinstated", "--json")
"""Unlocks the keys, then finds no such attestation: which error comes tells whether they opened."""


@pytest.mark.parametrize("text", [PASSPHRASE, PASSPHRASE + "\n", PASSPHRASE + "\r\n"])
def test_passphrase_by_file(network: SampleNetwork, tmp_path: Path, text: str) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(text.encode())
    done = run(*NEEDS_KEYS, "--passphrase-file", file, home=network.board, passphrase=None, expect=2)
    assert done.error["field"] == "attestation"


def test_the_file_goes_before_the_environment(network: SampleNetwork, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE)
    done = run(*NEEDS_KEYS, "--passphrase-file", file, home=network.board, passphrase="wrong", expect=2)
    assert done.error["field"] == "attestation"


def test_passphrase_by_environment(network: SampleNetwork) -> None:
    assert run(*NEEDS_KEYS, home=network.board, expect=2).error["field"] == "attestation"


@pytest.mark.parametrize("passphrase", ["wrong", ""])
def test_wrong_passphrase(network: SampleNetwork, passphrase: str) -> None:
    done = run(*NEEDS_KEYS, home=network.board, passphrase=passphrase, expect=2)
    assert done.error["field"] == "passphrase"
    assert done.hint


def test_missing_passphrase_without_a_terminal(network: SampleNetwork) -> None:
    done = run(*NEEDS_KEYS, home=network.board, passphrase=None, expect=2)
    assert done.error["field"] == "passphrase"
    assert "--passphrase-file" in done.hint
    assert "CREDCHAIN_PASSPHRASE" in done.hint


def test_missing_passphrase_file(network: SampleNetwork, tmp_path: Path) -> None:
    done = run(*NEEDS_KEYS, "--passphrase-file", tmp_path / "none", home=network.board, expect=2)
    assert "passphrase" in done.error["field"]


def test_prompt_on_a_terminal(network: SampleNetwork) -> None:
    """Asked for once, not shown."""
    code, screen = on_terminal(
        *NEEDS_KEYS, home=network.board, passphrase=None, answers=(("Passphrase: ", PASSPHRASE),)
    )
    assert code == 2
    assert '"field": "attestation"' in screen
    assert PASSPHRASE not in screen
    assert screen.count("Passphrase") == 1


def test_new_passphrase_is_asked_twice(tmp_path: Path) -> None:
    answers = (("Passphrase: ", "one"), ("Passphrase again: ", "two"))
    home = tmp_path / "home"
    code, screen = on_terminal("init", "--name", "X", home=home, passphrase=None, answers=answers)
    assert code == 2
    assert "differ" in screen
    assert not home.exists()
    answers = (("Passphrase: ", "one"), ("Passphrase again: ", "one"))
    code, screen = on_terminal("init", "--name", "X", home=home, passphrase=None, answers=answers)
    assert code == 0, screen
    assert (home / "keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("answer", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_leaving_the_prompt(network: SampleNetwork, answer: str) -> None:
    """No traceback (checked by `on_terminal`), not code 0, and no internal error."""
    code, screen = on_terminal(
        *NEEDS_KEYS, home=network.board, passphrase=None, answers=(("Passphrase: ", answer),)
    )
    assert code not in (0, 1)
    assert "internal error" not in screen


# --- output channels --------------------------------------------------------------------------


def test_progress_bar_on_a_terminal_only(network: SampleNetwork, tmp_path: Path) -> None:
    """On standard error while it is a terminal; standard output is data alone."""
    first = write_table(tmp_path / "1.csv", [row(new_npi(), f"EBR-{n}00") for n in range(3)])
    second = write_table(tmp_path / "2.csv", [row(new_npi(), f"EBR-{n}00") for n in range(3)])
    attest = ("attest", "board_certification", "--csv")
    out = tmp_path / "out"
    code, screen = on_terminal(*attest, first, home=network.board, out=out)
    assert code == 0, screen
    assert "attesting" in screen
    assert "3/3" in screen
    assert out.read_text() == "3 rows: 3 attested, 0 already, 0 rejected\n"
    piped = run(*attest, second, home=network.board, expect=0)
    assert piped.err == ""
    assert piped.out == "3 rows: 3 attested, 0 already, 0 rejected\n"


def test_a_file_gets_whole_cells(network: SampleNetwork) -> None:
    """No cell of a table is cut or folded when the output is not a terminal, however narrow that was."""
    did = run("whoami", "--json", home=network.board, expect=0).json["did"]
    assert did in run("members", home=network.board, expect=0, COLUMNS="40").out


@pytest.mark.parametrize("columns", ["80", "160"])
def test_ids_and_dates_are_whole_on_a_terminal(network: SampleNetwork, columns: str) -> None:
    """What a person copies from the screen, or reads at a glance, stands in one piece."""
    npi = new_npi()
    identifier = network.attested(npi, "--from", "2026-01-01", "--until", "2034-05-31")
    home = network.hospital
    _, screen = on_terminal("verify", npi, home=home, COLUMNS=columns, LINES="50")
    for word in (identifier[:12], "2026-01-01", "2034-05-31", "established"):
        assert word in screen.partition("Board certification (")[0]
    _, screen = on_terminal("issued", "--npi", npi, home=network.board, COLUMNS=columns, LINES="50")
    for word in (identifier[:12], npi, "board_certification"):
        assert word in screen


def _gone(
    *arguments: str, home: Path, channel: str = "stdout", unbuffered: bool = False
) -> subprocess.CompletedProcess[str]:
    """A call whose reader has gone before the first word."""
    reader, writer = os.pipe()
    os.close(reader)
    env = {**environment(), "CREDCHAIN_HOME": str(home)}
    if not unbuffered:
        env.pop("PYTHONUNBUFFERED", None)
    else:
        env["PYTHONUNBUFFERED"] = "1"
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, channel: writer}
    try:
        return subprocess.run(
            command(*arguments), text=True, env=env, stdin=subprocess.DEVNULL, check=False, **streams
        )
    finally:
        os.close(writer)


READERS: Final = {
    "a table": ("members",),
    "a document": ("members", "--json"),
    "a line": ("categories", "board_certification", "--csv-template"),
    "the version": ("--version",),
    "help": ("--help",),
}


@pytest.mark.parametrize("unbuffered", [False, True], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("kind", sorted(READERS))
def test_reader_gone(network: SampleNetwork, kind: str, unbuffered: bool) -> None:
    """Nothing was wrong: exit code 0, not a word. (1 would be an internal or storage error.)"""
    done = _gone(*READERS[kind], home=network.hospital, unbuffered=unbuffered)
    assert done.stderr == ""
    assert done.returncode == 0


def _piped(reader: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """``credchain … | reader`` in a shell; its exit code is credchain's own."""
    line = " ".join(f"'{each}'" for each in command(*arguments))
    return subprocess.run(
        ["bash", "-c", f"{line} | {reader}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env={**environment(), "CREDCHAIN_HOME": str(home)},
        check=False,
    )


def test_head(network: SampleNetwork) -> None:
    """As a person types it."""
    done = _piped("head -1", "members", home=network.hospital)
    assert done.stderr == ""
    assert done.stdout == "California Example Board\n"


@pytest.mark.parametrize("unbuffered", [False, True], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("option", [(), ("--json",)], ids=["people", "json"])
def test_a_verdict_stays_the_exit_code_when_its_reader_goes(
    network: SampleNetwork, option: tuple[str, ...], unbuffered: bool
) -> None:
    npi = new_npi()
    change = ("--set", "suspended", "--reason", "under_investigation")
    quick("status", network.attested(npi), *change, home=network.board, expect=0)
    for asked, code in ((npi, 4), (new_npi(), 6)):
        done = _gone("verify", asked, *option, home=network.hospital, unbuffered=unbuffered)
        assert (done.returncode, done.stderr) == (code, "")


def test_a_verdict_stays_the_exit_code_behind_head(network: SampleNetwork) -> None:
    """As a person types it, with the shell's word on how the first of the two ended."""
    for reader in ("head -1", "true"):
        done = _piped(reader, "verify", new_npi(), home=network.hospital)
        assert (done.returncode, done.stderr) == (6, "")


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["people", "json"])
def test_rejected_rows_stay_the_exit_code_when_their_reader_goes(
    network: SampleNetwork, tmp_path: Path, option: tuple[str, ...]
) -> None:
    table = write_table(tmp_path / "t.csv", [row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")])
    options = ("--csv", str(table), "--partial", "--rejects", str(tmp_path / "r.csv"))
    done = _gone("attest", "board_certification", *options, *option, home=network.board)
    assert done.returncode == 2


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["people", "json"])
def test_reader_of_errors_gone(network: SampleNetwork, tmp_path: Path, option: tuple[str, ...]) -> None:
    """The exit code still tells."""
    done = _gone("verify", "2012345677", *option, home=network.hospital, channel="stderr")
    assert done.returncode == 2
    assert done.stdout == ""
    table = write_table(tmp_path / "t.csv", [row("2012345677", "EBR-2")])
    attest = ("attest", "board_certification", "--csv", str(table))
    assert _gone(*attest, *option, home=network.board, channel="stderr").returncode == 2


def test_no_standard_output_at_all(network: SampleNetwork) -> None:
    """`>&-`, as some schedulers start programs: an error perhaps, but a clean one."""
    line = " ".join(f"'{each}'" for each in command("categories"))
    done = subprocess.run(
        ["bash", "-c", f"{line} >&-"], capture_output=True, text=True, env=environment(), check=False
    )
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def test_full_disk(network: SampleNetwork) -> None:
    """Output that cannot be written is a storage error that says so, not an internal one."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("categories", "--json"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "internal error" not in json.loads(done.stderr)["error"]


def test_names_from_elsewhere_cannot_steer_a_terminal(network: SampleNetwork, tmp_path: Path) -> None:
    """An argument with an escape sequence is shown, not obeyed (`run` looks for escapes)."""
    for arguments in (
        ("verify", "\x1b[31m"),
        ("status", "\x1b[2J"),
        ("\x1b[2J",),
        ("categories", "\x1b]0;x"),
    ):
        done: Done = run(*arguments, home=network.hospital, expect=2)
        assert done.err.startswith("error: ")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_text_outside_the_terminals_encoding(network: SampleNetwork, encoding: str) -> None:
    """A name that cannot be shown there is written out; the verdict is the same."""
    npi = new_npi()
    network.attest(npi, given_name="Łucja")
    for option in ((), ("--json",)):
        done = run("verify", npi, *option, home=network.hospital, expect=0, PYTHONIOENCODING=encoding)
        assert "\\u0141ucja" in done.out
    refused = run("verify", "--Łucja", home=network.hospital, expect=2, PYTHONIOENCODING=encoding)
    assert "internal error" not in refused.err


def test_default_home_is_the_platforms(tmp_path: Path) -> None:
    """Without --home and CREDCHAIN_HOME; a person must be told which folder was meant."""
    done = run("whoami", "--json", XDG_DATA_HOME=str(tmp_path), HOME=str(tmp_path), expect=2)
    assert str(tmp_path) in done.error["error"]
    assert BOARD not in done.err
