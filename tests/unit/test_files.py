"""Files whole or not at all, and locks that end with the process that holds them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from credchain.errors import InvalidInput, NetworkError, StorageError
from credchain.storage.files import (
    PRIVATE,
    READABLE,
    exclusive,
    read_file,
    read_text,
    replace_file,
    write_new,
)

# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [PRIVATE, READABLE])
@pytest.mark.parametrize("write", [write_new, replace_file])
def test_content_and_mode(tmp_path: Path, write: Callable[..., None], mode: int) -> None:
    path = tmp_path / "file"
    write(path, b"content", mode=mode)
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == mode & ~_umask()


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_new_file_makes_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_new(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(InvalidInput, match="not overwritten"):
        write_new(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [write_new, replace_file])
def test_a_file_in_the_place_of_the_folder(tmp_path: Path, write: Callable[..., None]) -> None:
    blocking = tmp_path / "file"
    blocking.write_bytes(b"old")
    with pytest.raises((StorageError, InvalidInput)):
        write(blocking / "inner", b"new")
    assert blocking.read_bytes() == b"old"


def test_a_full_disk_leaves_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_new(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_a_folder_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(StorageError):
        replace_file(folder, b"new")
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_crash_left_does_not_stop_the_next_replacement(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.with_name(f".file.{os.getpid()}.new").write_bytes(b"half")
    replace_file(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_or_the_new_content_whole(tmp_path: Path) -> None:
    """A writer that never stops is killed: at each look, the file is one of the two, whole."""
    path = tmp_path / "file"
    one, two = b"1" * 200_000, b"2" * 200_000
    replace_file(path, one)
    program = (
        "import sys; from pathlib import Path; from credchain.storage.files import replace_file\n"
        "while True:\n"
        "    for each in (b'2', b'1'): replace_file(Path(sys.argv[1]), each * 200_000)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
    seen = set()
    try:
        for _ in range(100_000):
            content = path.read_bytes()
            assert content in (one, two)
            seen.add(content[:1])
            if len(seen) == 2:
                break
    finally:
        writer.kill()
        writer.wait(60)
    assert seen == {b"1", b"2"}
    assert path.read_bytes() in (one, two)


# --- reading ----------------------------------------------------------------------------------


def test_reading_up_to_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, "file", at_most=5) == b"12345"
    with pytest.raises(InvalidInput, match="larger than 4 bytes"):
        read_file(path, "file", at_most=4)


@pytest.mark.parametrize("name", ["none", "folder", "none/inner"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="the list") as caught:
        read_file(tmp_path / name, "the list", at_most=5)
    assert caught.value.field == "the list"


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        read_file(tmp_path / ("x" * 300), "file", at_most=5)


def test_text_is_utf8_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf\xc3\xa9")
    assert read_text(path, "file", at_most=100) == "\u00e9"
    for wrong in (b"\xff", b"\xc3", b"\xed\xa0\x80"):
        path.write_bytes(wrong)
        with pytest.raises(InvalidInput, match="not UTF-8"):
            read_text(path, "file", at_most=100)


# --- locks ------------------------------------------------------------------------------------

_HOLDER = (
    "import sys, time; from pathlib import Path; from credchain.storage.files import exclusive\n"
    "with exclusive(Path(sys.argv[1]), 'it'):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def _hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_held_by_another_process_is_refused_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    holder = _hold(path)
    try:
        for _ in range(2):
            with pytest.raises(NetworkError, match="in use") as caught, exclusive(path, "the home"):
                pytest.fail("the lock was taken twice")
            assert str(holder.pid) in caught.value.message
    finally:
        holder.communicate("")
    with exclusive(path, "the home"):
        pass


def test_a_killed_holders_lock_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = _hold(path)
    holder.send_signal(signal.SIGKILL)
    assert holder.wait(60) == -signal.SIGKILL
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.close()
    holder.stdout.close()
    with exclusive(path, "the home"):
        pass


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(KeyError), exclusive(path, "it"):
        raise KeyError
    with exclusive(path, "it"):
        pass


def test_the_same_process_cannot_take_a_lock_twice(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path, "it"), pytest.raises(NetworkError), exclusive(path, "it"):
        pytest.fail("the lock was taken twice")


@pytest.mark.parametrize("left", [b"", b"not a number", b"\xff\xfe", b"9" * 1000])
def test_what_is_left_in_a_lock_file_does_not_matter(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(left)
    with exclusive(path, "it"):
        assert path.read_bytes() == str(os.getpid()).encode()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "folder", tmp_path / "file" / "lock"):
        with pytest.raises(StorageError), exclusive(place, "it"):
            pytest.fail("there is no lock there")
