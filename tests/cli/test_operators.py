"""What operators type: found a network of several, check a node, ask how it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_status import WHOLE

from .network import SampleNetwork, quick, run
from .test_bad_input import web_server
from .test_contract import check_document


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


# --- node check -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of four, none of which runs."""
    folder = tmp_path_factory.mktemp("four")
    quick("network", "create", spec_of(folder, 4), "--out", folder / "out", expect=0)
    return folder / "out" / "validators"


def test_check_of_a_node_that_runs(network: SampleNetwork) -> None:
    """It needs no passphrase, and reads well: a line a check, then the sum."""
    done = run("node", "check", home=network.node_home, passphrase=None, expect=0)
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["result", "what", "where"]
    assert any("this node listens here" in line for line in lines)
    assert lines[-1].endswith("0 to mend")
    checks = lines[2:-2]
    assert checks
    assert all(line.split()[0] in ("ok", "warning") for line in checks), done.out


def test_check_where_nobody_else_runs(four: Path) -> None:
    done = run("node", "check", "--json", home=four / "node-0", passphrase=None, expect=6)
    assert done.err == ""
    checks = done.json["checks"]
    for each in checks:
        assert set(each) == {"name", "target", "outcome", "detail", "hint"}
        assert each["outcome"] in ("ok", "warning", "problem")
        assert (each["hint"] is None) == (each["outcome"] == "ok")
    problems = {each["name"] for each in checks if each["outcome"] == "problem"}
    assert problems == {"peer port", "API"}
    shown = run("node", "check", home=four / "node-0", passphrase=None, expect=6)
    assert "6 to mend" in shown.out
    assert "open in both firewalls" in shown.out


def test_check_in_the_home_of_an_issuer(network: SampleNetwork) -> None:
    done = run("node", "check", "--json", home=network.board, expect=2)
    assert done.error["field"] == "home"
    assert "--home" in done.hint


def test_check_changes_nothing(four: Path) -> None:
    home = four / "node-1"
    before = {each.name: each.read_bytes() for each in home.iterdir()}
    quick("node", "check", home=home, expect=6)
    assert {each.name: each.read_bytes() for each in home.iterdir()} == before


# --- node status ------------------------------------------------------------------------------


def test_status_asks_the_homes_own_node(network: SampleNetwork, four: Path) -> None:
    (told,) = quick("node", "status", "--json", home=network.node_home, expect=0).json["nodes"]
    assert (told["url"], told["reachable"]) == (network.url, True)
    assert told["clock"]
    (told,) = quick("node", "status", "--json", home=four / "node-2", expect=6).json["nodes"]
    assert told["url"] == "http://127.0.0.1:18002"
    assert told["problem"]


def test_status_of_the_nodes_that_are_named(network: SampleNetwork) -> None:
    urls = (network.url, "http://127.0.0.1:1")
    named = [part for url in urls for part in ("--node", url)]
    done = quick("node", "status", *named, home=network.node_home, expect=6)
    assert f"{urls[0]}: up" in done.out
    assert f"{urls[1]}: not reached" in done.out


def test_status_of_a_member_asks_every_node(network: SampleNetwork) -> None:
    (told,) = quick("node", "status", "--json", home=network.board, expect=0).json["nodes"]
    assert told["url"] == network.url


def test_status_of_a_node_among_four(network: SampleNetwork) -> None:
    """As a node of several validators tells it, for people and as JSON."""
    from credchain.storage.home import load_network

    told = {**WHOLE, "network": load_network(network.file).id.hex()}
    with web_server(json.dumps(told).encode()) as url:
        (node,) = quick("node", "status", "--node", url, "--json", home=network.board, expect=0).json["nodes"]
        done = quick("node", "status", "--node", url, home=network.board, expect=0)
    check_document({"nodes": [node]})
    assert (node["state"], node["primary"], node["round_age_ms"]) == ("view_change", "Node 2", 2_500)
    assert node["validators"][1]["missing_of_last"] == {"missing": 12, "of": 20}
    assert node["evidence"] == WHOLE["evidence"]
    assert "agreeing on a new primary" in done.out
    assert "12 of the last 20" in done.out
    assert "evidence against" in done.out


def test_status_with_settings_that_are_wrong(four: Path, tmp_path: Path) -> None:
    import shutil

    home = tmp_path / "home"
    shutil.copytree(four / "node-3", home)
    (home / "node.toml").write_text("listen_api = 7")
    done = quick("node", "status", "--json", home=home, expect=2)
    assert "node.toml" in done.error["field"]
