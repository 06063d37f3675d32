"""`credchain demo`: the whole story, and the network that it leaves when asked to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from .conftest import Played
from .network import Done, default_port, node_of, on_terminal, run

STEPS: Final = (
    ("Found a consortium", "network create", 0, ("fingerprint", "network.json")),
    ("Start its node", "node run", 0, ("node is up at http://127.0.0.1:",)),
    ("A board attests", "attest board_certification", 0, ("72 rows: 72 attested",)),
    ("A hospital verifies", "verify", 0, ("ESTABLISHED", "Navarro", "10 grant")),
    ("The board suspends, then revokes", "status", 0, ("suspended: ", "revoked: ", "disciplinary_action")),
    ("The next verification sees it", "verify", 4, ("ADVERSE", "revoked", "FAIL")),
    ("A node that still tells the old story", "verify", 6, ("NOT ESTABLISHED", "seen before")),
    ("An NPI that nobody attested", "verify", 6, ("NOT ESTABLISHED", "proved absent")),
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
    ("Check the whole ledger", "audit", 0, ("The ledger is whole",)),
)
NEXT: Final = re.compile(r"^  (export .*|credchain .*)$", re.MULTILINE)


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
    """Every line under "Type next", and the steps' verify, issued and status lines, on its node."""
    with default_port():
        done = run("demo", "--keep", "demo-network", cwd=tmp_path, expect=0)
        lines = NEXT.findall(done.out.partition("Type next:")[2])
        assert lines[0] == "export CREDCHAIN_PASSPHRASE=demo"
        assert lines[1] == "credchain node run --home demo-network/validators/node-north &"
        steps = re.findall(r"(?m)^\$ (credchain (?:verify|status) .*)$", done.out)
        assert len(steps) == 14
        with node_of(tmp_path / "demo-network" / "validators" / "node-north", "demo"):
            told = {line: _typed(line, tmp_path) for line in lines[2:] + steps}
    verified, issued, help_ = (told[line] for line in lines[2:])
    assert (verified.code, issued.code, help_.code) == (4, 0, 0)
    assert verified.out.startswith("ADVERSE")
    assert issued.out.count("board_certification") == 72
    assert "revoked" in issued.out
    # By now the board's changes are final, the liar is gone, and the rest is as it was told.
    found = [told[line].code for line in steps]
    assert found[:6] == [4, 7, 7, 4, 6, 6], told
    # The bundle still holds; offline its header is older than the look just taken online.
    assert found[6:] == [0, 6, 2, 4, 3, 3, 7, 4], told


def _typed(line: str, folder: Path) -> Done:
    """A printed line, run where the demo ran."""
    words = shlex.split(line)
    assert words[0] == "credchain"
    return run(*words[1:], cwd=folder, passphrase="demo")


def test_a_checkout_where_it_is_called_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's first command runs in a checkout, whose folder credchain/ has no commands in it."""
    from credchain.cli.demo_stage import Stage

    (tmp_path / "credchain").mkdir()
    (tmp_path / "credchain" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    told = Stage(tmp_path / "network", tmp_path).quietly("--version")
    assert (told.code, told.output.partition(" ")[0]) == (0, "credchain")


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
    assert code != 0
    assert not out.exists(), screen
    assert list(temporary.iterdir()) == []
