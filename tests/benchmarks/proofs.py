"""Proofs of dossiers: time and size at many dossiers against few.

    python -m tests.benchmarks.proofs [few] [many]

A proof here is what travels: the dossier's bytes, or nothing where it is absent, and the proof's. It is
made, encoded, decoded and checked, and the dossier read. Prints the ratios of size and time; the bound of
both is 1.5 for 100,000 against 1,000. The map alone, without what travels, is printed beside them.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
from dataclasses import dataclass
from time import perf_counter

from credchain.certificates import Height, Millis
from credchain.encoding import Digest
from credchain.keys import PublicKey, SigningKey, did_of
from credchain.ledger.proofs import StateProof, check_state_proof
from credchain.ledger.records import Dossier, Entry
from credchain.ledger.state import dossier_key
from credchain.ledger.statemap import StateMap, value_digest

ROUNDS = 9
KEYS = 500
CATEGORY = "board_certification"
ISSUER = did_of(SigningKey.from_seed(bytes(32)).public)


@dataclass(frozen=True)
class Ledger:
    """A state of so many dossiers, and the subjects to ask for: half of them have no dossier."""

    state: StateMap
    values: dict[Digest, bytes]
    subjects: list[Digest]


def subject(number: int) -> Digest:
    return Digest(hashlib.sha256(f"subject {number}".encode()).digest())


def dossier(number: int) -> Dossier:
    entry = Entry(
        id=subject(-number),
        issuer=ISSUER,
        key=PublicKey(bytes(32)),
        height=Height(number),
        time=Millis(1_800_000_000_000 + number),
        credential=subject(number),
        valid_from=Millis(1_800_000_000_000),
        history=(),
        valid_until=Millis(1_900_000_000_000),
    )
    return Dossier(CATEGORY, subject(number), (entry,))


def build(count: int) -> Ledger:
    values = {dossier_key(CATEGORY, subject(n)).key: dossier(n).encode() for n in range(count)}
    state = StateMap().update({key: value_digest(value) for key, value in values.items()})
    present = range(0, count, max(1, count // KEYS))
    absent = range(count, count + len(present))
    return Ledger(state, values, [subject(n) for n in (*present, *absent)])


def make(ledger: Ledger, each: Digest) -> tuple[bytes | None, bytes]:
    key = dossier_key(CATEGORY, each).key
    return ledger.values.get(key), ledger.state.prove(key).encode()


def check(root: Digest, each: Digest, value: bytes | None, proof: bytes) -> None:
    found = check_state_proof(StateProof.decode(proof), root, dossier_key(CATEGORY, each).key)
    assert found == (None if value is None else value_digest(value))
    assert value is None or Dossier.decode(value).subject == each


def seconds(ledger: Ledger) -> float:
    """To make and check one proof."""
    root = ledger.state.root
    started = perf_counter()
    for each in ledger.subjects:
        check(root, each, *make(ledger, each))
    return (perf_counter() - started) / len(ledger.subjects)


def map_seconds(ledger: Ledger) -> float:
    """The map alone: prove and climb."""
    keys = [dossier_key(CATEGORY, each).key for each in ledger.subjects]
    root = ledger.state.root
    started = perf_counter()
    for key in keys:
        check_state_proof(ledger.state.prove(key), root, key)
    return (perf_counter() - started) / len(keys)


def size(ledger: Ledger) -> float:
    made = [make(ledger, each) for each in ledger.subjects]
    return statistics.mean(len(value or b"") + len(proof) for value, proof in made)


def main(few: int, many: int) -> None:
    ledgers = {count: build(count) for count in (few, many)}
    sizes = {count: size(ledger) for count, ledger in ledgers.items()}
    rounds = [{count: seconds(ledger) for count, ledger in ledgers.items()} for _ in range(ROUNDS)]
    maps = [{count: map_seconds(ledger) for count, ledger in ledgers.items()} for _ in range(ROUNDS)]
    times = {count: statistics.median(each[count] for each in rounds) for count in ledgers}
    alone = {count: statistics.median(each[count] for each in maps) for count in ledgers}
    for count in ledgers:
        print(
            f"{count} dossiers: {sizes[count]:.0f} bytes, {times[count] * 1e6:.0f} us a proof made and "
            f"checked, {alone[count] * 1e6:.0f} us of it in the map"
        )
    print(f"size ratio {sizes[many] / sizes[few]:.2f} (bound 1.50)")
    print(f"time ratio {times[many] / times[few]:.2f} (bound 1.50), map alone {alone[many] / alone[few]:.2f}")


if __name__ == "__main__":
    main(*(int(each) for each in (sys.argv[1:] or ["1000", "100000"])))
