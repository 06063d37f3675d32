"""Files written whole or not at all, and locks that say who holds a home."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..errors import InvalidInput, NetworkError, StorageError

PRIVATE = 0o600
READABLE = 0o644


def write_new(path: Path, content: bytes, *, mode: int = READABLE) -> None:
    """Create a file that must not exist, on disk before this returns; never overwrites."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise InvalidInput(
            f"{path} exists and is not overwritten",
            field="file",
            hint="choose another place, or move it away",
        ) from None
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror}") from problem
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        path.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {problem.strerror}") from problem


def replace_file(path: Path, content: bytes, *, mode: int = READABLE) -> None:
    """Put a file in the place of another, atomically: readers see the old or the new one whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        write_new(temporary, content, mode=mode)
        temporary.replace(path)
    except OSError as problem:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {problem.strerror}") from problem


def read_file(path: Path, what: str, *, at_most: int) -> bytes:
    """The content of a file that a user named; InvalidInput if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(at_most + 1)
    except OSError as problem:
        raise InvalidInput(f"cannot read {what} {path}: {problem.strerror}", field=what) from problem
    if len(content) > at_most:
        raise InvalidInput(f"{what} {path} is larger than {at_most} bytes", field=what)
    return content


def read_text(path: Path, what: str, *, at_most: int) -> str:
    """The same as UTF-8 text, a byte-order mark dropped."""
    try:
        return read_file(path, what, at_most=at_most).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InvalidInput(f"{what} {path} is not UTF-8 text", field=what) from problem


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """A TOML document; InvalidInput names the file and the line."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InvalidInput(f"{what} is not TOML: {problem}", field=what) from problem
    except RecursionError as problem:
        raise InvalidInput(f"{what} is nested too deep", field=what) from problem


def _lock(descriptor: int, wait: float) -> None:
    """OSError if it is still another's when the time is over."""
    until = monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if monotonic() >= until:
                raise
            sleep(0.02)


@contextmanager
def exclusive(path: Path, what: str, *, wait: float = 0) -> Iterator[None]:
    """Hold a lock file for as long as the body runs; NetworkError (busy) if another holds it, still
    after ``wait`` seconds.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as problem:
        raise StorageError(f"cannot open {path}: {problem.strerror}") from problem
    try:
        try:
            _lock(descriptor, wait)
        except OSError:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise NetworkError(
                f"{what} is in use by another process{f' ({owner})' if owner else ''}",
                field="home",
                hint="wait for it to end, or stop it",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
