"""The state as the rules see it: typed records by key, changed in layers that can be dropped."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol, TypeVar, cast

import msgspec

from ..certificates import ValidatorSet
from ..encoding import DIGEST_BYTES, NO_DIGEST, Digest, encode, hasher
from ..errors import StorageError
from ..keys import Did
from .records import Dossier, Member, Parameters


class StateReader(Protocol):
    """Where committed values come from: storage on a node, a dict in a test."""

    def value(self, key: Digest) -> bytes | None: ...


class StateKey(msgspec.Struct, frozen=True, gc=False):
    """A kind and the parts that name one record of it; ``key`` is its place in the state map."""

    kind: str
    parts: tuple[str | bytes, ...]
    key: Digest


_place: Final = hasher("state-key")


def _state_key(kind: str, *parts: str | bytes) -> StateKey:
    return StateKey(kind, parts, _place(encode([kind, *parts])))


@lru_cache(4096)
def member_key(did: Did) -> StateKey:
    return _state_key("member", did)


@lru_cache(8192)
def dossier_key(category: str, subject: Digest) -> StateKey:
    return StateKey("dossier", (category, subject), _place(_before_subject(category) + subject))


@lru_cache(1024)
def _before_subject(category: str) -> bytes:
    """The encoding of a dossier's kind and parts but for the subject, which comes last: a block names
    thousands of subjects, and few categories."""
    return encode(["dossier", category, NO_DIGEST])[:-DIGEST_BYTES]


PARAMETERS = _state_key("parameters")
VALIDATORS = _state_key("validators")

Record = Member | Dossier | Parameters | ValidatorSet
R = TypeVar("R", bound=Record)


class State:
    """Records read through to a base, written into this layer.

    ``layer()`` gives a state on top of this one: `merge` takes its writes, dropping it drops them.
    """

    def __init__(self, base: StateReader | State) -> None:
        self._base = base
        self._written: dict[Digest, tuple[StateKey, Record]] = {}
        self._read: dict[Digest, Record | None] = {}

    def layer(self) -> State:
        return State(self)

    def merge(self, layer: State) -> None:
        self._written.update(layer._written)

    def member(self, did: Did) -> Member | None:
        return self._get(member_key(did), Member.decode)

    def dossier(self, category: str, subject: Digest) -> Dossier:
        """An empty one where there is none."""
        found = self._get(dossier_key(category, subject), Dossier.decode)
        return found or Dossier(category, subject, ())

    @property
    def parameters(self) -> Parameters:
        return self._required(PARAMETERS, Parameters.decode)

    @property
    def validators(self) -> ValidatorSet:
        return self._required(VALIDATORS, ValidatorSet.decode)

    def put(self, record: Record) -> None:
        key = key_of_record(record)
        self._written[key.key] = (key, record)

    def changes(self) -> list[tuple[StateKey, Record]]:
        """What was written, ascending by key: the same order on every machine."""
        return [self._written[key] for key in sorted(self._written)]

    def _required(self, key: StateKey, read: Callable[[bytes], R]) -> R:
        found = self._get(key, read)
        if found is None:
            raise StorageError(f"the state has no {key.kind}", hint="run credchain audit")
        return found

    def _get(self, key: StateKey, read: Callable[[bytes], R]) -> R | None:
        place = key.key
        written = self._written.get(place)
        if written is not None:
            return cast(R, written[1])
        if isinstance(self._base, State):
            return self._base._get(key, read)
        if place not in self._read:
            value = self._base.value(place)
            self._read[place] = None if value is None else read(value)
        return cast("R | None", self._read[place])


def key_of_record(record: Record) -> StateKey:
    """Where a record belongs."""
    match record:
        case Dossier():
            return dossier_key(record.category, record.subject)
        case Member():
            return member_key(record.did)
        case Parameters():
            return PARAMETERS
        case ValidatorSet():
            return VALIDATORS
