"""The demo's stage: a folder, a node, and commands that are shown, run and checked."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .output import say

PASSPHRASE = "demo"  # noqa: S105  # the demo's keys protect nothing
NODE = "validators/node-north"
_PROGRAM = (sys.executable, "-P", "-m", "credchain.cli.main")
"""This program, whatever folder of the same name lies where it is called (-P)."""


@dataclass(frozen=True)
class Told:
    """What one command printed."""

    code: int
    output: str


class Stage:
    """Every command is a process of this program; each must end with the exit code that is expected."""

    def __init__(self, folder: Path, samples: Path) -> None:
        self.folder = folder
        self.samples = samples
        self.api = f"http://127.0.0.1:{_free_port(7441)}"

    def at(self, part: str = "") -> str:
        """A path in the network's folder, quoted for a shell."""
        return shlex.quote(str(self.folder / part))

    def title(self, text: str) -> None:
        say("")
        say(f"== {text}")
        sys.stdout.flush()

    def run(self, expected: int, line: str) -> Told:
        """Show the command, run it, show what it prints; its exit code must be the expected one."""
        say(f"$ credchain {line}")
        sys.stdout.flush()
        told = self.quietly(line)
        for each in told.output.rstrip().splitlines():
            say(f"  {each.rstrip()}")
        if told.code:
            say(f"  (exit code {told.code})")
        sys.stdout.flush()
        self._expect(expected, told)
        return told

    def briefly(self, expected: int, line: str) -> None:
        """The same, but only the first lines of what it prints."""
        say(f"$ credchain {line}")
        told = self.quietly(line)
        for each in told.output.rstrip().splitlines()[:3]:
            say(f"  {each.rstrip()}")
        say("  …")
        if told.code:
            say(f"  (exit code {told.code})")
        sys.stdout.flush()
        self._expect(expected, told)

    def _expect(self, expected: int, told: Told) -> None:
        from credchain.errors import CredchainError

        if told.code != expected:
            raise CredchainError(
                f"the step ended with exit code {told.code}, not {expected}", hint="please report it"
            )

    def quietly(self, line: str) -> Told:
        done = subprocess.run(
            [*_PROGRAM, *shlex.split(line)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Told(done.returncode, done.stdout)

    @contextmanager
    def node(self) -> Iterator[None]:
        """The node's process, stopped in order at the end."""
        from credchain.errors import NetworkError

        process = subprocess.Popen(
            [*_PROGRAM, "node", "run", "--home", str(self.folder / NODE)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if process.stderr is None:
                raise NetworkError("the node could not be started")
            lines: list[str] = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("node is up"):
                    say(f"  {line.rstrip()}")
                    break
            else:
                raise NetworkError(f"the node did not start: {' '.join(each.strip() for each in lines)}")
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            yield
        finally:
            process.terminate()
            process.wait()

    def sample(self, name: str) -> str:
        """A file of samples/, as a user would type it."""
        return _show(self.samples / name)


def _environment() -> dict[str, str]:
    return {**os.environ, "CREDCHAIN_PASSPHRASE": PASSPHRASE}


def _show(path: Path) -> str:
    """A path as a user would type it: relative where that is shorter."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def _free_port(wanted: int) -> int:
    """The wanted port if nobody listens there, else one that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
