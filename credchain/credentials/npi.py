"""National Provider Identifiers: ten digits, the last a check digit."""

from __future__ import annotations

from typing import Final, NewType

from ..errors import InvalidInput

Npi = NewType("Npi", str)
_PREFIX: Final = "80840"
_LENGTH: Final = 10


def check_digit(first_nine: str) -> str:
    """The Luhn check digit over 80840 and the first nine digits (45 CFR 162.406; ISO/IEC 7812-1)."""
    total = 0
    for place, character in enumerate(reversed(_PREFIX + first_nine)):
        digit = int(character) * (2 if place % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return str(-total % 10)


def parse_npi(text: str, field: str = "npi") -> Npi:
    """A well-formed NPI, or InvalidInput that says what is wrong with it."""
    hint = "an NPI is ten digits, starts with 1 or 2, and has no spaces"
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(f"{field} {text[:20]!r} has characters other than digits", field=field, hint=hint)
    if len(text) != _LENGTH:
        raise InvalidInput(f"{field} has {len(text)} digits, not ten", field=field, hint=hint)
    if text[0] not in "12":
        raise InvalidInput(f"{field} {text} starts with {text[0]}", field=field, hint=hint)
    if check_digit(text[:-1]) != text[-1]:
        raise InvalidInput(
            f"{field} {text} has a wrong check digit",
            field=field,
            hint="a digit is probably mistyped; compare it with the source",
        )
    return Npi(text)
