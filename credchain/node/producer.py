"""Ordering by one validator alone: propose, sign the certificate, commit.

With one validator a quorum is its own signature, so each block is final when it is stored. The block,
its certificate included, is on disk before anyone hears of it: after a crash the validator cannot
have told of a block that it no longer has, and so never signs two of one height.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic, time_ns

from ..certificates import Certificate, Millis, View, certify
from ..encoding import Digest
from ..ledger.blocks import CertifiedHeader
from ..ledger.execution import Refusal
from ..ledger.transactions import Transaction
from ..limits import LIMITS, SECOND
from ..storage.keyfile import KeyPair
from .ledger_port import LedgerPort
from .pool import Pool

logger = logging.getLogger("credchain.node")

_EARLY = 5 * SECOND
"""How far the parent's time may be ahead of this clock before the validator waits."""
_MOST_OPERATIONS = 20_000
"""Operations handed to a proposal; how many fit is the parameters' affair."""


def now() -> Millis:
    """This machine's clock."""
    return Millis(time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Produced:
    """A committed block (None: there was nothing for it) and what did not get into it."""

    certified: CertifiedHeader | None
    committed: tuple[Digest, ...]
    refused: tuple[Refusal, ...]


def produce(
    ledger: LedgerPort, keys: KeyPair, transactions: list[Transaction], time: Millis, *, heartbeat: bool
) -> Produced:
    """One block, on the ledger thread; an empty one only if a heartbeat is due."""
    view = View(0)
    executed, refused = ledger.propose(transactions, time=time, view=view, proposer=keys.did)
    if not executed.block.transactions and not heartbeat:
        return Produced(None, (), tuple(refused))
    header = executed.block.header
    index = ledger.tip.validators.index_of(keys.did) or 0
    signature = certify(header.network, header.height, view, header.digest, keys.signing)
    certified = ledger.commit(executed, Certificate(view, ((index, signature),)))
    return Produced(certified, tuple(each.id for each in executed.block.transactions), tuple(refused))


class Producer:
    """Makes a block at once when something waits, and an empty one when a heartbeat is due."""

    def __init__(
        self,
        ledger: LedgerPort,
        keys: KeyPair,
        pool: Pool,
        on_ledger_thread: Callable[[Callable[[], Produced]], Awaitable[Produced]],
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._pool = pool
        self._on_ledger_thread = on_ledger_thread
        self._stopping = asyncio.Event()
        self.waiting_for_clock = False
        self._heartbeat_at = monotonic()

    async def run(self) -> None:
        """Until `stop`, then one more block; a StorageError ends it, and the node with it."""
        while not self._stopping.is_set():
            await self._block()
            await self._wait()
        if len(self._pool):
            await self._block()
        self._pool.turn_away()

    def stop(self) -> None:
        self._stopping.set()

    async def _block(self) -> None:
        time = now()
        tip = self._ledger.tip
        self.waiting_for_clock = tip.time > time + _EARLY
        if self.waiting_for_clock:
            logger.warning("waiting_for_clock ahead_ms=%d", tip.time - time)
            return
        transactions = self._pool.candidates(_MOST_OPERATIONS)
        at = Millis(max(time, tip.time + 1))
        heartbeat = monotonic() >= self._heartbeat_at
        produced = await self._on_ledger_thread(
            lambda: produce(self._ledger, self._keys, transactions, at, heartbeat=heartbeat)
        )
        for each in produced.committed:
            self._pool.settle(each, None)
        for refusal in produced.refused:
            self._pool.settle(refusal.transaction.id, refusal.reason)
        if produced.certified is None:
            logger.info("refused transactions=%d", len(produced.refused))
            return
        self._heartbeat_at = monotonic() + LIMITS.heartbeat / SECOND
        header = produced.certified.header
        logger.info(
            "committed height=%d transactions=%d refused=%d",
            header.height,
            header.transaction_count,
            len(produced.refused),
        )

    async def _wait(self) -> None:
        """Until a transaction arrives, a heartbeat is due, or the node stops."""
        waits = [
            asyncio.ensure_future(self._stopping.wait()),
            *([] if self.waiting_for_clock else [asyncio.ensure_future(self._pool.arrived.wait())]),
        ]
        due = max(0.0, self._heartbeat_at - monotonic())
        timeout = 1.0 if self.waiting_for_clock else due
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
