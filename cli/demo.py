"""`credchain demo`: the whole story on this machine, with the commands that a user would type.

Each step is a real process of this program against four real nodes, except the lying node and the forgeries,
which are a few lines each.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import say
from .session import Session, command

if TYPE_CHECKING:
    from .demo_liar import Liar
    from .demo_processes import Processes

PANEL = "Start here"
_BOARD = "members/example-board-of-radiology"
_HOSPITAL = "members/lakeside-hospital"
_STRANGER = "2999999990"


def register(app: typer.Typer) -> None:
    command(app, "demo", panel=PANEL, example="credchain demo --keep demo-network")(demo)


def demo(
    session: Session,
    keep: Annotated[Path | None, typer.Option(help="Leave the network in this new folder.")] = None,
) -> None:
    """The whole story on this machine: four nodes, attest, verify, revoke, refuse a liar, lose a node."""
    from credchain.errors import InvalidInput

    from .demo_processes import Processes, stopped_by_signals

    if session.as_json:
        raise InvalidInput("the demo prints for people; its commands have --json", field="json")
    if keep is not None and keep.exists():
        raise InvalidInput(f"{keep} exists and is not overwritten", field="keep", hint="name a new folder")
    processes = Processes()
    with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="credchain-demo-") as temporary:
        folder = keep or Path(temporary) / "network"
        try:
            story = _Story(folder, Path(temporary), processes)
            story.tell()
            processes.end()
        except BaseException:
            processes.end()
            if keep is not None:
                shutil.rmtree(keep, ignore_errors=True)
            raise
        story.say_where(kept=keep is not None)


class _Story:
    def __init__(self, folder: Path, scratch: Path, processes: Processes) -> None:
        from credchain.storage.home import samples

        from .demo_nodes import Nodes
        from .demo_stage import Stage

        self._stage = Stage(folder, samples(), scratch, processes)
        self._nodes = Nodes(folder, processes)
        self._folder = folder

    def tell(self) -> None:
        """Every step; CredchainError if one does not end as the story says."""
        from .demo_crash import kill_the_primary, start_it_again
        from .demo_liar import lying_node
        from .demo_radiologist import tell_radiologist

        stage = self._stage
        stage.title("Found a consortium: keys for its members, and the trust anchor network.json")
        stage.run(0, f"network create {stage.spec()} --out {stage.at()}")
        self._start_nodes()
        self._attest_and_verify()
        with lying_node(stage.validators[0].api) as liar:
            self._act_and_verify(liar)
        killed = kill_the_primary(stage, self._nodes)
        tell_radiologist(stage)
        start_it_again(stage, self._nodes, killed)
        stage.title(f"Check the whole ledger of {killed.name}, byte by byte")
        stage.run(0, f"audit --home {stage.at(killed.home)}")

    def _start_nodes(self) -> None:
        stage = self._stage
        stage.title("Start its four nodes: in life each is another organisation's, on a machine of its own")
        for each in stage.validators:
            say(f"$ credchain node run --home {stage.at(each.home)} &")
        for line in self._nodes.start(stage.validators):
            say(f"  {line}")

    def _attest_and_verify(self) -> None:
        roster = self._stage.samples / "roster.csv"
        self._npi = roster.read_text().splitlines()[1].partition(",")[0]
        self._stage.title("A board attests its whole roster")
        csv = self._stage.sample("roster.csv")
        board = self._stage.at(_BOARD)
        self._stage.run(0, f"attest board_certification --csv {csv} --home {board}")
        self._stage.title("A hospital verifies one radiologist: established, exit code 0")
        self._verify(0)

    def _act_and_verify(self, liar: Liar) -> None:
        self._stage.title("The board suspends, then revokes")
        attestation = self._attestation()
        # What the honest node says now is what the liar will go on saying.
        liar.remember(self._npi, self._folder / "network.json")
        home = f"--home {self._stage.at(_BOARD)}"
        self._stage.run(0, f"status {attestation} --set suspended --reason under_investigation {home}")
        self._stage.run(0, f"status {attestation} --set revoked --reason disciplinary_action --yes {home}")
        self._stage.title("The next verification sees it: adverse, exit code 4")
        self._verify(4)
        self._stage.title("A node that still tells the old story is refused: not established, exit code 6")
        self._verify(6, f" --node {liar.url}")
        self._stage.title("An NPI that nobody attested: proved absent, not established, exit code 6")
        self._stage.run(6, f"verify {_STRANGER} --home {self._stage.at(_HOSPITAL)}")

    def _verify(self, code: int, more: str = "") -> None:
        self._stage.run(code, f"verify {self._npi} --home {self._stage.at(_HOSPITAL)}{more}")

    def _attestation(self) -> str:
        told = self._stage.quietly(f"issued --npi {self._npi} --json --home {self._stage.at(_BOARD)}")
        return str(json.loads(told.output)["issued"][0]["attestation"])[:12]

    def say_where(self, *, kept: bool) -> None:
        """Where everything lies, and what to type next."""
        from .demo_processes import PASSPHRASE

        say("")
        say("== That was the story.")
        if not kept:
            say("Nothing is left behind. To keep a network that you can work on:")
            say("  credchain demo --keep demo-network")
            return
        folder = self._folder
        rows = [
            ("trust anchor", folder / "network.json"),
            ("validators", folder / "validators"),
            ("board", folder / _BOARD),
            ("hospital", folder / _HOSPITAL),
            ("other members", folder / "members"),
        ]
        for name, path in rows:
            say(f"  {name:<14} {path}")
        say("All four nodes are stopped. Type next, the second line to start them again:")
        say(f"  export CREDCHAIN_PASSPHRASE={PASSPHRASE}")
        validators = self._stage.at("validators")
        say(f'  for node in {validators}/*; do credchain node run --home "$node" 2> "$node/log" & done')
        say(f"  credchain node status --home {self._stage.at(_HOSPITAL)}")
        say(f"  credchain verify {self._npi} --home {self._stage.at(_HOSPITAL)}")
        say(f"  credchain issued --home {self._stage.at(_BOARD)}")
        say("  kill $(jobs -p)  # stops them")
        say("  credchain --help")
