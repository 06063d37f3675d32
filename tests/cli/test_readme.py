"""Every command of the README, run as printed: one bash session from the first block to the last."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from credchain.cli.main import app
from typer.main import get_command

from tests.network.node_process import PATIENCE, ROOT, free_port

from .conftest import Played
from .network import NAVARRO, copy_samples, default_port, environment_of_a_reader, home_content, node_of, run

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PORT: Final = 7441
FOUR_PORTS: Final = re.compile(r"127\.0\.0\.1:(75[4-7][01])")
VENV: Final = "python3 -m venv"
ACTIVATE: Final = "source .venv/bin/activate"
ROLES: Final = {
    "boards": "Boards and other issuers",
    "hospitals": "Hospitals",
    "radiologists": "Radiologists",
    "operators": "Operators",
    "machines": "Four machines",
    "adding": "Adding a category",
}
BEFORE: Final = ("Two commands", "The first five minutes")


# --- reading the README -----------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text, under a heading."""

    heading: str
    language: str
    text: str


def blocks() -> list[Block]:
    heading, found = "", []
    lines = iter(README.splitlines())
    for line in lines:
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("```"):
            inside = []
            for each in lines:
                if each == "```":
                    break
                inside.append(each)
            found.append(Block(heading, line.removeprefix("```"), "\n".join(inside)))
    return found


def commands_of(text: str) -> list[str]:
    """The commands of a block; one with a here-document is several lines long."""
    found: list[str] = []
    end = ""
    for line in text.splitlines():
        if end:
            found[-1] += "\n" + line
            end = "" if line == end else end
            continue
        if line.strip():
            found.append(line)
            here = re.search(r"<<'?(\w+)'?", line)
            end = here[1] if here else ""
    return found


def commands_under(heading: str) -> list[str]:
    return [each for block in blocks() if block.heading == heading for each in commands_of(block.text)]


def expected_code(line: str) -> int:
    told = re.search(r"# exit code (\d+)", line)
    return int(told[1]) if told else 0


# --- running it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """One command of the README, and what came of it."""

    line: str
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Session:
    """The whole session, in order, and the folder in which it ran."""

    folder: Path
    ran: tuple[Ran, ...]

    def of(self, role: str) -> list[Ran]:
        wanted = commands_under(ROLES[role])
        return [each for each in self.ran if each.line in wanted]

    def one(self, role: str, start: str, place: int = 0) -> Ran:
        """The command of a role that starts so."""
        return [each for each in self.of(role) if each.line.startswith(start)][place]

    def check(self, role: str) -> None:
        """Every command of the role ran and ended as the README says."""
        ran = self.of(role)
        assert [each.line for each in ran] == commands_under(ROLES[role])
        for each in ran:
            assert each.code == expected_code(each.line), each
            assert "Traceback" not in each.out + each.err, each


def _script(lines: list[str]) -> str:
    """Each command in the same shell, its output and exit code in files of its own."""
    parts = ["trap 'kill $(cat node.pids); wait' EXIT"]
    for number, line in enumerate(lines):
        files = f"> log/{number}.out 2> log/{number}.err"
        parts.append(f"{{ {_with_free_port(line)}\n}} {files}; echo $? > log/{number}.code")
        if line.endswith("&"):
            # A person reads on while the node starts; a script waits until it says that it is up.
            parts.append("echo $! >> node.pids")
            parts.append(f"until grep -q 'node is up' log/{number}.err; do sleep 0.1; done")
    return "\n".join(parts) + "\n"


def _with_free_port(line: str) -> str:
    """As printed, unless somebody on this machine uses one of the README's ports."""
    if "network create" in line and "--dev" in line and _busy(PORT):
        return f"{line} --api http://127.0.0.1:{free_port()}"
    return FOUR_PORTS.sub(lambda found: f"127.0.0.1:{_port_instead(int(found[1]))}", line)


@cache
def _port_instead(port: int) -> int:
    return free_port() if _busy(port) else port


def _busy(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def session_lines() -> list[str]:
    """What the session runs: everything but what makes and enters the environment that tests run in."""
    found = []
    for heading in (*BEFORE, *ROLES.values()):
        found += [each for each in commands_under(heading) if not each.startswith(VENV) and each != ACTIVATE]
    return found


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("readme")
    copy_samples(folder)
    (folder / "log").mkdir()
    (folder / "node.pids").touch()
    lines = session_lines()
    with default_port():
        (folder / "session.sh").write_text(_script(lines), encoding="utf-8")
        shell = subprocess.Popen(
            ["bash", "session.sh"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment_of_a_reader(),
        )
        try:
            shell.wait(8 * PATIENCE)
        finally:
            if shell.poll() is None:
                shell.kill()
                _end_nodes(folder)
    yield Session(folder, tuple(_ran(folder, number, line) for number, line in enumerate(lines)))


def _end_nodes(folder: Path) -> None:
    """If the session was cut short, its trap may not have run."""
    for number in (folder / "node.pids").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def _ran(folder: Path, number: int, line: str) -> Ran:
    files = [folder / "log" / f"{number}.{kind}" for kind in ("code", "out", "err")]
    code, out, err = (each.read_text(encoding="utf-8") if each.exists() else "" for each in files)
    return Ran(line, int(code or "-1"), out, err)


# --- what must be there -----------------------------------------------------------------------


def test_no_command_is_left_out(session: Session) -> None:
    """Every fenced block is sh, and every line of it is run here or is one of three known exceptions."""
    assert {block.language for block in blocks()} == {"sh"}
    printed = [each for block in blocks() for each in commands_of(block.text)]
    ran = [each.line for each in session.ran]
    left = [each for each in printed if each not in ran]
    assert [each for each in left if not each.startswith(VENV) and each != ACTIVATE] == []
    assert len([each for each in left if each.startswith(VENV)]) == 2
    assert [each for each in ran if each not in printed] == []
    assert {block.heading for block in blocks()} <= {*BEFORE, *ROLES.values()}


def test_setup(session: Session) -> None:
    made = next(each for each in session.ran if "network create samples" in each.line)
    assert made.code == 0, made
    assert "fingerprint" in made.out
    started = next(each for each in session.ran if each.line.endswith("&"))
    assert "node is up at http://127.0.0.1:" in started.err


def test_the_two_commands_are_what_ci_runs() -> None:
    """The demo one and the test one; .ci/run takes the latter out of this README."""
    demo, tests = commands_under("Two commands")
    assert demo == "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/credchain demo"
    assert tests == (
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest"
    )
    ci = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r'grep -E "(.*)" README\.md', ci)
    assert pattern is not None
    assert re.findall(pattern[1], README, re.MULTILINE) == [tests]


def test_the_demo_command(played: Played) -> None:
    """`credchain demo`, which is what the first command ends with."""
    assert played.done.code == 0
    assert "That was the story" in played.done.out


# --- a test a role ----------------------------------------------------------------------------


def test_boards(session: Session) -> None:
    session.check("boards")
    assert "Example Board of Radiology" in session.one("boards", "credchain whoami").out
    claims, template = (session.one("boards", "credchain categories", place).out for place in (0, 1))
    assert "certificate_number" in claims
    assert template.startswith("npi,valid_from,valid_until,family_name,")
    dry, real = (session.one("boards", "credchain attest board_certification --csv", n) for n in (0, 1))
    assert "72 rows: 0 attested" in dry.out
    assert "nothing was sent" in dry.err
    assert "72 rows: 72 attested, 0 already, 0 rejected" in real.out
    single = session.one("boards", "credchain attest board_certification --npi")
    assert "attested: Board certification for NPI 2000000002" in single.out
    attestation = re.search(r"attestation\s+([0-9a-f]{64})", single.out)
    assert attestation is not None
    assert attestation[1][:12] in session.one("boards", "credchain issued").out
    suspended, shown, active = (session.one("boards", "credchain status", place) for place in range(3))
    assert f"suspended: {attestation[1]}" in suspended.out
    assert "file 2026-114" in shown.out
    assert "under_investigation" in shown.out
    assert f"active: {attestation[1]}" in active.out
    assert "48 rows: 48 attested" in session.one("boards", "credchain attest state_license").out


def test_boards_options_in_the_text_exist() -> None:
    """Commands in running text are not run, but what they name must be there."""
    assert run("status", "--help", expect=0).out.count("--csv")
    assert "auto" in run("attest", "--help", expect=0).out
    assert "--reason" in run("erase", "--help", expect=0).out


def test_hospitals(session: Session) -> None:
    session.check("hospitals")
    joined = session.one("hospitals", "credchain join").out
    assert "fingerprint" in joined
    made = next(each for each in session.ran if "network create samples" in each.line)
    fingerprint = re.search(r"fingerprint +([0-9a-f ]+)", made.out)
    assert fingerprint is not None
    assert fingerprint[1] in joined
    first, both, nobody = (session.one("hospitals", "credchain verify", place) for place in range(3))
    for each in (first, both):
        assert each.out.startswith("ESTABLISHED")
        assert "Navarro" in each.out
    assert "State medical license" in both.out
    assert "10 grant" in first.out
    assert nobody.out.startswith("NOT ESTABLISHED")
    assert "proved absent" in nobody.out
    content = home_content(session.folder / "try-hospital")
    assert set(content) == {"network.json"}, "no key is needed, and none is made"


def test_hospitals_table_of_exit_codes_is_whole() -> None:
    """The README's table names every code once: 0 to 7, and the shell's for Ctrl-C."""
    codes = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    assert codes == [str(each) for each in (*range(8), 130)]


def test_radiologists(session: Session) -> None:
    session.check("radiologists")
    assert "enrolled: did:key:z" in session.one("radiologists", "credchain enroll").out
    assert "4 collected" in session.one("radiologists", "credchain wallet sync").out
    for place in (0, 1):
        told = session.one("radiologists", "credchain verify for-lakeside.ccb", place).out
        assert told.startswith("ESTABLISHED")
        assert f"NPI {NAVARRO}" in told
    assert (session.folder / "kept-evidence" / "result.json").exists()
    assert session.one("radiologists", "credchain wallet export").out.count("~") > 1


def test_operators(session: Session) -> None:
    session.check("operators")
    assert "Node North" in session.one("operators", "credchain members").out
    assert ": up" in session.one("operators", "credchain node status").out
    assert session.one("operators", "credchain node check").out.rstrip().endswith("0 to mend")
    assert "whole up to height" in session.one("operators", "credchain audit").out
    assert "did:key:z" in session.one("operators", "credchain init").out
    made = session.one("operators", "credchain network create my-spec.toml").out
    fingerprint = re.search(r"fingerprint +([0-9a-f ]+)", made)
    assert fingerprint is not None
    for place in (0, 1):
        assert fingerprint[1] in session.one("operators", "credchain join", place).out


def test_operators_node_of_the_founded_network_runs(session: Session) -> None:
    """The last paragraph: it listens where node.toml says, and stops in order on SIGTERM."""
    home = session.folder / "my-node"
    settings = home / "node.toml"
    text = settings.read_text()
    assert "listen_api" in text
    port = free_port()
    settings.write_text(re.sub(r"(?m)^listen_api = .*$", f'listen_api = "127.0.0.1:{port}"', text))
    with node_of(home, "only-for-trying"):
        url = f"https://127.0.0.1:{port}"
        told = run("node", "status", "--node", url, "--json", home=session.folder / "my-board", expect=0)
        assert told.json["nodes"][0]["reachable"] is True
        again = run("node", "run", home=home, passphrase="only-for-trying", expect=6)
        assert "in use" in again.err


def test_machines(session: Session) -> None:
    """Four homes stand for four machines. Whatever is printed runs; nodes that it starts are waited for."""
    session.check("machines")
    made = session.one("machines", "credchain network create").out
    fingerprint = re.search(r"fingerprint +([0-9a-f ]+)", made)
    assert fingerprint is not None
    assert "any one of them is down" in session.one("machines", "credchain network create").err
    for place in range(3):
        assert fingerprint[1] in session.one("machines", "credchain join", place).out
    for home in "abcd":
        found = home_content(session.folder / "four" / home)
        assert {"keys.json", "tls-key.pem", "safety.db", "node.toml", "network.json"} <= set(found)
    assert sorted(each.name for each in (session.folder / "four" / "network").iterdir()) == ["network.json"]


def test_machines_check_before_the_others_are_up(session: Session) -> None:
    """Nothing but the others is missing."""
    told = session.one("machines", "credchain node check").out.splitlines()
    problems = [line for line in told if line.startswith("problem")]
    assert len(problems) == 6
    for line in problems:
        assert re.search(r"(peer port|API) +Node [BCD]", line), line


def test_machines_all_four_up(session: Session) -> None:
    """Started as printed: nothing to mend, and the status of one names all four."""
    assert len([each for each in session.of("machines") if each.line.endswith("&")]) == 4
    told = session.one("machines", "credchain node check", 1).out
    assert told.rstrip().endswith(" 0 to mend")
    status = session.one("machines", "credchain node status").out
    assert ": up" in status
    assert re.search(r"primary +Node [ABCD]", status)
    for name in ("Node A", "Node B", "Node C", "Node D"):
        assert re.search(rf"^{name} +\w+", status, re.MULTILINE), status


def test_machines_backup_holds_no_safety_record(session: Session) -> None:
    """A restored home has its keys and certificate, and starts as one that lost its record."""
    archive = session.folder / "four" / "a-backup.tar"
    assert archive.stat().st_mode & 0o077 == 0
    home = session.folder / "four" / "a-restored"
    assert set(home_content(home)) == {
        *("keys.json", "member.toml", "network.json", "node.toml", "tls-key.pem", "tls-certificate.pem"),
    }
    assert "Node A" in session.one("machines", "credchain whoami").out
    checks = run("node", "check", "--json", home=home, passphrase=None, expect=6).json["checks"]
    outcomes = {each["target"]: each["outcome"] for each in checks}
    assert outcomes["safety.db"] == "warning"
    for name in ("keys.json", "tls-key.pem", "tls-certificate.pem", "node.toml"):
        assert outcomes[name] == "ok"


def test_machines_what_the_text_names_is_there() -> None:
    assert (ROOT / "samples" / "credchain-node.service").is_file()
    assert run("node", "check", "--help", expect=0).out
    assert run("node", "status", "--help", expect=0).out


def test_adding(session: Session, tmp_path: Path) -> None:
    """The spec's line `categories = "FOLDER"` founds a network with one's own set."""
    session.check("adding")
    assert 'categories = "FOLDER"' in README
    data = ROOT / "credchain" / "credentials" / "data"
    assert len(list(data.glob("*.json"))) == 16
    assert "the sixteen that a network starts with" in README
    own = tmp_path / "own"
    own.mkdir()
    text = (data / "life_support.json").read_text()
    (own / "radiation_safety.json").write_text(
        text.replace('"life_support"', '"radiation_safety"').replace('"Life support"', '"Radiation safety"')
    )
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "Own set"\ncategories = "own"\n'
        '[[member]]\nname = "Node"\nroles = ["validator"]\npeer = "127.0.0.1:7440"\n'
        'api = "http://127.0.0.1:7441"\n'
        '[[member]]\nname = "Course"\nroles = ["issuer"]\ncategories = ["radiation_safety"]\n'
        'jurisdictions = ["US"]\n'
    )
    run("network", "create", spec, "--out", tmp_path / "made", expect=0)
    shown = run("categories", "--json", home=tmp_path / "made" / "members" / "course", expect=0)
    assert [each["category"] for each in shown.json["categories"]] == ["radiation_safety"]


def test_every_command_of_the_program_is_in_the_readme_or_known() -> None:
    """A command that the README never names is one that nobody finds."""
    root = get_command(app)
    names = set(getattr(root, "commands", {}))
    assert [each for each in sorted(names) if f"credchain {each}" not in README] == []
