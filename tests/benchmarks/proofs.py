"""Proofs of the state map: time and size at many dossiers against few.

    python -m tests.benchmarks.proofs [few] [many]

Prints both ratios; the bound is 1.5 for 100,000 against 1,000.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
from time import perf_counter

from credchain.encoding import Digest
from credchain.ledger.proofs import check_state_proof
from credchain.ledger.statemap import StateMap

ROUNDS = 9
KEYS = 500


def key(number: int) -> Digest:
    return Digest(hashlib.sha256(f"key {number}".encode()).digest())


def build(count: int) -> StateMap:
    return StateMap().update({key(number): key(-number - 1) for number in range(count)})


def sample(count: int) -> list[Digest]:
    """Keys spread over the whole map, and as many that are absent."""
    present = [key(number) for number in range(0, count, max(1, count // KEYS))]
    return present + [key(count + number) for number in range(len(present))]


def seconds(state: StateMap, keys: list[Digest]) -> float:
    """To prove and check one key."""
    started = perf_counter()
    for each in keys:
        check_state_proof(state.prove(each), state.root, each)
    return (perf_counter() - started) / len(keys)


def main(few: int, many: int) -> None:
    small, large = build(few), build(many)
    keys = {few: sample(few), many: sample(many)}
    sizes = {
        count: statistics.mean(len(state.prove(each).encode()) for each in keys[count])
        for count, state in ((few, small), (many, large))
    }
    pairs = [(seconds(small, keys[few]), seconds(large, keys[many])) for _ in range(ROUNDS)]
    time_few = statistics.median(pair[0] for pair in pairs)
    time_many = statistics.median(pair[1] for pair in pairs)
    print(f"{few} dossiers: {sizes[few]:.0f} bytes, {time_few * 1e6:.0f} us a proof made and checked")
    print(f"{many} dossiers: {sizes[many]:.0f} bytes, {time_many * 1e6:.0f} us")
    print(f"size ratio {sizes[many] / sizes[few]:.2f} (bound 1.50)")
    print(f"time ratio {time_many / time_few:.2f} (bound 1.50)")


if __name__ == "__main__":
    main(*(int(each) for each in (sys.argv[1:] or ["1000", "100000"])))
