"""Subjects: 32 bytes that stand for a radiologist in one category."""

from __future__ import annotations

from ..encoding import Digest, digest, encode
from .npi import Npi


def npi_subject(category: str, npi: Npi) -> Digest:
    """The subject in a category with ``subject: npi``: whoever knows the NPI can compute it.

    That is meant: such categories are public registers, and a board can attest before the
    radiologist has any key. The category is part of it, so that a private enumeration of one
    category says nothing about another.
    """
    return digest("subject-npi", encode({"category": category, "npi": npi}))
