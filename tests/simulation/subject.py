"""What is simulated: the replica's class, looked up anew for every machine, so that it can be patched."""

from __future__ import annotations

from credchain.consensus import replica
from credchain.consensus.events import Chain, Headers, Identity, Now, Verify
from credchain.consensus.record import Record
from credchain.consensus.replica import Replica

__all__ = ["Replica", "make"]


def make(
    identity: Identity, verify: Verify, headers: Headers, chain: Chain, record: Record | None, now: Now
) -> Replica:
    return replica.Replica(identity, verify, headers, chain, record, now)
