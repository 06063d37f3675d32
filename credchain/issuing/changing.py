"""Changing statuses, one or many, and erasing documents: checked first, then sent like any envelope."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..certificates import Millis
from ..client import Client, Location
from ..credentials.sdjwt import SALT_BYTES
from ..encoding import Digest
from ..errors import InvalidInput, NetworkError, Rejected
from ..keys import Did
from ..ledger.codes import TRANSITIONS
from ..ledger.operations import SetStatus, note_digest
from ..ledger.records import Dossier, Entry
from ..ledger.transactions import MAX_OPERATIONS
from ..storage.member_store import MemberStore
from ..verification.statement import AsOf
from .outbox import Outbox, Sent
from .rows import StatusRow
from .tables import Problem


@dataclass(slots=True)
class Changed:
    """What came of the rows: ``changed`` in this run, ``already`` of that status before it."""

    changed: int = 0
    already: int = 0
    problems: list[Problem] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """An attestation, its dossier as proved now, and its entry there."""

    location: Location
    dossier: Dossier
    entry: Entry
    as_of: AsOf


async def find(client: Client, store: MemberStore | None, prefix: str) -> Found:
    """An attestation by the first digits of its id, proved; InvalidInput if there is none."""
    return await prove(client, await locate(client, store, prefix))


async def locate(client: Client, store: MemberStore | None, prefix: str) -> Location:
    """From this home's own records if it issued the attestation, else from a node."""
    own = store.by_attestation(prefix) if store else []
    if len(own) == 1:
        return Location(own[0].attestation, own[0].category, own[0].subject, Did(""))
    return await client.locate(prefix)


async def prove(client: Client, location: Location) -> Found:
    key = (location.category, location.subject)
    dossier = (await client.dossiers([key]))[key]
    return _entry_of(location, dossier, as_of(client))


def as_of(client: Client) -> AsOf:
    """The header under which the client last read."""
    head = client.head_seen
    if head is None:
        raise NetworkError("nothing was read yet", field="node")
    return AsOf(head.height, head.time)


def _entry_of(location: Location, dossier: Dossier, head: AsOf) -> Found:
    entry = dossier.entry(location.attestation)
    if entry is None:
        raise InvalidInput(
            f"no attestation {location.attestation.hex()[:12]} is on the ledger",
            field="attestation",
            hint="credchain issued lists yours",
        )
    return Found(location, dossier, entry, head)


class Changing:
    """Sends status changes of one member."""

    def __init__(
        self,
        store: MemberStore,
        client: Client,
        outbox: Outbox,
        sender: Did,
        now: Callable[[], Millis],
    ) -> None:
        self._store = store
        self._client = client
        self._outbox = outbox
        self._sender = sender
        self._now = now

    async def check(self, rows: Sequence[StatusRow]) -> tuple[list[tuple[StatusRow, Found]], list[Problem]]:
        """Every row against the ledger as it is proved now: nothing is sent."""
        located: list[tuple[StatusRow, Location]] = []
        problems: list[Problem] = []
        for row in rows:
            try:
                located.append((row, await locate(self._client, self._store, row.attestation)))
            except InvalidInput as problem:
                problems.append(Problem(row.line, "attestation", problem.message))
        keys = sorted({(place.category, place.subject) for _, place in located})
        dossiers = await self._client.dossiers(keys)
        good: list[tuple[StatusRow, Found]] = []
        seen: dict[Digest, int] = {}
        for row, place in located:
            try:
                found = _entry_of(place, dossiers[place.category, place.subject], as_of(self._client))
                self._check_change(row, found.entry)
            except InvalidInput as problem:
                problems.append(Problem(row.line, problem.field, problem.message))
                continue
            if found.entry.id in seen:
                line = seen[found.entry.id]
                problems.append(Problem(row.line, "attestation", f"stands on line {line} already"))
                continue
            seen[found.entry.id] = row.line
            good.append((row, found))
        return good, sorted(problems, key=lambda problem: problem.line)

    def _check_change(self, row: StatusRow, entry: Entry) -> None:
        if entry.issuer != self._sender:
            raise InvalidInput("the attestation is another issuer's", field="attestation")
        if entry.status != row.status and row.status not in TRANSITIONS[entry.status]:
            raise InvalidInput(
                f"the attestation is {entry.status}, from which {row.status} cannot follow", field="status"
            )

    async def send(
        self,
        rows: Sequence[tuple[StatusRow, Found]],
        *,
        partial: bool,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Changed:
        """Send those that change something, in envelopes of up to 1000."""
        changed = Changed()
        waiting: list[tuple[StatusRow, SetStatus]] = []
        for row, found in rows:
            if found.entry.status == row.status:
                changed.already += 1
                progress(1)
            else:
                waiting.append((row, self._operation(row, found)))
        for start in range(0, len(waiting), MAX_OPERATIONS):
            chunk = waiting[start : start + MAX_OPERATIONS]
            await self._send_chunk(chunk, changed, partial=partial)
            progress(len(chunk))
        return changed

    async def _send_chunk(
        self, chunk: list[tuple[StatusRow, SetStatus]], changed: Changed, *, partial: bool
    ) -> None:
        pending = list(chunk)
        while pending:
            envelope = self._outbox.enqueue([operation for _, operation in pending])
            try:
                changed.sent.append(await self._outbox.send(envelope))
            except Rejected as problem:
                place = problem.operation
                if not partial or place is None or not 0 <= place < len(pending):
                    raise
                row, _ = pending.pop(place)
                changed.problems.append(Problem(row.line, problem.field, problem.message))
            else:
                changed.changed += len(pending)
                return

    def _operation(self, row: StatusRow, found: Found) -> SetStatus:
        note = None
        if row.note:
            salt = secrets.token_bytes(SALT_BYTES)
            note = note_digest(salt, row.note)
            self._store.keep_note(note, salt, row.note, found.entry.id, self._now())
        return SetStatus(
            category=found.location.category,
            subject=found.location.subject,
            attestation=found.entry.id,
            status=row.status,
            reason=row.reason,
            note=note,
        )
