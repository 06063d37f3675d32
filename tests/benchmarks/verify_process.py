"""`credchain verify NPI` as a whole process, against importing Typer and aiohttp in a bare Python.

    python -m tests.benchmarks.verify_process

Makes a network, attests the sample roster, and prints the ratio; the bound is 3. Run it in an
environment that has what the project installs and nothing else: what else is installed, Typer imports.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

ROUNDS = 15
SAMPLES = Path(__file__).parents[2] / "samples"
PROGRAM = [sys.executable, "-m", "credchain.cli.main"]


def seconds(arguments: list[str]) -> float:
    started = perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started


def main() -> None:
    os.environ["CREDCHAIN_PASSPHRASE"] = "benchmark"
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network"
        spec = str(SAMPLES / "consortium.toml")
        api = "http://127.0.0.1:17441"
        seconds([*PROGRAM, "network", "create", spec, "--out", str(network), "--dev", "--api", api])
        home = str(network / "validators/node-north")
        node = subprocess.Popen([*PROGRAM, "node", "run", "--home", home], stderr=subprocess.PIPE, text=True)
        try:
            assert node.stderr is not None
            next(line for line in node.stderr if line.startswith("node is up"))
            board = str(network / "members/example-board-of-radiology")
            roster = str(SAMPLES / "roster.csv")
            seconds([*PROGRAM, "attest", "board_certification", "--csv", roster, "--home", board])
            hospital = str(network / "members/lakeside-hospital")
            verify = [*PROGRAM, "verify", "2012345676", "--home", hospital]
            bare = [sys.executable, "-c", "import typer, aiohttp"]
            pairs = [(seconds(verify), seconds(bare)) for _ in range(ROUNDS)]
        finally:
            node.terminate()
            node.wait()
    ours = statistics.median(pair[0] for pair in pairs)
    bound = statistics.median(pair[1] for pair in pairs)
    print(f"verify NPI {ours * 1e3:.0f} ms, importing typer and aiohttp {bound * 1e3:.0f} ms")
    print(f"ratio {ours / bound:.2f} (bound 3.00)")


if __name__ == "__main__":
    main()
