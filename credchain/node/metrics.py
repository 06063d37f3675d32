"""Prometheus metrics of a node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ..ledger.execution import Tip
from .why import STATES


class Metrics:
    """Gauges are set when somebody asks; counters count as things happen."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._count = 0
        self._height = Gauge("credchain_height", "Height of the last committed block", registry=registry)
        self._time = Gauge(
            "credchain_block_time_seconds", "Time of the last committed block", registry=registry
        )
        self._pool = Gauge("credchain_pool_transactions", "Transactions waiting", registry=registry)
        self._operations = Gauge("credchain_pool_operations", "Operations waiting", registry=registry)
        self._records = Gauge("credchain_records", "Records stored", ["kind"], registry=registry)
        self._view = Gauge("credchain_view", "View of the round under way", registry=registry)
        self._round_age = Gauge(
            "credchain_round_age_seconds", "How long a block has been waited for", registry=registry
        )
        self._state = Gauge(
            "credchain_state", "1 for the state that the node is in", ["state"], registry=registry
        )
        self._linked = Gauge(
            "credchain_peer_linked",
            "1 where frames can be sent and received",
            ["validator"],
            registry=registry,
        )
        self._missing = Gauge(
            "credchain_peer_missing_signatures",
            "Of the last blocks, how many lack the validator's signature",
            ["validator"],
            registry=registry,
        )
        self._evidence = Gauge(
            "credchain_evidence", "Pairs of contradicting signed statements kept", registry=registry
        )
        self._requests = Counter("credchain_requests", "Requests answered", registry=registry)
        self._under_way = Gauge("credchain_requests_under_way", "Requests under way", registry=registry)

    @contextmanager
    def request(self) -> Iterator[int]:
        """Counts one request; gives how many are under way, this one included."""
        self._count += 1
        self._under_way.set(self._count)
        try:
            yield self._count
        finally:
            self._count -= 1
            self._under_way.set(self._count)
            self._requests.inc()

    def render(self, tip: Tip, counts: dict[str, int], status: dict[str, Any]) -> bytes:
        """The text format, version 0.0.4; ``status`` is what `/v1/status` says (`report`)."""
        self._height.set(tip.height)
        self._time.set(tip.time / 1000)
        self._pool.set(status["pool"])
        self._operations.set(status["pool_operations"])
        self._view.set(status["view"])
        self._round_age.set((status["round_age_ms"] or 0) / 1000)
        for state in STATES:
            self._state.labels(state).set(state == status["state"])
        for each in status["validators"]:
            self._linked.labels(each["name"]).set(each["connected"])
            self._missing.labels(each["name"]).set(each["missing_of_last"][0])
        self._evidence.set(len(status["evidence"]))
        for kind, count in counts.items():
            self._records.labels(kind).set(count)
        return generate_latest(self._registry)
