"""Commands whose transaction finds no block: what they say, and that the next run goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.network.node_process import free_port

from .network import SampleNetwork, claim_options, npis, row, run, write_table

NEXT_NPI = npis(3_900_000)
HINT: Final = "run the same command again later: it goes on, and does nothing twice"


def _nobody() -> tuple[str, str]:
    return "--node", f"http://127.0.0.1:{free_port()}"


def _attest(npi: str) -> list[str]:
    return ["attest", "board_certification", "--npi", npi, *claim_options(), "--json"]


def test_attest_says_that_nothing_is_committed_and_goes_on(network: SampleNetwork, tmp_path: Path) -> None:
    """Exit code 6 and what to do; the same command then attests once."""
    home = network.copy(network.board, tmp_path / "board")
    npi = NEXT_NPI()
    failed = run(*_attest(npi), *_nobody(), home=home, expect=6)
    assert failed.out == ""
    assert failed.error["error"].startswith("1 transaction is not committed yet, so nothing in it counts: ")
    assert HINT in failed.hint
    again = run(*_attest(npi), home=home, expect=0)
    assert "finished 1 envelopes of an earlier run" in again.err
    shown = run("issued", "--npi", npi, "--json", home=home, expect=0).json["issued"]
    assert [each["attestation"] for each in shown] == [again.json["attestation"]]


def test_a_table_says_it_too(network: SampleNetwork, tmp_path: Path) -> None:
    home = network.copy(network.board, tmp_path / "board")
    table = write_table(
        tmp_path / "table.csv", [row(NEXT_NPI(), "EBR-390001"), row(NEXT_NPI(), "EBR-390002")]
    )
    line = ("attest", "board_certification", "--csv", table)
    failed = run(*line, *_nobody(), home=home, expect=6)
    assert failed.err.startswith("error: 1 transaction is not committed yet")
    assert f"hint: {HINT}" in failed.err
    assert "2 rows: 2 attested" in run(*line, home=home, expect=0).out


def test_a_table_of_which_a_part_is_on_the_ledger_says_how_much(
    network: SampleNetwork, tmp_path: Path
) -> None:
    home = network.copy(network.board, tmp_path / "board")
    rows = [row(NEXT_NPI(), f"EBR-39001{number}") for number in range(3)]
    run(
        "attest",
        "board_certification",
        "--csv",
        write_table(tmp_path / "a.csv", rows[:2]),
        home=home,
        expect=0,
    )
    line = ("attest", "board_certification", "--csv", write_table(tmp_path / "b.csv", rows))
    failed = run(*line, *_nobody(), home=home, expect=6)
    assert "not committed yet" in failed.err
    assert "2 of 3 rows are on the ledger; then no node gave an answer" in failed.err
    assert "3 rows: 1 attested, 2 already" in run(*line, home=home, expect=0).out


def test_a_status_that_was_never_sent_has_the_plain_error(network: SampleNetwork, tmp_path: Path) -> None:
    """Nothing was written down, so nothing waits: the words are those of a node that is down."""
    home = network.copy(network.board, tmp_path / "board")
    attestation = network.attested(NEXT_NPI())
    line = ("status", attestation, "--set", "suspended", "--reason", "under_investigation")
    failed = run(*line, *_nobody(), home=home, expect=6)
    assert "not committed yet" not in failed.err
    assert failed.err.startswith("error: no node gave an answer")
