"""Headers and blocks, and the receipt that a client keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from .. import keys, merkle
from ..certificates import Certificate, Height, Millis, ValidatorSet, View, check_certificate
from ..encoding import (
    BYTES_32,
    NATURAL,
    Digest,
    Record,
    decode_record,
    digest,
)
from ..errors import ProofError
from ..keys import Did
from ..limits import LIMITS

if TYPE_CHECKING:
    from .transactions import Transaction

VERSION = 1
MAX_TRANSACTION_BYTES = 2 * 2**20


_Digest = Annotated[Digest, BYTES_32]


class Header(Record, frozen=True, dict=True, gc=True, tag_field="version", tag=VERSION):
    """What a certificate certifies.

    ``parent`` is the previous header's digest, at height 1 the network's; ``view`` is that of the
    block's first proposal; ``validators`` and ``next_validators`` are digests of `ValidatorSet`.
    """

    network: _Digest
    height: Annotated[Height, Meta(ge=1, le=LIMITS.max_integer)]
    parent: _Digest
    time: Annotated[Millis, NATURAL]
    view: Annotated[View, NATURAL]
    proposer: Did
    transactions_root: _Digest
    transaction_count: Annotated[int, NATURAL]
    state_root: _Digest
    validators: _Digest
    next_validators: _Digest

    def __post_init__(self) -> None:
        keys.check_did(self.proposer, "proposer")

    @cached_property
    def encoded(self) -> bytes:
        return self.encode()

    @cached_property
    def digest(self) -> Digest:
        return digest("header", self.encoded)

    @staticmethod
    def decode(data: bytes) -> Header:
        return decode_record(data, Header, "header", max_bytes=4096)


@dataclass(frozen=True)
class Block:
    header: Header
    transactions: tuple[Transaction, ...]

    @cached_property
    def encoded(self) -> bytes:
        return _Parts(self.header.encoded, tuple(each.encoded for each in self.transactions)).encode_checked()

    @cached_property
    def tree(self) -> merkle.Tree:
        """Over the transactions' wire bytes, signature included."""
        return merkle.Tree([each.leaf for each in self.transactions])

    @staticmethod
    def decode(data: bytes, known: Mapping[bytes, Transaction] | None = None) -> Block:
        """``known`` are transactions by their wire bytes that need no decoding again."""
        # Imported here: who verifies headers only needs no transactions.
        from .transactions import Transaction

        header, transactions = split_block(data)
        before = known or {}
        return Block(
            Header.decode(header),
            tuple(before.get(each) or Transaction.decode(each) for each in transactions),
        )


def split_block(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """(header bytes, each transaction's bytes) of a block; InvalidInput if it is none."""
    parts = decode_record(data, _Parts, "block")
    return parts.header, parts.transactions


class _Parts(Record, frozen=True):
    """The wire form."""

    header: bytes
    transactions: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MAX_TRANSACTION_BYTES)], ...], Meta(max_length=100_000)
    ]


def transactions_root(transactions: tuple[Transaction, ...]) -> Digest:
    """The Merkle root over the transactions' wire bytes, signature included."""
    return merkle.root([each.leaf for each in transactions])


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header with its certificate; not checked by being one (see `check`)."""

    header: Header
    certificate: Certificate

    def check(self, validators: ValidatorSet, network: Digest) -> None:
        """ProofError unless a quorum of these validators certified this header of this network."""
        header = self.header
        if header.network != network:
            raise ProofError("the header is of another network", field="header.network")
        if header.validators != validators.digest():
            raise ProofError(
                "the header names other validators than the trust anchor",
                field="header.validators",
                hint="ask an operator for the current network.json and join again",
            )
        if self.certificate.view < header.view:
            raise ProofError("the certificate is of a view before the proposal", field="certificate.view")
        check_certificate(self.certificate, validators, network, header.height, header.digest)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What shows that a transaction is on the ledger: its place in a certified block."""

    certified: CertifiedHeader
    index: int
    path: tuple[Digest, ...]

    def encode(self) -> bytes:
        header, certificate = self.certified.header.encoded, self.certified.certificate.encode()
        return _Receipt(header, certificate, self.index, self.path).encode_checked()

    @staticmethod
    def decode(data: bytes) -> Receipt:
        read = decode_record(data, _Receipt, "receipt", max_bytes=64 * 1024)
        certified = CertifiedHeader(Header.decode(read.header), Certificate.decode(read.certificate))
        return Receipt(certified, read.index, read.path)

    def check(self, transaction: bytes, validators: ValidatorSet, network: Digest) -> None:
        """ProofError unless the transaction's wire bytes are in that block of this network."""
        self.certified.check(validators, network)
        header = self.certified.header
        merkle.check_path(
            header.transactions_root,
            header.transaction_count,
            self.index,
            merkle.leaf(transaction),
            self.path,
        )


class _Receipt(Record, frozen=True):
    """The wire form."""

    header: bytes
    certificate: bytes
    index: Annotated[int, NATURAL]
    path: Annotated[tuple[_Digest, ...], Meta(max_length=64)]
