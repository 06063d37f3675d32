"""A large table, killed on the way: nothing lost, nothing twice; and how fast.

    python -m tests.benchmarks.bulk [rows] [kills]

Makes a network, attests the rows with `credchain attest --csv`, kills that process the given number of
times, and lets a last run finish. Ends with status 0 only if the ledger then has exactly that many
attestations and `audit` passes. Prints attestations a second of the undisturbed last run against the
machine's raw Ed25519 verifications a second divided by four.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, sleep

from credchain.credentials.npi import check_digit
from credchain.keys import SigningKey, verify

from .network import PROGRAM, network, run


def write_table(path: Path, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = ("npi", "family_name", "given_name", "board", "certificate_number", "discipline")
        writer.writerow([*names, "initial_certification_date", "valid_from", "valid_until"])
        for number in range(rows):
            first_nine = f"2{number:08d}"
            writer.writerow(
                [
                    first_nine + check_digit(first_nine),
                    f"Family {number}",
                    "Given",
                    "Example Board of Radiology",
                    f"EBR-{number:06d}",
                    "Diagnostic Radiology",
                    "2020-06-01",
                    "2026-01-01",
                    "2035-12-31",
                ]
            )


def raw_verifications_a_second() -> float:
    key = SigningKey.from_seed(bytes(32))
    message = bytes(32)
    signature = key.sign(message)
    started = perf_counter()
    for _ in range(20_000):
        verify(key.public, message, signature)
    return 20_000 / (perf_counter() - started)


def kill_on_the_way(command: list[str], made: Path, rows: int, kills: int) -> None:
    """Start the run, wait until some of it is on the ledger, kill it; as often as asked."""
    chance = random.Random(1)
    for number in range(1, kills + 1):
        process = subprocess.Popen(command)
        goal = rows * number // (kills + 2)
        while attested(made) < goal and process.poll() is None:
            sleep(0.02)
        sleep(chance.random() * 0.3)
        process.kill()
        process.wait()
        print(f"killed with {attested(made)} attestations on the ledger")


def attested(made: Path) -> int:
    told = run("node", "status", "--network", made / "network.json")
    count: int = told["nodes"][0]["attestations"]
    return count


def main(rows: int, kills: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        write_table(table, rows)
        with network(Path(folder), 17442) as made:
            board = str(made / "members/example-board-of-radiology")
            attest = ("attest", "board_certification", "--csv", str(table), "--home", board)
            kill_on_the_way([*PROGRAM, *attest], made, rows, kills)
            before = attested(made)
            started = perf_counter()
            report = run(*attest)
            seconds = perf_counter() - started
            print(f"last run: {report['attested']} attested, {report['already']} already")
            again = run(*attest)
            print(f"second run: {again['attested']} attested, {again['already']} already")
            total = attested(made)
        audited = run("audit", "--home", made / "validators/node-north")
    bound = raw_verifications_a_second() / 4
    rate = (total - before) / seconds
    print(f"{total} attestations on the ledger, audit found {audited['attestations']}")
    print(f"{rate:.0f} attestations a second, a quarter of raw verifications {bound:.0f}")
    print(f"ratio {rate / bound:.2f}")
    good = total == rows == audited["attestations"] == audited["documents"] and again["already"] == rows
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*(int(each) for each in (sys.argv[1:] or ["20000", "2"]))))
