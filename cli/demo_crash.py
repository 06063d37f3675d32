"""The demo's crash: the primary is killed in the middle of the work, and starts again later."""

from __future__ import annotations

import csv
import json
import shlex

from .demo_nodes import Nodes, Validator, asked_in_order, status_of
from .demo_processes import wait_until
from .demo_stage import Stage
from .output import say

_BOARD = "members/california-example-board"
_HOSPITAL = "members/lakeside-hospital"
_FOURTH = 3
"""The radiologist of this step, by its row in the samples."""
_PATIENCE = 60.0
"""Seconds after which a command that does not come so far is given up."""


def kill_the_primary(stage: Stage, nodes: Nodes) -> Validator:
    """While a hospital verifies and a board attests; CredchainError if one of them notices. Who it was."""
    with (stage.samples / "licenses.csv").open(newline="", encoding="utf-8") as file:
        person = list(csv.DictReader(file))[_FOURTH]
    stage.title("The primary is killed while a hospital verifies and a board attests: both go on")
    primary = _primary(stage)
    # The primary is asked first: so it is killed with the attestation in its hands.
    asked = asked_in_order(stage.validators, primary)
    attest = f"attest state_license {_claims(person)} {asked} --home {stage.at(_BOARD)}"
    verify = f"verify {person['npi']} --home {stage.at(_HOSPITAL)}"
    _kill_at_work(stage, nodes, primary, verify, attest)
    stage.title("Nothing is lost, and node status says who is missing")
    stage.run(0, f"issued --npi {person['npi']} --home {stage.at(_BOARD)}")
    other = next(each for each in stage.validators if each is not primary)
    stage.run(0, f"node status --node {other.api} --home {stage.at(_HOSPITAL)}")
    return primary


def start_it_again(stage: Stage, nodes: Nodes, killed: Validator) -> None:
    """Until it has all that the others committed without it."""
    stage.title("The killed node starts again: it fetches the blocks that it missed, and takes part")
    told = status_of(next(each for each in stage.validators if each is not killed))
    height = int(told["height"])
    was = next(each["height"] for each in told["validators"] if each["name"] == killed.name)
    say(f"  {killed.name} was killed at height {was}, the others are at {height}")
    say(f"$ credchain node run --home {stage.at(killed.home)} &")
    for line in nodes.start([killed]):
        say(f"  {line}")
    nodes.wait_for(killed, height)
    stage.run(0, f"node status --home {stage.at(killed.home)}")


def _kill_at_work(stage: Stage, nodes: Nodes, primary: Validator, verify: str, attest: str) -> None:
    """The kill comes when the board has written down what it sends, and has no receipt yet."""
    from credchain.storage.home import Home, load_network
    from credchain.storage.member_store import MemberStore

    home = Home(stage.folder / _BOARD)
    store = MemberStore(home.member_database, load_network(stage.folder / "network.json").id)
    try:
        attesting, verifying = stage.begin(attest), stage.begin(verify)
        wait_until(lambda: bool(store.pending()) or attesting.poll() is not None, _PATIENCE)
        say(f"$ kill -KILL {nodes.pid(primary)}  # {primary.name}")
        nodes.kill(primary)
    finally:
        store.close()
    say("$ wait")
    stage.finish(0, verifying, lines=3)
    stage.finish(0, attesting)


def _primary(stage: Stage) -> Validator:
    """As a node of the network says."""
    line = f"node status --json --node {stage.validators[0].api} --home {stage.at(_HOSPITAL)}"
    say(f"$ credchain {line}")
    name = json.loads(stage.quietly(line).output)["nodes"][0]["primary"]
    say(f'  "primary": {json.dumps(name)}')
    return next(each for each in stage.validators if each.name == name)


def _claims(person: dict[str, str]) -> str:
    """A California license's, as options."""
    names = ("family_name", "given_name", "state", "license_number", "license_type", "issued_date")
    claims = {**{name: person[name] for name in names}, "conditions": person["conditions"]}
    sets = " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in claims.items())
    return f"--npi {person['npi']} {sets} --until {person['valid_until']}"
