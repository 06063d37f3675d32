"""Attesting rows, one or a hundred thousand: sign, write down, send, and know each again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ..certificates import Millis
from ..client import Client
from ..credentials.categories import Category
from ..credentials.sdjwt import SALT_BYTES, issue
from ..encoding import Digest
from ..errors import InvalidInput, NetworkError, Rejected
from ..ledger.operations import Attest, attestation_id
from ..ledger.records import Dossier, Entry
from ..ledger.transactions import MAX_OPERATIONS
from ..storage.keyfile import KeyPair
from ..storage.member_store import COMMITTED, Issued, MemberStore
from .outbox import Outbox, Sent
from .rows import AttestRow
from .tables import Problem

AUTO = "auto"
Renews = Digest | str | None
"""An attestation's id, AUTO, or nothing."""


@dataclass(slots=True)
class Outcome:
    """What came of the rows: ``attested`` in this run, ``already`` before it, the rest refused."""

    attested: int = 0
    already: int = 0
    problems: list[Problem] = field(default_factory=list)


class Attesting:
    """Attests rows of one category for one issuer, in envelopes of up to 1000."""

    def __init__(
        self,
        store: MemberStore,
        client: Client,
        outbox: Outbox,
        keys: KeyPair,
        category: Category,
        now: Callable[[], Millis],
        *,
        renews: Renews = None,
    ) -> None:
        self._store = store
        self._client = client
        self._outbox = outbox
        self._keys = keys
        self._category = category
        self._now = now
        self._renews = renews

    async def run(
        self,
        rows: Sequence[AttestRow],
        *,
        partial: bool,
        resumed: Iterable[Sent] = (),
        progress: Callable[[int], None] = lambda count: None,
    ) -> Outcome:
        """Attest every row that is not attested yet.

        What can be told before sending (which attestation a row renews) is told of every row; if there
        is a problem and not ``partial``, nothing is sent. A row that the rules refuse stops the run with
        Rejected, after what was sent before it; with ``partial`` it becomes a problem and the others go
        on. ``progress`` hears how many more rows are done.
        """
        outcome = Outcome()
        resumed_rows = {row.row for sent in resumed for row in self._store.rows_of(sent.envelope)}
        waiting: list[AttestRow] = []
        for row in rows:
            known = self._store.issued(row.key)
            if known is not None and known.state == COMMITTED:
                outcome.attested += row.key in resumed_rows
                outcome.already += row.key not in resumed_rows
                if known.recipient is not None:
                    self._store.redeliver(row.key)
                progress(1)
            else:
                waiting.append(row)
        renewals = await self._renewals(waiting, outcome)
        if outcome.problems and not partial:
            return outcome
        remaining = iter([row for row in waiting if row.key in renewals])
        try:
            while chunk := list(islice(remaining, MAX_OPERATIONS)):
                await self._attest_chunk(chunk, renewals, outcome, partial=partial)
                await self._outbox.deliver()
                progress(len(chunk))
            await self._outbox.deliver()
        except NetworkError as problem:
            done = outcome.attested + outcome.already
            if not done or len(rows) == 1:
                raise
            raise NetworkError(
                f"{done} of {len(rows)} rows are on the ledger; then {problem.message}",
                field=problem.field,
                hint=problem.hint,
            ) from problem
        return outcome

    async def _attest_chunk(
        self,
        chunk: list[AttestRow],
        renewals: dict[Digest, Digest | None],
        outcome: Outcome,
        *,
        partial: bool,
    ) -> None:
        """One envelope; without the rows that the rules refuse, if ``partial`` says so."""
        pending = list(chunk)
        issued = {row.key: self._issued(row) for row in pending}
        while pending:
            operations = [self._operation(issued[row.key], renewals[row.key]) for row in pending]
            envelope = self._outbox.enqueue(operations, [issued[row.key] for row in pending])
            try:
                await self._outbox.send(envelope)
            except Rejected as problem:
                place = problem.operation
                if place is None or not 0 <= place < len(pending):
                    raise
                row = pending.pop(place)
                await self._after_refusal(row, issued[row.key], problem, outcome, partial=partial)
            else:
                outcome.attested += len(pending)
                return

    async def _after_refusal(
        self, row: AttestRow, issued: Issued, problem: Rejected, outcome: Outcome, *, partial: bool
    ) -> None:
        """One row was refused: on the ledger already (proved), a problem, or the end of the run."""
        if problem.rule == "attested":
            entry = await self._entry(issued)
            if entry is not None:
                self._store.mark_committed(row.key, entry.height, entry.time)
                outcome.already += 1
                return
        if not partial:
            where = f"line {row.line}: " if row.line else ""
            raise Rejected(problem.rule, f"{where}{problem.message}", field=problem.field, hint=problem.hint)
        outcome.problems.append(Problem(row.line, problem.field, problem.message))

    async def _entry(self, issued: Issued) -> Entry | None:
        key = (issued.category, issued.subject)
        return (await self._client.dossiers([key]))[key].entry(issued.attestation)

    def _issued(self, row: AttestRow) -> Issued:
        """The row's credential: the one made before, if there is one, else a new one."""
        known = self._store.issued(row.key)
        if known is not None:
            return known
        credential = issue(
            self._keys.signing,
            issuer=self._keys.did,
            category=self._category.name,
            subject=row.subject,
            issued_at=self._now(),
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            claims=row.claims,
            salts=[secrets.token_bytes(SALT_BYTES) for _ in row.claims],
            holder=row.recipient.key if row.recipient else None,
        )
        return Issued(
            row=row.key,
            envelope=None,
            state="",
            attestation=attestation_id(
                self._client.network.id,
                self._keys.did,
                self._category.name,
                row.subject,
                credential.digest,
            ),
            category=self._category.name,
            npi=row.npi,
            subject=row.subject,
            credential=credential.digest,
            document=credential.text,
            claims=row.claims,
            matching=self._category.matching_key(row.claims),
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            recipient=row.recipient.did if row.recipient else None,
            encryption_key=row.recipient.encryption_key if row.recipient else None,
        )

    def _operation(self, issued: Issued, renews: Digest | None) -> Attest:
        return Attest(
            category=issued.category,
            subject=issued.subject,
            credential=issued.credential,
            valid_from=issued.valid_from,
            valid_until=issued.valid_until,
            renews=renews,
        )

    # --- renewals -------------------------------------------------------------------------

    async def _renewals(self, rows: list[AttestRow], outcome: Outcome) -> dict[Digest, Digest | None]:
        """By row key, what the row renews; every row that cannot be told is a problem."""
        if self._renews is None or isinstance(self._renews, bytes):
            return {row.key: self._renews for row in rows}
        dossiers = await self._client.dossiers([(self._category.name, row.subject) for row in rows])
        found: dict[Digest, Digest | None] = {}
        for row in rows:
            try:
                found[row.key] = self._renewal(row, dossiers[self._category.name, row.subject])
            except InvalidInput as problem:
                outcome.problems.append(Problem(row.line, problem.field, problem.message))
        return found

    def _renewal(self, row: AttestRow, dossier: Dossier) -> Digest | None:
        """The one earlier attestation of ours that this row goes on from; None if it is the first."""
        candidates = [
            entry
            for entry in dossier.entries
            if entry.issuer == self._keys.did and not entry.terminal and dossier.renewal_of(entry.id) is None
        ]
        matching = self._category.matching_key(row.claims)
        known = {entry.id: self._matching_of(entry) for entry in candidates}
        same = [entry for entry in candidates if known[entry.id] == matching]
        unknown = [entry for entry in candidates if known[entry.id] is None]
        if len(same) == 1:
            return same[0].id
        if len(same) > 1 or unknown:
            raise InvalidInput(
                f"there are {len(same) or len(unknown)} earlier attestations that this could renew",
                field="renews",
                hint="name one with credchain attest … --renews ID",
            )
        return None

    def _matching_of(self, entry: Entry) -> str | None:
        """What tells this entry's credential from others; None if it was issued from another home."""
        found = self._store.by_attestation(entry.id.hex())
        return found[0].matching if found else None
