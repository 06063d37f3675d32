"""Executing a block: transactions in order over the committed state, then the roots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from .. import merkle
from ..certificates import Height, Millis, ValidatorSet, View
from ..encoding import Digest
from ..errors import InvalidInput, ProofError, Rejected
from ..keys import Did
from .blocks import Block, Header
from .records import Dossier
from .rules import BlockContext, apply_transaction
from .state import Record, State, StateKey, StateReader
from .statemap import StateMap, value_digest
from .transactions import Transaction

Repeated = Callable[[Digest], bool]


@dataclass(frozen=True)
class Tip:
    """Where the chain stands: what the next block builds on. At height 0 it is genesis."""

    network: Digest
    height: Height
    digest: Digest
    time: Millis
    view: View
    state_map: StateMap
    validators: ValidatorSet


class StateChange(msgspec.Struct, frozen=True, gc=False):
    """One record that a block wrote."""

    key: StateKey
    record: Record
    value: bytes


@dataclass(frozen=True)
class ExecutedBlock:
    """A block with the effects that its roots speak of, ready to be stored."""

    block: Block
    changes: tuple[StateChange, ...]
    state_map: StateMap


@dataclass(frozen=True)
class Refusal:
    """A transaction that could not go into the proposal, and why."""

    transaction: Transaction
    reason: Rejected


def propose(
    tip: Tip,
    base: StateReader,
    transactions: Iterable[Transaction],
    *,
    time: Millis,
    view: View,
    proposer: Did,
    repeated: Repeated,
    halvings: int = 0,
) -> tuple[ExecutedBlock, list[Refusal]]:
    """The next block, of those transactions that apply, as many as the parameters allow, halved so
    often (a block that took too long to agree on is tried smaller).

    Signatures must have been checked. A transaction that does not fit is left out silently: it goes
    into a later block; one that the rules refuse is given back.
    """
    state = State(base)
    chosen, refused = _choose(tip, state, transactions, time=time, repeated=repeated, halvings=halvings)
    tree = merkle.Tree([each.leaf for each in chosen])
    header, changes, state_map = _seal(
        tip, state, tree.root, len(chosen), time=time, view=view, proposer=proposer
    )
    return ExecutedBlock(Block(header, tuple(chosen)), changes, state_map), refused


def refusals(
    tip: Tip, base: StateReader, transactions: Iterable[Transaction], *, time: Millis, repeated: Repeated
) -> list[Refusal]:
    """Those that the rules would refuse in the next block, were it made now of these."""
    return _choose(tip, State(base), transactions, time=time, repeated=repeated)[1]


def _choose(
    tip: Tip,
    state: State,
    transactions: Iterable[Transaction],
    *,
    time: Millis,
    repeated: Repeated,
    halvings: int = 0,
) -> tuple[list[Transaction], list[Refusal]]:
    """Apply those that fit and that the rules allow; (they, the refused)."""
    parameters = state.parameters
    context = BlockContext(tip.network, Height(tip.height + 1), time)
    chosen: list[Transaction] = []
    refused: list[Refusal] = []
    ids: set[Digest] = set()
    operations = size = 0
    most_operations, most_bytes = parameters.block_operations >> halvings, parameters.block_bytes >> halvings
    for transaction in transactions:
        operations += len(transaction.operations)
        size += len(transaction.encoded)
        if chosen and (operations > most_operations or size > most_bytes):
            break
        try:
            apply_transaction(state, transaction, context, lambda each: each in ids or repeated(each))
        except Rejected as reason:
            refused.append(Refusal(transaction, reason))
            operations -= len(transaction.operations)
            size -= len(transaction.encoded)
            continue
        ids.add(transaction.id)
        chosen.append(transaction)
    return chosen, refused


def execute(
    tip: Tip,
    base: StateReader,
    block: Block,
    repeated: Repeated,
    signature_holds: Callable[[Transaction], bool] = Transaction.signature_holds,
) -> ExecutedBlock:
    """The block's effects, if it is valid on this tip: a function of state and block alone.

    ``signature_holds`` may know the answer for exactly these transactions, signature included.
    Errors: InvalidInput for a header that does not follow the tip, Rejected for a transaction that
    the rules refuse, ProofError for a signature or a root that does not hold.
    """
    header = block.header
    _check_header(tip, header)
    state = State(base)
    parameters = state.parameters
    if sum(len(each.operations) for each in block.transactions) > max(
        parameters.block_operations, parameters.transaction_operations
    ):
        raise InvalidInput("the block has too many operations", field="block")
    if sum(len(each.encoded) for each in block.transactions) > max(
        parameters.block_bytes, parameters.transaction_bytes
    ):
        raise InvalidInput("the block has too many bytes", field="block")
    context = BlockContext(tip.network, header.height, header.time)
    ids: set[Digest] = set()
    for transaction in block.transactions:
        if not signature_holds(transaction):
            raise ProofError("a transaction's signature does not hold", field="signature")
        apply_transaction(state, transaction, context, lambda each: each in ids or repeated(each))
        ids.add(transaction.id)
    expected, changes, state_map = _seal(
        tip,
        state,
        block.tree.root,
        len(block.transactions),
        time=header.time,
        view=header.view,
        proposer=header.proposer,
    )
    if expected != header:
        raise ProofError("the block's header does not follow from its content", field="header")
    return ExecutedBlock(block, changes, state_map)


def _check_header(tip: Tip, header: Header) -> None:
    if header.network != tip.network:
        raise InvalidInput("the block is of another network", field="header.network")
    if header.height != tip.height + 1 or header.parent != tip.digest:
        raise InvalidInput(f"the block does not follow height {tip.height}", field="header.parent")
    if header.time <= tip.time:
        raise InvalidInput("the block's time is not after its parent's", field="header.time")
    if tip.validators.index_of(header.proposer) is None:
        raise InvalidInput("the block's proposer is not a validator", field="header.proposer")


def _seal(
    tip: Tip,
    state: State,
    transactions_root: Digest,
    transaction_count: int,
    *,
    time: Millis,
    view: View,
    proposer: Did,
) -> tuple[Header, tuple[StateChange, ...], StateMap]:
    """The header of what was applied, and the state after it."""
    changes = tuple(StateChange(key, record, _encoded(record)) for key, record in state.changes())
    state_map = tip.state_map.update({change.key.key: value_digest(change.value) for change in changes})
    header = Header(
        network=tip.network,
        height=Height(tip.height + 1),
        parent=tip.digest,
        time=time,
        view=view,
        proposer=proposer,
        transactions_root=transactions_root,
        transaction_count=transaction_count,
        state_root=state_map.root,
        validators=tip.validators.digest(),
        next_validators=state.validators.digest(),
    )
    return header, changes, state_map


def _encoded(record: Record) -> bytes:
    """A dossier's parts were checked where they came from: a decoded transaction and header."""
    return record.encode_checked() if isinstance(record, Dossier) else record.encode()


def genesis_tip(network: Digest, time: Millis, state_map: StateMap, validators: ValidatorSet) -> Tip:
    """Height 0, which has no block: the parent of block 1 is the network itself."""
    return Tip(network, Height(0), network, time, View(0), state_map, validators)


def next_tip(tip: Tip, executed: ExecutedBlock, validators: ValidatorSet) -> Tip:
    """The tip after a block; ``validators`` are those of its state."""
    header = executed.block.header
    return Tip(
        tip.network,
        header.height,
        header.digest,
        header.time,
        header.view,
        executed.state_map,
        validators,
    )
