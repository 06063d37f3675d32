"""The state map against a naive model, and its proofs against forgery.

The model is written from the docstring alone: the entries whose keys begin with some bits are a bucket
where they are at most 8, and else an inner node of those that go on with 0 and those that go on with 1;
every digest has its purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credchain.encoding import Digest
from credchain.errors import InvalidInput, ProofError
from credchain.ledger.proofs import StateProof, check_state_proof
from credchain.ledger.statemap import StateMap, value_digest
from tests.values import replace

Content = dict[Digest, Digest]


def h(purpose: str, data: bytes) -> bytes:
    return sha256(b"credchain/v1/" + purpose.encode() + b"\x00" + data).digest()


def bits(key: bytes) -> str:
    return format(int.from_bytes(key, "big"), "0256b")


def of_bits(text: str) -> Digest:
    return Digest(int(text, 2).to_bytes(32, "big"))


def turned(key: bytes, place: int) -> Digest:
    """The key with one bit changed."""
    text = bits(key)
    return of_bits(text[:place] + ("0" if text[place] == "1" else "1") + text[place + 1 :])


def shared_bits(one: bytes, other: bytes) -> int:
    """How many leading bits two different keys have in common."""
    return next(at for at in range(256) if bits(one)[at] != bits(other)[at])


def model_bucket(content: Mapping[str, bytes], prefix: str) -> bytes:
    return b"".join(content[name] for name in sorted(content) if name.startswith(prefix))


def model_node(content: Mapping[str, bytes], prefix: str) -> bytes:
    below = {name: pair for name, pair in content.items() if name.startswith(prefix)}
    if len(below) <= 8:
        return h("bucket", model_bucket(below, prefix))
    return h("inner", model_node(below, prefix + "0") + model_node(below, prefix + "1"))


def model_content(content: Mapping[Digest, Digest]) -> dict[str, bytes]:
    return {bits(key): key + value for key, value in content.items()}


def model_root(content: Mapping[Digest, Digest]) -> bytes:
    return h("root", model_node(model_content(content), ""))


def model_proof(content: Mapping[Digest, Digest], key: Digest) -> tuple[bytes, bytes]:
    """(path, bucket): the siblings from the top down to where at most 8 entries begin as the key does."""
    below, path, depth = model_content(content), b"", 0
    while len(below) > 8:
        prefix, other = bits(key)[: depth + 1], bits(turned(key, depth))[: depth + 1]
        path += model_node(below, other)
        below = {name: pair for name, pair in below.items() if name.startswith(prefix)}
        depth += 1
    return path, model_bucket(below, "")


def climb(path: bytes, bucket: bytes, key: Digest) -> Digest:
    """The root that a proof leads to, whatever its form: what remains to refuse is the form."""
    current = h("bucket", bucket)
    for level in reversed(range(len(path) // 32)):
        sibling = path[32 * level : 32 * level + 32]
        right = (bits(key) + "0")[level] == "1"
        current = h("inner", sibling + current if right else current + sibling)
    return Digest(h("root", current))


def make_keys(random: Random, count: int, shared: int) -> list[Digest]:
    """Distinct keys whose first ``shared`` bits are equal; all such keys if there are no more."""
    prefix = format(random.getrandbits(256), "0256b")[:shared]
    tail = 256 - shared
    found: set[int] = set()
    while len(found) < min(count, 2**tail):
        found.add(random.getrandbits(tail))
    keys = [of_bits(prefix + format(each, f"0{tail}b")) for each in sorted(found)]
    random.shuffle(keys)
    return keys


def make_content(seed: int, count: int, shared: int = 0, ordinary: int = 0) -> Content:
    """So many keys that share leading bits, and so many ordinary ones beside them."""
    random = Random(seed)
    keys = make_keys(random, count, shared) + make_keys(random, ordinary, 0)
    return {key: Digest(random.randbytes(32)) for key in keys}


def pairs_of(bucket: bytes) -> list[bytes]:
    return [bucket[at : at + 64] for at in range(0, len(bucket), 64)]


def refuses(proof: StateProof, root: Digest, key: Digest) -> bool:
    try:
        check_state_proof(proof, root, key)
    except ProofError:
        return True
    return False


def accepted(forgeries: Mapping[str, StateProof], root: Digest, key: Digest) -> list[str]:
    return [name for name, forged in forgeries.items() if not refuses(forged, root, key)]


counts = st.one_of(st.integers(0, 20), st.integers(0, 200))
contents = st.builds(make_content, st.integers(0, 2**32), counts, st.integers(0, 252), st.integers(0, 30))


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


@pytest.mark.parametrize("shared", [0, 1, 7, 8, 9, 128, 252])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 10, 16])
def test_key_by_key_and_all_at_once_are_one_map(count: int, shared: int) -> None:
    content = make_content(13, count, shared)
    for order in (list(content), sorted(content), sorted(content, reverse=True)):
        state = StateMap()
        for done, key in enumerate(order, 1):
            state = state.update({key: content[key]})
            assert state.root == model_root({each: content[each] for each in order[:done]})
    assert state.root == StateMap().update(content).root


@settings(max_examples=25, deadline=None)
@given(contents, st.integers(0, 2**32))
def test_presence_and_absence_are_proved_under_the_models_root(content: Content, seed: int) -> None:
    random = Random(seed)
    root = Digest(model_root(content))
    state = StateMap().update(content)
    near = [turned(key, 255) for key in list(content)[:20]]
    beside = [turned(key, random.randrange(256)) for key in list(content)[:20]]
    far = make_keys(random, 10, 0)
    for key in (*content, *near, *beside, *far):
        proof = StateProof.decode(state.prove(key).encode())
        assert check_state_proof(proof, root, key) == content.get(key)
        assert state.get(key) == content.get(key)


@pytest.mark.parametrize(
    ("count", "shared", "ordinary"), [(3, 0, 0), (9, 0, 0), (100, 0, 0), (20, 100, 20), (12, 252, 5)]
)
def test_a_proof_is_the_models_in_its_very_bytes(count: int, shared: int, ordinary: int) -> None:
    content = make_content(14, count, shared, ordinary)
    state = StateMap().update(content)
    keys = list(content)
    beside = [turned(keys[0], place) for place in range(0, 256, 15)]
    for key in (*keys, *(turned(each, 255) for each in keys), *beside):
        path, bucket = model_proof(content, key)
        assert state.prove(key) == StateProof(path, bucket)
        assert state.prove(key).encode() == msgpack.packb({"bucket": bucket, "path": path})


def test_the_empty_map_proves_absence() -> None:
    key = make_keys(Random(1), 1, 0)[0]
    assert StateMap().root == h("root", h("bucket", b""))
    assert StateMap().prove(key) == StateProof(b"", b"")
    assert check_state_proof(StateMap().prove(key), StateMap().root, key) is None
    assert StateMap().get(key) is None
    assert refuses(StateMap().prove(key), StateMap().update({key: key}).root, key)


@pytest.mark.parametrize(("count", "shared"), [(6, 0), (40, 0), (300, 0), (300, 80), (16, 252)])
def test_a_proof_for_one_key_shows_nothing_untrue_of_another(count: int, shared: int) -> None:
    content = make_content(2, count, shared)
    state = StateMap().update(content)
    others = [*list(content)[:60], *make_keys(Random(3), 20, 0)]
    others += [turned(next(iter(content)), place) for place in range(0, 256, 17)]
    for mine in list(content)[:40]:
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
    for place in range(256):
        assert refuses(state.prove(key), turned(state.root, place), key)
    assert refuses(state.prove(key), later.root, key)
    assert refuses(later.prove(key), state.root, key)
    assert check_state_proof(later.prove(key), later.root, key) == value_digest(b"new")


@pytest.mark.parametrize(("count", "shared"), [(400, 240), (60, 250), (30, 251), (16, 252), (9, 252)])
def test_ground_keys_only_deepen_their_own_path(count: int, shared: int) -> None:
    """Chosen keys that share most of their bits, among ordinary ones."""
    before = make_content(6, 200)
    ground = make_content(5, count, shared)
    assert len(ground) == count
    content = {**before, **ground}
    state, ordinary = StateMap().update(content), StateMap().update(before)
    assert state.root == ordinary.update(ground).root == model_root(content)
    for key, value in ground.items():
        proof = state.prove(key)
        assert 32 * shared < len(proof.path) <= 32 * 256
        assert len(proof.bucket) <= 512
        assert len(proof.encode()) <= 32 * 256 + 512 + 32
        assert check_state_proof(StateProof.decode(proof.encode()), state.root, key) == value
        absent = turned(key, shared - 1)
        assert absent not in content
        assert check_state_proof(state.prove(absent), state.root, absent) is None
    # An ordinary key leaves the chosen ones' path where its bits differ, and is as deep as it was.
    chosen = next(iter(ground))
    for key, value in before.items():
        proof = state.prove(key)
        deep = max(len(ordinary.prove(key).path), 32 * (shared_bits(key, chosen) + 1))
        assert len(proof.path) == deep
        assert check_state_proof(proof, state.root, key) == value


def test_the_map_works_at_its_full_depth() -> None:
    """All 256 keys that share 248 bits, less some that are proved absent."""
    prefix = sha256(b"prefix").digest()[:31]
    every = [Digest(prefix + bytes([last])) for last in range(256)]
    content = {key: value_digest(key) for key in every if key[-1] % 5}
    state = StateMap()
    for key, value in content.items():
        state = state.update({key: value})
    assert state.root == model_root(content)
    # Nine keys can share 252 bits and not 253, so no path is longer.
    assert max(len(state.prove(key).path) for key in every) == 32 * 253
    for key in every:
        proof = StateProof.decode(state.prove(key).encode())
        assert check_state_proof(proof, state.root, key) == content.get(key)


def test_an_empty_side_at_every_depth_proves_absence_and_never_presence() -> None:
    content = make_content(15, 16, 252)
    state = StateMap().update(content)
    chosen = next(iter(content))
    for place in range(252):
        key = turned(chosen, place)
        proof = state.prove(key)
        assert (len(proof.path), proof.bucket) == (32 * (place + 1), b"")
        assert check_state_proof(StateProof.decode(proof.encode()), state.root, key) is None
        assert refuses(replace(proof, bucket=key + value_digest(b"forged")), state.root, key)
        assert refuses(proof, state.root, chosen)


FLIPPED = [(1, 0, 0), (6, 0, 0), (20, 0, 0), (90, 0, 0), (80, 12, 0), (20, 40, 10)]


@pytest.mark.parametrize(("count", "shared", "ordinary"), FLIPPED)
def test_no_byte_of_a_proof_can_change(count: int, shared: int, ordinary: int) -> None:
    content = make_content(7, count, shared, ordinary)
    state = StateMap().update(content)
    present = next(iter(content))
    elsewhere = make_keys(Random(8), 1, 0)[0]
    for key in (present, turned(present, 255), turned(present, 5), elsewhere):
        honest = state.prove(key).encode()
        assert check_state_proof(StateProof.decode(honest), state.root, key) == content.get(key)
        for at in range(len(honest)):
            for mask in (0x01, 0x80, 0xFF):
                changed = honest[:at] + bytes([honest[at] ^ mask]) + honest[at + 1 :]
                with pytest.raises((InvalidInput, ProofError)):
                    check_state_proof(StateProof.decode(changed), state.root, key)


def test_no_byte_of_the_longest_proof_can_change() -> None:
    content = make_content(16, 16, 252)
    state = StateMap().update(content)
    key = next(iter(content))
    honest = state.prove(key).encode()
    assert len(honest) > 32 * 253 + 512
    for at in range(len(honest)):
        changed = honest[:at] + bytes([honest[at] ^ 1 << at % 8]) + honest[at + 1 :]
        with pytest.raises((InvalidInput, ProofError)):
            check_state_proof(StateProof.decode(changed), state.root, key)


def test_forged_proofs_are_refused() -> None:
    content = make_content(9, 1500)
    state = StateMap().update(content)
    key = next(each for each in content if len(state.prove(each).bucket) >= 4 * 64)
    honest = state.prove(key)
    path, bucket = honest.path, honest.bucket
    assert len(path) >= 6 * 32
    pairs = pairs_of(bucket)
    mine = key + content[key]
    other = value_digest(b"forged")
    levels = [path[at : at + 32] for at in range(0, len(path), 32)]
    forgeries = {
        "the key left out of its bucket": replace(
            honest, bucket=b"".join(pair for pair in pairs if pair != mine)
        ),
        "the key alone": replace(honest, bucket=mine),
        "another value": replace(honest, bucket=bucket.replace(mine, key + other)),
        "another value beside": replace(honest, bucket=b"".join(sorted([*pairs, key + other]))),
        "an empty bucket": replace(honest, bucket=b""),
        "a bucket out of order": replace(honest, bucket=b"".join(reversed(pairs))),
        "a pair twice": replace(honest, bucket=pairs[0] + bucket),
        "half a pair less": replace(honest, bucket=bucket[:-32]),
        "half a pair more": replace(honest, bucket=bucket + b"\xff" * 32),
        "a byte less in the bucket": replace(honest, bucket=bucket[:-1]),
        "a pair of another place": replace(honest, bucket=bytes(64) + bucket),
        "a level too few": replace(honest, path=path[:-32]),
        "a level too few at the top": replace(honest, path=path[32:]),
        "a level twice": replace(honest, path=path + levels[-1]),
        "an empty level more": replace(honest, path=path + h("bucket", b"")),
        "levels swapped": replace(honest, path=b"".join(reversed(levels))),
        "a byte less in the path": replace(honest, path=path[:-1]),
        "a byte more in the path": replace(honest, path=path + b"\x00"),
        "half a level more": replace(honest, path=path + bytes(16)),
        "no path": replace(honest, path=b""),
        "nothing at all": StateProof(b"", b""),
        "the key alone at the top": StateProof(b"", mine),
        "the longest path": StateProof(bytes(32 * 256), bucket),
        "a path longer than a key": StateProof(bytes(32 * 257), bucket),
    }
    assert accepted(forgeries, state.root, key) == []
    for level in range(len(levels)):
        for sibling in (bytes(32), h("bucket", b""), climb(path[32 * level + 32 :], bucket, key)):
            forged = b"".join([*levels[:level], sibling, *levels[level + 1 :]])
            assert refuses(replace(honest, path=forged), state.root, key)


def test_presence_cannot_be_forged_on_a_side_that_has_no_entries() -> None:
    content = {key: value for key, value in make_content(12, 100).items() if key[0] >> 7}
    state = StateMap().update(content)
    key = Digest(b"\x77" * 32)
    honest = state.prove(key)
    assert (len(honest.path), honest.bucket) == (32, b"")
    assert check_state_proof(honest, state.root, key) is None
    forged = key + value_digest(b"forged")
    forgeries = {
        "a bucket": replace(honest, bucket=forged),
        "a bucket with no path": StateProof(b"", forged),
        "a bucket beside the empty one": StateProof(h("bucket", b""), forged),
        "a bucket further down": StateProof(honest.path + h("bucket", b""), forged),
        "the empty bucket further down": StateProof(honest.path + h("bucket", b""), b""),
        "a bucket for the sibling": StateProof(h("bucket", forged), b""),
    }
    assert accepted(forgeries, state.root, key) == []
    # Nor does the empty side show that a key on the other side is absent.
    assert all(refuses(honest, state.root, each) for each in content)


def test_a_node_of_one_kind_is_none_of_another() -> None:
    """Digests carry their purpose: what is hashed is 64 bytes in an inner node and in a bucket of one."""
    content = make_content(17, 40)
    state = StateMap().update(content)
    model = model_content(content)
    left, right = (Digest(model_node(model, side)) for side in "01")
    assert state.root == h("root", h("inner", left + right))
    # The topmost node passed off as a bucket that holds its left child's digest as a key.
    assert refuses(StateProof(b"", left + right), state.root, left)
    assert refuses(StateProof(b"", left + right), state.root, turned(left, 255))
    # A bucket of one passed off as an inner node, its key being the digest of a forged bucket.
    inside = Digest(b"\x11" * 32)
    forged = inside + value_digest(b"forged")
    key, value = Digest(h("bucket", forged)), value_digest(b"chosen")
    single = StateMap().update({key: value})
    assert single.root == h("root", h("bucket", key + value))
    assert refuses(StateProof(value, forged), single.root, inside)
    # The topmost digest is no root, nor is a root a node.
    proof = state.prove(next(iter(content)))
    assert refuses(proof, Digest(h("inner", left + right)), next(iter(content)))
    assert StateMap().root != h("bucket", b"")


# Buckets and paths that no honest party made, each under a root made of them: nothing but the check of
# their form can refuse them.


@pytest.mark.parametrize("depth", [0, 1, 5, 8, 200])
def test_a_malformed_bucket_proves_nothing_even_under_a_root_made_of_it(depth: int) -> None:
    random = Random(depth)
    keys = sorted(make_keys(random, 10, depth))
    low, middle, high = keys[0], keys[4], keys[-1]
    one, two = value_digest(b"one"), value_digest(b"two")
    path = random.randbytes(32 * depth)

    def shows(bucket: bytes, key: Digest) -> Digest | None:
        return check_state_proof(StateProof(path, bucket), climb(path, bucket, key), key)

    good = low + one + high + two
    assert (shows(good, low), shows(good, middle), shows(good, high)) == (one, None, two)
    assert shows(b"".join(key + one for key in keys[:8]), keys[7]) == one
    malformed = {
        "out of order": high + two + low + one,
        "out of order at the end": low + one + high + two + middle + one,
        "one key twice": low + one + low + one,
        "two values of one key": low + one + low + two,
        "two values of the last key": low + one + high + one + high + two,
        "nine keys": b"".join(key + one for key in keys[:9]),
        "half a pair more": good + b"\xff" * 32,
        "a byte more": good + b"\xff",
        "a byte less": good[:-1],
        "a pair less a byte": good + b"\xff" * 63,
        "less than a pair": low,
    }
    for name, bucket in malformed.items():
        for key in (low, middle, high):
            root = climb(path, bucket, key)
            assert refuses(StateProof(path, bucket), root, key), name


@pytest.mark.parametrize("depth", [1, 2, 5, 8, 9, 200, 255, 256])
def test_a_bucket_of_another_place_proves_nothing_even_under_a_root_made_of_it(depth: int) -> None:
    random = Random(depth)
    key = make_keys(random, 1, 0)[0]
    one, two = value_digest(b"one"), value_digest(b"two")
    path = random.randbytes(32 * depth)
    here = key + one
    assert check_state_proof(StateProof(path, here), climb(path, here, key), key) == one
    assert check_state_proof(StateProof(path, b""), climb(path, b"", key), key) is None
    for place in {0, depth // 2, depth - 1}:
        strange = turned(key, place) + two
        for bucket in (strange, b"".join(sorted([here, strange]))):
            assert refuses(StateProof(path, bucket), climb(path, bucket, key), key)
    if depth < 256:
        # The first bit that the path leaves open may differ.
        near = b"".join(sorted([here, turned(key, depth) + two]))
        assert check_state_proof(StateProof(path, near), climb(path, near, key), key) == one


@pytest.mark.parametrize(
    "length", [1, 16, 31, 33, 32 * 5 + 1, 32 * 256 - 1, 32 * 256 + 1, 32 * 257, 32 * 300]
)
def test_a_path_of_a_wrong_length_proves_nothing_even_under_a_root_made_of_it(length: int) -> None:
    random = Random(length)
    key = make_keys(random, 1, 0)[0]
    path = random.randbytes(length)
    for bucket in (b"", key + value_digest(b"one")):
        root = climb(path[: 32 * 257], bucket, key)
        assert refuses(StateProof(path, bucket), root, key)
        with pytest.raises(InvalidInput):
            StateProof.decode(StateProof(path, bucket).encode())


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
@pytest.mark.parametrize("count", [0, 5, 50])
def test_nothing_is_shown_of_a_key_of_a_wrong_length(count: int, length: int) -> None:
    content = make_content(18, count)
    state = StateMap().update(content)
    key = next(iter(content), Digest(bytes(32)))
    proof = state.prove(key)
    strange = Digest((key + bytes(32))[:length])
    assert refuses(proof, state.root, strange)
    if not count:
        assert refuses(StateProof(b"", b""), state.root, strange)


def test_a_decoded_proof_is_of_whole_pairs_and_digests() -> None:
    content = make_content(19, 100)
    honest = StateMap().update(content).prove(next(iter(content)))
    path, bucket = honest.path, honest.bucket
    assert StateProof.decode(honest.encode()) == honest
    longest = StateProof(bytes(32 * 256), bytes(512))
    assert StateProof.decode(longest.encode()) == longest
    malformed: dict[str, dict[str, object]] = {
        "no path": {"bucket": bucket},
        "no bucket": {"path": path},
        "nil for the bucket": {"bucket": None, "path": path},
        "a list for the path": {"bucket": bucket, "path": [path[:32]]},
        "text for the bucket": {"bucket": "", "path": path},
        "an unknown field": {"bucket": bucket, "path": path, "x": 1},
        "fields in another order": {"path": path, "bucket": bucket},
        "nine pairs": {"bucket": bytes(9 * 64), "path": path},
        "half a pair": {"bucket": bucket[:-32], "path": path},
        "a byte more in the bucket": {"bucket": bucket + b"\x00", "path": path},
        "a byte more in the path": {"bucket": bucket, "path": path + b"\x00"},
        "half a sibling": {"bucket": bucket, "path": path[:-16]},
        "257 siblings": {"bucket": bucket, "path": bytes(257 * 32)},
    }
    for name, fields in malformed.items():
        with pytest.raises(InvalidInput):
            StateProof.decode(msgpack.packb(fields))
            pytest.fail(name)
    for data in (b"", honest.encode()[:-1], honest.encode() + b"\x00", bytes(32 * 1024)):
        with pytest.raises(InvalidInput):
            StateProof.decode(data)


@pytest.mark.parametrize("shared", [0, 100, 245])
def test_an_update_leaves_older_versions_as_they_were(shared: int) -> None:
    random = Random(10)
    keys = make_keys(random, 300, shared)
    content: Content = {}
    versions: list[tuple[StateMap, Content]] = []
    state = StateMap()
    for _ in range(12):
        changes = {key: Digest(random.randbytes(32)) for key in random.sample(keys, 40)}
        # A version that nobody goes on from, as of a block that is not committed.
        dropped = {key: Digest(random.randbytes(32)) for key in random.sample(keys, 20)}
        versions.append((state.update(dropped), {**content, **dropped}))
        content = {**content, **changes}
        state = state.update(changes)
        versions.append((state, content))
    for version, expected in versions:
        assert version.root == model_root(expected)
        for key in keys[::7]:
            assert version.get(key) == expected.get(key)
            assert check_state_proof(version.prove(key), version.root, key) == expected.get(key)
    assert len({version.root for version, _ in versions}) == len(versions)


def test_an_update_of_nothing_changes_nothing() -> None:
    state = StateMap().update(make_content(11, 100))
    key = next(iter(make_content(11, 100)))
    value = state.get(key)
    assert value is not None
    assert state.update({}).root == state.root
    assert state.update({key: value}).root == state.root
    changes = {key: value_digest(b"other")}
    assert state.update(changes).root != state.root
    assert changes == {key: value_digest(b"other")}
    assert state.update(changes).update({key: value}).root == state.root
