"""The demo's validators: their addresses, and their processes, one each."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from .demo_processes import Processes, wait_until

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_PATIENCE = 60.0
"""Seconds after which a node that does not do what it should is given up."""


@dataclass(frozen=True)
class Validator:
    """Its name, its home below the network's folder, and where its node serves clients."""

    name: str
    home: str
    api: str


def with_free_ports(spec: str) -> str:
    """The spec with another port in the place of each that is taken."""
    with ExitStack() as held:
        ports = {wanted: _free_port(int(wanted), held) for wanted in _ADDRESS.findall(spec)}
    return _ADDRESS.sub(lambda found: f"127.0.0.1:{ports[found[1]]}", spec)


def validators_of(spec: str) -> tuple[Validator, ...]:
    """The spec's validators, in its order."""
    from credchain.ledger.codes import VALIDATOR
    from credchain.storage.files import parse_toml
    from credchain.storage.home import slug

    return tuple(
        Validator(each["name"], f"validators/{slug(each['name'])}", each["api"])
        for each in parse_toml(spec, "the demo's spec")["member"]
        if VALIDATOR in each["roles"]
    )


def _free_port(wanted: int, held: ExitStack) -> int:
    """The wanted port if nobody listens there, else one that is free; held, so that none is given twice."""
    for port in (wanted, 0):
        probe = held.enter_context(socket.socket())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    return wanted


class Nodes:
    """The nodes that run: started, one of them killed, and asked how they are."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder
        self._processes = processes
        self._running: dict[Validator, subprocess.Popen[str]] = {}

    def start(self, validators: Sequence[Validator]) -> list[str]:
        """All of them at once; what each says when it is up. NetworkError if one does not come up."""
        for each in validators:
            arguments = ("node", "run", "--home", str(self._folder / each.home))
            self._running[each] = self._processes.start(arguments, log=True)
        return [_up(each, self._running[each]) for each in validators]

    def pid(self, validator: Validator) -> int:
        return self._running[validator].pid

    def kill(self, validator: Validator) -> None:
        """SIGKILL: it has no time for anything."""
        process = self._running.pop(validator)
        process.kill()
        process.wait()

    def wait_for(self, validator: Validator, height: int) -> None:
        """Until its node has this block and is connected to all others; NetworkError if it never is."""
        from credchain.errors import NetworkError

        def caught_up() -> bool:
            told = status_of(validator)
            links = [each["connected"] for each in told.get("validators", ())]
            return told.get("height", -1) >= height and bool(links) and all(links)

        if not wait_until(caught_up, _PATIENCE):
            raise NetworkError(f"{validator.name} did not catch up")


def status_of(validator: Validator) -> dict[str, Any]:
    """What its node says of itself; empty where it does not answer."""
    try:
        with urlopen(f"{validator.api}/v1/status", timeout=5) as answer:  # noqa: S310  # our own node
            return dict(json.loads(answer.read()))
    except OSError:
        return {}


def asked_in_order(validators: Sequence[Validator], first: Validator) -> str:
    """Options that have a command ask this node before the others."""
    return " ".join(f"--node {each.api}" for each in (first, *(each for each in validators if each != first)))


def _up(validator: Validator, process: subprocess.Popen[str]) -> str:
    from credchain.errors import NetworkError

    log = process.stderr
    lines: list[str] = []
    for line in log or ():
        if line.startswith("node is up"):
            threading.Thread(target=_drain, args=(process,), daemon=True).start()
            return line.rstrip()
        lines.append(line.strip())
    raise NetworkError(f"{validator.name} did not start: {' '.join(lines)}")


def _drain(process: subprocess.Popen[str]) -> None:
    with suppress(OSError, ValueError):
        for _ in process.stderr or ():
            pass
