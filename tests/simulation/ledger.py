"""A ledger small enough to judge by eye: a transaction is a number, applies once, and expires.

Blocks are canonical MessagePack, headers name what they hold, and executing is deterministic, as with
the real one. One rule of the real ledger is left to the replica alone, so that its guard is tested
and not this one: that a block's time is after its parent's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from credchain.certificates import Certificate, Height, Millis, ValidatorSet, View
from credchain.consensus.events import Chain, HeaderFacts, Outcome
from credchain.consensus.messages import CertifiedBlock
from credchain.encoding import Digest, Fields, decode, digest, encode
from credchain.errors import InvalidInput
from credchain.keys import Did

EPOCH = Millis(1_700_000_000_000)
"""The wall clock when a schedule begins, and the genesis' time."""
MOST_IN_BLOCK = 4


@dataclass(frozen=True, slots=True)
class Transaction:
    """Applies once, in a block whose time is not past the expiry."""

    number: int
    expiry: int


@dataclass(frozen=True, slots=True)
class Header:
    network: Digest
    height: int
    parent: Digest
    time: int
    view: int
    proposer: str
    root: Digest
    content: Digest

    def encode(self) -> bytes:
        return encode({name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def read(fields: Fields) -> Header:
        return Header(
            fields.digest("network"),
            fields.integer("height", at_least=1),
            fields.digest("parent"),
            fields.integer("time"),
            fields.integer("view"),
            fields.text("proposer"),
            fields.digest("root"),
            fields.digest("content"),
        )


def content_digest(transactions: tuple[Transaction, ...]) -> Digest:
    return digest("tx-root", encode([[each.number, each.expiry] for each in transactions]))


def next_root(root: Digest, transactions: tuple[Transaction, ...]) -> Digest:
    """The state root after these; a function of the whole history of transactions."""
    return digest("root", root + content_digest(transactions))


def encode_block(header: Header, transactions: tuple[Transaction, ...]) -> bytes:
    listed = [[each.number, each.expiry] for each in transactions]
    return encode({"header": header.encode(), "transactions": listed})


class Format:
    """Reads headers and blocks; each bytes once, since what they say is a function of them."""

    def __init__(self) -> None:
        self._headers: dict[bytes, tuple[Header, HeaderFacts] | InvalidInput] = {}
        self._blocks: dict[bytes, tuple[bytes, tuple[Transaction, ...]] | InvalidInput] = {}

    def of_header(self, header: bytes) -> HeaderFacts:
        return self.header(header)[1]

    def of_block(self, block: bytes) -> tuple[bytes, HeaderFacts]:
        header, transactions = self.block(block)
        if self.header(header)[0].content != content_digest(transactions):
            raise InvalidInput("the transactions are not those that the header names", field="block")
        return header, self.of_header(header)

    def header(self, data: bytes) -> tuple[Header, HeaderFacts]:
        found = self._headers.get(data)
        if found is None:
            try:
                header = decode(data, Header.read, _header_fields, "header")
                found = header, _facts(header, data)
            except InvalidInput as problem:
                found = problem
            self._headers[data] = found
        if isinstance(found, InvalidInput):
            raise found
        return found

    def block(self, data: bytes) -> tuple[bytes, tuple[Transaction, ...]]:
        """A block's header bytes and its transactions."""
        found = self._blocks.get(data)
        if found is None:
            try:
                found = decode(data, _read_block, _block_fields, "block")
            except InvalidInput as problem:
                found = problem
            self._blocks[data] = found
        if isinstance(found, InvalidInput):
            raise found
        return found


def _header_fields(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in Header.__slots__}


def _facts(header: Header, data: bytes) -> HeaderFacts:
    return HeaderFacts(
        header.network,
        Height(header.height),
        digest("header", data),
        header.parent,
        View(header.view),
        Did(header.proposer),
        Millis(header.time),
    )


def _read_block(fields: Fields) -> tuple[bytes, tuple[Transaction, ...]]:
    def transaction(item: Any, field: str) -> Transaction:
        if type(item) is not list or len(item) != 2 or any(type(each) is not int for each in item):
            raise InvalidInput(f"{field} must be a number and an expiry", field=field)
        return Transaction(item[0], item[1])

    return fields.binary("header"), fields.items("transactions", transaction, at_most=1000)


def _block_fields(block: tuple[bytes, tuple[Transaction, ...]]) -> dict[str, Any]:
    return {"header": block[0], "transactions": [[each.number, each.expiry] for each in block[1]]}


class Ledger:
    """What one node has stored of the chain, and the blocks that it has executed on its tip."""

    def __init__(self, network: Digest, validators: ValidatorSet, form: Format) -> None:
        self.network = network
        self.validators = validators
        self.form = form
        self.blocks: list[CertifiedBlock] = []
        self.applied: set[int] = set()
        self.root = digest("root", network)
        self.tip: HeaderFacts | None = None
        self.tip_header: bytes | None = None
        self._executed: dict[Digest, bytes] = {}

    @property
    def height(self) -> int:
        return len(self.blocks)

    @property
    def parent(self) -> Digest:
        return self.network if self.tip is None else self.tip.digest

    @property
    def time(self) -> Millis:
        return EPOCH if self.tip is None else self.tip.time

    def chain(self) -> Chain:
        view = View(0) if self.tip is None else self.tip.view
        certificate = self.blocks[-1].certificate if self.blocks else None
        return Chain(
            self.network,
            self.height,
            self.parent,
            self.time,
            view,
            self.tip_header,
            certificate,
            self.validators,
        )

    def applies(self, transaction: Transaction, time: int) -> bool:
        return transaction.number not in self.applied and time <= transaction.expiry

    def propose(
        self, pool: list[Transaction], *, view: int, time: int, halvings: int, heartbeat: bool, proposer: Did
    ) -> bytes | None:
        """A block on the tip of what applies, oldest first; None where nothing does and none is due."""
        most = max(1, MOST_IN_BLOCK >> min(halvings, 8))
        chosen = tuple([each for each in pool if self.applies(each, time)][:most])
        if not chosen and not heartbeat:
            return None
        return self.make(chosen, view=view, time=time, proposer=proposer)

    def make(
        self,
        transactions: tuple[Transaction, ...],
        *,
        view: int,
        time: int,
        proposer: Did,
        root: Digest | None = None,
    ) -> bytes:
        """A block on the tip, unchecked; another root than the true one for liars."""
        header = Header(
            self.network,
            self.height + 1,
            self.parent,
            time,
            view,
            proposer,
            root or next_root(self.root, transactions),
            content_digest(transactions),
        )
        return encode_block(header, transactions)

    def execute(self, block: bytes, expected: Digest) -> Outcome:
        """Whether the block is valid on this tip; kept under its digest until the next commit."""
        try:
            header_bytes, transactions = self.form.block(block)
            header, facts = self.form.header(header_bytes)
        except InvalidInput:
            return Outcome.WRONG_BODY
        if facts.digest != expected or header.content != content_digest(transactions):
            return Outcome.WRONG_BODY
        numbers = {each.number for each in transactions}
        if (
            header.network != self.network
            or header.height != self.height + 1
            or header.parent != self.parent
            or len(transactions) > MOST_IN_BLOCK
            or len(numbers) != len(transactions)
            or not all(self.applies(each, header.time) for each in transactions)
            or header.root != next_root(self.root, transactions)
        ):
            return Outcome.INVALID
        self._executed[expected] = block
        return Outcome.VALID

    def has_executed(self, block: Digest) -> bool:
        return block in self._executed

    def commit(self, block: Digest, certificate: Certificate) -> None:
        self.append(CertifiedBlock(self._executed[block], certificate))

    def append(self, certified: CertifiedBlock) -> None:
        """A block that is known to be valid."""
        header_bytes, transactions = self.form.block(certified.block)
        header, facts = self.form.header(header_bytes)
        self.blocks.append(certified)
        self.applied.update(each.number for each in transactions)
        self.root, self.tip, self.tip_header = header.root, facts, header_bytes
        self._executed.clear()

    def forget_executed(self) -> None:
        """As a crash does."""
        self._executed.clear()

    def up_to(self, height: int) -> Ledger:
        """As restored from a backup of that height."""
        older = Ledger(self.network, self.validators, self.form)
        for certified in self.blocks[:height]:
            older.append(certified)
        return older
