"""Canonical MessagePack and purpose-separated digests: the only way to bytes that are signed.

The profile (PROTOCOL.md, "Bytes"): maps with text keys sorted by their UTF-8 bytes; integers
0..2^53-1; bytes; text in NFC of characters that Unicode 3.2 assigns, without control, format, private
and line-separator ones; booleans; lists. No floats, no nil, no extension types; depth at most 8.
MessagePack itself allows many encodings of one value, so `decode` and `decode_record` re-encode from
the typed value and compare.

There are two ways to a typed value. A `Record` says its fields and their bounds in its type, and msgspec
reads and writes it in C: for what a verifier reads by the dozen. `Fields` reads a map by hand: for what
needs more than a type.
"""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NewType, TypeVar, cast

import msgpack
import msgspec

from .errors import InvalidInput
from .limits import LIMITS

Digest = NewType("Digest", bytes)
"""32 bytes, SHA-256."""

Value = bool | int | bytes | str | list[Any] | dict[str, Any]
"""What the canonical profile can hold."""

T = TypeVar("T")

DIGEST_BYTES: Final = 32
NO_DIGEST: Final = Digest(bytes(DIGEST_BYTES))
"""Stands where a digest will be."""
_REFUSED: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_UNICODE: Final = unicodedata.ucd_3_2_0
"""The one version of Unicode that every Python carries beside its own: what text is valid must not
depend on the Python that a validator runs (PROTOCOL.md, "Bytes")."""
_INVISIBLE: Final = frozenset("\u00ad\u200b")
"""Soft hyphen and zero-width space: format characters in every later version."""


def digest(purpose: str, data: bytes) -> Digest:
    """SHA-256 of ``credchain/v1/`` + purpose + 0x00 + data: a digest of one purpose is none of another."""
    return Digest(hashlib.sha256(_prefix(purpose) + data).digest())


def hasher(purpose: str) -> Callable[[bytes], Digest]:
    """`digest` for one purpose, for who takes it very often."""
    prefix, sha256 = _prefix(purpose), hashlib.sha256
    # Cast once: calling a NewType costs a fifth of a hash.
    return cast("Callable[[bytes], Digest]", lambda data: sha256(prefix + data).digest())


@cache
def _prefix(purpose: str) -> bytes:
    return b"credchain/v1/" + purpose.encode() + b"\x00"


def encode(value: Value) -> bytes:
    """The one canonical encoding of a value; InvalidInput names what the profile refuses."""
    _check(value, "value", 1)
    return _WRITER.encode(value)


_WRITER: Final = msgspec.msgpack.Encoder(order="sorted")
"""Maps sorted by the keys' UTF-8 bytes, integers in their shortest form."""


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


def _check(value: Any, field: str, depth: int) -> None:
    """InvalidInput for what the profile does not have."""
    kind = type(value)
    if kind is bytes or kind is bool:
        return
    if kind is int:
        _check_integer(value, field)
    elif kind is str:
        check_text(value, field, max_bytes=LIMITS.message_bytes)
    elif kind is not dict and kind is not list:
        raise InvalidInput(f"{field} has the type {kind.__name__}, which has no encoding", field=field)
    elif depth > LIMITS.depth:
        raise InvalidInput(f"{field} is nested deeper than {LIMITS.depth} levels", field=field)
    elif kind is list:
        for item in value:
            _check(item, field, depth + 1)
    else:
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidInput(f"{field} has a key that is not text", field=field)
            check_text(key, field)
            _check(item, key, depth + 1)


def _check_integer(value: int, field: str) -> None:
    if not 0 <= value <= LIMITS.max_integer:
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
        raise _not_canonical(what)
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
            return item

        return check_texts(self.items(name, one, at_most=at_most), f"{self._what}.{name}")


def check_texts(texts: tuple[str, ...], field: str) -> tuple[str, ...]:
    """A list that means a set of texts: each a name, strictly ascending by UTF-8 bytes."""
    for index, text in enumerate(texts):
        check_text(text, f"{field}[{index}]", max_bytes=LIMITS.name_bytes)
    check_ascending([text.encode() for text in texts], field)
    return texts


NATURAL: Final = msgspec.Meta(ge=0, le=LIMITS.max_integer)
"""For a field of a `Record`: the integers of the profile."""

BYTES_32: Final = msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)
"""For a field of a `Record`: a digest, or a public key."""

BYTES_64: Final = msgspec.Meta(min_length=64, max_length=64)
"""For a field of a `Record`: a signature."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A map of the canonical profile. Its type says names, types and bounds of the fields.

    Text is checked by the record's ``__post_init__``, since the profile's rule for text is more than a
    type (`check_text`). A field with a default is absent where it has it. A record is a tree of values, so
    the garbage collector need not know of it (``gc=False``).
    """

    def encode(self) -> bytes:
        """The canonical encoding; InvalidInput for what `decode_record` would not read back."""
        data = self.encode_checked()
        _read_record(data, type(self), type(self).__name__.lower())
        return data

    def encode_checked(self) -> bytes:
        """The same of a record whose parts were all checked before."""
        return _WRITER.encode(self)


R = TypeVar("R", bound=Record)


@cache
def _reader(kind: type[R]) -> msgspec.msgpack.Decoder[R]:
    return msgspec.msgpack.Decoder(kind)


def build_readers() -> None:
    """Of every record there is, now: for a program with threads, before it starts them.

    msgspec reads a type's annotations when it first meets the type, and lets another thread that comes
    upon it meanwhile decode with what is not there yet: a crash of the process (0.22).
    """
    waiting: list[type[Record]] = [Record]
    while waiting:
        kind = waiting.pop()
        _reader(kind)
        waiting += kind.__subclasses__()


def _read_record(data: bytes, kind: type[R], what: str) -> R:
    try:
        record: R = _reader(kind).decode(data)
    except msgspec.ValidationError as problem:
        raise _refusal(str(problem), what) from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidInput(f"{what} is not MessagePack: {problem}", field=what) from problem
    return record


def _refusal(problem: str, what: str) -> InvalidInput:
    field, message = refused_field(problem)
    field = f"{what}.{field}" if field and not field.startswith("[") else what + field
    return InvalidInput(f"{field}: {message}", field=field)


def refused_field(problem: str) -> tuple[str, str]:
    """Field and message of msgspec's ``Expected `int`, got `str` - at `$.keys[0].start```.

    Names in it may be hostile.
    """
    message, _, path = problem.partition(" - at `$")
    _, named, name = message.partition(" field `")
    field = path.rstrip("`") + (f".{name.rstrip('`')}" if named else "")
    return printable(field.removeprefix(".")), printable(message.removeprefix("Object "))


def decode_record(data: bytes, kind: type[R], what: str, *, max_bytes: int = LIMITS.message_bytes) -> R:
    """A `Record` from canonical bytes; InvalidInput names the field.

    msgspec lets pass what the types do not forbid: duplicate keys, keys out of order, long-form integers,
    nil for an absent field. A record has one encoding, so all of it shows where the bytes are compared.
    """
    if len(data) > max_bytes:
        raise InvalidInput(f"{what} is {len(data)} bytes long, at most {max_bytes}", field=what)
    record = _read_record(data, kind, what)
    if _WRITER.encode(record) != data:
        # Of what is refused, a duplicate key and a nil have a name.
        _check(unpack(data, what, max_bytes=max_bytes), what, 1)
        raise _not_canonical(what)
    return record


def _not_canonical(what: str) -> InvalidInput:
    return InvalidInput(
        f"{what} is not in canonical form",
        field=what,
        hint="sort the keys, use the shortest integers, leave optional fields out",
    )


def check_ascending(keys: list[bytes], field: str) -> None:
    """Lists that mean sets are strictly ascending, so a set has one encoding."""
    if any(left >= right for left, right in itertools.pairwise(keys)):
        raise InvalidInput(f"{field} must be in strictly ascending order", field=field)
