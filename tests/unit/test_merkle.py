"""The tree over a block's transactions against RFC 6962, section 2.1, written out here again."""

from __future__ import annotations

from hashlib import sha256

import pytest

from credchain import merkle
from credchain.encoding import Digest
from credchain.errors import ProofError

SIZES = range(71)


def h(purpose: str, data: bytes) -> bytes:
    return sha256(b"credchain/v1/" + purpose.encode() + b"\x00" + data).digest()


def entries(count: int) -> list[bytes]:
    return [f"transaction {number}".encode() for number in range(count)]


def leaves(count: int) -> list[Digest]:
    return [merkle.leaf(each) for each in entries(count)]


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def rfc_head(data: list[bytes]) -> bytes:
    """MTH(D[n]), section 2.1."""
    if not data:
        return h("tx-empty", b"")
    if len(data) == 1:
        return h("tx-leaf", data[0])
    k = largest_power_below(len(data))
    return h("tx-node", rfc_head(data[:k]) + rfc_head(data[k:]))


def rfc_path(m: int, data: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]), section 2.1.1."""
    if len(data) == 1:
        return []
    k = largest_power_below(len(data))
    if m < k:
        return [*rfc_path(m, data[:k]), rfc_head(data[k:])]
    return [*rfc_path(m - k, data[k:]), rfc_head(data[:k])]


@pytest.mark.parametrize("count", SIZES)
def test_heads_and_paths_are_those_of_the_rfc(count: int) -> None:
    data, found = entries(count), leaves(count)
    head = merkle.root(found)
    assert head == rfc_head(data)
    for index in range(count):
        path = merkle.path(found, index)
        assert list(path) == rfc_path(index, data)
        merkle.check_path(head, count, index, found[index], path)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 33, 64, 70])
def test_a_path_shows_its_own_leaf_at_its_own_place_only(count: int) -> None:
    found = leaves(count)
    head = merkle.root(found)
    for index in range(count):
        path = merkle.path(found, index)
        for other in range(count):
            if other != index:
                with pytest.raises(ProofError):
                    merkle.check_path(head, count, other, found[index], path)
                with pytest.raises(ProofError):
                    merkle.check_path(head, count, index, found[other], path)
                with pytest.raises(ProofError):
                    merkle.check_path(head, count, other, found[other], path)


@pytest.mark.parametrize("count", [2, 3, 7, 8, 9, 33, 64, 70])
def test_every_change_of_a_path_is_refused(count: int) -> None:
    found = leaves(count)
    head = merkle.root(found)
    for index in range(count):
        path = merkle.path(found, index)
        changed = [
            (*path[:at], Digest(bytes(32)), *path[at + 1 :]) for at in range(len(path)) if any(path[at])
        ]
        forged = [*changed, path[:-1], path[1:], (*path, path[-1]), (path[0], *path), ()]
        if len(path) > 1:
            forged.append(path[::-1])
        for each in forged:
            with pytest.raises(ProofError):
                merkle.check_path(head, count, index, found[index], each)


def rfc_path_length(m: int, count: int) -> int:
    if count == 1:
        return 0
    k = largest_power_below(count)
    return 1 + (rfc_path_length(m, k) if m < k else rfc_path_length(m - k, count - k))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 31, 64, 70])
def test_a_wrong_count_is_refused_where_it_gives_the_path_another_length(count: int) -> None:
    found = leaves(count)
    head = merkle.root(found)
    for index in range(count):
        path = merkle.path(found, index)
        for wrong in (*range(140), 2**40, 2**53 - 1):
            if wrong <= index or rfc_path_length(index, wrong) != len(path):
                with pytest.raises(ProofError):
                    merkle.check_path(head, wrong, index, found[index], path)


@pytest.mark.parametrize("index", [-1, 5, 6, 2**53 - 1])
def test_an_index_outside_the_tree_is_refused(index: int) -> None:
    found = leaves(5)
    with pytest.raises(ProofError):
        merkle.check_path(merkle.root(found), 5, index, found[-1], merkle.path(found, 4))
    with pytest.raises(ProofError):
        merkle.check_path(merkle.root(found), 5, index, found[0], merkle.path(found, 0))


def test_an_empty_tree_holds_nothing() -> None:
    empty = merkle.root([])
    assert empty not in {merkle.root(leaves(count)) for count in range(1, 71)}
    with pytest.raises(ProofError):
        merkle.check_path(empty, 0, 0, leaves(1)[0], ())


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    """The second-preimage attack that the two prefixes are for (RFC 6962, 2.1)."""
    found = leaves(4)
    inner = found[0] + found[1]
    head = merkle.root(found)
    with pytest.raises(ProofError):
        merkle.check_path(head, 2, 0, merkle.leaf(inner), merkle.path(found, 0)[1:])
