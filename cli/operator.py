"""Commands of operators: found a network, run a node, know how it is, audit its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import ExitCode
from .output import fingerprint_in_groups, note, print_json, print_pairs, print_table, progress, say
from .session import Session, command

PANEL = "Operators"


def register(app: typer.Typer) -> None:
    network = typer.Typer(name="network", help="Found a network.", no_args_is_help=True)
    node = typer.Typer(name="node", help="Run a node, ask how it is.", no_args_is_help=True)
    app.add_typer(network, name="network", rich_help_panel=PANEL)
    app.add_typer(node, name="node", rich_help_panel=PANEL)
    command(
        network,
        "create",
        panel=PANEL,
        example="credchain network create samples/consortium.toml --out DIR --dev",
    )(create)
    command(node, "run", panel=PANEL, example="credchain node run --home DIR/validators/node-north")(run)
    command(node, "check", panel=PANEL, example="credchain node check --home DIR/validators/node-north")(
        check
    )
    command(node, "status", panel=PANEL, example="credchain node status")(status)
    command(app, "audit", panel=PANEL, example="credchain audit --home DIR/validators/node-north")(audit)


def create(
    session: Session,
    spec: Annotated[Path, typer.Argument(metavar="SPEC.TOML", help="The consortium's members.")],
    out: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    dev: Annotated[bool, typer.Option("--dev", help="One validator on this machine.")] = False,
    api: Annotated[str | None, typer.Option(help="With --dev: the validator's URL.")] = None,
) -> None:
    """Make genesis from member files, and homes for members that the spec names without one."""
    from credchain.node.founding import create_network, read_spec

    network, homes = create_network(
        read_spec(spec),
        out,
        session.now(),
        dev=dev,
        api=api,
        passphrase=lambda: session.passphrase(confirm=True),
    )
    if session.as_json:
        print_json(
            {
                "network": network.id.hex(),
                "name": network.genesis.name,
                "fingerprint": network.fingerprint.hex(),
                "file": str(out / "network.json"),
                "homes": [{"name": each.name, "did": each.did, "home": str(each.path)} for each in homes],
            }
        )
        return
    print_pairs(
        [
            ("network", network.genesis.name),
            ("fingerprint", fingerprint_in_groups(network.fingerprint)),
            ("file", out / "network.json"),
        ]
    )
    if homes:
        print_table(["member", "home"], [(each.name, each.path) for each in homes])
    _tell_what_it_survives(len(network.validators.members))
    nodes = [each.path for each in homes if each.path.parent.name == "validators"]
    if nodes:
        note(f"Next: credchain node run --home {nodes[0]}")
    if len(nodes) > 1:
        note("and the same for the home of each other validator.")
    if len(nodes) < len(network.validators.members):
        note("Next: send network.json to every member, who joins it and compares the fingerprint with yours.")


def _tell_what_it_survives(validators: int) -> None:
    """Of several validators: how many may fail in any way (Castro & Liskov, section 3)."""
    from credchain.certificates import faults, quorum

    survived, needed = faults(validators), quorum(validators)
    if survived:
        several = "any one of them is" if survived == 1 else f"any {survived} of them are"
        note(f"{validators} validators: the network goes on while {several} down, faulty or dishonest.")
    elif validators > 1:
        note(
            f"warning: {validators} validators survive no fault (f = 0): none may be dishonest, and"
            f" {needed} of {validators} must be up. Four survive one."
        )


def run(session: Session) -> None:
    """Run this home's node until it is told to stop."""
    from credchain.node.server import run_node

    home, network = session.home, session.network
    run_node(home, network, session.keys, lambda url: note(f"node is up at {url}"))


def check(session: Session) -> None:
    """Files, disk, ports, clock and the other validators: what would keep this home's node from working."""
    from credchain.node.checking import PROBLEM, check_node

    from .node_report import check_json, print_checks

    found = session.run(check_node(session.home, session.network, session.now))
    if any(each.outcome == PROBLEM for each in found):
        session.exit_code = ExitCode.UNREACHABLE
    if session.as_json:
        print_json({"checks": [check_json(each) for each in found]})
        return
    print_checks(found)


def status(session: Session) -> None:
    """How the nodes are: height, primary, who is missing, what waits, and when nothing commits, why."""
    from typing import Any

    from credchain.errors import CredchainError
    from credchain.node.status import NodeStatus

    from .node_report import print_status

    session.nodes = session.nodes or _own_node(session)

    async def ask() -> list[tuple[str, dict[str, Any] | CredchainError]]:
        async with session.client() as client:
            return await client.status()

    nodes: list[tuple[str, NodeStatus, str | None]] = []
    nothing = NodeStatus.read({})
    for url, told in session.run(ask()):
        if isinstance(told, CredchainError):
            nodes.append((url, nothing, told.message))
            continue
        found = NodeStatus.read(told)
        ours = found.network == session.network.id.hex()
        nodes.append((url, found, None) if ours else (url, nothing, "it is another network's"))
    if any(problem is not None for _, _, problem in nodes):
        session.exit_code = ExitCode.UNREACHABLE
    if session.as_json:
        shown = [
            {"url": url, "reachable": problem is None, **found.json(), "problem": problem}
            for url, found, problem in nodes
        ]
        print_json({"nodes": shown})
        return
    for url, found, problem in nodes:
        print_status(url, found, problem, session.network, session.now())


def _own_node(session: Session) -> list[str]:
    """The address of this home's node; nothing where the home has none."""
    from credchain.node.settings import NodeSettings

    home = session.home
    if not home.node_settings.exists() or not home.keys.exists():
        return []
    if session.network.validators.index_of(home.did()) is None:
        return []
    return [NodeSettings.load(home).local_url]


def audit(session: Session) -> None:
    """Replay this home's ledger from genesis and check every byte of it."""
    from credchain.storage.audit import audit as audit_ledger

    home = session.home
    with progress(1_000_000, "audit") as advance:
        done = 0

        def step(height: int, total: int) -> None:
            nonlocal done
            share = height * 1_000_000 // max(total, 1)
            advance(share - done)
            done = share

        report = audit_ledger(home.ledger, session.network, step)
    pairs = {
        "height": report.height,
        "blocks": report.blocks,
        "transactions": report.transactions,
        "attestations": report.attestations,
        "documents": report.documents,
    }
    if session.as_json:
        print_json(pairs)
        return
    say(f"The ledger is whole up to height {report.height}.")
    print_pairs(list(pairs.items()))
