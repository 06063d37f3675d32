"""Canonical MessagePack and purpose-separated digests: the only way to bytes that are signed.

The profile (PROTOCOL.md, "Bytes"): maps with text keys sorted by their UTF-8 bytes; integers
0..2^53-1; bytes; text in NFC of characters that Unicode 3.2 assigns, without control, format, private
and line-separator ones; booleans; lists. No floats, no nil, no extension types; depth at most 8.
MessagePack itself allows many encodings of one value, so `decode` re-encodes from the typed value and
compares.
"""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NewType, TypeVar

import msgpack

from .errors import InvalidInput
from .limits import LIMITS

Digest = NewType("Digest", bytes)
"""32 bytes, SHA-256."""

Value = bool | int | bytes | str | list[Any] | dict[str, Any]
"""What the canonical profile can hold."""

T = TypeVar("T")

DIGEST_BYTES: Final = 32
_REFUSED: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_UNICODE: Final = unicodedata.ucd_3_2_0
"""The one version of Unicode that every Python carries beside its own: what text is valid must not
depend on the Python that a validator runs (PROTOCOL.md, "Bytes")."""
_INVISIBLE: Final = frozenset("\u00ad\u200b")
"""Soft hyphen and zero-width space: format characters in every later version."""


def digest(purpose: str, data: bytes) -> Digest:
    """SHA-256 of ``credchain/v1/`` + purpose + 0x00 + data: a digest of one purpose is none of another."""
    return Digest(hashlib.sha256(_prefix(purpose) + data).digest())


@cache
def _prefix(purpose: str) -> bytes:
    return b"credchain/v1/" + purpose.encode() + b"\x00"


def encode(value: Value) -> bytes:
    """The one canonical encoding of a value; InvalidInput names what the profile refuses."""
    packed: bytes = msgpack.packb(_canonical(value, "value", 1), use_bin_type=True)
    return packed


def check_text(text: str, field: str, *, max_bytes: int = LIMITS.text_bytes) -> str:
    """Text as the profile allows it, or InvalidInput."""
    if len(text) <= max_bytes and text.isascii() and text.isprintable():
        return text
    try:
        size = len(text.encode())
    except UnicodeEncodeError as problem:
        raise InvalidInput(f"{field} holds half of a surrogate pair", field=field) from problem
    if size > max_bytes:
        raise InvalidInput(f"{field} is {size} bytes long, at most {max_bytes}", field=field)
    for character in text:
        if _UNICODE.category(character) in _REFUSED or character in _INVISIBLE:
            raise InvalidInput(
                f"{field} holds the character U+{ord(character):04X}, which is not allowed",
                field=field,
                hint="remove control, format and unassigned characters (Unicode 3.2 counts)",
            )
    # Not is_normalized: older Pythons look things up for the newest version there.
    if _UNICODE.normalize("NFC", text) != text:
        raise InvalidInput(
            f"{field} is not in Unicode normalization form C", field=field, hint="normalize to NFC"
        )
    return text


def printable(text: str) -> str:
    """Hostile text as an error may repeat it: short, and no terminal escapes."""
    return ascii(text[:60])[1:-1]


def _canonical(value: Any, field: str, depth: int) -> Any:
    """Check against the profile, with maps sorted; the same object where nothing changes."""
    kind = type(value)
    if kind is bytes or kind is bool:
        return value
    if kind is int:
        return _check_integer(value, field)
    if kind is str:
        return check_text(value, field, max_bytes=LIMITS.message_bytes)
    if kind is not dict and kind is not list:
        raise InvalidInput(f"{field} has the type {kind.__name__}, which has no encoding", field=field)
    if depth > LIMITS.depth:
        raise InvalidInput(f"{field} is nested deeper than {LIMITS.depth} levels", field=field)
    if kind is list:
        return [_canonical(item, field, depth + 1) for item in value]
    for key in value:
        if type(key) is not str:
            raise InvalidInput(f"{field} has a key that is not text", field=field)
        check_text(key, field)
    return {
        key: _canonical(value[key], key, depth + 1) for key in sorted(value, key=lambda name: name.encode())
    }


def _check_integer(value: int, field: str) -> int:
    if 0 <= value <= LIMITS.max_integer:
        return value
    raise InvalidInput(f"{field} is {value}, outside 0..2^53-1", field=field)


def _pairs(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in pairs:
        if type(key) is not str:
            raise InvalidInput("a map has a key that is not text")
        if key in result:
            shown = printable(key)
            raise InvalidInput(f"the key {shown} stands twice in one map", field=shown)
        result[key] = item
    return result


def _no_extension(code: int, data: bytes) -> Any:
    raise InvalidInput(f"extension type {code} is not allowed")


def unpack(data: bytes, what: str, *, max_bytes: int = LIMITS.message_bytes) -> Any:
    """Any MessagePack value within the limits; not yet known to be canonical (see `decode`)."""
    if len(data) > max_bytes:
        raise InvalidInput(f"{what} is {len(data)} bytes long, at most {max_bytes}", field=what)
    try:
        # Every declared length must really be there before anything is allocated for it.
        scanner = msgpack.Unpacker(max_buffer_size=len(data) or 1)
        scanner.feed(data)
        scanner.skip()
        value = msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=True,
            object_pairs_hook=_pairs,
            ext_hook=_no_extension,
        )
    except InvalidInput:
        raise
    except (
        ValueError,
        TypeError,
        RecursionError,
        OverflowError,
        msgpack.UnpackException,
    ) as problem:
        raise InvalidInput(f"{what} is not MessagePack: {problem or 'cut short'}", field=what) from problem
    return value


def decode(
    data: bytes,
    read: Callable[[Fields], T],
    write: Callable[[T], Value],
    what: str,
    *,
    max_bytes: int = LIMITS.message_bytes,
) -> T:
    """A typed value from canonical bytes.

    ``read`` builds it from the fields (unknown ones are refused), ``write`` gives the fields back;
    bytes that differ from the re-encoding are refused, whatever the difference. Errors: InvalidInput.
    """
    fields = Fields(unpack(data, what, max_bytes=max_bytes), what)
    value = read(fields)
    fields.finish()
    if encode(write(value)) != data:
        raise InvalidInput(
            f"{what} is not in canonical form",
            field=what,
            hint="sort the keys, use the shortest integers, leave optional fields out",
        )
    return value


class Fields:
    """The fields of one map, read by name and type; what is left over is an error.

    Every accessor raises InvalidInput naming the field. An accessor with ``optional`` in its name
    gives None for an absent field.
    """

    __slots__ = ("_map", "_read", "_what")

    def __init__(self, value: Any, what: str) -> None:
        if type(value) is not dict:
            raise InvalidInput(f"{what} must be a map", field=what)
        self._map: dict[str, Any] = value
        self._what = what
        self._read: set[str] = set()

    def finish(self) -> None:
        """Refuse fields that nobody asked for."""
        for name in self._map:
            if name not in self._read:
                field = f"{self._what}.{printable(name)}"
                raise InvalidInput(f"{field} is not a known field", field=field)

    def has(self, name: str) -> bool:
        return name in self._map

    def _take(self, name: str, kind: type, described: str) -> Any:
        self._read.add(name)
        field = f"{self._what}.{name}"
        if name not in self._map:
            raise InvalidInput(f"{field} is missing", field=field)
        value = self._map[name]
        if type(value) is not kind:
            raise InvalidInput(f"{field} must be {described}", field=field)
        return value

    def integer(self, name: str, *, at_least: int = 0, at_most: int = LIMITS.max_integer) -> int:
        value: int = self._take(name, int, "an integer")
        if not at_least <= value <= at_most:
            field = f"{self._what}.{name}"
            raise InvalidInput(f"{field} is {value}, not within {at_least}..{at_most}", field=field)
        return value

    def optional_integer(self, name: str) -> int | None:
        return self.integer(name) if self.has(name) else None

    def binary(self, name: str, length: int | None = None, *, at_most: int | None = None) -> bytes:
        value: bytes = self._take(name, bytes, "bytes")
        field = f"{self._what}.{name}"
        if length is not None and len(value) != length:
            raise InvalidInput(f"{field} must be {length} bytes, not {len(value)}", field=field)
        if at_most is not None and len(value) > at_most:
            raise InvalidInput(f"{field} is {len(value)} bytes long, at most {at_most}", field=field)
        return value

    def digest(self, name: str) -> Digest:
        return Digest(self.binary(name, DIGEST_BYTES))

    def optional_digest(self, name: str) -> Digest | None:
        return self.digest(name) if self.has(name) else None

    def text(self, name: str, *, max_bytes: int = LIMITS.text_bytes) -> str:
        value: str = self._take(name, str, "text")
        return check_text(value, f"{self._what}.{name}", max_bytes=max_bytes)

    def optional_text(self, name: str, *, max_bytes: int = LIMITS.text_bytes) -> str | None:
        return self.text(name, max_bytes=max_bytes) if self.has(name) else None

    def boolean(self, name: str) -> bool:
        value: bool = self._take(name, bool, "true or false")
        return value

    def items(self, name: str, read: Callable[[Any, str], T], *, at_most: int) -> tuple[T, ...]:
        """A list; ``read`` gets each item with its field name."""
        items: list[Any] = self._take(name, list, "a list")
        field = f"{self._what}.{name}"
        if len(items) > at_most:
            raise InvalidInput(f"{field} has {len(items)} items, at most {at_most}", field=field)
        return tuple(read(item, f"{field}[{index}]") for index, item in enumerate(items))

    def maps(self, name: str, read: Callable[[Fields], T], *, at_most: int) -> tuple[T, ...]:
        """A list of maps, each read whole."""

        def one(item: Any, field: str) -> T:
            inner = Fields(item, field)
            value = read(inner)
            inner.finish()
            return value

        return self.items(name, one, at_most=at_most)

    def nested(self, name: str, read: Callable[[Fields], T]) -> T:
        """One map within this one, read whole."""
        inner = Fields(self._take(name, dict, "a map"), f"{self._what}.{name}")
        value = read(inner)
        inner.finish()
        return value

    def texts(self, name: str, *, at_most: int) -> tuple[str, ...]:
        """A list that means a set of texts: strictly ascending by UTF-8 bytes."""

        def one(item: Any, field: str) -> str:
            if type(item) is not str:
                raise InvalidInput(f"{field} must be text", field=field)
            return check_text(item, field, max_bytes=LIMITS.name_bytes)

        values = self.items(name, one, at_most=at_most)
        check_ascending([value.encode() for value in values], f"{self._what}.{name}")
        return values


def check_ascending(keys: list[bytes], field: str) -> None:
    """Lists that mean sets are strictly ascending, so a set has one encoding."""
    if any(left >= right for left, right in itertools.pairwise(keys)):
        raise InvalidInput(f"{field} must be in strictly ascending order", field=field)
