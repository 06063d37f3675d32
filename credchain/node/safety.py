"""The validator's safety record, as the driver writes it: on its own thread, opened or found lost."""

from __future__ import annotations

from pathlib import Path

from ..consensus.events import Evidence
from ..consensus.record import Record
from ..encoding import encode
from ..keys import Did
from ..storage.safety_store import KeptEvidence, SafetyStore


class SafetyDisk:
    """Without a file the record is lost; the first one that is saved after that makes it anew."""

    def __init__(self, path: Path) -> None:
        """Errors: StorageError for a damaged record, which is never taken for a lost one."""
        self._path = path
        self._store = SafetyStore.open(path)

    def load(self) -> Record | None:
        return None if self._store is None else self._store.load()

    def save(self, record: Record) -> None:
        if self._store is None:
            self._store = SafetyStore.create(self._path, record)
        else:
            self._store.save(record)

    def add_evidence(self, evidence: Evidence, accused: Did) -> None:
        """While the record is lost, it is only logged."""
        if self._store is not None:
            first, second = (encode(each.fields()) for each in (evidence.first, evidence.second))
            self._store.add_evidence(accused, evidence.first.height, evidence.first.view, first, second)

    def evidence(self) -> list[KeptEvidence]:
        return [] if self._store is None else self._store.evidence()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
