"""Records: the values of the state map, and their bytes.

What was true at a height stays provable: roles, categories, jurisdictions and keys are intervals
that are never pruned, and an entry's history only grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .. import keys
from ..certificates import Height, Millis
from ..credentials.subjects import Opening
from ..encoding import Digest, Fields, Value, check_ascending, decode, encode
from ..errors import InvalidInput
from ..keys import Did, EncryptionKey, PublicKey
from ..limits import DAY, HOUR, LIMITS
from .codes import ACTIVE, ISSUED_IN_ERROR, TERMINAL

_MANY: Final = 100_000
"""Lists that only honest growth lengthens; the message size bounds them."""


@dataclass(frozen=True, slots=True)
class Term:
    """A role, category or jurisdiction held from ``start`` (height) until before ``end``."""

    name: str
    start: Height
    end: Height | None = None

    def covers(self, height: Height) -> bool:
        return self.start <= height and (self.end is None or height < self.end)

    def fields(self) -> dict[str, Value]:
        end: dict[str, Value] = {} if self.end is None else {"end": self.end}
        return {"name": self.name, "start": self.start, **end}

    @staticmethod
    def read(fields: Fields) -> Term:
        name = fields.text("name", max_bytes=LIMITS.name_bytes)
        return Term(name, Height(fields.integer("start")), _optional_height(fields, "end"))


@dataclass(frozen=True, slots=True)
class KeyTerm:
    """A key valid from ``start`` until before ``end``; ``distrusted`` is since which height."""

    key: PublicKey
    start: Height
    end: Height | None = None
    distrusted: Height | None = None

    def signs_at(self, height: Height) -> bool:
        """Whether a transaction at this height may carry the key."""
        return (
            self.start <= height
            and (self.end is None or height < self.end)
            and (self.distrusted is None or height < self.distrusted)
        )

    def fields(self) -> dict[str, Value]:
        result: dict[str, Value] = {"key": self.key, "start": self.start}
        if self.end is not None:
            result["end"] = self.end
        if self.distrusted is not None:
            result["distrusted"] = self.distrusted
        return result

    @staticmethod
    def read(fields: Fields) -> KeyTerm:
        return KeyTerm(
            key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
            start=Height(fields.integer("start")),
            end=_optional_height(fields, "end"),
            distrusted=_optional_height(fields, "distrusted"),
        )


def _optional_height(fields: Fields, name: str) -> Height | None:
    value = fields.optional_integer(name)
    return None if value is None else Height(value)


@dataclass(frozen=True, slots=True)
class Member:
    """The ledger's record of a member. ``name`` is for organisations only; ``recovery``,
    ``subjects_root`` and ``private_categories`` are a radiologist's, as its card had them."""

    did: Did
    enrolled: Height
    encryption_key: EncryptionKey
    keys: tuple[KeyTerm, ...]
    roles: tuple[Term, ...]
    categories: tuple[Term, ...] = ()
    jurisdictions: tuple[Term, ...] = ()
    name: str | None = None
    recovery: Digest | None = None
    subjects_root: Digest | None = None
    private_categories: tuple[str, ...] = ()

    def has_role(self, role: str, height: Height) -> bool:
        return any(term.name == role and term.covers(height) for term in self.roles)

    def may_attest(self, category: str, height: Height) -> bool:
        """Issuer role and the category, both at this height."""
        return self.has_role("issuer", height) and any(
            term.name == category and term.covers(height) for term in self.categories
        )

    def key_term(self, key: PublicKey) -> KeyTerm | None:
        return next((term for term in self.keys if term.key == key), None)

    def signs_with(self, key: PublicKey, height: Height) -> bool:
        term = self.key_term(key)
        return term is not None and term.signs_at(height)

    def names_at(self, terms: Iterable[Term], height: Height) -> tuple[str, ...]:
        return tuple(term.name for term in terms if term.covers(height))

    def fields(self) -> dict[str, Value]:
        result: dict[str, Value] = {
            "did": self.did,
            "enrolled": self.enrolled,
            "encryption_key": self.encryption_key,
            "keys": [term.fields() for term in self.keys],
            "roles": [term.fields() for term in self.roles],
            "categories": [term.fields() for term in self.categories],
            "jurisdictions": [term.fields() for term in self.jurisdictions],
        }
        if self.name is not None:
            result["name"] = self.name
        if self.recovery is not None:
            result["recovery"] = self.recovery
        if self.subjects_root is not None:
            result["subjects_root"] = self.subjects_root
        if self.private_categories:
            result["private_categories"] = list(self.private_categories)
        return result

    def encode(self) -> bytes:
        return encode(self.fields())

    @staticmethod
    def read(fields: Fields) -> Member:
        return Member(
            did=keys.check_did(fields.text("did")),
            enrolled=Height(fields.integer("enrolled")),
            encryption_key=EncryptionKey(fields.binary("encryption_key", keys.PUBLIC_KEY_BYTES)),
            keys=fields.maps("keys", KeyTerm.read, at_most=_MANY),
            roles=fields.maps("roles", Term.read, at_most=_MANY),
            categories=fields.maps("categories", Term.read, at_most=_MANY),
            jurisdictions=fields.maps("jurisdictions", Term.read, at_most=_MANY),
            name=fields.optional_text("name", max_bytes=LIMITS.name_bytes),
            recovery=fields.optional_digest("recovery"),
            subjects_root=fields.optional_digest("subjects_root"),
            private_categories=fields.texts("private_categories", at_most=LIMITS.categories)
            if fields.has("private_categories")
            else (),
        )

    def commits_to(self, opening: Opening) -> bool:
        """Whether the opening is of a subject that this member committed to when it enrolled.

        The leaf's place follows from the category, so there is one subject a category.
        """
        return (
            self.subjects_root is not None
            and opening.category in self.private_categories
            and opening.count == len(self.private_categories)
            and opening.index == self.private_categories.index(opening.category)
            and opening.opens(self.subjects_root)
        )

    @staticmethod
    def decode(data: bytes) -> Member:
        return decode(data, Member.read, Member.fields, "member")


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One line of an entry's history: who set which status, why, and in which block."""

    status: str
    reason: str
    by: Did
    height: Height
    time: Millis
    note: Digest | None = None

    def fields(self) -> dict[str, Value]:
        note: dict[str, Value] = {} if self.note is None else {"note": self.note}
        return {
            "status": self.status,
            "reason": self.reason,
            "by": self.by,
            "height": self.height,
            "time": self.time,
            **note,
        }

    @staticmethod
    def read(fields: Fields) -> StatusChange:
        return StatusChange(
            status=fields.text("status", max_bytes=64),
            reason=fields.text("reason", max_bytes=64),
            by=keys.check_did(fields.text("by"), "by"),
            height=Height(fields.integer("height")),
            time=Millis(fields.integer("time")),
            note=fields.optional_digest("note"),
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One attestation in a dossier. It is active from its block on, until its history says else."""

    id: Digest
    issuer: Did
    key: PublicKey
    height: Height
    time: Millis
    credential: Digest
    valid_from: Millis
    valid_until: Millis | None = None
    renews: Digest | None = None
    history: tuple[StatusChange, ...] = ()
    erased: Height | None = None

    @property
    def status(self) -> str:
        return self.history[-1].status if self.history else ACTIVE

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    def fields(self) -> dict[str, Value]:
        result: dict[str, Value] = {
            "id": self.id,
            "issuer": self.issuer,
            "key": self.key,
            "height": self.height,
            "time": self.time,
            "credential": self.credential,
            "valid_from": self.valid_from,
            "history": [change.fields() for change in self.history],
        }
        if self.valid_until is not None:
            result["valid_until"] = self.valid_until
        if self.renews is not None:
            result["renews"] = self.renews
        if self.erased is not None:
            result["erased"] = self.erased
        return result

    @staticmethod
    def read(fields: Fields) -> Entry:
        until = fields.optional_integer("valid_until")
        return Entry(
            id=fields.digest("id"),
            issuer=keys.check_did(fields.text("issuer"), "issuer"),
            key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
            height=Height(fields.integer("height")),
            time=Millis(fields.integer("time")),
            credential=fields.digest("credential"),
            valid_from=Millis(fields.integer("valid_from")),
            valid_until=None if until is None else Millis(until),
            renews=fields.optional_digest("renews"),
            history=fields.maps("history", StatusChange.read, at_most=_MANY),
            erased=_optional_height(fields, "erased"),
        )


@dataclass(frozen=True)
class Dossier:
    """All attestations of one subject in one category, in ledger order."""

    category: str
    subject: Digest
    entries: tuple[Entry, ...] = ()

    @cached_property
    def _by_id(self) -> dict[Digest, Entry]:
        return {entry.id: entry for entry in self.entries}

    def entry(self, attestation: Digest) -> Entry | None:
        return self._by_id.get(attestation)

    def renewal_of(self, attestation: Digest) -> Entry | None:
        """The entry that renews this one, unless that one was issued in error."""
        return next(
            (
                entry
                for entry in self.entries
                if entry.renews == attestation and entry.status != ISSUED_IN_ERROR
            ),
            None,
        )

    def with_entry(self, entry: Entry) -> Dossier:
        """With this entry added, or in the place of the one with its id."""
        if entry.id in self._by_id:
            replaced = tuple(entry if each.id == entry.id else each for each in self.entries)
            return Dossier(self.category, self.subject, replaced)
        return Dossier(self.category, self.subject, (*self.entries, entry))

    def fields(self) -> dict[str, Value]:
        return {
            "category": self.category,
            "subject": self.subject,
            "entries": [entry.fields() for entry in self.entries],
        }

    def encode(self) -> bytes:
        return encode(self.fields())

    @staticmethod
    def read(fields: Fields) -> Dossier:
        return Dossier(
            category=fields.text("category", max_bytes=64),
            subject=fields.digest("subject"),
            entries=fields.maps("entries", Entry.read, at_most=_MANY),
        )

    @staticmethod
    def decode(data: bytes) -> Dossier:
        return decode(data, Dossier.read, Dossier.fields, "dossier")


@dataclass(frozen=True, slots=True)
class CategoryRule:
    """What the rules read of a category: its file's digest, and whether one in force is the most."""

    category: str
    digest: Digest
    exclusive: bool

    def fields(self) -> dict[str, Value]:
        return {"category": self.category, "digest": self.digest, "exclusive": self.exclusive}

    @staticmethod
    def read(fields: Fields) -> CategoryRule:
        return CategoryRule(
            fields.text("category", max_bytes=64),
            fields.digest("digest"),
            fields.boolean("exclusive"),
        )


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything that a rule reads and that members can vote on (by `amend`, at a height).

    ``expiry_window`` is W: how far ahead of the block's time a transaction's expiry may lie, in
    milliseconds. Sizes are bytes.
    """

    categories: tuple[CategoryRule, ...]
    version: int = 1
    rules_version: int = 1
    expiry_window: int = 1 * HOUR
    transaction_operations: int = 1_000
    transaction_bytes: int = 1 * 2**20
    block_operations: int = 2_000
    block_bytes: int = 2 * 2**20
    entries_per_issuer: int = 256
    changes_per_issuer: int = 1_000
    trusting_period: int = 3 * 365 * DAY

    def rule_of(self, category: str) -> CategoryRule | None:
        return next((each for each in self.categories if each.category == category), None)

    def fields(self) -> dict[str, Value]:
        return {
            "categories": [each.fields() for each in self.categories],
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    def encode(self) -> bytes:
        return encode(self.fields())

    @staticmethod
    def read(fields: Fields) -> Parameters:
        categories = fields.maps("categories", CategoryRule.read, at_most=LIMITS.categories)
        check_ascending([each.category.encode() for each in categories], "categories")
        numbers = {name: fields.integer(name, at_least=1, at_most=most) for name, most in _NUMBERS.items()}
        if numbers["rules_version"] != 1:
            raise InvalidInput(
                f"the network uses rules version {numbers['rules_version']}, this program knows 1",
                field="rules_version",
                hint="install a newer credchain",
            )
        return Parameters(categories=categories, **numbers)

    @staticmethod
    def decode(data: bytes) -> Parameters:
        return decode(data, Parameters.read, Parameters.fields, "parameters")


_NUMBERS: Final = {
    "version": LIMITS.max_integer,
    "rules_version": LIMITS.max_integer,
    "expiry_window": 7 * DAY,
    "transaction_operations": 1_000,
    "transaction_bytes": 2 * 2**20,
    "block_operations": 20_000,
    "block_bytes": 4 * 2**20,
    "entries_per_issuer": 1_000,
    "changes_per_issuer": 10_000,
    "trusting_period": LIMITS.max_integer,
}
"""The numbers, and the most that each can be voted to: beyond it a decoder would refuse the result."""
