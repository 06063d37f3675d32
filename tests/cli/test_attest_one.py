"""Attesting one credential: again, after its end, and into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from credchain.errors import StorageError
from credchain.storage import files

from .network import SampleNetwork, claim_options, npis, quick, row, run, write_table

new_npi = npis(71_000_000)

ATTEST: Final = ("attest", "board_certification")
ENDS: Final = {
    "revoked": "fraud",
    "surrendered": "retired",
    "issued_in_error": "data_error",
    "lapsed": "not_renewed",
    "suspended": "under_investigation",
    "probation": "conditions_imposed",
}
FINAL: Final = ("revoked", "surrendered", "issued_in_error", "erased")


# --- again ------------------------------------------------------------------------------------


def _end(network: SampleNetwork, identifier: str, status: str) -> None:
    change: tuple[str, ...] = ("erase", identifier, "--reason", "erasure_request")
    if status != "erased":
        change = ("status", identifier, "--set", status, "--reason", ENDS[status])
    quick(*change, "--yes", home=network.board, expect=0)


@pytest.mark.parametrize("status", [*ENDS, "erased"])
def test_what_is_not_in_force_any_more_is_not_attested_again(network: SampleNetwork, status: str) -> None:
    """Whoever reads "attested" believes it is in force."""
    npi = new_npi()
    identifier = network.attested(npi)
    _end(network, identifier, status)
    before = network.state()
    again = (*ATTEST, "--npi", npi, *claim_options())
    done = quick(*again, "--json", home=network.board, expect=7)
    assert done.out == ""
    assert done.error["field"] == "attestation"
    assert status in done.error["error"]
    assert identifier[:12] in done.error["error"]
    assert ("--from" if status in FINAL else "--reason reinstated") in done.hint
    assert network.state() == before
    assert "attested:" not in quick(*again, home=network.board, expect=7).out


@pytest.mark.parametrize("status", FINAL)
def test_after_a_final_status_the_hint_can_be_followed(network: SampleNetwork, status: str) -> None:
    npi = new_npi()
    first = network.attested(npi)
    _end(network, first, status)
    second = network.attested(npi, "--from", "2026-01-02")
    assert second != first
    assert network.status_of(second) == "active"
    _end(network, second, status)
    asked = (*ATTEST, "--npi", npi, *claim_options(), "--from", "2026-01-02", "--json")
    assert "another first day" in quick(*asked, home=network.board, expect=7).hint


def test_after_a_suspension_the_hint_can_be_followed(network: SampleNetwork) -> None:
    npi = new_npi()
    identifier = network.attested(npi)
    _end(network, identifier, "suspended")
    hint = quick(*ATTEST, "--npi", npi, *claim_options(), "--json", home=network.board, expect=7).hint
    quick(*hint.split()[hint.split().index("credchain") + 1 :], home=network.board, expect=0)
    assert network.attested(npi) == identifier


def test_what_is_in_force_is_attested_already(network: SampleNetwork) -> None:
    npi = new_npi()
    first = network.attest(npi)
    again = network.attest(npi)
    assert again.json["attestation"] == first.json["attestation"]
    assert again.err == "attested already, by an earlier run\n"


def test_a_table_counts_it_as_already(network: SampleNetwork, tmp_path: Path) -> None:
    """A long table goes on; its statuses are another command's."""
    npi = new_npi()
    table = write_table(tmp_path / "t.csv", [row(npi, "EBR-1")])
    quick(*ATTEST, "--csv", table, home=network.board, expect=0)
    listed = quick("issued", "--npi", npi, "--json", home=network.board, expect=0).json["issued"]
    _end(network, listed[0]["attestation"], "revoked")
    told = run(*ATTEST, "--csv", table, "--json", home=network.board, expect=0).json
    assert (told["attested"], told["already"]) == (0, 1)


# --- into a file ------------------------------------------------------------------------------


def test_the_credential_is_written_for_its_owner_alone(network: SampleNetwork, tmp_path: Path) -> None:
    out = tmp_path / "credential.txt"
    network.attest(new_npi(), "--out", str(out))
    assert out.read_text().count("~") > 1
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_after_all(
    network: SampleNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full once the attestation is final: it is told, and the file can be had again."""

    def full(path: Path, content: bytes, *, mode: int = 0) -> None:
        raise StorageError(f"cannot write {path}: No space left on device")

    npi, out = new_npi(), tmp_path / "credential.txt"
    asked = (*ATTEST, "--npi", npi, *claim_options(), "--json")
    with monkeypatch.context() as patched:
        patched.setattr(files, "replace_file", full)
        done = quick(*asked, "--out", out, home=network.board, expect=1)
    listed = quick("issued", "--npi", npi, "--json", home=network.board, expect=0).json["issued"]
    assert [each["status"] for each in listed] == ["active"]
    identifier = listed[0]["attestation"]
    assert done.error["error"].startswith(f"attested (id {identifier}), but {out} could not be written: ")
    assert "No space left" in done.error["error"]
    assert not out.exists()
    before = network.state()
    another = tmp_path / "another.txt"
    quick(*asked, "--out", another, home=network.board, expect=0)
    assert another.read_text().count("~") > 1
    assert network.state() == before
