"""Bad input of every kind: the right exit code, an error that names the field, a hint, nothing changed."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.network.node_process import command, environment

from .network import (
    BOARD,
    CALIFORNIA,
    CLAIMS,
    COLUMNS,
    NAVARRO,
    Done,
    SampleNetwork,
    claim_options,
    home_content,
    npis,
    quick,
    row,
    run,
    write_table,
)

new_npi = npis(20_000_000)
NOBODY: Final = "2999999990"
ATTEST: Final = ("attest", "board_certification")
GOOD: Final = (*ATTEST, "--npi", NOBODY, *claim_options())


# --- a table of calls -------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A call that must fail: its arguments, the field that its error names, its exit code.

    ``field`` "" stands for any. In the arguments, ``{f}`` is a folder with the files of `files`.
    """

    name: str
    arguments: tuple[str, ...]
    field: str
    code: int = 2
    home: str = BOARD


def without(claim: str, *more: str) -> tuple[str, ...]:
    """The good call without one claim, and with more."""
    claims = [
        each for name, value in CLAIMS.items() if name != claim for each in ("--set", f"{name}={value}")
    ]
    return (*ATTEST, "--npi", NOBODY, *claims, *more)


def with_npi(npi: str) -> tuple[str, ...]:
    return (*ATTEST, "--npi", npi, *claim_options())


CALLS: Final = (
    # NPI
    Bad("check digit", with_npi("2012345677"), "npi"),
    Bad("letters", with_npi("20123abc76"), "npi"),
    Bad("spaces", with_npi("2012 345676"), "npi"),
    Bad("space after", with_npi("2012345676 "), "npi"),
    Bad("full-width digits", with_npi("２０１２３４５６７６"), "npi"),
    Bad("nine digits", with_npi("201234567"), "npi"),
    Bad("starts with 3", with_npi("3012345676"), "npi"),
    Bad("empty npi", with_npi(""), "npi"),
    Bad("verify check digit", ("verify", "2012345677"), "npi"),
    Bad("verify a path", ("verify", "bundle.credchain"), "bundle"),
    Bad("issued check digit", ("issued", "--npi", "2012345677"), "npi"),
    # categories
    Bad("unknown category", ("attest", "nonsense", "--npi", NOBODY, *claim_options()), "category"),
    Bad(
        "holder category of another issuer",
        ("attest", "cme_credit", "--npi", NOBODY, "--set", "provider=x"),
        "category",
        7,
    ),
    Bad(
        "holder category",
        ("attest", "cme_credit", "--npi", NOBODY, "--set", "provider=x"),
        "npi",
        home="sample-cme-institute",
    ),
    Bad("sealed category", ("attest", "identity", "--npi", NOBODY, "--set", "holder=x"), "category"),
    Bad("verify unknown category", ("verify", NAVARRO, "--category", "nonsense"), "category"),
    Bad("verify holder category", ("verify", NAVARRO, "--category", "cme_credit"), "category"),
    Bad("categories unknown", ("categories", "nonsense"), "category"),
    Bad("template of none", ("categories", "--csv-template"), "category"),
    # claims
    Bad("missing claim", without("discipline"), "discipline"),
    Bad("unknown claim", (*GOOD, "--set", "colour=red"), "colour"),
    Bad("boolean", (*GOOD, "--set", "continuing_certification=maybe"), "continuing_certification"),
    Bad("not in the list", without("discipline", "--set", "discipline=Dentistry"), "discipline"),
    Bad("form", without("certificate_number", "--set", "certificate_number=ebr 1"), "certificate_number"),
    Bad("empty claim", without("board", "--set", "board="), "board"),
    Bad("control character", without("board", "--set", "board=a\x07b"), "board"),
    Bad("bidirectional override", without("board", "--set", "board=a\u202eb"), "board"),
    Bad(
        "a day that does not exist in a claim",
        without("initial_certification_date", "--set", "initial_certification_date=2024-02-30"),
        "initial_certification_date",
    ),
    Bad("set without =", (*GOOD, "--set", "board"), "set"),
    Bad("set twice", (*GOOD, "--set", "board=Other"), "board"),
    Bad("nobody", (*ATTEST, *claim_options()), "npi"),
    Bad("claims not there", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/none.json"), "claims"),
    Bad("claims not JSON", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/text.json"), "claims"),
    Bad("claims doubled key", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/doubled.json"), "claims"),
    Bad("claims a list", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/list.json"), "claims"),
    Bad("claims NaN", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/nan.json"), "claims"),
    Bad("claims deep", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/deep.json"), "claims"),
    Bad("claims a number", (*ATTEST, "--npi", NOBODY, "--claims", "{f}/number.json"), "family_name"),
    Bad("claims a folder", (*ATTEST, "--npi", NOBODY, "--claims", "{f}"), "claims"),
    # dates
    Bad("from not ISO", (*GOOD, "--from", "01/02/2026"), "from"),
    Bad("until not ISO", (*GOOD, "--until", "2026-1-2"), "until"),
    Bad("30 February", (*GOOD, "--from", "2026-02-30"), "from"),
    Bad("until before from", (*GOOD, "--from", "2026-02-20", "--until", "2026-02-19"), "until"),
    Bad("too long", (*GOOD, "--from", "2026-02-20", "--until", "2226-02-19"), "until"),
    Bad("duration", ("verify", NAVARRO, "--max-age", "5"), "max-age"),
    Bad("zero duration", ("verify", NAVARRO, "--max-age", "0s"), "max-age"),
    # attest, the rest
    Bad("renews not an id", (*GOOD, "--renews", "xyz"), "renews"),
    Bad("renews unknown", (*GOOD, "--renews", "0123456789"), "renews"),
    Bad("out is there", (*GOOD, "--out", "{f}/text.json"), "out"),
    Bad("out in no folder", (*GOOD, "--out", "{f}/text.json/x"), "out"),
    Bad("csv and npi", (*GOOD, "--csv", "{f}/good.csv"), "npi"),
    Bad("partial alone", (*ATTEST, "--csv", "{f}/good.csv", "--partial"), "rejects"),
    Bad("rejects alone", (*ATTEST, "--csv", "{f}/good.csv", "--rejects", "{f}/r.csv"), "rejects"),
    Bad("dry run of one", (*GOOD, "--dry-run"), "csv"),
    Bad("csv renews id", (*ATTEST, "--csv", "{f}/good.csv", "--renews", "0123456789"), "renews"),
    Bad("csv not there", (*ATTEST, "--csv", "{f}/none.csv"), "csv"),
    Bad(
        "not authorised",
        ("attest", "medical_education", *GOOD[2:4], "--claims", "{f}/med.json"),
        "category",
        7,
    ),
    Bad(
        "outside the jurisdiction",
        ("attest", "state_license", "--npi", NOBODY, "--claims", "{f}/texas.json", "--until", "2027-12-31"),
        "state",
        home=CALIFORNIA,
    ),
    # statuses
    Bad("no id", ("status",), "attestation"),
    Bad("seven digits", ("status", "0123456"), "attestation"),
    Bad("65 digits", ("status", "0" * 65), "attestation"),
    Bad("not hexadecimal", ("status", "0123456g"), "attestation"),
    Bad("unknown id", ("status", "0" * 64), "attestation"),
    Bad(
        "change of unknown", ("status", "0" * 64, "--set", "active", "--reason", "reinstated"), "attestation"
    ),
    Bad("change of seven", ("status", "0123456", "--set", "active", "--reason", "reinstated"), "attestation"),
    Bad("unknown status", ("status", "0" * 64, "--set", "nonsense", "--reason", "fraud"), "status"),
    Bad("unknown reason", ("status", "0" * 64, "--set", "revoked", "--reason", "nonsense"), "reason"),
    Bad("wrong reason", ("status", "0" * 64, "--set", "revoked", "--reason", "nonpayment"), "reason"),
    Bad("no reason", ("status", "0" * 64, "--set", "revoked"), "reason"),
    Bad("reason alone", ("status", "0" * 64, "--reason", "fraud"), "set"),
    Bad("note alone", ("status", "0" * 64, "--note", "x"), "set"),
    Bad("id and csv", ("status", "0" * 64, "--csv", "{f}/good.csv"), "csv"),
    Bad("erase unknown", ("erase", "0" * 64, "--reason", "data_error", "--yes"), "attestation"),
    Bad("erase reason", ("erase", "0" * 64, "--reason", "fraud", "--yes"), "reason"),
    # members, networks, nodes
    Bad("unknown role", ("members", "--role", "king"), "role"),
    Bad("init twice", ("init", "--name", "X"), "home"),
    Bad("join again, other fingerprint", ("join", "{f}/network.json", "--expect", "00"), "expect"),
    Bad("join no file", ("join", "{f}/none.json"), "network"),
    Bad("network no file", ("members", "--network", "{f}/none.json"), "network"),
    Bad("audit without ledger", ("audit",), "home"),
    Bad("down", ("members", "--node", "http://127.0.0.1:1"), "node", 6),
    Bad("wrong scheme", ("members", "--node", "ftp://127.0.0.1:7441"), "node"),
    Bad("no scheme", ("members", "--node", "127.0.0.1:7441"), "node"),
    Bad("node of nothing", ("verify", NAVARRO, "--node", ""), "node"),
    Bad("https to http", ("members", "--node", "https{url}"), "node", 6),
    # words that the program does not know
    Bad("unknown command", ("atest",), "arguments"),
    Bad("unknown option", (*ATTEST, "--colour"), "arguments"),
    Bad("unknown group command", ("node", "walk"), "arguments"),
    Bad("too many", ("verify", NAVARRO, NAVARRO), "arguments"),
    Bad("option without value", ("verify", NAVARRO, "--json", "--max-age"), "arguments"),
    Bad("missing argument", ("attest",), "arguments"),
    Bad("missing option", ("init",), "arguments"),
)


@pytest.fixture(scope="session")
def files(network: SampleNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the calls above name."""
    folder = tmp_path_factory.mktemp("files")
    texas = {
        "family_name": "Example",
        "given_name": "Ada",
        "state": "TX",
        "license_number": "Z1234",
        "license_type": "full",
        "issued_date": "2023-02-10",
        "conditions": False,
    }
    (folder / "text.json").write_text("not JSON")
    (folder / "doubled.json").write_text('{"board": "A", "board": "B"}')
    (folder / "list.json").write_text("[]")
    (folder / "nan.json").write_text('{"board": NaN}')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "number.json").write_text(json.dumps({**CLAIMS, "family_name": 7}))
    (folder / "texas.json").write_text(json.dumps(texas))
    shutil.copy(network.folder / "samples/claims/medical_education.json", folder / "med.json")
    shutil.copy(network.file, folder / "network.json")
    write_table(folder / "good.csv", [row(NOBODY, "EBR-1")])
    network.attested(new_npi())  # the board's home has a database from here on
    return folder


@dataclass(frozen=True)
class Tried:
    """What came of a call, and what was on the ledger and in the home before and after it."""

    done: Done
    before: object
    after: object


@pytest.fixture(scope="session")
def tried(network: SampleNetwork, files: Path) -> Callable[[Bad], Tried]:
    """Each call is made once, whatever the tests ask of it."""
    known: dict[str, Tried] = {}

    def call(bad: Bad) -> Tried:
        if bad.name not in known:
            home = network.member(bad.home)
            values = {"{f}": str(files), "{url}": network.url.removeprefix("http")}
            arguments = list(bad.arguments)
            for name, value in values.items():
                arguments = [each.replace(name, value) for each in arguments]

            def world() -> object:
                content = home_content(home)
                if bad.code == 7:  # the refused envelope is remembered
                    content.pop("member.db", None)
                return network.state(), content, sorted(each.name for each in files.iterdir())

            before = world()
            as_json = () if "--json" in arguments else ("--json",)
            done = quick(*arguments, *as_json, home=home)
            known[bad.name] = Tried(done, before, world())
        return known[bad.name]

    return call


@pytest.mark.parametrize("bad", CALLS, ids=lambda bad: bad.name)
def test_refused(tried: Callable[[Bad], Tried], bad: Bad) -> None:
    """Exit code and field; nothing on standard output; nothing changed."""
    found = tried(bad)
    assert found.done.code == bad.code, found.done
    assert found.done.out == ""
    error = found.done.error
    assert found.after == found.before, error
    assert error["code"] == bad.code
    assert "internal error" not in error["error"]
    assert error["field"] == bad.field, error


@pytest.mark.parametrize("bad", CALLS, ids=lambda bad: bad.name)
def test_hint(tried: Callable[[Bad], Tried], bad: Bad) -> None:
    """Each error says what to do about it."""
    assert tried(bad).done.error["hint"]


# --- statuses of real attestations ------------------------------------------------------------


def _refused_change(network: SampleNetwork, identifier: str, code: int, home: Path, *change: str) -> Done:
    before = network.state()
    done = quick("status", identifier, *change, "--json", home=home, expect=code)
    assert network.state() == before
    assert done.out == ""
    return done


REVOKE: Final = ("--set", "revoked", "--reason", "fraud", "--yes")


def test_status_of_another_issuer(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    done = _refused_change(network, identifier, 7, network.member(CALIFORNIA), *REVOKE)
    assert done.error["field"] == "attestation"
    assert done.hint


def test_erase_of_another_issuer(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    before = network.state()
    done = run(
        *("erase", identifier, "--reason", "data_error", "--yes", "--json"),
        home=network.member(CALIFORNIA),
        expect=7,
    )
    assert done.error["field"] == "attestation"
    assert network.state() == before


def test_status_of_a_terminal_one(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    quick("status", identifier, *REVOKE, home=network.board, expect=0)
    change = ("--set", "active", "--reason", "reinstated")
    done = _refused_change(network, identifier, 7, network.board, *change)
    assert done.error["field"] == "status"
    assert done.hint


def test_erased_twice(network: SampleNetwork) -> None:
    identifier = network.attested(new_npi())
    erase = ("erase", identifier, "--reason", "data_error", "--yes", "--json")
    run(*erase, home=network.board, expect=0)
    assert run(*erase, home=network.board, expect=7).hint


def test_ambiguous_prefix(network: SampleNetwork) -> None:
    """Two ids with the same eight digits cannot be made to order: a node that tells of two."""
    did = run("whoami", "--json", home=network.board, expect=0).json["did"]
    match = {"category": "board_certification", "subject": "00" * 32, "issuer": did}
    told = {"matches": [{"attestation": "01234567" + each * 56, **match} for each in "ab"]}
    with web_server(json.dumps(told).encode()) as url:
        for home in (network.hospital, network.board):
            change = () if home == network.hospital else REVOKE
            done = _refused_change(network, "01234567", 2, home, *change, "--node", url)
            assert done.error["field"] == "attestation"
            assert "more than one" in done.error["error"]
            assert "more digits" in done.hint


# --- tables -----------------------------------------------------------------------------------

HEAD: Final = ",".join(COLUMNS)


def cells(npi: str, **changed: str) -> str:
    values = {"valid_from": "", "valid_until": "", **row(npi, "EBR-1"), **changed}
    return ",".join(values[name] for name in COLUMNS)


def dry(network: SampleNetwork, file: Path, *more: str) -> Done:
    return quick(*ATTEST, "--csv", file, "--dry-run", "--json", *more, home=network.board)


GOOD_TABLES: Final = {
    "byte-order mark": "\ufeff" + HEAD + "\n" + cells(NOBODY) + "\n",
    "CRLF": HEAD + "\r\n" + cells(NOBODY) + "\r\n",
    "no newline at the end": HEAD + "\n" + cells(NOBODY),
    "empty lines": HEAD + "\n\n" + cells(NOBODY) + "\n\n,,,,,,,,\n",
    "quoted commas": HEAD + "\n" + cells(NOBODY, board='"Board, Inc."') + "\n",
    "quoted quotes": HEAD + "\n" + cells(NOBODY, board='"The ""Board"""') + "\n",
    "spaces around cells": HEAD + "\n" + cells(f" {NOBODY} ", board=" Board ") + "\n",
    "columns in another order": "\n".join(
        ",".join(reversed(line.split(","))) for line in (HEAD, cells(NOBODY))
    ),
}


@pytest.mark.parametrize("kind", sorted(GOOD_TABLES))
def test_good_table(network: SampleNetwork, tmp_path: Path, kind: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(GOOD_TABLES[kind].encode())
    done = dry(network, table)
    assert done.code == 0, done
    assert done.json["rejected"] == []
    assert done.json["rows"] == 1


def test_quoted_line_breaks_keep_the_line_numbers(network: SampleNetwork, tmp_path: Path) -> None:
    """A cell over two lines is read; the row after it is named by its own line in the file."""
    npi = new_npi()
    conditions = {
        "npi": npi,
        "valid_from": "2026-01-01",
        "valid_until": "2027-12-31",
        "family_name": "Example",
        "given_name": "Ada",
        "state": "CA",
        "license_number": "A1",
        "license_type": "full",
        "issued_date": "2017-05-12",
        "conditions": "true",
    }
    first = {**conditions, "conditions_summary": "one\ntwo"}
    second = {**conditions, "license_number": "A2", "conditions": "perhaps", "conditions_summary": ""}
    table = write_table(tmp_path / "t.csv", [first, second], tuple(first))
    done = run("attest", "state_license", "--csv", table, "--json", home=network.member(CALIFORNIA), expect=2)
    lines = {each["line"] for each in done.error["rejected"]}
    # A line break is no character of a claim, and the row says so itself.
    assert lines == {2, 4}


BAD_TABLES: Final[dict[str, tuple[bytes, str]]] = {
    "UTF-16": ((HEAD + "\n" + cells(NOBODY) + "\n").encode("utf-16"), "csv"),
    "latin-1": ((HEAD + "\n" + cells(NOBODY, board="Börd") + "\n").encode("latin-1"), "csv"),
    "missing column": (HEAD.replace(",board", "").encode() + b"\n", "board"),
    "doubled column": (HEAD.encode() + b",board\n" + cells(NOBODY).encode() + b",x\n", "board"),
    "unknown column": (HEAD.encode() + b",colour\n" + cells(NOBODY).encode() + b",red\n", "colour"),
    "unnamed column": (HEAD.encode() + b",\n" + cells(NOBODY).encode() + b",\n", "csv"),
    "empty file": (b"", "csv"),
    "header only": (HEAD.encode() + b"\n", "csv"),
    "NUL": (HEAD.encode() + b"\n" + cells(NOBODY).encode() + b"\n\x00\n", "csv"),
    "unbalanced quotes": (HEAD.encode() + b"\n" + cells(NOBODY, board='"Board').encode() + b"\n", "csv"),
    "semicolons": (HEAD.replace(",", ";").encode() + b"\n", ""),
}


_DONE: Final[dict[tuple[str, str], Done]] = {}
"""Calls that two tests look at, by what they are of and their kind."""


@pytest.mark.parametrize("kind", sorted(BAD_TABLES))
def test_bad_table(network: SampleNetwork, tmp_path: Path, kind: str) -> None:
    """The file as a whole is refused, and the error says which and what to do."""
    content, field = BAD_TABLES[kind]
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    before = network.state(), home_content(network.board)
    done = run(*ATTEST, "--csv", table, "--json", home=network.board, expect=2)
    _DONE["table", kind] = done
    assert done.out == ""
    assert done.error["field"] == (field or done.error["field"])
    assert str(table) in done.error["error"]
    assert (network.state(), home_content(network.board)) == before


@pytest.mark.parametrize("kind", sorted(BAD_TABLES))
def test_bad_table_has_a_hint(network: SampleNetwork, tmp_path: Path, kind: str) -> None:
    """Of the call that the test above made, if it ran."""
    if ("table", kind) not in _DONE:
        test_bad_table(network, tmp_path, kind)
    assert _DONE["table", kind].hint


@pytest.mark.parametrize("option", [(), ("--dry-run",)], ids=["real", "dry run"])
def test_bad_rows_are_all_named(network: SampleNetwork, tmp_path: Path, option: tuple[str, ...]) -> None:
    """Doubled, ragged and wrong rows, each by line and column; two faults of one row both."""
    rows = [
        cells(NOBODY),
        cells(NOBODY),
        cells(NOBODY) + ",more",
        cells("2012345677"),
        cells(NOBODY, discipline="Dentistry", initial_certification_date="2024-02-30"),
        cells(NOBODY, valid_from="2026-13-01"),
        cells(NOBODY, board=""),
        ",".join(["x"] * (len(COLUMNS) - 1)),
    ]
    table = tmp_path / "t.csv"
    table.write_text("\n".join([HEAD, *rows]) + "\n")
    before = network.state(), home_content(network.board)
    done = run(*ATTEST, "--csv", table, "--json", *option, home=network.board, expect=2)
    found = {(each["line"], each["column"]) for each in done.error["rejected"]}
    expected = {(3, None), (4, None), (5, "npi"), (6, "discipline"), (6, "initial_certification_date")}
    assert found == {*expected, (7, "valid_from"), (8, "board"), (9, None)}
    assert all(each["reason"] for each in done.error["rejected"])
    assert "7 of 8" in done.error["error"]
    assert (network.state(), home_content(network.board)) == before
    told = run(*ATTEST, "--csv", table, *option, home=network.board, expect=2).err
    for line, column in expected:
        assert f"line {line}, {column}:" in told if column else f"line {line}:" in told
    assert "error: " in told
    assert "hint: " in told


def test_dry_run_knows_what_the_issuer_may_attest(network: SampleNetwork) -> None:
    """A dry run that says "good" of what the ledger is sure to refuse is worth nothing."""
    table = network.folder / "samples/licenses.csv"
    done = run("attest", "state_license", "--csv", table, "--dry-run", "--json", home=network.board)
    assert done.code != 0


def test_partial_of_an_unauthorised_issuer_is_refused_at_once(network: SampleNetwork, tmp_path: Path) -> None:
    """It is not the rows that are wrong: no envelope a row, and not a block for each refusal."""

    def height() -> int:
        told = run("node", "status", "--json", home=network.board, expect=0).json
        return int(told["nodes"][0]["height"])

    table = network.folder / "samples/licenses.csv"
    home = network.copy(network.board, tmp_path / "home")
    before = height()
    done = run(
        *("attest", "state_license", "--csv", table, "--partial", "--rejects", tmp_path / "r.csv", "--json"),
        home=home,
    )
    assert done.code == 7
    assert height() - before < 10, "48 refusals must not make 48 blocks"


def test_rejects_can_be_mended_and_used_again(network: SampleNetwork, tmp_path: Path) -> None:
    """As the hint says: mend the cells, hand the file in again."""
    good, bad = new_npi(), new_npi()
    table = write_table(tmp_path / "t.csv", [row(good, "EBR-1"), row(bad, "ebr 2")])
    rejects = tmp_path / "rejects.csv"
    partial = (*ATTEST, "--csv", table, "--partial", "--rejects", rejects, "--json")
    first = run(*partial, home=network.board).json
    assert (first["attested"], len(first["rejected"])) == (1, 1)
    with rejects.open(encoding="utf-8", newline="") as file:
        refused = list(csv.DictReader(file))
    assert len(refused) == 1
    assert refused[0]["npi"] == bad
    assert refused[0]["rejected_line"] == "3"
    assert refused[0]["rejected_column"] == "certificate_number"
    assert "ebr 2" in refused[0]["rejected_reason"]
    mended = {**refused[0], "certificate_number": "EBR-2"}
    write_table(rejects, [mended], tuple(mended))
    second = run(*ATTEST, "--csv", rejects, "--json", home=network.board)
    assert second.code == 0, second
    assert second.json["attested"] == 1
    for npi in (good, bad):
        assert run("verify", npi, home=network.hospital).code == 0


def test_rejects_do_not_overwrite(network: SampleNetwork, tmp_path: Path) -> None:
    """A file that is there, or the table itself, is not what --rejects may write over."""
    table = write_table(tmp_path / "t.csv", [row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")])
    content = table.read_bytes()
    before = network.state()
    done = run(*ATTEST, "--csv", table, "--partial", "--rejects", table, "--json", home=network.board)
    assert table.read_bytes() == content
    assert done.code == 2
    assert done.error["field"] == "rejects"
    assert network.state() == before


@pytest.mark.parametrize("content", [b"my thesis\n", b"npi,notes\n2012345676,mine\n", b"\xff\xfe\x00"])
def test_rejects_overwrite_nothing_else(network: SampleNetwork, tmp_path: Path, content: bytes) -> None:
    table = write_table(tmp_path / "t.csv", [row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")])
    rejects = tmp_path / "r.csv"
    rejects.write_bytes(content)
    before = network.state()
    done = run(
        *ATTEST, "--csv", table, "--partial", "--rejects", rejects, "--json", home=network.board, expect=2
    )
    assert done.error["field"] == "rejects"
    assert done.hint
    assert rejects.read_bytes() == content
    assert network.state() == before


def test_rejects_of_the_same_command_are_written_again(network: SampleNetwork, tmp_path: Path) -> None:
    """What was made for it, empty or by an earlier run, is its to write."""
    table = write_table(tmp_path / "t.csv", [row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")])
    rejects = tmp_path / "r.csv"
    rejects.touch()
    partial = (*ATTEST, "--csv", table, "--partial", "--rejects", rejects, "--json")
    first = run(*partial, home=network.board, expect=2).json
    content = rejects.read_bytes()
    second = run(*partial, home=network.board, expect=2).json
    assert (first["attested"], second["already"]) == (1, 1)
    assert rejects.read_bytes() == content
    folder = (*partial[:-2], tmp_path, "--json")
    assert run(*folder, home=network.board, expect=2).error["field"] == "rejects"


def test_rejects_that_cannot_be_written(network: SampleNetwork, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [row(new_npi(), "EBR-1"), row("2012345677", "EBR-2")])
    before = network.state()
    rejects = tmp_path / "none" / "r.csv"
    done = run(
        *ATTEST, "--csv", table, "--partial", "--rejects", rejects, "--json", home=network.board, expect=2
    )
    assert done.error["field"] == "rejects"
    assert network.state() == before


def test_a_50_megabyte_line_is_not_held(network: SampleNetwork, tmp_path: Path) -> None:
    """Peak memory against that of a small bad file."""
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    small.write_text("x" * 100)
    large.write_text("x" * 50_000_000)
    peaks = []
    for file in (small, large):
        code, peak, err = _peak(*ATTEST, "--csv", str(file), "--json", home=network.board)
        assert code == 2
        error = json.loads(err)
        assert error["field"]
        assert error["hint"]
        peaks.append(peak)
    assert peaks[1] < 1.2 * peaks[0], peaks


def _peak(*arguments: str, home: Path) -> tuple[int, int, str]:
    """(exit code, peak resident memory, standard error) of one call."""
    reader, writer = os.pipe()
    env = {**environment(), "CREDCHAIN_HOME": str(home)}
    process = subprocess.Popen(
        command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer, env=env
    )
    os.close(writer)
    with os.fdopen(reader) as stream:
        err = stream.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert isinstance(used, resource.struct_rusage)
    return process.returncode, used.ru_maxrss, err


# --- keys and homes ---------------------------------------------------------------------------

USES_KEYS: Final = ("status", "0" * 64, "--set", "active", "--reason", "reinstated", "--json")


def loosen(home: Path) -> None:
    (home / "keys.json").chmod(0o644)


def cut_short(home: Path) -> None:
    path = home / "keys.json"
    path.write_bytes(path.read_bytes()[:200])


def empty(home: Path) -> None:
    (home / "keys.json").write_bytes(b"")


def swap_bytes(home: Path) -> None:
    path = home / "keys.json"
    document = json.loads(path.read_text())
    document["box"] = "AAAA" + document["box"][4:]
    path.write_text(json.dumps(document))


def much_memory(home: Path) -> None:
    path = home / "keys.json"
    document = json.loads(path.read_text())
    document["kdf"]["memory"] = 2**45
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("damage", [loosen, cut_short, empty, swap_bytes, much_memory])
def test_key_file(network: SampleNetwork, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    home = network.copy(network.member(CALIFORNIA), tmp_path / "home")
    damage(home)
    before = home_content(home)
    done = run(*USES_KEYS, home=home, expect=2)
    assert done.error["field"]
    assert "keys.json" in done.error["error"]
    assert done.hint
    assert home_content(home) == before


def test_home_that_was_taken_away(network: SampleNetwork, tmp_path: Path) -> None:
    """A folder that is not there any more is not made again by asking."""
    for arguments in (
        ("whoami",),
        ("members",),
        ("issued",),
        ("audit",),
        ("verify", NAVARRO),
        USES_KEYS[:-1],
    ):
        done = run(*arguments, "--json", home=tmp_path / "gone", expect=2)
        assert done.error["field"] in ("home", "network")
        assert done.hint
    assert not (tmp_path / "gone").exists()


def test_home_that_joined_no_network(network: SampleNetwork, tmp_path: Path) -> None:
    home = tmp_path / "home"
    run("init", "--name", "Alone", home=home, expect=0)
    before = home_content(home)
    for arguments in (("whoami",), ("members",), ("verify", NAVARRO), USES_KEYS[:-1], ("node", "run")):
        done = run(*arguments, "--json", home=home, expect=2)
        assert done.error["field"] == "network"
        assert "join" in done.hint
    assert home_content(home) == before


def test_home_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("init", "--name", "X", "--json", home=tmp_path / "file")
    assert done.code in (1, 2)
    assert "internal error" not in done.error["error"]


def test_init_twice_keeps_the_keys(tmp_path: Path) -> None:
    run("init", "--name", "X", home=tmp_path / "home", expect=0)
    before = home_content(tmp_path / "home")
    done = run("init", "--name", "Y", "--json", home=tmp_path / "home", expect=2)
    assert done.error["field"] == "home"
    assert home_content(tmp_path / "home") == before


INITS: Final = {
    "no addresses": (("--validator",), "peer"),
    "no api": (("--validator", "--peer", "a.example:7440"), "api"),
    "no port": (("--validator", "--peer", "a.example", "--api", "https://a.example:7441"), "peer"),
    "port": (("--validator", "--peer", "a.example:70000", "--api", "https://a.example:7441"), "peer"),
    "plain HTTP": (("--validator", "--peer", "a.example:7440", "--api", "http://a.example:7441"), "api"),
    "no URL": (("--validator", "--peer", "a.example:7440", "--api", "a.example"), "api"),
    "no validator": (("--peer", "a.example:7440"), "validator"),
    "name of nothing": (("--name", ""), "name"),
    "name without letters": (("--name", "!!!"), "name"),
    "name with a line break": (("--name", "a\nb"), "name"),
    "name too long": (("--name", "a" * 300), "name"),
}


@pytest.mark.parametrize("kind", sorted(INITS))
def test_init(tmp_path: Path, kind: str) -> None:
    options, field = INITS[kind]
    done = quick("init", "--name", "X", *options, "--json", home=tmp_path / "home", expect=2)
    _DONE["init", kind] = done
    assert done.error["field"] == field
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("kind", sorted(INITS))
def test_init_has_a_hint(tmp_path: Path, kind: str) -> None:
    if ("init", kind) not in _DONE:
        test_init(tmp_path, kind)
    assert _DONE["init", kind].hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the case below stands for it")
def test_read_only_home(network: SampleNetwork, tmp_path: Path) -> None:
    home = network.copy(network.hospital, tmp_path / "home")
    home.chmod(0o500)
    try:
        done = run("verify", NOBODY, home=home)
    finally:
        home.chmod(0o700)
    assert done.code == 6
    assert "warning" in done.err


def test_home_in_which_nothing_can_be_remembered(network: SampleNetwork, tmp_path: Path) -> None:
    """The verdict is told all the same, with a warning of what that costs."""
    npi = new_npi()
    network.attest(npi)
    home = network.copy(network.hospital, tmp_path / "home")
    for name in ("trust.lock", "trust.json"):
        (home / name).unlink(missing_ok=True)
    (home / "trust.lock").mkdir()
    done = run("verify", npi, home=home, expect=0)
    assert done.out.startswith("ESTABLISHED")
    assert "warning" in done.err
    assert "older state" in done.err


def test_damaged_memory_is_not_forgotten(network: SampleNetwork, tmp_path: Path) -> None:
    home = network.copy(network.hospital, tmp_path / "home")
    (home / "trust.json").write_text("{")
    done = run("verify", NAVARRO, "--json", home=home, expect=1)
    assert "trust.json" in done.error["error"]
    assert done.hint


# --- the trust anchor -------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], None]


def _without(name: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        del document[name]

    return change


def _set(value: Any, *path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _doubled_category(document: dict[str, Any]) -> None:
    document["categories"].append(document["categories"][0])


def _no_node(document: dict[str, Any]) -> None:
    document["nodes"].clear()


def _two_members_of_one_name(document: dict[str, Any]) -> None:
    document["genesis"]["members"][0]["name"] = document["genesis"]["members"][1]["name"]


ANCHORS: Final[dict[str, Change]] = {
    "format": _set("other/1", "format"),
    "no genesis": _without("genesis"),
    "no categories": _without("categories"),
    "unknown part": _set(1, "more"),
    "genesis a list": _set([], "genesis"),
    "time is text": _set("now", "genesis", "time"),
    "version": _set(2, "genesis", "version"),
    "half a key": _set("hex:00", "genesis", "members", 0, "key"),
    "not hexadecimal": _set("hex:zz", "genesis", "members", 0, "key"),
    "role": _set(["king"], "genesis", "members", 0, "roles"),
    "name with a line break": _set("a\nb", "genesis", "name"),
    "doubled category": _doubled_category,
    "changed category": _set("Other", "categories", 0, "title"),
    "no node": _no_node,
    "node without api": _set({"validator": "x"}, "nodes", 0),
    "two members of one name": _two_members_of_one_name,
}


@pytest.mark.parametrize("kind", sorted(ANCHORS))
def test_damaged_anchor(network: SampleNetwork, tmp_path: Path, kind: str) -> None:
    """Neither joined nor used; the error names the part."""
    document = json.loads(network.file.read_text())
    ANCHORS[kind](document)
    damaged = tmp_path / "network.json"
    damaged.write_text(json.dumps(document))
    _refuse_anchor(damaged, tmp_path / "home")


RAW_ANCHORS: Final = {
    "empty": b"",
    "cut short": b'{"format": "credchain-network/1", "gen',
    "not UTF-8": b"\xff\xfe{",
    "a number": b"7",
    "doubled key": b'{"format": "credchain-network/1", "format": "credchain-network/1"}',
    "deep": b'{"format": "credchain-network/1", "genesis": ' + b"[" * 5000,
    "large": b" " * (5 * 2**20),
}


@pytest.mark.parametrize("kind", sorted(RAW_ANCHORS))
def test_damaged_anchor_file(tmp_path: Path, kind: str) -> None:
    damaged = tmp_path / "network.json"
    damaged.write_bytes(RAW_ANCHORS[kind])
    _refuse_anchor(damaged, tmp_path / "home")


def _refuse_anchor(damaged: Path, home: Path) -> None:
    done = quick("join", damaged, "--json", home=home, expect=2)
    assert done.error["field"]
    assert done.error["hint"] or done.error["error"]
    assert not home.exists()


def test_damaged_anchor_of_a_home(network: SampleNetwork, tmp_path: Path) -> None:
    """Of a home that had joined: the file is named, and so is the way out."""
    home = network.copy(network.hospital, tmp_path / "home")
    (home / "network.json").write_bytes(network.file.read_bytes()[:1000])
    done = run("verify", NAVARRO, "--json", home=home, expect=2)
    assert done.error["field"]
    assert "network.json" in done.error["error"]
    assert done.hint


def test_joining_again_mends_a_damaged_anchor(network: SampleNetwork, tmp_path: Path) -> None:
    """Or says that it is the home's file that is in the way, and what to do: the given one is whole."""
    home = network.copy(network.hospital, tmp_path / "home")
    (home / "network.json").write_bytes(network.file.read_bytes()[:1000])
    done = run("join", network.file, "--json", home=home)
    assert done.code == 0 or str(home / "network.json") in done.error["error"] + done.hint


def test_join_with_wrong_fingerprint(network: SampleNetwork, tmp_path: Path) -> None:
    done = run("join", network.file, "--expect", "00" * 32, "--json", home=tmp_path / "home", expect=2)
    assert done.error["field"] == "expect"
    assert done.hint
    assert not (tmp_path / "home").exists()


def test_join_with_the_right_fingerprint_in_any_form(network: SampleNetwork, tmp_path: Path) -> None:
    """As printed in groups, and as one word of capitals."""
    told = run("join", network.file, home=tmp_path / "first", expect=0).out
    printed = next(line for line in told.splitlines() if line.startswith("fingerprint")).split(maxsplit=1)[1]
    for number, each in enumerate((printed, printed.replace(" ", "").upper())):
        run("join", network.file, "--expect", each, home=tmp_path / str(number), expect=0)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network, smaller."""
    folder = tmp_path_factory.mktemp("other")
    spec = folder / "spec.toml"
    spec.write_text(SPEC)
    run("network", "create", spec, "--out", folder / "made", expect=0)
    return folder / "made"


def test_join_another_network(network: SampleNetwork, other: Path, tmp_path: Path) -> None:
    home = network.copy(network.hospital, tmp_path / "home")
    before = home_content(home)
    done = run("join", other / "network.json", "--json", home=home, expect=2)
    assert done.error["field"] == "home"
    assert done.hint
    assert home_content(home) == before


def test_node_of_another_network(network: SampleNetwork, other: Path) -> None:
    home = other / "members" / "a-board"
    done = run("members", "--node", network.url, "--json", home=home, expect=6)
    assert done.error["field"] == "node"
    assert done.hint
    told = run("node", "status", "--node", network.url, "--json", home=home, expect=6).json
    assert told["nodes"][0]["reachable"] is False
    assert "another network" in told["nodes"][0]["problem"]


@contextmanager
def web_server(body: bytes = b"<html>hello</html>") -> Iterator[str]:
    """A web server that says the same to whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_not_a_node(network: SampleNetwork) -> None:
    with web_server() as url:
        done = run("members", "--node", url, "--json", home=network.hospital, expect=6)
        assert done.error["field"] == "node"
        assert done.hint
        told = run("verify", NAVARRO, "--node", url, "--json", home=network.hospital, expect=6).json
        assert told["verdict"] == "not_established"
        # The next node is asked after a bad one.
        run("members", "--node", url, "--node", network.url, home=network.hospital, expect=0)


def test_a_verdict_that_could_not_be_had_says_what_to_do(network: SampleNetwork) -> None:
    """A hospital that cannot reach a node reads why in a line, and what to try."""
    done = run("verify", NAVARRO, "--node", "http://127.0.0.1:1", home=network.hospital, expect=6)
    assert "hint: " in done.err


# --- founding ---------------------------------------------------------------------------------

SPEC: Final = """
name = "Other"

[[member]]
name = "A Board"
roles = ["issuer"]
categories = ["board_certification"]
jurisdictions = ["US"]

[[member]]
name = "A Node"
roles = ["validator", "governor"]
peer = "127.0.0.1:7440"
api = "http://127.0.0.1:7441"
"""

SPECS: Final = {
    "not TOML": ("name = ", ""),
    "no name": (SPEC.replace('name = "Other"', "", 1), "name"),
    "no members": ('name = "Other"', "member"),
    "unknown role": (SPEC.replace('"issuer"', '"king"'), "roles"),
    "unknown category": (SPEC.replace("board_certification", "nonsense"), ""),
    "unknown part": (SPEC + 'colour = "red"\n', ""),
    "duplicate names": (SPEC.replace('"A Node"', '"A Board"'), ""),
    "one folder for two": (SPEC.replace('"A Node"', '"a-board"').replace('"validator", ', ""), ""),
    "no validator": (SPEC.replace('"validator", ', ""), "member"),
    "a validator without addresses": (SPEC.replace('["issuer"]', '["issuer", "validator"]'), "peer"),
    "no peer": (SPEC.replace('peer = "127.0.0.1:7440"\n', ""), ""),
    "missing card": (
        SPEC.replace('roles = ["issuer"]', 'file = "nowhere/member.toml"\nroles = ["issuer"]'),
        "member card",
    ),
    "a file and addresses": (SPEC + 'file = "nowhere/member.toml"\n', "peer"),
    "roles is text": (SPEC.replace('["issuer"]', '"issuer"'), "roles"),
    "member is a number": ("name = 'Other'\nmember = 7\n", "member"),
    "an issuer of nothing": (SPEC.replace('categories = ["board_certification"]\n', ""), "categories"),
    "a jurisdiction by its name": (SPEC.replace('["US"]', '["California"]'), "jurisdictions"),
    "half a jurisdiction": (SPEC.replace('["US"]', '["US", "U"]'), "jurisdictions"),
    "a jurisdiction in small letters": (SPEC.replace('["US"]', '["US-ca"]'), "jurisdictions"),
    "a jurisdiction with more behind it": (SPEC.replace('["US"]', '["US-CA\\n"]'), "jurisdictions"),
    "a licensing board of nowhere": (
        SPEC.replace("board_certification", "state_license").replace('jurisdictions = ["US"]\n', ""),
        "jurisdictions",
    ),
    "no category files": ('categories = "empty"\n' + SPEC, "categories"),
}


def _refuse_spec(text: str, field: str, folder: Path) -> Done:
    """Nothing half-made is left, neither under its name nor under another."""
    (folder / "empty").mkdir(exist_ok=True)
    spec = folder / "spec.toml"
    spec.write_text(text)
    before = sorted(each.name for each in folder.iterdir())
    done = quick("network", "create", spec, "--out", folder / "out", "--json", expect=2)
    assert done.out == ""
    assert done.error["field"]
    assert done.error["field"] == (field or done.error["field"])
    assert sorted(each.name for each in folder.iterdir()) == before
    return done


def test_a_jurisdiction_where_none_is_claimed_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(SPEC.replace('jurisdictions = ["US"]\n', ""))
    quick("network", "create", tmp_path / "spec.toml", "--out", tmp_path / "out", expect=0)


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_spec(tmp_path: Path, kind: str) -> None:
    _DONE["spec", kind] = _refuse_spec(*SPECS[kind], tmp_path)


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_spec_has_a_hint(tmp_path: Path, kind: str) -> None:
    if ("spec", kind) not in _DONE:
        test_spec(tmp_path, kind)
    assert _DONE["spec", kind].hint


def test_altered_card(tmp_path: Path) -> None:
    run("init", "--name", "A Board", home=tmp_path / "board", expect=0)
    card = tmp_path / "board" / "member.toml"
    text = SPEC.replace('roles = ["issuer"]', 'file = "board/member.toml"\nroles = ["issuer"]')
    for old, new in (('name = "A Board"', 'name = "B Board"'), ('signature = "', 'signature = "00')):
        whole = card.read_text()
        card.write_text(whole.replace(old, new))
        _refuse_spec(text, "signature", tmp_path)
        card.write_text(whole)


def test_existing_out(network: SampleNetwork, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC)
    (tmp_path / "out").mkdir()
    done = run("network", "create", spec, "--out", tmp_path / "out", "--json", expect=2)
    assert done.error["field"] == "out"
    assert done.hint
    assert list((tmp_path / "out").iterdir()) == []


def test_dev_with_a_public_address(tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC)
    for options in (("--dev", "--api", "https://a.example:7441"), ("--api", "http://127.0.0.1:7441")):
        done = run("network", "create", spec, "--out", tmp_path / "out", *options, "--json", expect=2)
        assert done.error["field"] == "api"
        assert not (tmp_path / "out").exists()


# --- a damaged ledger -------------------------------------------------------------------------


def test_garbage_for_a_ledger(other: Path, tmp_path: Path) -> None:
    """The node does not start on it and does not replace it; the audit says what is wrong."""
    home = tmp_path / "node"
    shutil.copytree(other / "validators" / "a-node", home)
    garbage = b"this is no database at all. " * 1000
    (home / "ledger.db").write_bytes(garbage)
    for arguments, codes in ((("node", "run"), {1}), (("audit",), {1, 3})):
        done = run(*arguments, home=home)
        assert done.code in codes, done
        assert "error: " in done.err
        assert "hint: " in done.err
        assert "internal error" not in done.err
        assert (home / "ledger.db").read_bytes() == garbage


def test_node_settings_that_are_wrong(other: Path, tmp_path: Path) -> None:
    home = tmp_path / "node"
    shutil.copytree(other / "validators" / "a-node", home)
    settings = home / "node.toml"
    for text in ("listen_api = ", "", settings.read_text().replace("listen_api", "listen")):
        settings.write_text(text)
        done = run("node", "run", "--json", home=home, expect=2)
        assert done.error["field"]
    assert not (home / "ledger.db").exists()


def test_a_name_that_leads_nowhere(network: SampleNetwork, other: Path, tmp_path: Path) -> None:
    """In the words of the system: no number of an error, no object of ours."""
    home = tmp_path / "node"
    shutil.copytree(other / "validators" / "a-node", home)
    settings = home / "node.toml"
    nowhere = "nobody.invalid:17441"
    settings.write_text(re.sub(r"(?m)^listen_api = .*$", f'listen_api = "{nowhere}"', settings.read_text()))
    found = run("node", "run", "--json", home=home, expect=6)
    asked = run("members", "--node", f"https://{nowhere}", "--json", home=network.hospital, expect=6)
    for told in (found.error["error"], asked.error["error"]):
        assert "nobody.invalid" in told
        for words in ("Unknown error", "ssl:", "SSLContext", "Errno"):
            assert words not in told
    assert "name" in found.error["error"].partition(nowhere)[2].lower()


def test_node_run_in_a_home_of_another_role(network: SampleNetwork) -> None:
    before = home_content(network.board)
    done = run("node", "run", "--json", home=network.board, expect=2)
    assert done.error["field"]
    assert done.hint
    assert home_content(network.board) == before
