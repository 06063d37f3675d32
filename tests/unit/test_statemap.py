"""The state map against a naive model, and its proofs against forgery.

The model is written from the docstring alone: at most 64 entries are a bucket, more are sixteen
children by the next four bits, and every digest has its purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credchain.encoding import Digest
from credchain.errors import InvalidInput, ProofError
from credchain.ledger.proofs import StateProof, check_state_proof
from credchain.ledger.statemap import StateMap, value_digest

Content = dict[Digest, Digest]


def h(purpose: str, data: bytes) -> bytes:
    return sha256(b"credchain/v1/" + purpose.encode() + b"\x00" + data).digest()


def model_root(content: Mapping[Digest, Digest]) -> bytes:
    return h("root", model_node({key.hex(): (key, value) for key, value in content.items()}, 0))


def model_node(content: Mapping[str, tuple[bytes, bytes]], depth: int) -> bytes:
    if len(content) <= 64:
        return h("bucket", b"".join(b"".join(content[name]) for name in sorted(content)))
    bitmap, digests = 0, b""
    for place, letter in enumerate("0123456789abcdef"):
        below = {name: pair for name, pair in content.items() if name[depth] == letter}
        if below:
            bitmap |= 1 << place
            digests += model_node(below, depth + 1)
    return h("inner", bitmap.to_bytes(2, "big") + digests)


def make_keys(random: Random, count: int, shared: int) -> list[Digest]:
    """Distinct keys whose first ``shared`` hexadecimal digits are equal."""
    prefix = random.randbytes(32).hex()[:shared]
    found: set[str] = set()
    while len(found) < count:
        found.add(prefix + random.randbytes(32).hex()[shared:])
    names = sorted(found)
    random.shuffle(names)
    return [Digest(bytes.fromhex(name)) for name in names]


def make_content(seed: int, count: int, shared: int = 0) -> Content:
    random = Random(seed)
    return {key: Digest(random.randbytes(32)) for key in make_keys(random, count, shared)}


def refuses(proof: StateProof, root: Digest, key: Digest) -> bool:
    try:
        check_state_proof(proof, root, key)
    except ProofError:
        return True
    return False


contents = st.builds(make_content, st.integers(0, 2**32), st.integers(0, 260), st.integers(0, 58))


@settings(max_examples=60, deadline=None)
@given(contents, st.integers(0, 2**32), st.integers(1, 9))
def test_the_root_is_the_models_whatever_the_order_and_the_blocks(
    content: Content, seed: int, blocks: int
) -> None:
    random = Random(seed)
    writes = list(content.items())
    # Some keys are written before, with another value that must leave no trace.
    earlier = [(key, Digest(random.randbytes(32))) for key, _ in writes if random.random() < 0.3]
    random.shuffle(earlier)
    random.shuffle(writes)
    state = StateMap()
    for each in (earlier, writes):
        for block in range(blocks):
            state = state.update(dict(each[block::blocks]))
    assert state.root == model_root(content)
    assert StateMap().update(content).root == state.root
    assert all(state.get(key) == value for key, value in content.items())


@settings(max_examples=25, deadline=None)
@given(contents, st.integers(0, 2**32))
def test_presence_and_absence_are_proved_under_the_models_root(content: Content, seed: int) -> None:
    random = Random(seed)
    root = Digest(model_root(content))
    state = StateMap().update(content)
    near = [Digest(key[:-1] + bytes([key[-1] ^ 1])) for key in list(content)[:20]]
    far = make_keys(random, 10, 0)
    for key in (*content, *near, *far):
        proof = StateProof.decode(state.prove(key).encode())
        assert check_state_proof(proof, root, key) == content.get(key)
        assert state.get(key) == content.get(key)


def test_the_empty_map_proves_absence() -> None:
    key = make_keys(Random(1), 1, 0)[0]
    assert StateMap().root == h("root", h("bucket", b""))
    assert check_state_proof(StateMap().prove(key), StateMap().root, key) is None


@pytest.mark.parametrize(("count", "shared"), [(40, 0), (300, 0), (300, 20)])
def test_a_proof_for_one_key_shows_nothing_untrue_of_another(count: int, shared: int) -> None:
    content = make_content(2, count, shared)
    state = StateMap().update(content)
    others = [*list(content)[:60], *make_keys(Random(3), 20, 0)]
    for mine in list(content)[:60]:
        proof = state.prove(mine)
        for other in others:
            # Keys of one bucket share their proof; what it says of each is true, or it says nothing.
            if not refuses(proof, state.root, other):
                assert check_state_proof(proof, state.root, other) == content.get(other)
                assert state.prove(other) == proof


def test_a_proof_holds_under_its_own_root_only() -> None:
    content = make_content(4, 200)
    state = StateMap().update(content)
    key = next(iter(content))
    later = state.update({key: value_digest(b"new")})
    for at in range(32):
        changed = Digest(bytes(each ^ (1 if place == at else 0) for place, each in enumerate(state.root)))
        assert refuses(state.prove(key), changed, key)
    assert refuses(state.prove(key), later.root, key)
    assert check_state_proof(later.prove(key), later.root, key) == value_digest(b"new")


def test_ground_keys_only_lengthen_the_path_by_lone_levels() -> None:
    """Chosen keys: 400 that share 60 hexadecimal digits, among ordinary ones."""
    ground = make_content(5, 400, 60)
    content = {**make_content(6, 40), **ground}
    state = StateMap().update(content)
    assert state.root == model_root(content)
    # At most 64 levels, of which 58 or more are lone: a bitmap of 2 bytes, with 2 of MessagePack. The
    # ordinary keys give the first two levels up to 15 siblings of 32 bytes, and the ground keys those
    # after their shared digits; then there is a bucket.
    full = 3 + 2 + 15 * 32
    bound = 58 * (2 + 2) + (64 - 58) * full + 64 * 64 + 32
    for key, value in ground.items():
        proof = state.prove(key)
        assert 60 < len(proof.path) <= 64
        assert sum(len(step) == 2 for step in proof.path) >= 58
        assert len(proof.encode()) <= bound
        assert check_state_proof(StateProof.decode(proof.encode()), state.root, key) == value


def test_the_map_works_at_its_full_depth() -> None:
    """All 256 keys that share 62 of 64 hexadecimal digits, less some that are proved absent."""
    prefix = sha256(b"prefix").digest()[:31]
    every = [Digest(prefix + bytes([last])) for last in range(256)]
    content = {key: value_digest(key) for key in every if key[-1] % 5}
    state = StateMap()
    for key, value in content.items():
        state = state.update({key: value})
    assert state.root == model_root(content)
    assert max(len(state.prove(key).path) for key in every) == 63
    for key in every:
        proof = StateProof.decode(state.prove(key).encode())
        assert check_state_proof(proof, state.root, key) == content.get(key)


@pytest.mark.parametrize(("count", "shared"), [(20, 0), (90, 0), (80, 3)])
def test_no_byte_of_a_proof_can_change(count: int, shared: int) -> None:
    content = make_content(7, count, shared)
    state = StateMap().update(content)
    present = next(iter(content))
    absent = Digest(present[:-1] + bytes([present[-1] ^ 1]))
    elsewhere = make_keys(Random(8), 1, 0)[0]
    for key in (present, absent, elsewhere):
        honest = state.prove(key).encode()
        assert check_state_proof(StateProof.decode(honest), state.root, key) == content.get(key)
        for at in range(len(honest)):
            for mask in (0x01, 0x80, 0xFF):
                changed = honest[:at] + bytes([honest[at] ^ mask]) + honest[at + 1 :]
                with pytest.raises((InvalidInput, ProofError)):
                    check_state_proof(StateProof.decode(changed), state.root, key)


def test_forged_proofs_are_refused() -> None:
    content = make_content(9, 1500)
    state = StateMap().update(content)
    key = next(iter(content))
    honest = state.prove(key)
    bucket = honest.bucket
    assert len(honest.path) == 2
    assert bucket is not None
    pairs = [bucket[at : at + 64] for at in range(0, len(bucket), 64)]
    assert len(pairs) > 2
    without = b"".join(pair for pair in pairs if pair[:32] != key)
    bitmap = int.from_bytes(honest.path[-1][:2], "big")
    own = key[0] & 15
    no_child = (bitmap & ~(1 << own)).to_bytes(2, "big") + honest.path[-1][2:]
    forgeries = {
        "the key left out of its bucket": replace(honest, bucket=without),
        "no bucket": replace(honest, bucket=None),
        "no bucket, and no child above it": StateProof((honest.path[0], no_child), None),
        "an empty bucket": replace(honest, bucket=b""),
        "a bucket out of order": replace(honest, bucket=b"".join(reversed(pairs))),
        "a pair twice": replace(honest, bucket=pairs[0] + bucket),
        "half a pair": replace(honest, bucket=bucket[:-32]),
        "a pair of another place": replace(honest, bucket=bytes(64) + bucket),
        "a level too few": replace(honest, path=honest.path[:-1]),
        "a level twice": replace(honest, path=(*honest.path, honest.path[-1])),
        "a lone level more": replace(honest, path=(*honest.path, (1 << 15).to_bytes(2, "big"))),
        "levels swapped": replace(honest, path=honest.path[::-1]),
        "no path": replace(honest, path=()),
        "nothing at all": StateProof((), None),
        "an empty map": StateProof((), b""),
    }
    accepted = [name for name, forged in forgeries.items() if not refuses(forged, state.root, key)]
    assert accepted == []


def test_presence_cannot_be_forged_where_an_inner_node_has_no_child() -> None:
    """The digest of an inner node says nothing of a child that its bitmap lacks."""
    content = {key: value for key, value in make_content(12, 100).items() if key[0] >> 4 != 7}
    state = StateMap().update(content)
    key = Digest(b"\x77" * 32)
    honest = state.prove(key)
    assert (len(honest.path), honest.bucket) == (1, None)
    assert check_state_proof(honest, state.root, key) is None
    for bucket in (key + value_digest(b"forged"), b""):
        assert refuses(replace(honest, bucket=bucket), state.root, key)
    bitmap = int.from_bytes(honest.path[0][:2], "big")
    claimed = (bitmap | 1 << 7).to_bytes(2, "big") + honest.path[0][2:]
    for shown in (None, b"", key + value_digest(b"forged")):
        assert refuses(StateProof((claimed,), shown), state.root, key)


def test_malformed_nodes_prove_nothing_even_under_a_root_made_of_them() -> None:
    """A map that no honest party made: one key with two values, or keys out of order or place."""
    low, high = Digest(b"\x10" * 32), Digest(b"\x20" * 32)
    one, two = value_digest(b"one"), value_digest(b"two")

    def top(bucket: bytes) -> Digest:
        return Digest(h("root", h("bucket", bucket)))

    good = low + one + high + two
    assert check_state_proof(StateProof((), good), top(good), low) == one
    for bucket in (high + two + low + one, low + one + low + two, good + low + one, good + b"\x30" * 63):
        for key in (low, high):
            assert refuses(StateProof((), bucket), top(bucket), key)
    # The child for the digit 1 holds a key that begins with 2.
    level = (1 << 1).to_bytes(2, "big")
    for bucket in (good, high + two):
        root = Digest(h("root", h("inner", level + h("bucket", bucket))))
        for key in (low, high):
            assert refuses(StateProof((level,), bucket), root, key)
    # Too many or too few children for the bitmap.
    bucket = low + one
    for step in (level + bytes(32), (3 << 1).to_bytes(2, "big")):
        root = Digest(h("root", h("inner", step + h("bucket", bucket))))
        assert refuses(StateProof((step,), bucket), root, low)


def test_an_update_leaves_older_versions_as_they_were() -> None:
    random = Random(10)
    keys = make_keys(random, 400, 0)
    content: Content = {}
    versions: list[tuple[StateMap, Content]] = []
    state = StateMap()
    for _ in range(12):
        changes = {key: Digest(random.randbytes(32)) for key in random.sample(keys, 60)}
        content = {**content, **changes}
        state = state.update(changes)
        versions.append((state, content))
    for version, expected in versions:
        assert version.root == model_root(expected)
        for key in keys[::7]:
            assert check_state_proof(version.prove(key), version.root, key) == expected.get(key)
    assert len({version.root for version, _ in versions}) == len(versions)


def test_an_update_of_nothing_changes_nothing() -> None:
    state = StateMap().update(make_content(11, 100))
    key = next(iter(make_content(11, 100)))
    value = state.get(key)
    assert value is not None
    assert state.update({}).root == state.root
    assert state.update({key: value}).root == state.root
