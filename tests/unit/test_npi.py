"""National Provider Identifiers: the check digit, and every bad form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credchain.credentials.npi import check_digit, parse_npi
from credchain.errors import InvalidInput
from tests.unit.credential_helpers import HOSTILE


def luhn_sum(digits: str) -> int:
    """ISO/IEC 7812-1, annex B, by a table: every second digit from the right counts double."""
    doubled = {0: 0, 1: 2, 2: 4, 3: 6, 4: 8, 5: 1, 6: 3, 7: 5, 8: 7, 9: 9}
    return sum(
        doubled[int(digit)] if place % 2 else int(digit) for place, digit in enumerate(reversed(digits))
    )


def test_the_example_of_cms() -> None:
    """CMS, "Requirements for NPI and NPI check digit": 123456789 has the check digit 3."""
    assert check_digit("123456789") == "3"
    assert parse_npi("1234567893") == "1234567893"
    assert luhn_sum("80840" + "1234567893") % 10 == 0


@HOSTILE
@given(st.sampled_from("12"), st.text("0123456789", min_size=8, max_size=8))
def test_of_ten_check_digits_one_is_right(first: str, rest: str) -> None:
    nine = first + rest
    right = [digit for digit in "0123456789" if luhn_sum("80840" + nine + digit) % 10 == 0]
    assert right == [check_digit(nine)]
    for digit in "0123456789":
        if [digit] == right:
            assert parse_npi(nine + digit) == nine + digit
        else:
            with pytest.raises(InvalidInput, match="check digit"):
                parse_npi(nine + digit)


def test_one_wrong_digit_and_most_neighbours_swapped_are_noticed() -> None:
    good = "1234567893"
    for place in range(1, 10):
        for digit in set("0123456789") - {good[place]}:
            with pytest.raises(InvalidInput):
                parse_npi(good[:place] + digit + good[place + 1 :])
    for place in range(1, 9):  # the Luhn sum misses only 09 and 90
        swapped = good[:place] + good[place + 1] + good[place] + good[place + 2 :]
        with pytest.raises(InvalidInput):
            parse_npi(swapped)


def _with_digits_from(zero: str) -> str:
    return "".join(chr(ord(zero) + int(digit)) for digit in "1234567893")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "123456789",
        "12345678930",
        "0234567890",
        "3234567891",
        "9234567893",
        "1234567890",
        " 1234567893",
        "1234567893 ",
        "1234567893\n",
        "1234567893\x00",
        "123-456-7893",
        "+123456789",
        "-123456789",
        "12345678.3",
        "1_23456789",
        "1e34567893",
        "0x34567893",
        _with_digits_from("\uff10"),
        _with_digits_from("\u0660"),
        _with_digits_from("\u0966"),
        "123456789\u00b3",
        "123456789\u2462",
        "1234567893\u200e",
        "\ud800234567893",
        "808401234567893",
    ],
)
def test_bad_forms_are_refused_by_name_with_a_hint(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_npi(text, "subject")
    assert caught.value.field == "subject"
    assert caught.value.hint
    assert caught.value.message.isprintable()


@HOSTILE
@given(st.text(max_size=12))
def test_any_text_is_refused_or_ten_ascii_digits(text: str) -> None:
    try:
        npi = parse_npi(text)
    except InvalidInput:
        return
    assert len(npi) == 10
    assert set(npi) <= set("0123456789")
