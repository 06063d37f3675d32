"""Prometheus metrics of a node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ..ledger.execution import Tip


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

    def render(self, tip: Tip, counts: dict[str, int], pool: int, operations: int) -> bytes:
        """The text format, version 0.0.4."""
        self._height.set(tip.height)
        self._time.set(tip.time / 1000)
        self._pool.set(pool)
        self._operations.set(operations)
        for kind, count in counts.items():
            self._records.labels(kind).set(count)
        return generate_latest(self._registry)
