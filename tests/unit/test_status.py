"""What operators see of a node's status: of new nodes, old nodes, and nodes that lie."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Final

import pytest
from credchain.cli.node_report import print_status

from credchain.node.settings import Address, NodeSettings
from credchain.node.status import NodeStatus, parse_time
from tests.ledger_world import START, make_network

NETWORK: Final = make_network(4)
DIDS: Final = [each.did for each in NETWORK.validators.members]
URL: Final = "https://node.example:7441"
NOW: Final = START + 90_000

WHOLE: Final[dict[str, Any]] = {
    "version": "0.5.0",
    "network": NETWORK.id.hex(),
    "height": 7,
    "time": "2027-01-15T08:01:00Z",
    "clock": "2027-01-15T08:01:30.500Z",
    "view": 5,
    "primary": "Node 2",
    "round_age_ms": 2_500,
    "state": "view_change",
    "validators": [
        {
            "did": DIDS[0],
            "name": "Node 1",
            "connected": True,
            "last_heard_ms": 120,
            "height": 7,
            "missing_of_last": [0, 20],
        },
        {
            "did": DIDS[1],
            "name": "Node 2",
            "connected": False,
            "last_heard_ms": 65_000,
            "height": 5,
            "missing_of_last": [12, 20],
        },
        {
            "did": DIDS[2],
            "name": "Node 3",
            "connected": False,
            "last_heard_ms": None,
            "height": None,
            "missing_of_last": [20, 20],
        },
    ],
    "pool": 3,
    "pool_operations": 1003,
    "evidence": [{"validator": DIDS[3], "height": 6, "view": 4, "kind": "prepare"}],
    "why_idle": "the validators have been agreeing on a new primary for 2.5 s, for view 5",
    "attestations": 10,
    "members": 11,
    "documents": 12,
}
OLD: Final[dict[str, Any]] = {
    "version": "0.3.0",
    "network": NETWORK.id.hex(),
    "height": 7,
    "time": "2027-01-15T08:01:00Z",
    "view": 0,
    "validators": 1,
    "pool": 0,
    "pool_operations": 0,
    "why_idle": "nothing waits; a heartbeat block follows every 10 seconds",
    "members": 11,
}


def shown(capsys: pytest.CaptureFixture[str], document: Any, problem: str | None = None) -> str:
    print_status(URL, NodeStatus.read(document), problem, NETWORK, NOW)
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def line_of(text: str, start: str) -> str:
    return next(" ".join(line.split()) for line in text.splitlines() if line.strip().startswith(start))


def test_a_whole_status_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, WHOLE)
    assert text.startswith(f"{URL}: up\n")
    assert line_of(text, "state") == "state view change"
    assert line_of(text, "height") == "height 7"
    assert line_of(text, "last block") == "last block 2027-01-15T08:01:00Z (30 s ago)"
    assert line_of(text, "view") == "view 5"
    assert line_of(text, "primary") == "primary Node 2"
    assert line_of(text, "round") == "round for 2.5 s"
    assert line_of(text, "pool") == "pool 3 transactions with 1003 operations"
    assert line_of(text, "why idle").endswith("for view 5")
    assert line_of(text, "Node 1") == "Node 1 yes 7 0.1 s ago 0 of the last 20"
    assert line_of(text, "Node 2") == "Node 2 not for 65 s 5 65 s ago 12 of the last 20"
    assert line_of(text, "Node 3") == "Node 3 no, never was 20 of the last 20"
    last = text.splitlines()[-1]
    assert last.split() == [*NETWORK.name_of(DIDS[3]).split(), "6", "4", "prepare"]


def test_a_primary_by_did_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, {**WHOLE, "primary": DIDS[1]})
    assert line_of(text, "primary") == f"primary {NETWORK.name_of(DIDS[1])}"


def test_no_evidence_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of(shown(capsys, {**WHOLE, "evidence": []}), "evidence") == "evidence none"


def test_an_old_node(capsys: pytest.CaptureFixture[str]) -> None:
    """It has fewer fields, and counts its validators."""
    text = shown(capsys, OLD)
    assert line_of(text, "height") == "height 7"
    assert "None" not in text
    for absent in ("state", "primary", "round", "evidence", "attestations", "validator"):
        assert not [line for line in text.splitlines() if line.strip().startswith(absent)]
    found = NodeStatus.read(OLD).json()
    assert (found["validators"], found["state"], found["evidence"]) == (None, None, None)


def test_one_that_was_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, {}, "nobody listens there")
    assert text.splitlines() == [f"{URL}: not reached", "  problem  nobody listens there"]


def test_a_block_from_the_future(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, {**WHOLE, "time": "2027-01-15T09:01:30Z"})
    assert "60 min ahead of this clock" in line_of(text, "last block")


def test_json_has_lists_of_objects_and_the_keys_of_the_node() -> None:
    found = NodeStatus.read(WHOLE).json()
    assert set(found) == set(WHOLE) - {"network"}
    assert found["validators"][1]["missing_of_last"] == {"missing": 12, "of": 20}
    assert found["evidence"] == WHOLE["evidence"]
    for name in set(WHOLE) - {"network", "validators", "evidence"}:
        assert found[name] == WHOLE[name]


ODD: Final[tuple[Any, ...]] = (
    *(None, True, -1, 2**70, 1.5, "", "x", "\x1b[31m", "\u202e", [], {}, [None], [[]], [{}], {"x": []}),
    "x" * 100_000,
    [{}] * 100_000,
    [{"missing_of_last": [1]}],
    [{"missing_of_last": [-1, "x"], "connected": 1, "name": ["x"], "last_heard_ms": 1e308}],
    *("9999-99-99T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2027-01-15Z"),
)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_node_may_say_anything(capsys: pytest.CaptureFixture[str], name: str) -> None:
    for odd in ODD:
        document = {**WHOLE, name: odd}
        text = shown(capsys, document)
        assert "\x1b" not in text
        assert len(text) < 300_000
        json.dumps(NodeStatus.read(document).json())


def test_nothing_at_all_is_a_status_too() -> None:
    found = NodeStatus.read({})
    assert {getattr(found, each.name) for each in fields(found)} == {None}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2027-01-15T08:00:00Z", START),
        ("2027-01-15T08:00:00.250Z", START + 250),
        ("2027-01-15T08:00:00+00:00", None),
        ("2027-01-15T08:00:00", None),
        ("now", None),
        ("Z", None),
        (7, None),
        (None, None),
        ("2" * 100 + "Z", None),
    ],
)
def test_times(text: Any, time: int | None) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    ("listen", "tls", "url"),
    [
        ("0.0.0.0:7441", True, "https://127.0.0.1:7441"),
        ("[::]:7441", True, "https://[::1]:7441"),
        ("127.0.0.1:7441", False, "http://127.0.0.1:7441"),
        ("node.example:7441", True, "https://node.example:7441"),
    ],
)
def test_where_ones_own_node_is_asked(listen: str, tls: bool, url: str) -> None:
    settings = NodeSettings(Address.parse("a:1", "x"), Address.parse(listen, "x"), tls, "text")
    assert settings.local_url == url
