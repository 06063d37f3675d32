"""A soak: four validators under load, a random one killed and restarted again and again.

    python -m tests.soak --minutes 15 --kill-every 20 --seed 1

Four real processes on loopback order the attestations of a few clients. Every ``--kill-every`` seconds a
validator, chosen by the seed, is ended by SIGKILL and started again at once. Once a minute a line says
how far it is: the height, how many receipts the clients hold, how often they were turned away, kills, and
the resident memory of each validator in MB.

At the end the load stops and all is accounted for: every receipt's transaction is on every ledger once,
where the receipt says; all ledgers are the same, header by header, so state roots too; nobody contradicted
itself; `credchain audit` passes on each; and memory is flat: after a last half minute of load without
kills no validator holds more than 1.5 times, plus 32 MB, of what the largest held after the warm-up (the
first minute, at most a quarter of the run). A killed process begins small, so the last start of each is
long enough before only if the run is; short runs show less.

The exit status is 0 if all of it holds, 1 if not. ``--folder`` keeps homes and logs; otherwise they are
kept only after a failure.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.network.validators import CATCH_UP_PATIENCE, Load, Validator, ValidatorNetwork

_WARM_UP = 60.0
_QUIET = 30.0
_GROWTH = 1.5
_SPARE_MB = 32


@dataclass
class Soak:
    """One run; times are monotonic seconds."""

    network: ValidatorNetwork
    load: Load
    began: float
    ends: float
    kill_every: float
    chance: random.Random
    kills: int = 0
    warm: int = 0

    def run(self) -> None:
        """Kill and restart until the end; then leave them alone for a while."""
        warm_up = self.began + min(_WARM_UP, (self.ends - self.began) / 4)
        quiet = self.ends - min(_QUIET, (self.ends - self.began) / 4)
        next_line = self.began + 60
        next_kill = self.began + self.kill_every
        while (now := time.monotonic()) < self.ends:
            if not self.warm and now >= warm_up:
                self.warm = max(self.memory())
            if now >= next_kill and now < quiet:
                self._kill_one()
                next_kill += self.kill_every
            if now >= next_line:
                self.tell()
                next_line += 60
            time.sleep(0.1)

    def _kill_one(self) -> None:
        """One that is dead is more than enough: the last one must be back before the next goes."""
        victim: Validator = self.chance.choice(self.network.validators)
        others = self.network.others(victim)
        self.network.committed(1, patience=CATCH_UP_PATIENCE)
        victim.kill()
        self.kills += 1
        self.network.committed(1, others, CATCH_UP_PATIENCE)
        self.network.start(victim)

    def memory(self) -> list[int]:
        """Resident MB of each validator."""
        return [each.memory() // 1024 for each in self.network]

    def tell(self) -> None:
        minutes = (time.monotonic() - self.began) / 60
        say(
            f"{minutes:.0f} min: height {self.network.height()}, {len(self.load.receipts)} receipts,"
            f" {self.load.turned_away} times turned away, {self.kills} kills, memory {self.memory()} MB"
        )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def soak(folder: Path, minutes: float, kill_every: float, seed: int, senders: int) -> None:
    """AssertionError says what does not hold."""
    with ValidatorNetwork(folder).running() as network:
        with network.load(senders=senders) as load:
            began = time.monotonic()
            chance = random.Random(seed)
            run = Soak(network, load, began, began + 60 * minutes, kill_every, chance)
            run.run()
            run.tell()
            memory = run.memory()
        network.account(load)
        say(f"all {len(load.receipts)} receipts found on each ledger once; headers and roots are equal")
        most = _GROWTH * run.warm + _SPARE_MB
        say(f"memory: {run.warm} MB at most after the warm-up, {memory} MB at the end")
        assert max(memory) <= most, f"memory grew from {run.warm} MB to {max(memory)} MB"
        network.audit()
        say("audit passes on each")


def main() -> int:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=about)
    parser.add_argument("--minutes", type=float, default=15, help="how long (15)")
    parser.add_argument("--kill-every", type=float, default=20, metavar="SECONDS", help="(20)")
    parser.add_argument("--seed", type=int, default=1, help="chooses who is killed (1)")
    parser.add_argument("--senders", type=int, default=4, help="clients at once (4)")
    parser.add_argument("--folder", type=Path, help="a new folder, kept")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="credchain-soak-"))
    say(f"seed {options.seed}, {options.minutes:g} minutes, a kill every {options.kill_every:g} s")
    try:
        soak(folder, options.minutes, options.kill_every, options.seed, options.senders)
    except AssertionError as problem:
        say(f"FAILED: {problem}")
        say(f"homes and logs are in {folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    say("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
