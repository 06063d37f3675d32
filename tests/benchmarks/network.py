"""A made network with its node, for benchmarks: real processes on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

SAMPLES = Path(__file__).parents[2] / "samples"
PROGRAM = [sys.executable, "-m", "credchain.cli.main"]
PASSPHRASE = "benchmark"


def run(*arguments: str | Path) -> Any:
    """One command's JSON; a command that fails ends the benchmark."""
    done = subprocess.run([*PROGRAM, *map(str, arguments), "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def seconds(arguments: list[str]) -> float:
    """How long a whole process takes."""
    started = perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started


@contextmanager
def network(folder: Path, port: int) -> Iterator[Path]:
    """A one-validator network of the sample consortium in ``folder``, its node running."""
    os.environ["CREDCHAIN_PASSPHRASE"] = PASSPHRASE
    made = folder / "network"
    spec = SAMPLES / "consortium.toml"
    run("network", "create", spec, "--out", made, "--dev", "--api", f"http://127.0.0.1:{port}")
    home = str(made / "validators/node-north")
    log = (folder / "node.log").open("w+")
    node = subprocess.Popen([*PROGRAM, "node", "run", "--home", home], stderr=log)
    try:
        while "node is up" not in (folder / "node.log").read_text():
            assert node.poll() is None, (folder / "node.log").read_text()
        yield made
    finally:
        node.terminate()
        node.wait()
        log.close()
