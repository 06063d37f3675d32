"""What operators type: found a network of several, check a node, ask how it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from .network import quick


def spec_of(folder: Path, validators: int) -> Path:
    members = [
        f'[[member]]\nname = "Node {number}"\nroles = ["validator"]\npeer = "127.0.0.1:{17000 + number}"\n'
        f'api = "http://127.0.0.1:{18000 + number}"\n'
        for number in range(validators)
    ]
    path = folder / "spec.toml"
    path.write_text('name = "Several"\n' + "\n".join(members))
    return path


# --- network create ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validators", "told"),
    [
        (1, ""),
        (2, "survive no fault (f = 0)"),
        (3, "survive no fault (f = 0)"),
        (4, "any one of them is down"),
        (7, "any 2 of them are down"),
    ],
)
def test_create_says_what_the_network_survives(tmp_path: Path, validators: int, told: str) -> None:
    out = tmp_path / "out"
    done = quick("network", "create", spec_of(tmp_path, validators), "--out", out, expect=0)
    assert told in done.err
    assert ("f = 0" in done.err) == (validators in (2, 3))
    assert "node run --home" in done.err
    assert f"Node {validators - 1}" in done.out
    assert "survive" not in done.out, "standard output is for data"


def test_create_in_json_is_one_document(tmp_path: Path) -> None:
    done = quick(*("network", "create", spec_of(tmp_path, 4), "--out", tmp_path / "out", "--json"), expect=0)
    assert len(done.json["homes"]) == 4


def test_four_operators_make_their_own_keys(tmp_path: Path) -> None:
    """Nobody but its operator ever has a validator's key."""
    members = []
    for name in "abcd":
        quick(
            *("init", "--name", f"Node {name}", "--validator", "--peer", f"{name}.example:7440"),
            *("--api", f"https://{name}.example:7441"),
            home=tmp_path / name,
            expect=0,
        )
        members.append(
            f'[[member]]\nname = "Node {name}"\nfile = "{name}/member.toml"\nroles = ["validator"]\n'
        )
    spec = tmp_path / "spec.toml"
    spec.write_text('name = "Four"\n' + "\n".join(members))
    made = quick("network", "create", spec, "--out", tmp_path / "made", "--json", expect=0).json
    assert made["homes"] == []
    assert [each.name for each in (tmp_path / "made").iterdir()] == ["network.json"]
    for name in "abcd":
        joined = quick(
            *("join", tmp_path / "made" / "network.json", "--expect", made["fingerprint"]),
            home=tmp_path / name,
            expect=0,
        )
        assert "validators   4" in joined.out
    wrong = quick(
        *("join", tmp_path / "made" / "network.json", "--expect", "00" * 32), home=tmp_path / "a", expect=2
    )
    assert "not the one expected" in wrong.err
