"""Holder subjects: what the link secret gives, and openings of the commitment to them."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from credchain import merkle
from credchain.credentials.subjects import (
    MOST_CATEGORIES,
    SALT_BYTES,
    HolderSubjects,
    Opening,
    holder_subject,
)
from credchain.encoding import decode_record
from credchain.errors import InvalidInput, ProofError
from tests.ledger_world import some_digest
from tests.values import replace

SECRET = some_digest("link secret")
NAMES = ("cme_credit", "dea_registration", "fellowship", "life_support", "residency")


def subjects(count: int = 5, secret: bytes = SECRET) -> HolderSubjects:
    return HolderSubjects.of(secret, [f"category_{number:03d}" for number in range(count)])


def test_a_subject_is_an_hmac_written_by_hand() -> None:
    by_hand = b"\x82\xa8category\xaacme_credit\xa7purpose\xbbcredchain/v1/subject-holder"
    assert holder_subject(SECRET, "cme_credit") == hmac.new(SECRET, by_hand, hashlib.sha256).digest()


def test_the_order_in_which_categories_are_named_does_not_matter() -> None:
    expected = HolderSubjects.of(SECRET, NAMES)
    assert HolderSubjects.of(SECRET, [*reversed(NAMES), NAMES[0]]) == expected
    assert expected.categories == NAMES


def test_secrets_and_categories_give_other_subjects_salts_and_roots() -> None:
    found = [HolderSubjects.of(secret, NAMES) for secret in (SECRET, some_digest("another"))]
    openings = [each.open(name) for each in found for name in NAMES]
    assert len({each.subject for each in openings}) == len({each.salt for each in openings}) == 10
    assert len({*(each.root for each in found), HolderSubjects.of(SECRET, NAMES[:4]).root}) == 3
    assert all(each.salt != each.subject[:SALT_BYTES] for each in openings)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_secret_of_another_length(length: int) -> None:
    with pytest.raises(InvalidInput):
        HolderSubjects.of(b"s" * length, NAMES)


@pytest.mark.parametrize("count", [*range(1, 18), 31, 33, MOST_CATEGORIES])
def test_each_leaf_opens_at_its_own_place_only(count: int) -> None:
    found = subjects(count)
    root = found.root
    for name in found.categories:
        opening = found.open(name)
        assert opening.opens(root)
        assert not replace(opening, index=(opening.index + 1) % count).opens(root) or count == 1
        assert not opening.opens(subjects(count, some_digest("another")).root)


def test_a_category_that_was_not_committed_to() -> None:
    with pytest.raises(InvalidInput) as caught:
        HolderSubjects.of(SECRET, NAMES).open("zoology")
    assert "residency" in caught.value.hint


def test_an_opening_changed_in_any_part() -> None:
    found = subjects()
    opening = found.open("category_002")
    path = opening.path
    changes: list[dict[str, Any]] = [
        {"category": "category_003"},
        {"subject": some_digest("x")},
        {"salt": b"x" * SALT_BYTES},
        {"index": 1},
        {"index": -1},
        {"index": 5},
        {"count": 2},
        {"count": 0},
        {"path": b""},
        {"path": path[32:]},
        {"path": path + path[:32]},
        {"path": path[32:] + path[:32]},
        {"path": some_digest("x") + path[32:]},
    ]
    for change in changes:
        try:
            altered = replace(opening, **change)
        except InvalidInput:
            continue
        assert not altered.opens(found.root), change


def test_every_byte_of_an_encoded_opening() -> None:
    found = subjects(6)
    opening = found.open("category_004")
    data = bytearray(opening.encode())
    assert decode_record(bytes(data), Opening, "opening") == opening
    for index in range(len(data)):
        data[index] ^= 1
        try:
            altered = decode_record(bytes(data), Opening, "opening")
        except InvalidInput:
            pass
        else:
            assert not altered.opens(found.root), index
        data[index] ^= 1


@pytest.mark.parametrize(
    ("index", "count", "path"),
    [(0, 0, b""), (1, 1, b""), (-1, 1, b""), (0, MOST_CATEGORIES + 1, b""), (0, 2, b"x" * 31)],
)
def test_what_cannot_be_an_opening(index: int, count: int, path: bytes) -> None:
    with pytest.raises(InvalidInput):
        Opening(
            category="cme_credit",
            subject=some_digest("s"),
            salt=b"s" * SALT_BYTES,
            index=index,
            count=count,
            path=path,
        )


# The tree


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_a_leaf_of_one_tree_is_none_of_another(count: int) -> None:
    leaves = [merkle.leaf(bytes([number]), "subject") for number in range(count)]
    root = merkle.root(leaves, "subject")
    merkle.check_path(root, count, 0, leaves[0], merkle.path(leaves, 0, "subject"), "subject")
    assert merkle.leaf(b"\x00", "tx") != leaves[0]
    if count > 1:
        assert merkle.root(leaves, "tx") != root
        with pytest.raises(ProofError):
            merkle.check_path(root, count, 0, leaves[0], merkle.path(leaves, 0, "subject"), "tx")


def test_an_inner_node_is_no_leaf() -> None:
    leaves = [merkle.leaf(bytes([number]), "subject") for number in range(4)]
    root = merkle.root(leaves, "subject")
    left, right = merkle.root(leaves[:2], "subject"), merkle.root(leaves[2:], "subject")
    assert merkle.leaf(left + right, "subject") != root
    assert merkle.root([], "subject") != merkle.root([], "tx")
