"""What the command-line tests stand on: calls of the real program, and the samples' network with a node.

The network is made once; tests use NPIs of their own, and copies of homes that they damage.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from urllib.request import urlopen

from credchain.cli.main import run as program

from credchain.credentials.npi import check_digit
from credchain.ledger.blocks import Header
from credchain.storage.home import Home
from tests.network.node_process import (
    PASSPHRASE,
    PATIENCE,
    ROOT,
    command,
    environment,
    free_port,
    running,
    wait_until,
)

BOARD: Final = "example-board-of-radiology"
CALIFORNIA: Final = "california-example-board"
HOSPITAL: Final = "lakeside-hospital"
NAVARRO: Final = "2012345676"
"""The first person of the roster."""

CLAIMS: Final = {
    "family_name": "Example",
    "given_name": "Ada",
    "board": "Example Board of Radiology",
    "certificate_number": "EBR-900001",
    "discipline": "Diagnostic Radiology",
    "initial_certification_date": "2024-06-01",
}
COLUMNS: Final = ("npi", "valid_from", "valid_until", *CLAIMS)

_ESCAPE: Final = "\x1b"


# --- calling the program ----------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """One finished call: exit code, standard output, standard error."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """Standard error as the one JSON document of a failure."""
        found = json.loads(self.err)
        assert type(found) is dict, self
        return found

    @property
    def hint(self) -> str:
        return str(self.error["hint"] or "")


def run(
    *arguments: str | Path,
    home: Path | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    passphrase: str | None = PASSPHRASE,
    expect: int | None = None,
    **variables: str,
) -> Done:
    """One call without a terminal. Whatever it is, it prints no traceback and no escape sequence."""
    env = environment(**variables)
    if passphrase is None:
        del env["CREDCHAIN_PASSPHRASE"]
    else:
        env["CREDCHAIN_PASSPHRASE"] = passphrase
    if home is not None:
        env["CREDCHAIN_HOME"] = str(home)
    called = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=env,
        cwd=cwd,
        timeout=4 * PATIENCE,
        check=False,
        **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
    )
    done = Done(tuple(map(str, arguments)), called.returncode, called.stdout, called.stderr)
    for text in (done.out, done.err):
        assert "Traceback" not in text, done
        assert _ESCAPE not in text, done
    assert expect is None or done.code == expect, done
    return done


def quick(
    *arguments: str | Path, home: Path | None = None, expect: int | None = None, **variables: str
) -> Done:
    """The same call within this process: for what a test needs done or told around what it tests."""
    env = environment(**variables)
    if home is not None:
        env["CREDCHAIN_HOME"] = str(home)
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, env, clear=True),
        patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = program([str(each) for each in arguments])
    done = Done(tuple(map(str, arguments)), code, out.getvalue(), err.getvalue())
    assert "Traceback" not in done.out + done.err, done
    assert _ESCAPE not in done.out + done.err, done
    assert expect is None or done.code == expect, done
    return done


class Terminal:
    """A program on a terminal of its own, driven like a person would."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._pid, self._screen = pty.fork()
        if self._pid == 0:
            os.execvpe(arguments[0], arguments, env)  # noqa: S606  # the program under test
        self.text = ""

    def wait_for(self, words: str) -> None:
        """Read the screen until the words stand there."""
        while words not in self.text:
            assert self._read(), f"the program ended without {words!r}: {self.text!r}"

    def type(self, line: str) -> None:
        os.write(self._screen, line.encode() + b"\n")

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._screen)
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._screen], [], [], PATIENCE)
        if not ready:
            os.kill(self._pid, signal.SIGKILL)
            raise AssertionError(f"the program waits: {self.text!r}")
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # the other end is closed: the program has ended
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)


def on_terminal(
    *arguments: str | Path,
    home: Path | None = None,
    passphrase: str | None = PASSPHRASE,
    answers: tuple[tuple[str, str], ...] = (),
    out: Path | None = None,
    **variables: str,
) -> tuple[int, str]:
    """(exit code, what stood on the screen); ``answers`` are (words waited for, line typed)."""
    env = {"TERM": "xterm", **environment(**variables)}
    del env["CREDCHAIN_PASSPHRASE"]
    if passphrase is not None:
        env["CREDCHAIN_PASSPHRASE"] = passphrase
    if home is not None:
        env["CREDCHAIN_HOME"] = str(home)
    line = command(*arguments)
    if out is not None:
        line = ["/bin/sh", "-c", 'to=$1; shift; exec "$@" > "$to"', "sh", str(out), *line]
    terminal = Terminal(line, env)
    for words, typed in answers:
        terminal.wait_for(words)
        terminal.type(typed)
    code = terminal.end()
    assert "Traceback" not in terminal.text, terminal.text
    return code, terminal.text


# --- the network ------------------------------------------------------------------------------


@dataclass(frozen=True)
class SampleNetwork:
    """The samples' consortium, made with --dev, its node running."""

    folder: Path
    url: str

    @property
    def file(self) -> Path:
        return self.folder / "try" / "network.json"

    @property
    def node_home(self) -> Path:
        return self.folder / "try" / "validators" / "node-north"

    def member(self, name: str) -> Path:
        return self.folder / "try" / "members" / name

    @property
    def board(self) -> Path:
        return self.member(BOARD)

    @property
    def hospital(self) -> Path:
        return self.member(HOSPITAL)

    def copy(self, home: Path, into: Path) -> Path:
        """A home of its own for a test that damages it, or that counts what it issued."""
        shutil.copytree(home, into, copy_function=shutil.copy2)
        return into

    def attest(self, npi: str, *more: str, home: Path | None = None, **claims: str) -> Done:
        """One board certification, committed."""
        done = quick(
            *("attest", "board_certification", "--npi", npi, *claim_options(**claims), "--json", *more),
            home=home or self.board,
            expect=0,
        )
        return done

    def attested(self, npi: str, *more: str, **claims: str) -> str:
        """The id of a new attestation."""
        return str(self.attest(npi, *more, home=None, **claims).json["attestation"])

    def status_of(self, attestation: str) -> str:
        """As anyone may ask it."""
        return str(quick("status", attestation, "--json", home=self.hospital, expect=0).json["status"])

    def state(self) -> str:
        """The ledger's state root: a function of what is on the ledger, not of empty blocks."""
        import base64

        with urlopen(self.url + "/v1/head", timeout=PATIENCE) as answer:  # noqa: S310  # our own node
            head = json.loads(answer.read())
        return Header.decode(base64.b64decode(head["header"])).state_root.hex()


def claim_options(**claims: str) -> list[str]:
    return [part for name, value in {**CLAIMS, **claims}.items() for part in ("--set", f"{name}={value}")]


def home_content(home: Path) -> dict[str, str]:
    """What a home holds, file by file: bytes, of the member database its rows.

    Left out: locks, and the memory of the ledger's height, which every look at the ledger may raise.
    """
    if not home.exists():
        return {}
    found: dict[str, str] = {}
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if path.suffix == ".lock" or name == "trust.json" or "member.db-" in name or path.is_dir():
            continue
        found[name] = hashlib.sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    if path.name != "member.db":
        return path.read_bytes()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return "\n".join(database.iterdump()).encode()
    except sqlite3.Error:
        return path.read_bytes()


@contextlib.contextmanager
def sample_network(folder: Path) -> Iterator[SampleNetwork]:
    """Make it as the README does, with a free port, and run its node."""
    copy_samples(folder)
    url = f"http://127.0.0.1:{free_port()}"
    made = run(
        *("network", "create", "samples/consortium.toml", "--out", "try", "--dev", "--api", url),
        cwd=folder,
    )
    assert made.code == 0, made
    network = SampleNetwork(folder, url)
    with running(Home(network.node_home)):
        yield network


@contextlib.contextmanager
def node_of(home: Path, passphrase: str) -> Iterator[None]:
    """The node of a home whose passphrase is not the tests'."""
    env = {**environment(), "CREDCHAIN_PASSPHRASE": passphrase}
    log = home / "node.log"
    with log.open("wb") as out:
        node = subprocess.Popen(
            command("node", "run", "--home", home), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
        )
    try:
        wait_until(lambda: node.poll() is not None or "node is up" in log.read_text(), "the node to come up")
        assert node.poll() is None, log.read_text()
        yield
        node.terminate()
        assert node.wait(PATIENCE) == 0, log.read_text()
    finally:
        if node.poll() is None:
            node.kill()
            node.wait()


@contextlib.contextmanager
def default_port() -> Iterator[None]:
    """The port of the README and the demo is one for the whole machine: one test process at a time."""
    with Path(tempfile.gettempdir(), "credchain-tests-7441.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment_of_a_reader() -> dict[str, str]:
    """credchain is on the path; no passphrase and no home are set before the README says so."""
    env = environment()
    del env["CREDCHAIN_PASSPHRASE"]
    return {**env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}


def copy_samples(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "__init__.py")
    shutil.copytree(ROOT / "samples", folder / "samples", ignore=ignored)


def npis(first: int) -> Callable[[], str]:
    """NPIs that no other test uses, given a start that no other file uses; none is assigned in life."""
    numbers = iter(range(first, first + 100_000))

    def following() -> str:
        nine = f"2{next(numbers):08d}"
        return nine + check_digit(nine)

    return following


def write_table(path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(npi: str, number: str, **cells: str) -> dict[str, str]:
    return {"npi": npi, **CLAIMS, "certificate_number": number, **cells}


RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")
