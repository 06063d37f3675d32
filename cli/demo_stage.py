"""The demo's stage: a folder, four nodes, and commands that are shown, run and checked."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .demo_nodes import validators_of, with_free_ports
from .demo_processes import Processes
from .output import say


@dataclass(frozen=True)
class Told:
    """What one command printed."""

    code: int
    output: str


class Stage:
    """Every command is a process of this program; each must end with the exit code that is expected.

    ``folder`` is the network's, ``scratch`` another, for what does not belong to it.
    """

    def __init__(self, folder: Path, samples: Path, scratch: Path, processes: Processes) -> None:
        self.folder = folder
        self.samples = samples
        self._scratch = scratch
        self._processes = processes
        text = (samples / "consortium.toml").read_text(encoding="utf-8")
        self._spec = with_free_ports(text)
        self._same_ports = self._spec == text
        self.validators = validators_of(self._spec)

    def spec(self) -> str:
        """The consortium's file, as a user would type it: the sample, or where its ports are taken a copy."""
        if self._same_ports:
            return self.sample("consortium.toml")
        copy = self._scratch / "consortium.toml"
        copy.write_text(self._spec, encoding="utf-8")
        say(f"  (a port of {self.sample('consortium.toml')} is taken: this copy has free ones)")
        return _show(copy)

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
        return self._show(expected, self.quietly(line))

    def briefly(self, expected: int, line: str) -> None:
        """The same, but only the first lines of what it prints."""
        say(f"$ credchain {line}")
        self._show(expected, self.quietly(line), lines=3)

    def begin(self, line: str) -> subprocess.Popen[str]:
        """Show the command, and let it run on."""
        say(f"$ credchain {line} &")
        sys.stdout.flush()
        return self._processes.start(shlex.split(line))

    def finish(self, expected: int, process: subprocess.Popen[str], *, lines: int | None = None) -> Told:
        """Wait for one that was begun; show what it printed, or only its first lines."""
        return self._show(expected, _told(process), lines=lines)

    def _show(self, expected: int, told: Told, *, lines: int | None = None) -> Told:
        from credchain.errors import CredchainError

        for each in told.output.rstrip().splitlines()[:lines]:
            say(f"  {each.rstrip()}")
        if lines is not None:
            say("  …")
        if told.code:
            say(f"  (exit code {told.code})")
        sys.stdout.flush()
        if told.code != expected:
            raise CredchainError(
                f"the step ended with exit code {told.code}, not {expected}", hint="please report it"
            )
        return told

    def quietly(self, line: str) -> Told:
        return _told(self._processes.start(shlex.split(line)))

    def sample(self, name: str) -> str:
        """A file of samples/, as a user would type it."""
        return _show(self.samples / name)


def _told(process: subprocess.Popen[str]) -> Told:
    output, _ = process.communicate()
    return Told(process.returncode, output)


def _show(path: Path) -> str:
    """A path as a user would type it: relative where that is shorter."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))
