"""Records: the values of the state map, and their bytes.

What was true at a height stays provable: roles, categories, jurisdictions and keys are intervals
that are never pruned, and an entry's history only grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Final

from msgspec import Meta

from .. import keys
from ..certificates import Height, Millis
from ..credentials.subjects import Opening
from ..encoding import (
    BYTES_32,
    NATURAL,
    Digest,
    Fields,
    Record,
    Value,
    check_ascending,
    check_text,
    check_texts,
    decode,
    decode_record,
    encode,
)
from ..errors import InvalidInput
from ..keys import Did, EncryptionKey, PublicKey
from ..limits import DAY, HOUR, LIMITS
from .codes import ACTIVE, ISSUED_IN_ERROR, TERMINAL

_MANY: Final = Meta(max_length=100_000)
"""Lists that only honest growth lengthens; the message size bounds them."""

_Height = Annotated[Height, NATURAL]
_Millis = Annotated[Millis, NATURAL]
_Digest = Annotated[Digest, BYTES_32]
_Key = Annotated[PublicKey, BYTES_32]


class Term(Record, frozen=True):
    """A role, category or jurisdiction held from ``start`` (height) until before ``end``."""

    name: str
    start: _Height
    end: _Height | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name", max_bytes=LIMITS.name_bytes)

    def covers(self, height: Height) -> bool:
        return self.start <= height and (self.end is None or height < self.end)


class KeyTerm(Record, frozen=True):
    """A key valid from ``start`` until before ``end``; ``distrusted`` is since which height."""

    key: _Key
    start: _Height
    end: _Height | None = None
    distrusted: _Height | None = None

    def signs_at(self, height: Height) -> bool:
        """Whether a transaction at this height may carry the key."""
        return (
            self.start <= height
            and (self.end is None or height < self.end)
            and (self.distrusted is None or height < self.distrusted)
        )


_Terms = Annotated[tuple[Term, ...], _MANY]


def _holds(terms: tuple[Term, ...], name: str, height: Height) -> bool:
    return any(term.name == name and term.covers(height) for term in terms)


class Member(Record, frozen=True):
    """The ledger's record of a member. ``name`` is for organisations only; ``recovery``,
    ``subjects_root`` and ``private_categories`` are a radiologist's, as its card had them."""

    did: Did
    enrolled: _Height
    encryption_key: Annotated[EncryptionKey, BYTES_32]
    keys: Annotated[tuple[KeyTerm, ...], _MANY]
    roles: _Terms
    categories: _Terms
    jurisdictions: _Terms
    name: str | None = None
    recovery: _Digest | None = None
    subjects_root: _Digest | None = None
    private_categories: Annotated[tuple[str, ...], Meta(max_length=LIMITS.categories)] = ()

    def __post_init__(self) -> None:
        keys.check_did(self.did)
        if self.name is not None:
            check_text(self.name, "name", max_bytes=LIMITS.name_bytes)
        if self.private_categories:
            check_texts(self.private_categories, "private_categories")

    def has_role(self, role: str, height: Height) -> bool:
        return _holds(self.roles, role, height)

    def may_attest(self, category: str, height: Height) -> bool:
        """Issuer role and the category, both at this height."""
        return _holds(self.roles, "issuer", height) and _holds(self.categories, category, height)

    def key_term(self, key: PublicKey) -> KeyTerm | None:
        for term in self.keys:
            if term.key == key:
                return term
        return None

    def signs_with(self, key: PublicKey, height: Height) -> bool:
        term = self.key_term(key)
        return term is not None and term.signs_at(height)

    def names_at(self, terms: Iterable[Term], height: Height) -> tuple[str, ...]:
        return tuple(term.name for term in terms if term.covers(height))

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
        return decode_record(data, Member, "member")


class StatusChange(Record, frozen=True):
    """One line of an entry's history: who set which status, why, and in which block."""

    status: str
    reason: str
    by: Did
    height: _Height
    time: _Millis
    note: _Digest | None = None

    def __post_init__(self) -> None:
        check_text(self.status, "status", max_bytes=64)
        check_text(self.reason, "reason", max_bytes=64)
        keys.check_did(self.by, "by")


class Entry(Record, frozen=True):
    """One attestation in a dossier. It is active from its block on, until its history says else."""

    id: _Digest
    issuer: Did
    key: _Key
    height: _Height
    time: _Millis
    credential: _Digest
    valid_from: _Millis
    history: Annotated[tuple[StatusChange, ...], _MANY]
    valid_until: _Millis | None = None
    renews: _Digest | None = None
    erased: _Height | None = None

    def __post_init__(self) -> None:
        keys.check_did(self.issuer, "issuer")

    @property
    def status(self) -> str:
        return self.history[-1].status if self.history else ACTIVE

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL


class Dossier(Record, frozen=True):
    """All attestations of one subject in one category, in ledger order."""

    category: str
    subject: _Digest
    entries: Annotated[tuple[Entry, ...], _MANY]

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)

    def entry(self, attestation: Digest) -> Entry | None:
        for entry in self.entries:
            if entry.id == attestation:
                return entry
        return None

    def count_of(self, issuer: Did) -> int:
        """How many entries are this issuer's."""
        return sum(entry.issuer == issuer for entry in self.entries)

    def renewal_of(self, attestation: Digest) -> Entry | None:
        """The entry that renews this one, unless that one was issued in error."""
        for entry in self.entries:
            if entry.renews == attestation and entry.status != ISSUED_IN_ERROR:
                return entry
        return None

    def with_entry(self, entry: Entry) -> Dossier:
        """With this entry added, or in the place of the one with its id."""
        if self.entry(entry.id) is not None:
            replaced = tuple(entry if each.id == entry.id else each for each in self.entries)
            return Dossier(self.category, self.subject, replaced)
        return Dossier(self.category, self.subject, (*self.entries, entry))

    @staticmethod
    def decode(data: bytes) -> Dossier:
        return decode_record(data, Dossier, "dossier")


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


@dataclass(frozen=True)
class Parameters:
    """Everything that a rule reads and that members can vote on (by `amend`, at a height).

    ``expiry_window`` is W: how far ahead of the block's time a transaction's expiry may lie, in
    milliseconds. Sizes are bytes. A full block of ``block_operations`` takes, measured on one core of a
    small machine, 0.15 s to execute when each operation is a thousandth of an envelope, and 0.45 s with
    its decoding and signatures when each is a transaction: below a quarter of the base timeout.
    """

    categories: tuple[CategoryRule, ...]
    version: int = 1
    rules_version: int = 1
    expiry_window: int = 1 * HOUR
    transaction_operations: int = 1_000
    transaction_bytes: int = 1 * 2**20
    block_operations: int = 5_000
    block_bytes: int = 2 * 2**20
    entries_per_issuer: int = 256
    changes_per_issuer: int = 1_000
    trusting_period: int = 3 * 365 * DAY

    @cached_property
    def _rules(self) -> dict[str, CategoryRule]:
        return {each.category: each for each in self.categories}

    def rule_of(self, category: str) -> CategoryRule | None:
        return self._rules.get(category)

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
    @lru_cache(8)
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
