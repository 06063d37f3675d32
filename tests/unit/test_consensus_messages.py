"""Messages between validators: each kind there and back, and hostile bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credchain.certificates import Height, View
from credchain.consensus.messages import (
    COMMIT,
    PREPARE,
    Beacon,
    Blocks,
    Body,
    CertifiedBlock,
    FetchBlocks,
    FetchBody,
    Message,
    PrePrepare,
    TipQuery,
    TipReply,
    decode_message,
    encode_message,
)
from credchain.encoding import encode
from credchain.errors import InvalidInput

from .consensus_helpers import (
    NETWORK,
    block,
    certificate,
    digest_of,
    header,
    new_view,
    prepared,
    view_change,
    vote,
)

A = header(tag=1)
ID = digest_of(A)
CHANGES = (
    view_change(1, 1, 0, prepared(1, 0, A)),
    view_change(1, 1, 1),
    view_change(1, 1, 2, None, certificate(COMMIT, 1, 0, ID)),
)
MESSAGES: list[Message] = [
    vote(PREPARE, 1, 0, ID, 1),
    vote(COMMIT, 1, 2**53 - 1, ID, 1),
    PrePrepare(vote(PREPARE, 1, 0, ID, 0), block(A)),
    *CHANGES,
    new_view(1, 1, CHANGES),
    Beacon(Height(5), View(7), has_new_view=True, has_proposal=False),
    FetchBlocks(Height(3)),
    Blocks(Height(1), (CertifiedBlock(block(A), certificate(COMMIT, 1, 0, ID)),)),
    Blocks(Height(1), ()),
    FetchBody(Height(1), ID),
    Body(Height(1), block(A)),
    TipQuery(bytes(32)),
    TipReply(bytes(32), 0, None, None),
    TipReply(bytes(32), 1, A, certificate(COMMIT, 1, 0, ID)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_is_read_back_as_it_was(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_a_prepare_is_no_commit_and_names_its_place() -> None:
    """Purpose, network, height, view and block are all in what is signed."""
    base = vote(PREPARE, 1, 0, ID, 1).signed(NETWORK)
    others = [
        vote(COMMIT, 1, 0, ID, 1).signed(NETWORK),
        vote(PREPARE, 2, 0, ID, 1).signed(NETWORK),
        vote(PREPARE, 1, 1, ID, 1).signed(NETWORK),
        vote(PREPARE, 1, 0, digest_of(header(tag=2)), 1).signed(NETWORK),
        vote(PREPARE, 1, 0, ID, 1).signed(ID),
    ]
    assert len({base, *others}) == 6
    assert vote(PREPARE, 1, 0, ID, 1).signed(NETWORK) == vote(PREPARE, 1, 0, ID, 3).signed(NETWORK)


def test_all_of_a_view_change_is_signed() -> None:
    parent = certificate(COMMIT, 1, 0, ID)
    made = [
        view_change(2, 1, 0),
        view_change(3, 1, 0),
        view_change(2, 2, 0),
        view_change(2, 1, 1),
        view_change(2, 1, 0, prepared(2, 0, A)),
        view_change(2, 1, 0, None, parent),
    ]
    assert len({each.signed(NETWORK) for each in made}) == len(made)
    assert new_view(1, 1, CHANGES).signed(NETWORK) != new_view(1, 1, CHANGES[:2]).signed(NETWORK)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_cut_or_lengthened_bytes_are_refused(message: Message) -> None:
    data = encode_message(message)
    for changed in (data[:-1], data + b"\x00", b"", data[: len(data) // 2]):
        with pytest.raises(InvalidInput):
            decode_message(changed)


@given(st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_message(data)


@given(st.sampled_from(MESSAGES), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_another_message(message: Message, place: int, flip: int) -> None:
    data = bytearray(encode_message(message))
    data[place % len(data)] ^= flip
    try:
        found = decode_message(bytes(data))
    except InvalidInput:
        return
    assert found != message
    assert encode_message(found) == bytes(data)


def test_a_proposal_carries_no_commit() -> None:
    def proposal(phase: str) -> bytes:
        message = {"vote": vote(phase, 1, 0, ID, 0).fields(), "block": block(A)}
        return encode({"kind": "pre_prepare", "message": message})

    assert isinstance(decode_message(proposal(PREPARE)), PrePrepare)
    with pytest.raises(InvalidInput, match="prepare"):
        decode_message(proposal(COMMIT))
