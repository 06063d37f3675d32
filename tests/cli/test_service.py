"""The sample systemd unit: well formed, hardened, and its command is one of ours."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from credchain.storage.home import samples

from .network import quick, run

NAME: Final = "credchain-node.service"
PROGRAM: Final = "/opt/credchain/bin/credchain"
HOME: Final = "/var/lib/credchain"
SECTION: Final = re.compile(r"\[(\w+)\]\Z")


def unit() -> dict[str, dict[str, list[str]]]:
    """Sections, keys, and the values of each key, as systemd.syntax(7) has it."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in (samples() / NAME).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", ";")):
            continue
        if begins := SECTION.match(line):
            section = begins[1]
            continue
        key, equals, value = line.partition("=")
        assert section, line
        assert equals, line
        assert re.fullmatch(r"[A-Z][A-Za-z]+", key), line
        found[section][key].append(value)
    return found


def one(key: str, section: str = "Service") -> str:
    (value,) = unit()[section][key]
    return value


def test_sections() -> None:
    assert set(unit()) == {"Unit", "Service", "Install"}
    assert one("WantedBy", "Install") == "multi-user.target"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("User", "credchain"),
        ("ProtectSystem", "strict"),
        ("ReadWritePaths", HOME),
        ("NoNewPrivileges", "yes"),
        ("PrivateTmp", "yes"),
        ("ProtectHome", "yes"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
        ("Restart", "on-failure"),
        ("TimeoutStopSec", "10"),
    ],
)
def test_it_is_hardened_and_starts_again(key: str, value: str) -> None:
    assert one(key) == value


def test_no_secret_is_in_the_command_or_the_environment() -> None:
    """The passphrase comes as a credential that only this service can read."""
    name, _, place = one("LoadCredential").partition(":")
    assert place.startswith("/etc/credchain/")
    assert f"${{CREDENTIALS_DIRECTORY}}/{name}" in one("ExecStart")
    assert "Environment" not in unit()["Service"]


def arguments(home: str, credentials: str) -> list[str]:
    """The unit's command line after the program, its places filled in."""
    program, *words = shlex.split(one("ExecStart"))
    assert program == PROGRAM
    assert words[words.index("--home") + 1] == HOME
    filled = [each.replace("${CREDENTIALS_DIRECTORY}", credentials).replace(HOME, home) for each in words]
    assert not [each for each in filled if "$" in each or "%" in each]
    return filled


def test_its_command_is_one_of_this_program(tmp_path: Path) -> None:
    """The program takes it; what is refused is a home that is not there."""
    done = quick(*arguments(str(tmp_path / "missing"), str(tmp_path)), "--json", expect=2)
    assert done.error["field"] == "network", done


def test_its_command_reads_the_credential(tmp_path: Path) -> None:
    """A wrong passphrase in the file: exit code 2, at which the unit does not start it again."""
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "One"\n[[member]]\nname = "Node"\nroles = ["validator"]\npeer = "127.0.0.1:17440"\n'
        'api = "http://127.0.0.1:17441"\n'
    )
    quick("network", "create", spec, "--out", tmp_path / "out", expect=0)
    (tmp_path / "passphrase").write_text("wrong\n")
    home = tmp_path / "out" / "validators" / "node"
    done = run(*arguments(str(home), str(tmp_path)), "--json", passphrase=None, expect=2)
    assert done.error["field"] == "passphrase"
    assert one("RestartPreventExitStatus") == "2"


def test_systemd_takes_it(tmp_path: Path) -> None:
    """By systemd's own verifier, where there is one; the other tests here need none."""
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        return
    program = Path(sys.executable).with_name("credchain")
    copied = tmp_path / NAME
    copied.write_text((samples() / NAME).read_text().replace(PROGRAM, str(program)))
    done = subprocess.run(
        [verifier, "verify", str(copied)], capture_output=True, text=True, timeout=60, check=False
    )
    own = [line for line in (done.stdout + done.stderr).splitlines() if NAME in line]
    assert own == []


def test_it_is_packaged() -> None:
    """It comes with the program, beside the samples that the README names."""
    root = Path(__file__).parents[2]
    assert '"*.service"' in (root / "pyproject.toml").read_text()
    assert NAME in (samples() / "README.md").read_text()
