"""Many at once: the yearly run with --renews auto, status tables, and what `issued` says of it all."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from .network import (
    CALIFORNIA,
    COLUMNS,
    Done,
    SampleNetwork,
    npis,
    quick,
    row,
    run,
    write_table,
)

new_npi = npis(30_000_000)
ATTEST: Final = ("attest", "board_certification")
STATUS_COLUMNS: Final = ("attestation", "status", "reason", "note")


@dataclass(frozen=True)
class Board:
    """The board at work in a home of its own: what it issued elsewhere it does not know."""

    network: SampleNetwork
    home: Path
    folder: Path

    def attest(self, name: str, rows: list[dict[str, str]], *options: str | Path, code: int = 0) -> Done:
        table = write_table(self.folder / name, rows, COLUMNS)
        return quick(*ATTEST, "--csv", table, "--json", *options, home=self.home, expect=code)

    def status(self, name: str, rows: list[dict[str, str]], *options: str | Path, code: int = 0) -> Done:
        table = write_table(self.folder / name, rows, STATUS_COLUMNS)
        return quick("status", "--csv", table, "--json", *options, home=self.home, expect=code)

    def issued(self, npi: str) -> list[dict[str, Any]]:
        found = quick("issued", "--npi", npi, "--json", home=self.home, expect=0).json["issued"]
        assert type(found) is list
        return found

    def shown(self, attestation: str) -> dict[str, Any]:
        found = quick("status", attestation, "--json", home=self.home, expect=0).json
        assert type(found) is dict
        return found


@pytest.fixture
def board(network: SampleNetwork, tmp_path: Path) -> Board:
    home = network.copy(network.board, tmp_path / "board")
    for each in home.glob("member.db*"):
        each.unlink()
    return Board(network, home, tmp_path)


def year(number: int) -> dict[str, str]:
    return {"valid_from": f"{number}-01-01", "valid_until": f"{number}-12-31"}


def change(attestation: str, status: str, reason: str, note: str = "") -> dict[str, str]:
    return {"attestation": attestation, "status": status, "reason": reason, "note": note}


# --- renewals ---------------------------------------------------------------------------------


def test_the_yearly_run(board: Board) -> None:
    """The second year's table renews the first's, row by row; the third the second's; a new person is
    no renewal. Two certificates of one person are matched by their numbers.
    """
    one, two, new = new_npi(), new_npi(), new_npi()
    people = [(one, "EBR-100"), (one, "EBR-200"), (two, "EBR-300")]
    for number in (2024, 2025, 2026):
        told = board.attest(
            f"{number}.csv", [row(*each, **year(number)) for each in people], "--renews", "auto"
        ).json
        assert (told["attested"], told["rejected"]) == (len(people), [])
        if number == 2025:
            people.append((new, "EBR-400"))
    by_year = {(each["valid_from"][:4], place): each for place, each in enumerate(board.issued(one))}
    assert [key[0] for key in by_year] == ["2024", "2024", "2025", "2025", "2026", "2026"]
    ids = [each["attestation"] for each in by_year.values()]
    renews = [board.shown(each)["renews"] for each in ids]
    assert renews == [None, None, *ids[:4]]
    assert [each["renews"] for each in map(board.shown, [board.issued(new)[0]["attestation"]])] == [None]
    verified = run("verify", one, "--json", home=board.network.hospital, expect=0).json
    verdicts = [each["verdict"] for each in verified["credentials"]]
    assert verdicts == ["history"] * 4 + ["established"] * 2


def test_the_same_table_twice_attests_nothing_twice(board: Board) -> None:
    npi = new_npi()
    rows = [row(npi, "EBR-100", **year(2026)), row(npi, "EBR-200", **year(2026))]
    for option in ((), ("--renews", "auto")):
        first = board.attest("t.csv", rows, *option).json
        assert (first["attested"], first["already"]) == ((0, 2) if option else (2, 0))
    assert len(board.issued(npi)) == 2


def test_an_ambiguous_renewal_is_a_problem_of_its_row(board: Board) -> None:
    """Two running attestations of one certificate number: which one is meant, only a person can say."""
    npi, other = new_npi(), new_npi()
    for number in (2024, 2025):
        board.attest(f"{number}.csv", [row(npi, "EBR-100", **year(number))])
    rows = [row(other, "EBR-100", **year(2026)), row(npi, "EBR-100", **year(2026))]
    before = board.network.state()
    done = board.attest("2026.csv", rows, "--renews", "auto", code=2)
    assert [(each["line"], each["column"]) for each in done.error["rejected"]] == [(3, "renews")]
    assert board.network.state() == before, "no row is sent where one is wrong and --partial is not given"
    rejects = board.folder / "rejects.csv"
    partial = ("--renews", "auto", "--partial", "--rejects", rejects)
    told = run(*ATTEST, "--csv", board.folder / "2026.csv", "--json", *partial, home=board.home).json
    assert told["attested"] == 1
    assert [(each["line"], each["column"]) for each in told["rejected"]] == [(3, "renews")]
    with rejects.open(encoding="utf-8", newline="") as file:
        assert [each["npi"] for each in csv.DictReader(file)] == [npi]


def test_an_ambiguous_renewal_far_down_is_found_before_anything_is_sent(board: Board) -> None:
    """All rows are checked first, also those beyond the first envelope of 1000."""
    npi = new_npi()
    for number in (2024, 2025):
        board.attest(f"{number}.csv", [row(npi, "EBR-100", **year(number))])
    rows = [row(new_npi(), "EBR-100", **year(2026)) for _ in range(1000)]
    before = board.network.state()
    done = board.attest("2026.csv", [*rows, row(npi, "EBR-100", **year(2026))], "--renews", "auto", code=2)
    assert [(each["line"], each["column"]) for each in done.error["rejected"]] == [(1002, "renews")]
    assert board.network.state() == before


def test_every_ambiguous_renewal_is_named(board: Board) -> None:
    """As with every other fault of a table: all in one go, by line and column."""
    people = [new_npi(), new_npi()]
    for number in (2024, 2025):
        board.attest(f"{number}.csv", [row(each, "EBR-100", **year(number)) for each in people])
    rows = [row(each, "EBR-100", **year(2026)) for each in people]
    done = board.attest("2026.csv", rows, "--renews", "auto", code=2)
    assert [(each["line"], each["column"]) for each in done.error.get("rejected", [])] == [
        (2, "renews"),
        (3, "renews"),
    ]


def test_an_ambiguous_renewal_is_named_by_its_id(board: Board) -> None:
    npi = new_npi()
    for number in (2024, 2025):
        board.attest(f"{number}.csv", [row(npi, "EBR-100", **year(number))])
    earlier = board.issued(npi)[1]["attestation"]
    more = ("--from", "2026-01-01", "--until", "2026-12-31", "--renews", earlier[:10])
    new = board.network.attest(npi, *more, home=board.home, certificate_number="EBR-100").json["attestation"]
    assert board.shown(new)["renews"] == earlier


def test_a_renewal_of_what_another_home_issued_is_a_problem(board: Board) -> None:
    """The ledger does not say which certificate it was: guessing would link the wrong ones."""
    npi = new_npi()
    board.network.attest(npi)
    done = board.attest("t.csv", [row(npi, "EBR-900", **year(2026))], "--renews", "auto", code=2)
    assert [(each["line"], each["column"]) for each in done.error["rejected"]] == [(2, "renews")]


def test_a_revoked_attestation_is_not_renewed(board: Board) -> None:
    npi = new_npi()
    board.attest("2025.csv", [row(npi, "EBR-100", **year(2025))])
    old = board.issued(npi)[0]["attestation"]
    board.status("s.csv", [change(old, "revoked", "fraud")], "--yes")
    board.attest("2026.csv", [row(npi, "EBR-100", **year(2026))], "--renews", "auto")
    assert board.shown(board.issued(npi)[1]["attestation"])["renews"] is None
    done = run("verify", npi, "--json", home=board.network.hospital, expect=4)
    assert done.json["verdict"] == "adverse", "a new attestation does not hide the revoked one"


# --- status tables ----------------------------------------------------------------------------


@pytest.fixture
def three(board: Board) -> list[str]:
    """The ids of three new attestations."""
    people = [new_npi() for _ in range(3)]
    board.attest("three.csv", [row(each, "EBR-100") for each in people])
    return [board.issued(each)[0]["attestation"] for each in people]


def test_status_table(board: Board, three: list[str]) -> None:
    """Different changes in one table, by prefixes too; the note stays at home; a repeat changes nothing."""
    rows = [
        change(three[0], "suspended", "under_investigation", "file 1"),
        change(three[1][:12], "lapsed", "not_renewed"),
        change(three[2].upper(), "probation", "conditions_imposed"),
    ]
    told = board.status("s.csv", rows).json
    assert (told["rows"], told["changed"], told["already"], told["rejected"]) == (3, 3, 0, [])
    shown = [board.shown(each) for each in three]
    assert [each["status"] for each in shown] == ["suspended", "lapsed", "probation"]
    assert shown[0]["history"][-1]["note"] == "file 1"
    again = board.status("s.csv", rows).json
    assert (again["changed"], again["already"]) == (0, 3)
    assert [len(board.shown(each)["history"]) for each in three] == [2, 2, 2]


def bad_rows(three: list[str], foreign: str) -> list[tuple[dict[str, str], str | None]]:
    """Rows that are wrong, with the column to blame."""
    return [
        (change(three[1], "nonsense", "fraud"), "status"),
        (change(three[1], "revoked", "nonpayment"), "reason"),
        (change("0123456", "lapsed", "not_renewed"), "attestation"),
        (change("0" * 64, "lapsed", "not_renewed"), "attestation"),
        (change(foreign, "lapsed", "not_renewed"), "attestation"),
        (change(three[0], "lapsed", "retired"), "attestation"),
        (change("", "lapsed", "not_renewed"), "attestation"),
        (change(three[2], "active", "reinstated"), "status"),
    ]


def test_a_note_that_cannot_be_kept_is_a_problem_of_its_row(board: Board, three: list[str]) -> None:
    """A line break in a note, which a spreadsheet makes easily: named by line and column."""
    rows = [
        change(three[0], "lapsed", "not_renewed"),
        change(three[1], "lapsed", "not_renewed", "one\ntwo"),
    ]
    before = board.network.state()
    done = board.status("s.csv", rows, code=2)
    assert [(each["line"], each["column"]) for each in done.error.get("rejected", [])] == [(3, "note")]
    assert board.network.state() == before


@pytest.fixture
def mixed(board: Board, three: list[str]) -> tuple[list[dict[str, str]], dict[int, str | None]]:
    """One good row, then the bad ones; and of each bad line its column."""
    foreign = "state_license"
    npi = new_npi()
    licence = {
        "npi": npi,
        "valid_from": "2026-01-01",
        "valid_until": "2027-12-31",
        "family_name": "Example",
        "given_name": "Ada",
        "state": "CA",
        "license_number": "A1",
        "license_type": "full",
        "issued_date": "2017-05-12",
        "conditions": "false",
    }
    table = write_table(board.folder / "licence.csv", [licence], tuple(licence))
    california = board.network.member(CALIFORNIA)
    quick("attest", foreign, "--csv", table, home=california, expect=0)
    issued = quick("issued", "--npi", npi, "--json", home=california, expect=0).json["issued"]
    board.status("end.csv", [change(three[2], "surrendered", "voluntary")], "--yes")
    bad = bad_rows(three, issued[0]["attestation"])
    rows = [change(three[0], "lapsed", "not_renewed"), *(each for each, _ in bad)]
    return rows, {line: column for line, (_, column) in enumerate(bad, 3)}


def test_bad_status_rows_are_all_named_and_nothing_is_changed(
    board: Board, mixed: tuple[list[dict[str, str]], dict[int, str | None]]
) -> None:
    """Those that can be told without a node, at least; no good row is sent beside a bad one."""
    rows, columns = mixed
    before = board.network.state()
    done = board.status("s.csv", rows, code=2)
    found = {each["line"]: each["column"] for each in done.error["rejected"]}
    assert found == columns, "every bad row in one go: a person mends the file once"
    assert board.network.state() == before


def test_partial_status_table(
    board: Board, three: list[str], mixed: tuple[list[dict[str, str]], dict[int, str | None]]
) -> None:
    rows, columns = mixed
    rejects = board.folder / "rejects.csv"
    table = write_table(board.folder / "s.csv", rows, STATUS_COLUMNS)
    options = ("--partial", "--rejects", rejects, "--json")
    told = run("status", "--csv", table, *options, home=board.home).json
    assert told["changed"] == 1
    assert {each["line"]: each["column"] for each in told["rejected"]} == columns
    assert board.shown(three[0])["status"] == "lapsed"
    assert board.shown(three[2])["status"] == "surrendered"
    with rejects.open(encoding="utf-8", newline="") as file:
        assert [int(each["rejected_line"]) for each in csv.DictReader(file)] == sorted(columns)


# --- issued -----------------------------------------------------------------------------------


def test_issued_tells_each_status_as_it_is_now(board: Board) -> None:
    npi = new_npi()
    cases: dict[str, Callable[[], tuple[str, ...]]] = {
        "active": lambda: ("--until", "2035-12-31"),
        "expired": lambda: ("--from", "2020-01-01", "--until", "2021-12-31"),
        "not yet valid": lambda: ("--from", "2090-01-01", "--until", "2091-12-31"),
    }
    for number, (_, options) in enumerate(cases.items()):
        board.network.attest(npi, *options(), home=board.home, certificate_number=f"EBR-{number}00")
    found = [each["status"].replace("_", " ") for each in board.issued(npi)]
    assert found == list(cases)
    told = run("issued", "--npi", npi, home=board.home, expect=0).out
    for words in ("active", "expired", npi, "2091-12-31"):
        assert words in told


def test_issued_without_a_node_shows_no_status_as_proved(board: Board) -> None:
    npi = new_npi()
    board.network.attest(npi, home=board.home)
    done = run("issued", "--npi", npi, "--node", "http://127.0.0.1:1", "--json", home=board.home, expect=6)
    assert [each["status"] for each in done.json["issued"]] == [None]
    assert "warning" in done.err


def test_issued_before_anything_was_issued(board: Board) -> None:
    done = run("issued", "--json", home=board.home, expect=2)
    assert done.hint
    assert not (board.home / "member.db").exists()


def test_issued_says_so_when_there_is_nothing(board: Board) -> None:
    """An empty table under a heading looks like a fault; a sentence does not."""
    board.network.attest(new_npi(), home=board.home)
    done = run("issued", "--npi", new_npi(), home=board.home, expect=0)
    assert "nothing" in (done.out + done.err).lower()
    assert run("issued", "--npi", new_npi(), "--json", home=board.home, expect=0).json == {"issued": []}
