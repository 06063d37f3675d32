"""`credchain demo`: the whole story, and the network that it leaves when asked to."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.network.node_process import PATIENCE, ROOT, command, environment

from .conftest import Played
from .network import default_port, environment_of_a_reader, on_terminal, run

STEPS: Final = (
    ("Found a consortium", "network create", 0, ("fingerprint", "network.json")),
    ("Start its four nodes", "node run", 0, ("node is up at http://127.0.0.1:",)),
    ("A board attests", "attest board_certification", 0, ("72 rows: 72 attested",)),
    ("A hospital verifies", "verify", 0, ("ESTABLISHED", "Navarro", "10 grant")),
    ("The board suspends, then revokes", "status", 0, ("suspended: ", "revoked: ", "disciplinary_action")),
    ("The next verification sees it", "verify", 4, ("ADVERSE", "revoked", "FAIL")),
    ("A node that still tells the old story", "verify", 6, ("NOT ESTABLISHED", "seen before")),
    ("An NPI that nobody attested", "verify", 6, ("NOT ESTABLISHED", "proved absent")),
    (
        *("The primary is killed", "attest state_license", 0),
        ("kill -KILL", "ESTABLISHED", "attested: State medical license", "attestation  ", "height       "),
    ),
    (
        *("Nothing is lost", "node status", 0),
        ("state_license", "is missing; 3 of 4 are left, enough to commit (3 are needed)"),
    ),
    ("A radiologist enrols", "enroll", 0, ("enrolled: did:key:", "recovery key")),
    ("Private credentials", "attest cme_credit --to $ADDRESS", 0, ("attested ",)),
    ("The wallet collects", "wallet sync", 0, ("4 collected, 0 refused",)),
    ("Chosen categories and claims", "share", 0, ("ESTABLISHED", "CME credit", "Identity")),
    ("It is for that hospital alone", "verify", 2, ("cannot open",)),
    ("And for its time", "share", 4, ("NOT CURRENT", "expired")),
    ("Meanwhile another radiologist", "enroll", 0, ("enrolled: did:key:",)),
    ("A radiologist changes one claim", "verify", 3, ("INVALID",)),
    ("Another puts a published credential", "share", 3, ("INVALID",)),
    ("Privileges at a second hospital", "status", 4, ("ADVERSE", "suspended", "FAIL")),
    (
        *("The killed node starts again", "node status", 0),
        ("was killed at height", "node is up at http://127.0.0.1:", "all 4 connected"),
    ),
    ("Check the whole ledger", "audit", 0, ("The ledger is whole",)),
)
NEXT: Final = re.compile(r"^  (export .*|credchain .*|for .*|kill .*)$", re.MULTILINE)
VALIDATORS: Final = ("Node North", "Node East", "Node South", "Node West")


def sections(text: str) -> dict[str, str]:
    """The demo's steps by their titles."""
    parts = re.split(r"(?m)^== (.*)$", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def section(text: str, start: str) -> str:
    found = [body for title, body in sections(text).items() if title.startswith(start)]
    assert len(found) == 1, (start, list(sections(text)))
    return found[0]


@pytest.mark.parametrize("title,command,code,words", STEPS, ids=[each[0] for each in STEPS])
def test_step(played: Played, title: str, command: str, code: int, words: tuple[str, ...]) -> None:
    """Each step shows its command, the words that matter and its exit code."""
    body = section(played.done.out, title)
    assert f"$ credchain {command}" in body
    for word in words:
        assert word in body
    codes = [int(each) for each in re.findall(r"\(exit code (\d+)\)", body)]
    assert codes == ([code] if code else [])


def test_the_primary_is_killed_and_the_receipt_is_on_the_ledger(played: Played) -> None:
    """Who node status names as missing is who was primary; the receipt's height holds."""
    crash = section(played.done.out, "The primary is killed")
    killed = _found(r'"primary": "(.*)"', crash)
    assert f"# {killed}\n" in crash
    attestation, height = _found(r"attestation +([0-9a-f]{64})", crash), _found(r"\n +height +(\d+)\n", crash)
    after = section(played.done.out, "Nothing is lost")
    assert f"{killed} is missing" in after
    row = next(line.split() for line in after.splitlines() if attestation[:12] in line)
    assert row[-1] == height
    assert "active" in row


def test_the_killed_node_catches_up(played: Played) -> None:
    """What the others committed without it, it has afterwards, and its whole ledger is sound."""
    body = section(played.done.out, "The killed node starts again")
    killed = _found(r"  (.*) was killed at height", body)
    was, others = _found(r"killed at height (\d+)", body), _found(r"others are at (\d+)", body)
    height = int(_found(r"height +(\d+)\n", body))
    assert int(was) < int(others) <= height
    assert _found(r"primary +(\S.*\S)\n", body) in set(VALIDATORS) - {killed}, "its place was taken"
    assert body.count("node is up at") == 1
    audited = section(played.done.out, f"Check the whole ledger of {killed}")
    assert int(_found(r"up to height (\d+)", audited)) >= height


def test_four_nodes_start(played: Played) -> None:
    """A validator each, at four addresses."""
    body = section(played.done.out, "Start its four nodes")
    assert body.count("$ credchain node run --home ") == 4
    assert len(set(re.findall(r"node is up at (http://127\.0\.0\.1:\d+)", body))) == 4


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, (pattern, text)
    return found[1]


def test_the_steps_are_all_there_are(played: Played) -> None:
    titles = list(sections(played.done.out))
    assert len(titles) == len(STEPS) + 1
    assert titles[-1].startswith("That was the story")


def test_a_file_gets_plain_text(played: Played) -> None:
    """No escape sequences, no carriage returns; nothing on standard error. `run` looks for escapes."""
    assert "\r" not in played.done.out
    assert played.done.err == ""


def test_nothing_is_left_behind(played: Played) -> None:
    """Neither where it was called, nor in the temporary folder, nor in a home."""
    assert played.left == []


# --- --keep -----------------------------------------------------------------------------------


def test_kept_network_works_as_printed(tmp_path: Path) -> None:
    """Every line under "Type next" in one shell, and the steps' verify and status lines, on its nodes."""
    with default_port():
        done = run("demo", "--keep", "demo-network", cwd=tmp_path, expect=0)
        lines = NEXT.findall(done.out.partition("Type next")[2])
        assert [line.split()[:3] for line in lines] == [
            ["export", "CREDCHAIN_PASSPHRASE=demo"],
            ["for", "node", "in"],
            ["credchain", "node", "status"],
            ["credchain", "verify", "2012345676"],
            ["credchain", "issued", "--home"],
            ["kill", "$(jobs", "-p)"],
            ["credchain", "--help"],
        ]
        steps = re.findall(r"(?m)^\$ (credchain (?:verify|status) (?!.* &$).*)$", done.out)
        assert len(steps) == 14
        codes = _typed_in_one_shell(lines, steps, tmp_path)
    assert [codes[line] for line in lines] == [0, 0, 0, 4, 0, 0, 0], codes
    assert (tmp_path / "2.out").read_text().count("all 4 connected") == 4
    assert (tmp_path / "3.out").read_text().startswith("ADVERSE")
    issued = (tmp_path / "4.out").read_text()
    assert issued.count("board_certification") == 72
    assert "revoked" in issued
    # By now the board's changes are final, the liar is gone, and the rest is as it was told.
    found = [codes[line] for line in steps]
    assert found[:6] == [4, 7, 7, 4, 6, 6], codes
    # The bundle still holds; offline its header is older than the look taken online.
    assert found[6:] == [6, 0, 2, 4, 3, 3, 7, 4], codes
    for home in (tmp_path / "demo-network" / "validators").iterdir():
        assert "stopping" in (home / "log").read_text()


def _typed_in_one_shell(lines: list[str], steps: list[str], folder: Path) -> dict[str, int]:
    """Exit codes by line: what was printed, typed where the demo ran, steps before the nodes are stopped.

    Who types waits until the nodes are up; the script waits for it too.
    """
    stop = next(place for place, line in enumerate(lines) if line.startswith("kill "))
    typed = [*lines[:stop], *steps, *lines[stop:]]
    script = ["trap 'kill $(jobs -p); wait' EXIT"]
    for number, line in enumerate(typed):
        script.append(f"{{ {line}\n}} > {number}.out 2> {number}.err; echo $? > {number}.code")
        if line.startswith("for "):
            connected = 'credchain node status --home "$node" | grep -q "all 4 connected"'
            script.append(f"for node in demo-network/validators/*; do until {connected}; do :; done; done")
    (folder / "typed.sh").write_text("\n".join(script) + "\nwait\n")
    shell = subprocess.Popen(
        ["bash", "typed.sh"], cwd=folder, stdin=subprocess.DEVNULL, env=environment_of_a_reader()
    )
    try:
        shell.wait(6 * PATIENCE)
    finally:
        if shell.poll() is None:
            shell.terminate()
            shell.wait()
    return {line: int((folder / f"{number}.code").read_text()) for number, line in enumerate(typed)}


def test_a_checkout_where_it_is_called_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's first command runs in a checkout, whose folder credchain/ has no commands in it."""
    from credchain.cli.demo_processes import Processes

    (tmp_path / "credchain").mkdir()
    (tmp_path / "credchain" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    called = Processes().start(["--version"])
    output, _ = called.communicate(timeout=PATIENCE)
    assert (called.returncode, output.partition(" ")[0]) == (0, "credchain")


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").write_text("mine")
    done = run("demo", "--keep", there, expect=2)
    assert done.err.startswith("error: ")
    assert "hint: " in done.err
    assert done.out == ""
    assert [each.name for each in there.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A clean error, and no half-made network."""
    (tmp_path / "file").write_text("")
    done = run("demo", "--keep", tmp_path / "file" / "network")
    assert done.code in (1, 2), done
    assert "internal error" not in done.err


def test_json_is_refused() -> None:
    done = run("demo", "--json", expect=2)
    assert done.error["field"] == "json"
    assert done.out == ""


def test_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle: no network, no node that goes on."""
    out = tmp_path / "made"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    answers = (("node is up", "\x03"),)
    with default_port():
        code, screen = on_terminal("demo", "--keep", out, answers=answers, TMPDIR=str(temporary))
    assert code == 130
    assert not out.exists(), screen
    assert list(temporary.iterdir()) == []
    assert running_with(out) == []


@contextlib.contextmanager
def piped_demo(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that keeps its network, its output read line by line; it has ended after the body."""
    demo = subprocess.Popen(
        command("demo", "--keep", out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(PYTHONUNBUFFERED="1"),
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.communicate()


def wait_for_line(demo: subprocess.Popen[str], words: str) -> None:
    assert demo.stdout is not None
    assert any(words in line for line in demo.stdout), words


@pytest.mark.parametrize(
    "words,number",
    [("node is up", signal.SIGTERM), ("$ credchain attest", signal.SIGHUP), ("$ kill -KILL", signal.SIGINT)],
)
def test_stopped_demo_leaves_no_process(tmp_path: Path, words: str, number: signal.Signals) -> None:
    """A signal to the demo alone, after its nodes started, in a command, in two commands: all of them end."""
    out = tmp_path / "made"
    with default_port(), piped_demo(out) as demo:
        wait_for_line(demo, words)
        assert len(running_with(out)) >= 3
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, rest.splitlines()[-1]) == (130, "stopped")
    assert not out.exists()
    assert running_with(out) == []


def test_a_step_that_fails_ends_every_process(tmp_path: Path) -> None:
    """A node's home that vanishes under the demo: an error in words, nothing left."""
    out = tmp_path / "made"
    with default_port(), piped_demo(out) as demo:
        wait_for_line(demo, "node is up")
        (out / "members" / "lakeside-hospital" / "network.json").unlink()
        rest, _ = demo.communicate(timeout=4 * PATIENCE)
    assert demo.returncode == 1
    assert "error: the step ended with exit code 2, not 0" in rest
    assert not out.exists()
    assert running_with(out) == []


def running_with(folder: Path) -> list[str]:
    """Processes whose arguments name the folder, other than the demo itself."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if f"{folder}/" in line:
                found.append(line)
    return found


def test_taken_ports_are_avoided(tmp_path: Path) -> None:
    """Where one of the sample's eight ports is taken, the spec gets another there, all of them distinct."""
    from credchain.cli.demo_nodes import validators_of, with_free_ports

    spec = (ROOT / "samples" / "consortium.toml").read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = with_free_ports(spec.replace("127.0.0.1:7450", f"127.0.0.1:{port}"))
    ports = re.findall(r"127\.0\.0\.1:(\d+)", found)
    assert len(set(ports)) == 8
    assert str(port) not in ports
    assert [each.name for each in validators_of(found)] == list(VALIDATORS)
