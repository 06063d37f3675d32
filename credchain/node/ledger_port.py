"""The port between ordering and ledger: `propose`, `validate`, `commit`, and proved reads.

Whoever orders blocks (`driver`, for the consensus) speaks to the ledger by these three methods only.
Everything here runs on the one ledger thread, so a read never meets half a block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import merkle
from ..certificates import Certificate, Height, Millis, View
from ..consensus.events import Chain, HeaderFacts, Outcome
from ..consensus.messages import CertifiedBlock
from ..credentials.sdjwt import parse as parse_credential
from ..encoding import Digest
from ..errors import CredchainError, InvalidInput, NetworkError, ProofError, Rejected
from ..keys import Did
from ..ledger.blocks import Block, CertifiedHeader, Header, Receipt, split_block
from ..ledger.execution import ExecutedBlock, Refusal, Tip, execute, next_tip, propose, refusals
from ..ledger.network import Network
from ..ledger.operations import Enroll, attestation_id
from ..ledger.records import Dossier, Entry, Member
from ..ledger.rules import check_times
from ..ledger.state import PARAMETERS, VALIDATORS, State, StateKey, dossier_key, member_key
from ..ledger.transactions import Transaction
from ..limits import LIMITS
from ..mailbox import WINDOW, Item, Request
from ..storage.documents import check_document
from ..storage.ledger_store import LedgerStore, Location
from ..storage.read_ahead import ReadAhead
from ..verification.evidence import Answer, ProvedValue

logger = logging.getLogger("credchain.node")


class LedgerHeaders:
    """How the consensus reads the ledger's bytes (`consensus.events.Headers`)."""

    def of_header(self, header: bytes) -> HeaderFacts:
        found = Header.decode(header)
        return HeaderFacts(
            network=found.network,
            height=found.height,
            digest=found.digest,
            parent=found.parent,
            view=found.view,
            proposer=found.proposer,
            time=found.time,
        )

    def of_block(self, block: bytes) -> tuple[bytes, HeaderFacts]:
        header, parts = split_block(block)
        found = Header.decode(header)
        root = merkle.root([merkle.leaf(each) for each in parts])
        if (found.transaction_count, found.transactions_root) != (len(parts), root):
            raise InvalidInput("the transactions are not those that the header names", field="block")
        return header, self.of_header(header)


@dataclass(frozen=True, slots=True)
class Deposit:
    """A published document, and the dossier that its attestation is in."""

    category: str
    subject: Digest
    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A transaction that was decoded, and whether its signature holds."""

    transaction: Transaction
    signed: bool


def opened(data: bytes) -> Opened | CredchainError:
    """A client's or peer's bytes, or why they are no transaction. On any thread: it reads no state."""
    try:
        transaction = Transaction.decode(data)
    except InvalidInput as problem:
        return problem
    return Opened(transaction, transaction.signature_holds())


def _keys_of(transactions: Iterable[Transaction]) -> Iterator[Digest]:
    """Of what the rules will read, in about that order."""
    yield PARAMETERS.key
    for transaction in transactions:
        yield member_key(transaction.sender).key
        for each in transaction.operations:
            if not isinstance(each, Enroll):
                yield dossier_key(each.category, each.subject).key
    yield VALIDATORS.key


class LedgerPort:
    """The ledger of this node at its tip."""

    def __init__(self, path: Path, network: Network) -> None:
        """Open the database; StorageError if it is damaged or another network's."""
        self.network = network
        self._store = LedgerStore(path, network)
        self._tip: Tip = self._store.load_tip()
        self._certified: CertifiedHeader | None = self._store.certified(self._tip.height)

    def close(self) -> None:
        self._store.close()

    @property
    def tip(self) -> Tip:
        return self._tip

    @property
    def alone(self) -> bool:
        """Whether this is the only validator: then no other can be a block ahead."""
        return len(self._tip.validators.members) == 1

    # --- the port -------------------------------------------------------------------------

    def propose(
        self,
        transactions: Iterable[Transaction],
        *,
        time: Millis,
        view: View,
        proposer: Did,
        halvings: int = 0,
    ) -> tuple[ExecutedBlock, list[Refusal]]:
        """The next block of those transactions that apply, and why the others do not."""
        some = list(transactions)
        return propose(
            self._tip,
            self._read_ahead(some),
            some,
            time=time,
            view=view,
            proposer=proposer,
            repeated=self._repeated(some),
            halvings=halvings,
        )

    def refusals(self, transactions: Sequence[Transaction], time: Millis) -> list[Refusal]:
        """Those that could not go into the next block."""
        repeated = self._repeated(transactions)
        return refusals(self._tip, self._read_ahead(transactions), transactions, time=time, repeated=repeated)

    def validate(
        self, block: Block, holds: Callable[[Transaction], bool] = Transaction.signature_holds
    ) -> ExecutedBlock:
        """The block's effects, if it is valid here. Errors: `execution.execute`."""
        some = block.transactions
        return execute(self._tip, self._read_ahead(some), block, self._repeated(some), holds)

    def examine(self, data: bytes, verified: Mapping[bytes, Transaction]) -> ExecutedBlock | Outcome:
        """`validate` for a peer's bytes: the block's effects if it is valid here, else why not.

        ``verified`` are transactions by their wire bytes whose signatures were found to hold.
        """
        try:
            block = Block.decode(data, verified)
        except InvalidInput:
            return Outcome.WRONG_BODY
        header = block.header
        named = (header.transaction_count, header.transactions_root)
        if named != (len(block.transactions), block.tree.root):
            return Outcome.WRONG_BODY

        def holds(transaction: Transaction) -> bool:
            return transaction.encoded in verified or transaction.signature_holds()

        try:
            return self.validate(block, holds)
        except (InvalidInput, Rejected, ProofError) as problem:
            why = problem.rule if isinstance(problem, Rejected) else problem.field
            logger.warning("refused_block height=%d reason=%s", header.height, why)
            return Outcome.INVALID

    def commit(self, executed: ExecutedBlock, certificate: Certificate) -> CertifiedHeader:
        """Store the block with its state and certificate; from then on it is the tip."""
        certified = CertifiedHeader(executed.block.header, certificate)
        certified.check(self._tip.validators, self._tip.network)
        self._store.commit(executed, certificate)
        self._tip = next_tip(self._tip, executed, State(self._store).validators)
        self._certified = certified
        return certified

    def chain(self) -> Chain:
        """What the consensus needs to know of the tip."""
        tip, certified = self._tip, self._certified
        return Chain(
            network=tip.network,
            height=tip.height,
            digest=tip.digest,
            time=tip.time,
            view=tip.view,
            header=None if certified is None else certified.header.encoded,
            certificate=None if certified is None else certified.certificate,
            validators=tip.validators,
        )

    def room_in(self, block: Block, halvings: int) -> tuple[int, int]:
        """(operations, bytes) that would still have fitted into a block, its bounds halved so often."""
        parameters = State(self._store).parameters
        operations = sum(len(each.operations) for each in block.transactions)
        size = sum(len(each.encoded) for each in block.transactions)
        return (parameters.block_operations >> halvings) - operations, (
            parameters.block_bytes >> halvings
        ) - size

    def blocks_from(self, height: Height, at_most: int, max_bytes: int) -> tuple[CertifiedBlock, ...]:
        """Certified blocks of consecutive heights; at least one if this ledger has it."""
        found: list[CertifiedBlock] = []
        size = 0
        for each in range(height, min(height + at_most, self._tip.height + 1)):
            stored = self._store.block(Height(each))
            if stored is None:
                break
            block, certificate = stored
            size += len(block.encoded)
            if found and size > max_bytes:
                break
            found.append(CertifiedBlock(block.encoded, certificate))
        return tuple(found)

    def _repeated(self, transactions: Iterable[Transaction]) -> Callable[[Digest], bool]:
        """Whether one of these is on the ledger, by the database: in memory they would be too many. That
        it knows older ones as well makes no difference: those are refused as expired before."""
        places = ReadAhead((each.id for each in transactions), self._store.places_of)
        return lambda transaction: places.value(transaction) is not None

    def _read_ahead(self, transactions: Sequence[Transaction]) -> ReadAhead[bytes]:
        """The state as these transactions read it."""
        return ReadAhead(_keys_of(transactions), self._store.values)

    # --- admission ------------------------------------------------------------------------

    def admit(self, data: bytes, now: Millis) -> Transaction:
        """Decode a client's transaction and check all that will not change before its block.

        Errors: InvalidInput, Rejected (also ``repeated``), ProofError for its signature.
        """
        (admitted,) = self.admit_all([opened(data)], now)
        if isinstance(admitted, CredchainError):
            raise admitted
        return admitted

    def admit_all(
        self, found: Sequence[Opened | CredchainError], now: Millis
    ) -> list[Transaction | CredchainError]:
        """`admit` for many, in order: each transaction, or why it is not admitted."""
        state = State(self._store)
        time = Millis(max(now, self._tip.time))
        repeated = self._repeated([each.transaction for each in found if isinstance(each, Opened)])
        admitted: list[Transaction | CredchainError] = []
        for each in found:
            if isinstance(each, CredchainError):
                admitted.append(each)
                continue
            try:
                admitted.append(self._admit(each, state, time, repeated))
            except (Rejected, ProofError) as problem:
                admitted.append(problem)
        return admitted

    def _admit(
        self, found: Opened, state: State, time: Millis, repeated: Callable[[Digest], bool]
    ) -> Transaction:
        transaction = found.transaction
        if transaction.network != self.network.id:
            raise Rejected("network", "the transaction is for another network", field="network")
        if repeated(transaction.id):
            raise Rejected("repeated", "the transaction is on the ledger already")
        check_times(transaction, time, state.parameters.expiry_window)
        member = state.member(transaction.sender)
        if member is None:
            raise Rejected("sender", "the sender is not a member of this network", field="sender")
        if not member.signs_with(transaction.key, Height(self._tip.height + 1)):
            raise Rejected("key", "the key is not one of the sender's current keys", field="key")
        if not found.signed:
            raise ProofError("the transaction's signature does not hold", field="signature")
        return transaction

    # --- proved reads ---------------------------------------------------------------------

    def head(self) -> CertifiedHeader:
        """The tip's certified header; NetworkError before the first block."""
        if self._certified is None:
            raise NetworkError("the node has no block yet", hint="try again in a moment")
        return self._certified

    def dossiers(
        self, wanted: Sequence[tuple[str, Digest]], *, documents: bool, dids: Sequence[Did] = ()
    ) -> Answer:
        """The dossiers with proofs, the issuers that they name and the members asked for beside them,
        and the published documents."""
        records = [self._prove(dossier_key(category, subject)) for category, subject in wanted]
        issuers: dict[Did, None] = dict.fromkeys(dids)
        texts: list[str] = []
        for record in records:
            dossier = None if record.value is None else Dossier.decode(record.value)
            for entry in dossier.entries if dossier else ():
                issuers[entry.issuer] = None
                text = self._store.documents.of_attestation(entry.id) if documents else None
                if text is not None:
                    texts.append(text)
        members = [self._prove(member_key(did)) for did in sorted(issuers)]
        return Answer(self.head(), (*records, *members), tuple(texts))

    def members(self, dids: Sequence[Did]) -> Answer:
        """Member records with proofs, of presence or absence."""
        return Answer(self.head(), tuple(self._prove(member_key(did)) for did in dids))

    def member_page(self, role: str | None, after: str, at_most: int) -> list[Did]:
        return self._store.member_names(role, after, at_most)

    def _prove(self, key: StateKey) -> ProvedValue:
        return ProvedValue(key.key, self._tip.state_map.prove(key.key), self._store.value(key.key))

    def _member(self, did: Did) -> Member | None:
        return State(self._store).member(did)

    def receipt(self, transaction: Digest) -> Receipt | None:
        """The receipt of a committed transaction."""
        place = self._store.place_of(transaction)
        if place is None:
            return None
        certified = self._store.certified(place.height)
        if certified is None:
            return None
        return Receipt(certified, place.position, self._store.transaction_path(place))

    def locate(self, prefix: bytes, odd_digit: str) -> list[Location]:
        return self._store.locate(prefix, odd_digit)

    def document(self, credential: Digest) -> str | None:
        return self._store.documents.of_credential(credential)

    def counts(self) -> dict[str, int]:
        return self._store.counts()

    # --- documents ------------------------------------------------------------------------

    def deposit(self, deposits: Sequence[Deposit]) -> int:
        """Store published documents of committed attestations; all or, at the first wrong, none.

        A document needs no further signature: its digest is on the ledger, so only the issuer's own
        bytes fit. Erased ones are refused.
        """
        found: list[tuple[Digest, Digest, str]] = []
        state = State(self._store)
        for index, each in enumerate(deposits):
            field = f"documents[{index}]"
            if not self.network.category(each.category).published:
                raise InvalidInput(f"{field} is of a private category", field=field)
            entry = self._check_deposit(state, each, field)
            found.append((entry.id, entry.credential, each.text))
        self._store.documents.store(found)
        return len(found)

    # --- mailbox --------------------------------------------------------------------------

    def deposit_mail(self, request: Request, now: Millis) -> int:
        """Sealed documents of the sender's own committed attestations; all or none.

        Errors: InvalidInput, Rejected, ProofError for the signature, NetworkError over the quota.
        """
        self._check_request(request, now)
        state = State(self._store)
        for index, item in enumerate(request.items):
            self._check_item(state, request.member, item, f"items[{index}]")
        replaced = sorted({item.attestation for item in request.items})
        count, size = self._store.mailbox.use(request.member, replaced, now)
        size += sum(len(item.sealed) for item in request.items)
        if (
            count + len(request.items) > LIMITS.mailbox_items_per_sender
            or size > LIMITS.mailbox_bytes_per_sender
        ):
            raise NetworkError(
                "the sender's documents that wait for collection are too many",
                field="items",
                hint="ask the recipients to collect theirs",
            )
        self._store.mailbox.store(request.member, request.items, now, LIMITS.mailbox_lifetime)
        return len(request.items)

    def collect_mail(self, request: Request, now: Millis) -> list[Item]:
        """What waits for the signer, as many as one answer holds, after the one that it names."""
        self._check_request(request, now)
        after = request.attestations[-1] if request.attestations else None
        return self._store.mailbox.waiting(request.member, now, LIMITS.mailbox_items_per_collection, after)

    def acknowledge_mail(self, request: Request, now: Millis) -> None:
        """The signer has these: they are deleted."""
        self._check_request(request, now)
        self._store.mailbox.drop(request.member, request.attestations)

    def _check_request(self, request: Request, now: Millis) -> None:
        if request.network != self.network.id:
            raise InvalidInput("the request is for another network", field="network")
        if abs(request.time - now) > WINDOW:
            raise InvalidInput(
                "the request's time is not now", field="time", hint="check this machine's clock"
            )
        member = self._member(request.member)
        if member is None or not member.signs_with(request.key, Height(self._tip.height + 1)):
            raise Rejected("key", "the key is not one of a member's current keys", field="key")
        if not request.signature_holds():
            raise ProofError("the request's signature does not hold", field="signature")

    def _check_item(self, state: State, sender: Did, item: Item, field: str) -> None:
        if self.network.category(item.category).published:
            raise InvalidInput(f"{field} is of a published category", field=field)
        entry = state.dossier(item.category, item.subject).entry(item.attestation)
        if entry is None or entry.issuer != sender:
            raise InvalidInput(f"{field} names no attestation of the sender", field=field)
        if entry.erased is not None:
            raise Rejected("erased", f"{field} was erased", field=field)
        if state.member(item.recipient) is None:
            raise InvalidInput(f"{field} is for somebody who is no member", field=field)

    def _check_deposit(self, state: State, deposit: Deposit, field: str) -> Entry:
        """The entry that the document is of."""
        try:
            parsed = parse_credential(deposit.text)
            dossier = state.dossier(deposit.category, deposit.subject)
            identifier = attestation_id(
                self.network.id, parsed.issuer, deposit.category, deposit.subject, parsed.digest
            )
            entry = dossier.entry(identifier)
            if entry is None:
                raise InvalidInput("it belongs to no attestation", field=field)
            if entry.erased is not None:
                raise Rejected("erased", f"{field} was erased", field=field)
            check_document(deposit.text, dossier, entry)
        except InvalidInput as problem:
            raise InvalidInput(f"{field}: {problem.message}", field=field) from problem
        return entry
