"""Subjects: the bytes under the digest, written by hand."""

from __future__ import annotations

import hashlib

from credchain.credentials.npi import parse_npi
from credchain.credentials.subjects import npi_subject

NPI = parse_npi("1234567893")


def test_a_subject_is_the_digest_of_category_and_npi() -> None:
    by_hand = b"\x82" + b"\xa8category" + b"\xadstate_license" + b"\xa3npi" + b"\xaa1234567893"
    expected = hashlib.sha256(b"credchain/v1/subject-npi\x00" + by_hand).digest()
    assert npi_subject("state_license", NPI) == expected


def test_one_person_has_another_subject_in_each_category() -> None:
    other = parse_npi("1245319599")
    subjects = {
        npi_subject(category, npi)
        for category in ("state_license", "board_certification", "identity")
        for npi in (NPI, other)
    }
    assert len(subjects) == 6


def test_category_and_npi_do_not_run_into_each_other() -> None:
    assert npi_subject("a", NPI) != npi_subject("a1", NPI)
    assert npi_subject("", NPI) != npi_subject("1", NPI)
