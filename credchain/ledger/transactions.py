"""Transactions: operations of one sender under one signature. All apply, or none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .. import keys
from ..certificates import Millis
from ..encoding import Digest, Fields, Value, decode, digest, encode
from ..errors import InvalidInput
from ..keys import Did, PublicKey, SigningKey
from .operations import Operation, read_operation

MAX_OPERATIONS = 1_000
MAX_BYTES = 2 * 2**20


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
        return encode(_body_fields(self))

    @cached_property
    def id(self) -> Digest:
        return digest("transaction", self.body)

    @cached_property
    def encoded(self) -> bytes:
        return keys.encode_signed(self.body, self.signature)

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

        def read(fields: Fields) -> Transaction:
            operations = fields.maps("operations", read_operation, at_most=MAX_OPERATIONS)
            if not operations:
                raise InvalidInput("a transaction has at least one operation", field="operations")
            return Transaction(
                network=fields.digest("network"),
                sender=keys.check_did(fields.text("sender"), "sender"),
                key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
                expiry=Millis(fields.integer("expiry")),
                operations=operations,
                signature=signature,
            )

        transaction = decode(body, read, _body_fields, "transaction", max_bytes=MAX_BYTES)
        transaction.__dict__.update(body=body, encoded=data)
        return transaction


def _body_fields(transaction: Transaction) -> Value:
    return {
        "network": transaction.network,
        "sender": transaction.sender,
        "key": transaction.key,
        "expiry": transaction.expiry,
        "operations": [each.fields() for each in transaction.operations],
    }
