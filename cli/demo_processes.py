"""The demo's processes: commands and nodes of this program, all of them ended on every way out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

PASSPHRASE = "demo"  # noqa: S105  # the demo's keys protect nothing
_PROGRAM = (sys.executable, "-P", "-m", "credchain.cli.main")
"""This program, whatever folder of the same name lies where it is called (-P)."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.005


class Processes:
    """Starts processes, and ends those that still run, by their ids."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def start(self, arguments: Sequence[str], *, log: bool = False) -> subprocess.Popen[str]:
        """One call of this program; with ``log`` only its standard error is read, else both as one."""
        with _held():
            process = subprocess.Popen(
                [*_PROGRAM, *arguments],
                env={**os.environ, "CREDCHAIN_PASSPHRASE": PASSPHRASE},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if log else subprocess.PIPE,
                stderr=subprocess.PIPE if log else subprocess.STDOUT,
                text=True,
            )
            self._running = [each for each in self._running if each.poll() is None]
            self._running.append(process)
        return process

    def end(self) -> None:
        """All at once, in order; killed where that takes too long. No signal interrupts it."""
        with _held():
            for process in self._running:
                if process.poll() is None:
                    process.terminate()
            deadline = time.monotonic() + _STOP_SECONDS
            for process in self._running:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self._running = []


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end the body as Ctrl-C does: by an exception, so that it cleans up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers((signal.SIGTERM, signal.SIGHUP), stop):
        yield


@contextmanager
def _held() -> Iterator[None]:
    """Signals that come while the body runs are dealt with after it."""
    came: list[int] = []
    with _handlers(_SIGNALS, lambda number, frame: came.append(number)):
        yield
    for number in came[:1]:
        os.kill(os.getpid(), number)


@contextmanager
def _handlers(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], object]
) -> Iterator[None]:
    before = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, earlier in before:
            signal.signal(number, earlier)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
