"""The outbox: envelopes are written down, sent until their fate is certain, and never sent twice.

A run that is killed at any moment is taken up by the next: an envelope is committed when a receipt
holds, refused when the rules refuse it, and lost only when a certified header is past its expiry; then
the same operations, with the same credential bytes, are signed anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from ..certificates import Millis
from ..client import Client
from ..errors import InvalidInput, NetworkError, Rejected
from ..keys import seal
from ..ledger.blocks import Receipt
from ..ledger.operations import Operation
from ..ledger.transactions import Transaction
from ..limits import LIMITS, MINUTE
from ..mailbox import DEPOSIT, Item, sign_request
from ..storage.keyfile import KeyPair
from ..storage.member_store import Envelope, Issued, MemberStore

T = TypeVar("T")

LIFETIME = 10 * MINUTE
"""How long a transaction may wait for its block, in milliseconds of block time."""

_ITEMS_PER_REQUEST = 100
_DEPOSIT_BYTES = LIMITS.message_bytes // 4


@dataclass(frozen=True, slots=True)
class Sent:
    """An envelope on the ledger."""

    envelope: Envelope
    transaction: Transaction
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came of the envelopes that an earlier run left."""

    sent: tuple[Sent, ...]
    refused: tuple[Rejected, ...]


class Outbox:
    """Sends for one member. ``now`` is the clock; ``delivered`` hears of documents handed over."""

    def __init__(self, store: MemberStore, client: Client, keys: KeyPair, now: Callable[[], Millis]) -> None:
        self._store = store
        self._client = client
        self._keys = keys
        self._now = now

    def enqueue(self, operations: Sequence[Operation], rows: Sequence[Issued] = ()) -> Envelope:
        """Sign the operations and write the envelope with its rows; nothing is sent yet."""
        transaction = self._sign(tuple(operations))
        return self._store.enqueue(transaction.id, transaction.encoded, transaction.expiry, self._now(), rows)

    def _sign(self, operations: tuple[Operation, ...]) -> Transaction:
        return Transaction.sign(
            self._client.network.id,
            self._keys.did,
            self._keys.signing,
            Millis(self._now() + LIFETIME),
            operations,
        )

    async def send(self, envelope: Envelope) -> Sent:
        """Until its fate is certain, then write that down.

        Errors: Rejected (the envelope is closed, its rows keep their credentials); NetworkError (it
        stays pending: nothing is known of it, and the next run goes on).
        """
        try:
            return await self._submit(envelope)
        except Rejected as problem:
            if problem.rule != "expired":
                raise
            found = await self._after_expiry(envelope, problem)
        if isinstance(found, Sent):
            return found
        try:
            return await self._submit(found)
        except Rejected as problem:
            if problem.rule != "expired":
                raise
            raise _not_believed(problem) from problem

    async def _submit(self, envelope: Envelope) -> Sent:
        """Committed, or (for any rule but ``expired``, which says nothing yet) closed as refused."""
        try:
            receipt = await self._client.submit(envelope.data)
        except Rejected as problem:
            if problem.rule != "expired":
                self._store.refuse(envelope, problem.message)
            raise
        return self._committed(envelope, receipt)

    def _committed(self, envelope: Envelope, receipt: Receipt) -> Sent:
        header = receipt.certified.header
        self._store.commit(envelope, header.height, header.time, receipt.encode())
        return Sent(envelope, Transaction.decode(envelope.data), receipt)

    async def _after_expiry(self, envelope: Envelope, problem: Rejected) -> Sent | Envelope:
        """A node says that it expired: believe only a receipt, or a certified header past the expiry.

        Then the envelope is lost, and its successor is what is to be sent.
        """
        outcome = await self._client.outcome(envelope.data, envelope.transaction_id)
        if outcome.receipt is not None:
            return self._committed(envelope, outcome.receipt)
        if outcome.head.header.time <= envelope.expiry:
            raise _not_believed(problem) from problem
        new = self._sign(Transaction.decode(envelope.data).operations)
        return self._store.resign(envelope, new.id, new.encoded, new.expiry)

    async def resume(self) -> Resumed:
        """Send what an earlier run left, oldest first. One that the rules refuse is closed."""
        sent: list[Sent] = []
        refused: list[Rejected] = []
        for envelope in self._store.pending():
            try:
                sent.append(await self.send(envelope))
            except Rejected as problem:
                refused.append(problem)
        return Resumed(tuple(sent), tuple(refused))

    async def deliver(self) -> int:
        """Hand over the documents of what is committed; how many. NetworkError leaves the rest.

        Published documents go to the nodes by digest, sealed ones to the holder's mailbox there.
        """
        count = 0
        while batch := self._next_batch():
            await self._hand_over(
                [
                    (each.category, each.subject, each.document)
                    for each in batch
                    if self._client.network.category(each.category).published
                ],
                self._client.deposit,
            )
            sealed = _mails(batch)
            for start in range(0, len(sealed), _ITEMS_PER_REQUEST):
                await self._hand_over(sealed[start : start + _ITEMS_PER_REQUEST], self._deposit_mail)
            self._store.mark_delivered([each.row for each in batch])
            count += len(batch)
        return count

    async def _hand_over(
        self, documents: Sequence[T], deposit: Callable[[Sequence[T]], Awaitable[None]]
    ) -> None:
        """All at once; one by one where one of them was erased, which stays with the issuer."""
        if not documents:
            return
        try:
            await deposit(documents)
        except Rejected as problem:
            if problem.rule != "erased":
                raise
            if len(documents) > 1:
                for each in documents:
                    await self._hand_over([each], deposit)
        except NetworkError as problem:
            raise NetworkError(
                f"a document of what is attested was not handed over: {problem.message}",
                field=problem.field,
                hint="run the command again: it goes on, and attests nothing twice",
            ) from problem

    async def _deposit_mail(self, items: Sequence[Item]) -> None:
        request = sign_request(
            DEPOSIT,
            self._client.network.id,
            self._keys.did,
            self._keys.signing,
            self._now(),
            items=tuple(items),
        )
        await self._client.deposit_mail(request)

    def _next_batch(self) -> list[Issued]:
        batch: list[Issued] = []
        size = 0
        for each in self._store.undelivered(LIMITS.documents_per_deposit):
            size += len(each.document)
            if batch and size > _DEPOSIT_BYTES:
                break
            batch.append(each)
        return batch


def _mails(batch: Sequence[Issued]) -> list[Item]:
    """The documents sealed to their holders; to a key that takes none, it stays with the issuer."""
    found: list[Item] = []
    for each in batch:
        if each.recipient is not None and each.encryption_key is not None:
            with suppress(InvalidInput):
                sealed = seal(each.document.encode(), each.encryption_key)
                found.append(Item(each.recipient, each.category, each.subject, each.attestation, sealed))
    return found


def _not_believed(problem: Rejected) -> NetworkError:
    """A node's word against the ledger's time."""
    return NetworkError(
        "a node refused the transaction as expired, which the ledger's time does not show",
        field=problem.field,
        hint="check this machine's clock, or name another node with --node URL",
    )
