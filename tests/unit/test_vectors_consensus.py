"""`tests/vectors/consensus.json`: what validators sign, and what travels between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from credchain.consensus.messages import (
    NewView,
    PrePrepare,
    ViewChange,
    Vote,
    decode_message,
    encode_message,
)
from credchain.encoding import Digest, digest
from credchain.keys import PublicKey, SigningKey, verify

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors/consensus.json").read_text())
NETWORK = Digest(bytes.fromhex(VECTORS["network"]))


def test_keys_and_block() -> None:
    for each in VECTORS["validators"]:
        assert SigningKey.from_seed(bytes.fromhex(each["seed"])).public == bytes.fromhex(each["key"])
    assert digest("header", bytes.fromhex(VECTORS["header"])).hex() == VECTORS["block"]


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: str(case["name"]))
def test_a_message(case: Any) -> None:
    wire = bytes.fromhex(case["wire"])
    message = decode_message(wire)
    assert encode_message(message) == wire
    statement = message.vote if isinstance(message, PrePrepare) else message
    if not isinstance(statement, Vote | ViewChange | NewView):
        assert case["signed"] is None
        return
    signed = statement.signed(NETWORK)
    assert signed.hex() == case["signed"]
    validator = VECTORS["validators"][statement.validator]
    assert verify(PublicKey(bytes.fromhex(validator["key"])), signed, statement.signature)
    key = SigningKey.from_seed(bytes.fromhex(validator["seed"]))
    assert key.sign(signed) == statement.signature
