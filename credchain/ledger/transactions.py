"""Transactions: operations of one sender under one signature. All apply, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from msgspec import Meta

from .. import keys
from ..certificates import Millis
from ..encoding import BYTES_32, NATURAL, Digest, Record, decode_record, digest
from ..errors import InvalidInput
from ..keys import Did, PublicKey, SigningKey
from ..limits import LIMITS
from ..merkle import leaf
from .blocks import MAX_TRANSACTION_BYTES
from .operations import NAMES, Operation

MAX_OPERATIONS = 1_000
MAX_BYTES = MAX_TRANSACTION_BYTES


@dataclass(frozen=True)
class Transaction:
    """``expiry`` is in milliseconds of block time. The id is the digest of the body, unsigned."""

    network: Digest
    sender: Did
    key: PublicKey
    expiry: Millis
    operations: tuple[Operation, ...]
    signature: bytes

    @cached_property
    def body(self) -> bytes:
        """What is signed."""
        return _Body(self.network, self.sender, self.key, self.expiry, self.operations).encode()

    @cached_property
    def id(self) -> Digest:
        return digest("transaction", self.body)

    @cached_property
    def encoded(self) -> bytes:
        return keys.encode_signed(self.body, self.signature)

    @cached_property
    def leaf(self) -> Digest:
        """Of the wire bytes, signature included, in a block's Merkle tree."""
        return leaf(self.encoded)

    def signature_holds(self) -> bool:
        return keys.verify(self.key, self.id, self.signature)

    @staticmethod
    def sign(
        network: Digest,
        sender: Did,
        signer: SigningKey,
        expiry: Millis,
        operations: tuple[Operation, ...],
    ) -> Transaction:
        unsigned = Transaction(network, sender, signer.public, expiry, operations, b"")
        signature = signer.sign(unsigned.id)
        return Transaction(network, sender, signer.public, expiry, operations, signature)

    @staticmethod
    def decode(data: bytes) -> Transaction:
        """From the wire; InvalidInput for anything but the canonical bytes."""
        body, signature = keys.decode_signed(data, "transaction", max_bytes=MAX_BYTES)
        try:
            read = decode_record(body, _Body, "transaction", max_bytes=MAX_BYTES)
        except InvalidInput as problem:
            raise _unknown_operation(problem) from problem
        transaction = Transaction(
            read.network, read.sender, read.key, read.expiry, read.operations, signature
        )
        transaction.__dict__.update(body=body, encoded=data)
        return transaction


class _Body(Record, frozen=True):
    """What is signed."""

    network: Annotated[Digest, BYTES_32]
    sender: Did
    key: Annotated[PublicKey, BYTES_32]
    expiry: Annotated[Millis, NATURAL]
    operations: Annotated[tuple[Operation, ...], Meta(max_length=MAX_OPERATIONS)]

    def __post_init__(self) -> None:
        keys.check_did(self.sender, "sender")
        if not self.operations:
            raise InvalidInput("a transaction has at least one operation", field="operations")


def _unknown_operation(problem: InvalidInput) -> InvalidInput:
    """The problem, with what would be known where an operation is not."""
    if not problem.field.endswith(".op") or "Invalid value" not in problem.message:
        return problem
    return InvalidInput(problem.message, field=problem.field, hint=f"known are {', '.join(NAMES)}")


class _Batch(Record, frozen=True):
    transactions: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MAX_BYTES)], ...],
        Meta(min_length=1, max_length=LIMITS.transactions_per_batch),
    ]


def encode_batch(transactions: Sequence[bytes]) -> bytes:
    """Wire bytes of several transactions, as they travel together: to a node, and between nodes."""
    return _Batch(tuple(transactions)).encode_checked()


def decode_batch(data: bytes) -> tuple[bytes, ...]:
    """The wire bytes of each; InvalidInput. The transactions themselves are not looked at."""
    return decode_record(data, _Batch, "batch").transactions
