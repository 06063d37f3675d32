"""Subjects: 32 bytes that stand for a radiologist in one category.

In a category with ``subject: npi`` whoever knows the NPI can compute it. In one with ``subject: holder``
only the holder can, from its link secret; and since the holder commits once, when it enrols, to all of
its holder subjects by one Merkle root, a second secret cannot hide a second dossier.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from msgspec import Meta

from .. import merkle
from ..encoding import BYTES_32, NATURAL, Digest, Record, check_text, digest, encode
from ..errors import InvalidInput, ProofError
from .npi import Npi

TREE = "subject"
SALT_BYTES = 16
SECRET_BYTES = 32
MOST_CATEGORIES = 256


def npi_subject(category: str, npi: Npi) -> Digest:
    """The subject in a category with ``subject: npi``.

    The category is part of it, so that a list of subjects of one category says nothing about another.
    """
    return digest("subject-npi", encode({"category": category, "npi": npi}))


def holder_subject(secret: bytes, category: str) -> Digest:
    """The subject in a category with ``subject: holder``: HMAC-SHA256 (RFC 2104) of the link secret."""
    return Digest(_derive(secret, "subject-holder", category))


def _derive(secret: bytes, purpose: str, category: str) -> bytes:
    message = encode({"category": category, "purpose": f"credchain/v1/{purpose}"})
    return hmac.new(secret, message, sha256).digest()


class _Leaf(Record, frozen=True):
    category: str
    salt: bytes
    subject: Digest

    def __post_init__(self) -> None:
        check_text(self.category, "category")


def _leaf(category: str, subject: Digest, salt: bytes) -> Digest:
    return merkle.leaf(_Leaf(category, salt, subject).encode_checked(), TREE)


class Opening(Record, frozen=True):
    """Shows that a subject is the holder's in a category, under its ``subjects_root``.

    ``path`` is the siblings from the leaf up, 32 bytes each.
    """

    category: str
    subject: Annotated[Digest, BYTES_32]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    index: Annotated[int, NATURAL]
    count: Annotated[int, NATURAL]
    path: Annotated[bytes, Meta(max_length=32 * 16)]

    def __post_init__(self) -> None:
        check_text(self.category, "category", max_bytes=64)
        if len(self.path) % 32 or not 0 <= self.index < self.count <= MOST_CATEGORIES:
            raise InvalidInput("the opening of a subject is not well formed", field="opening")

    def opens(self, subjects_root: Digest) -> bool:
        """Whether the leaf is under this root."""
        leaf = _leaf(self.category, self.subject, self.salt)
        try:
            siblings = [self.path[at : at + 32] for at in range(0, len(self.path), 32)]
            merkle.check_path(subjects_root, self.count, self.index, leaf, siblings, TREE)
        except ProofError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class HolderSubjects:
    """All of a holder's subjects: a function of the link secret and the categories' names."""

    secret: bytes
    categories: tuple[str, ...]

    @staticmethod
    def of(secret: bytes, categories: Iterable[str]) -> HolderSubjects:
        """The categories once each, in ascending order: the order of the leaves."""
        if len(secret) != SECRET_BYTES:
            raise InvalidInput("a link secret is 32 bytes", field="link_secret")
        return HolderSubjects(secret, tuple(sorted(set(categories))))

    def _salt(self, category: str) -> bytes:
        return _derive(self.secret, "subject-salt", category)[:SALT_BYTES]

    def _leaves(self) -> list[Digest]:
        return [_leaf(each, holder_subject(self.secret, each), self._salt(each)) for each in self.categories]

    @property
    def root(self) -> Digest:
        """``subjects_root``."""
        return merkle.root(self._leaves(), TREE)

    def open(self, category: str) -> Opening:
        """The opening of one category; InvalidInput for one that was not committed to."""
        if category not in self.categories:
            raise InvalidInput(
                f"{category} is not among the categories that were committed to at enrolment",
                field="category",
                hint=f"they are {', '.join(self.categories)}",
            )
        index = self.categories.index(category)
        return Opening(
            category,
            holder_subject(self.secret, category),
            self._salt(category),
            index,
            len(self.categories),
            b"".join(merkle.path(self._leaves(), index, TREE)),
        )
