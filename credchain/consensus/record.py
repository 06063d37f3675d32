"""The safety record: what this validator has said at its height, and what it may still say.

`may_sign` is the only way to a signature. It gives the record that must be on disk before the statement
leaves, or None. After a crash the record is read back, so a restarted validator says again what it
said, and nothing against it (Castro & Liskov, section 4: a backup accepts one digest a view; a replica
in view v has discarded the views below).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..certificates import Height, View
from ..encoding import DIGEST_BYTES, Digest, Fields, Value, decode, encode
from ..errors import InvalidInput
from ..limits import LIMITS
from .messages import COMMIT, PREPARE, NewView, Prepared, Signed, ViewChange, Vote


@dataclass(frozen=True)
class Record:
    """One height's statements. ``height`` 0 is the record that is born with the key.

    ``floor`` is the only view in which this validator may vote: the height's first, or that of the last
    view-change that it signed. ``votes`` are its own, ascending by view; ``prepared`` is its highest
    prepared certificate; ``new_view`` the NEW-VIEW that it accepted for ``floor``. ``bodies`` are the
    blocks that it voted for, by header digest.
    """

    height: int
    floor: View
    votes: tuple[Vote, ...] = ()
    prepared: Prepared | None = None
    prepared_block: Digest | None = None
    view_change: ViewChange | None = None
    new_view: NewView | None = None
    bodies: tuple[tuple[Digest, bytes], ...] = ()

    def vote(self, phase: str, view: View) -> Vote | None:
        """Its own vote of that phase in that view."""
        return next((each for each in self.votes if (each.phase, each.view) == (phase, view)), None)

    def body(self, block: Digest) -> bytes | None:
        return next((body for digest, body in self.bodies if digest == block), None)

    def with_body(self, block: Digest, body: bytes) -> Record:
        """The block beside it: on disk before a vote for it, and as long as the vote may be shown:
        who shows a prepared certificate of it must be given it."""
        if self.body(block) is not None:
            return self
        voted = [each.block for each in self.votes]
        kept = [each for each in self.bodies if each[0] in voted or each[0] == self.prepared_block]
        return replace(self, bodies=(*kept, (block, body)))

    def with_prepared(self, prepared: Prepared, block: Digest) -> Record:
        """The certificate, if it is of a higher view than the one here."""
        if self.prepared is not None and self.prepared.view >= prepared.view:
            return self
        return replace(self, prepared=prepared, prepared_block=block)

    def with_new_view(self, new_view: NewView) -> Record:
        return replace(self, new_view=new_view)

    def fields(self) -> dict[str, Value]:
        """Without the bodies, which are stored beside it."""
        fields: dict[str, Value] = {
            "height": self.height,
            "floor": self.floor,
            "votes": [each.fields() for each in self.votes],
            "bodies": [digest for digest, _ in self.bodies],
        }
        if self.prepared is not None and self.prepared_block is not None:
            fields["prepared"] = self.prepared.fields()
            fields["prepared_block"] = self.prepared_block
        if self.view_change is not None:
            fields["view_change"] = self.view_change.fields()
        if self.new_view is not None:
            fields["new_view"] = self.new_view.fields()
        return fields

    def encode(self) -> bytes:
        return encode(self.fields())

    @staticmethod
    def decode(data: bytes, bodies: dict[Digest, bytes]) -> Record:
        """Errors: InvalidInput, also where a body that it names is missing."""

        def body(item: Any, field: str) -> tuple[Digest, bytes]:
            if type(item) is not bytes or len(item) != DIGEST_BYTES or Digest(item) not in bodies:
                raise InvalidInput(f"{field} names a block that is not there", field=field)
            return Digest(item), bodies[Digest(item)]

        def read(fields: Fields) -> Record:
            return Record(
                fields.integer("height"),
                View(fields.integer("floor")),
                fields.maps("votes", Vote.read, at_most=LIMITS.votes_kept),
                fields.nested("prepared", Prepared.read) if fields.has("prepared") else None,
                fields.optional_digest("prepared_block"),
                fields.nested("view_change", ViewChange.read) if fields.has("view_change") else None,
                fields.nested("new_view", NewView.read) if fields.has("new_view") else None,
                fields.items("bodies", body, at_most=LIMITS.votes_kept + 2),
            )

        return decode(data, read, Record.fields, "safety record", max_bytes=2 * LIMITS.message_bytes)


def sign(
    record: Record, statement: Signed, network: Digest, signer: Callable[[Digest], bytes]
) -> tuple[Record, Signed] | None:
    """(the record to store first, the signed statement), or None where it must not be signed."""
    if may_sign(record, statement) is None:
        return None
    signed = replace(statement, signature=signer(statement.signed(network)))
    after = may_sign(record, signed)
    return None if after is None else (after, signed)


BORN = Record(0, View(0))
"""The record that is made with the key: nothing was ever signed."""


def open_height(record: Record, height: Height, first: View) -> Record:
    """The record as the next height begins; heights never go back."""
    if height <= record.height:
        return record
    return Record(height, first)


def may_sign(record: Record, statement: Signed) -> Record | None:
    """The record after the statement, or None if it must never be signed.

    - Only of the record's height: for another one nothing is remembered.
    - PREPARE: in the one view where it may vote, one block a view (section 4.2), whose body is on disk.
      In a view above the height's first only after its NEW-VIEW was accepted and stored.
    - COMMIT: in that view, for the block that is prepared there, one a view (section 4.2).
    - VIEW-CHANGE: for higher views only; it carries the highest prepared certificate (section 4.4).
      It raises the floor, so nothing below is signed again.
    - NEW-VIEW: in the view of its own view-change, once.
    """
    if statement.height != record.height:
        return None
    if isinstance(statement, ViewChange):
        return _may_change_view(record, statement)
    if statement.view != record.floor:
        return None
    if isinstance(statement, NewView):
        return _may_announce(record, statement)
    said = record.vote(statement.phase, statement.view)
    if said is not None:
        return record if said.block == statement.block else None
    allowed = {PREPARE: _may_prepare, COMMIT: _may_commit}[statement.phase]
    if not allowed(record, statement):
        return None
    return replace(record, votes=(*record.votes, statement)[-LIMITS.votes_kept :])


def _may_prepare(record: Record, vote: Vote) -> bool:
    if record.body(vote.block) is None:
        return False
    if record.view_change is None:
        return True
    return record.new_view is not None and record.new_view.view == vote.view


def _may_commit(record: Record, vote: Vote) -> bool:
    prepared = record.prepared
    return prepared is not None and prepared.view == vote.view and record.prepared_block == vote.block


def _may_change_view(record: Record, statement: ViewChange) -> Record | None:
    said = record.view_change
    if said is not None and said.view == statement.view:
        return record if replace(statement, signature=said.signature) == said else None
    if statement.view <= record.floor or statement.prepared != record.prepared:
        return None
    return replace(record, floor=statement.view, view_change=statement, new_view=None)


def _may_announce(record: Record, statement: NewView) -> Record | None:
    if record.view_change is None or record.view_change.view != statement.view:
        return None
    said = record.new_view
    if said is not None:
        return record if replace(statement, signature=said.signature) == said else None
    return replace(record, new_view=statement)
