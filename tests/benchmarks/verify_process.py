"""`credchain verify NPI` as a whole process, against importing Typer and aiohttp in a bare Python.

    python -m tests.benchmarks.verify_process

Makes a network, attests the sample roster, and prints the ratio; the bound is 3. Run it in an
environment that has what the project installs and nothing else: what else is installed, Typer imports.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from .network import PROGRAM, SAMPLES, network, run, seconds

ROUNDS = 15


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, network(Path(folder), 17441) as made:
        board = made / "members/example-board-of-radiology"
        run("attest", "board_certification", "--csv", SAMPLES / "roster.csv", "--home", board)
        hospital = str(made / "members/lakeside-hospital")
        verify = [*PROGRAM, "verify", "2012345676", "--home", hospital]
        bare = [sys.executable, "-c", "import typer, aiohttp"]
        pairs = [(seconds(verify), seconds(bare)) for _ in range(ROUNDS)]
    ours = statistics.median(pair[0] for pair in pairs)
    bound = statistics.median(pair[1] for pair in pairs)
    print(f"verify NPI {ours * 1e3:.0f} ms, importing typer and aiohttp {bound * 1e3:.0f} ms")
    print(f"ratio {ours / bound:.2f} (bound 3.00)")


if __name__ == "__main__":
    main()
