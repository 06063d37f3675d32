"""What validators say to each other, and the bytes that they sign.

Everything that counts in a quorum is signed over network, height and view, under a purpose of its own
(Castro & Liskov, section 4). What only helps others along (beacons, fetches, their answers) is
not signed: it comes over an authenticated link, and nothing is believed because of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .. import keys
from ..certificates import Certificate, Height, View, commit_digest
from ..encoding import DIGEST_BYTES, Digest, Fields, Value, decode, digest, encode
from ..errors import InvalidInput
from ..limits import LIMITS

PREPARE: Final = "prepare"
COMMIT: Final = "commit"
PHASES: Final = (PREPARE, COMMIT)
_CERTIFICATE_BYTES: Final = 200 * LIMITS.validators
MOST_BYTES: Final = LIMITS.message_bytes


def prepare_digest(network: Digest, height: Height, view: View, block: Digest) -> Digest:
    """What a PREPARE signs. The primary's PRE-PREPARE signs the same bytes: it is its PREPARE."""
    return digest("prepare", encode({"network": network, "height": height, "view": view, "header": block}))


@dataclass(frozen=True, slots=True)
class Vote:
    """PREPARE or COMMIT of a validator, by its index, for the block with this header digest."""

    phase: str
    height: Height
    view: View
    block: Digest
    validator: int
    signature: bytes = b""

    def signed(self, network: Digest) -> Digest:
        made = prepare_digest if self.phase == PREPARE else commit_digest
        return made(network, self.height, self.view, self.block)

    def fields(self) -> dict[str, Value]:
        return {
            "phase": self.phase,
            "height": self.height,
            "view": self.view,
            "block": self.block,
            "validator": self.validator,
            "signature": self.signature,
        }

    @staticmethod
    def read(fields: Fields) -> Vote:
        phase = fields.text("phase")
        if phase not in PHASES:
            raise InvalidInput("a vote's phase is prepare or commit", field="phase")
        return Vote(
            phase,
            _height(fields),
            View(fields.integer("view")),
            fields.digest("block"),
            _validator(fields),
            fields.binary("signature", keys.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class PrePrepare:
    """The primary's PREPARE with the block that it is for (section 4.2)."""

    vote: Vote
    block: bytes

    @property
    def height(self) -> Height:
        return self.vote.height

    def fields(self) -> dict[str, Value]:
        return {"vote": self.vote.fields(), "block": self.block}

    @staticmethod
    def read(fields: Fields) -> PrePrepare:
        vote = fields.nested("vote", Vote.read)
        if vote.phase != PREPARE:
            raise InvalidInput("a proposal carries its primary's prepare", field="vote")
        return PrePrepare(vote, fields.binary("block"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared certificate: a header, and a quorum's PREPARE signatures over it in one view."""

    header: bytes
    certificate: Certificate

    @property
    def view(self) -> View:
        return self.certificate.view

    def fields(self) -> dict[str, Value]:
        return {"header": self.header, "certificate": self.certificate.encode()}

    @staticmethod
    def read(fields: Fields) -> Prepared:
        header = fields.binary("header", at_most=4096)
        return Prepared(header, _certificate(fields, "certificate"))


@dataclass(frozen=True, slots=True)
class ViewChange:
    """VIEW-CHANGE (section 4.4): the sender signs nothing below ``view`` at this height any more.

    ``prepared`` is its highest prepared certificate of this height; ``parent`` its commit certificate of
    the height before (None at height 1).
    """

    height: Height
    view: View
    validator: int
    prepared: Prepared | None
    parent: Certificate | None
    signature: bytes = b""

    def signed(self, network: Digest) -> Digest:
        content = self.fields()
        del content["signature"]
        return digest("view-change", encode({"network": network, **content}))

    def fields(self) -> dict[str, Value]:
        fields: dict[str, Value] = {
            "height": self.height,
            "view": self.view,
            "validator": self.validator,
            "signature": self.signature,
        }
        if self.prepared is not None:
            fields["prepared"] = self.prepared.fields()
        if self.parent is not None:
            fields["parent"] = self.parent.encode()
        return fields

    @staticmethod
    def read(fields: Fields) -> ViewChange:
        return ViewChange(
            _height(fields),
            View(fields.integer("view")),
            _validator(fields),
            fields.nested("prepared", Prepared.read) if fields.has("prepared") else None,
            _certificate(fields, "parent") if fields.has("parent") else None,
            fields.binary("signature", keys.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class NewView:
    """NEW-VIEW (section 4.4): the view-changes from which everybody recomputes what comes next."""

    height: Height
    view: View
    validator: int
    view_changes: tuple[ViewChange, ...]
    signature: bytes = b""

    def signed(self, network: Digest) -> Digest:
        content = self.fields()
        del content["signature"]
        return digest("new-view", encode({"network": network, **content}))

    def fields(self) -> dict[str, Value]:
        return {
            "height": self.height,
            "view": self.view,
            "validator": self.validator,
            # As bytes: the eight levels that the encoding allows are not enough otherwise.
            "view_changes": [encode(each.fields()) for each in self.view_changes],
            "signature": self.signature,
        }

    @staticmethod
    def read(fields: Fields) -> NewView:
        def one(item: Any, field: str) -> ViewChange:
            if type(item) is not bytes:
                raise InvalidInput(f"{field} must be bytes", field=field)
            return decode(item, ViewChange.read, ViewChange.fields, field)

        return NewView(
            _height(fields),
            View(fields.integer("view")),
            _validator(fields),
            fields.items("view_changes", one, at_most=LIMITS.validators),
            fields.binary("signature", keys.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class Beacon:
    """Where the sender stands: the height that it works on, its view there, and whether it waits for
    that view's NEW-VIEW or proposal. Brings laggards along; counts for nothing."""

    height: Height
    view: View
    has_new_view: bool
    has_proposal: bool

    def fields(self) -> dict[str, Value]:
        return {
            "height": self.height,
            "view": self.view,
            "has_new_view": self.has_new_view,
            "has_proposal": self.has_proposal,
        }

    @staticmethod
    def read(fields: Fields) -> Beacon:
        return Beacon(
            _height(fields),
            View(fields.integer("view")),
            fields.boolean("has_new_view"),
            fields.boolean("has_proposal"),
        )


@dataclass(frozen=True, slots=True)
class FetchBlocks:
    """Asks for certified blocks from this height on."""

    height: Height

    def fields(self) -> dict[str, Value]:
        return {"height": self.height}

    @staticmethod
    def read(fields: Fields) -> FetchBlocks:
        return FetchBlocks(_height(fields))


@dataclass(frozen=True, slots=True)
class CertifiedBlock:
    """A block's bytes and a commit certificate for it; not checked by being one."""

    block: bytes
    certificate: Certificate

    def fields(self) -> dict[str, Value]:
        return {"block": self.block, "certificate": self.certificate.encode()}

    @staticmethod
    def read(fields: Fields) -> CertifiedBlock:
        return CertifiedBlock(fields.binary("block"), _certificate(fields, "certificate"))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Certified blocks of consecutive heights, the first of this height."""

    height: Height
    blocks: tuple[CertifiedBlock, ...]

    def fields(self) -> dict[str, Value]:
        return {"height": self.height, "blocks": [each.fields() for each in self.blocks]}

    @staticmethod
    def read(fields: Fields) -> Blocks:
        blocks = fields.maps("blocks", CertifiedBlock.read, at_most=LIMITS.blocks_per_fetch)
        return Blocks(_height(fields), blocks)


@dataclass(frozen=True, slots=True)
class FetchBody:
    """Asks for a proposed block by its header digest."""

    height: Height
    block: Digest

    def fields(self) -> dict[str, Value]:
        return {"height": self.height, "block": self.block}

    @staticmethod
    def read(fields: Fields) -> FetchBody:
        return FetchBody(_height(fields), fields.digest("block"))


@dataclass(frozen=True, slots=True)
class Body:
    """A block that was asked for by its header digest; whether it is that block, its reader checks."""

    height: Height
    block: bytes

    def fields(self) -> dict[str, Value]:
        return {"height": self.height, "block": self.block}

    @staticmethod
    def read(fields: Fields) -> Body:
        return Body(_height(fields), fields.binary("block"))


@dataclass(frozen=True, slots=True)
class TipQuery:
    """A validator that lost its safety record asks where the others stand; the nonce makes it fresh."""

    nonce: bytes

    def fields(self) -> dict[str, Value]:
        return {"nonce": self.nonce}

    @staticmethod
    def read(fields: Fields) -> TipQuery:
        return TipQuery(fields.binary("nonce", DIGEST_BYTES))


@dataclass(frozen=True, slots=True)
class TipReply:
    """The sender's last certified height, for that nonce; header and certificate from height 1 on."""

    nonce: bytes
    height: int
    header: bytes | None
    certificate: Certificate | None

    def fields(self) -> dict[str, Value]:
        fields: dict[str, Value] = {"nonce": self.nonce, "height": self.height}
        if self.header is not None:
            fields["header"] = self.header
        if self.certificate is not None:
            fields["certificate"] = self.certificate.encode()
        return fields

    @staticmethod
    def read(fields: Fields) -> TipReply:
        return TipReply(
            fields.binary("nonce", DIGEST_BYTES),
            fields.integer("height"),
            fields.binary("header", at_most=4096) if fields.has("header") else None,
            _certificate(fields, "certificate") if fields.has("certificate") else None,
        )


Signed = Vote | ViewChange | NewView
Message = (
    Vote
    | PrePrepare
    | ViewChange
    | NewView
    | Beacon
    | FetchBlocks
    | Blocks
    | FetchBody
    | Body
    | TipQuery
    | TipReply
)

_KINDS: Final[dict[str, type[Any]]] = {
    "vote": Vote,
    "pre_prepare": PrePrepare,
    "view_change": ViewChange,
    "new_view": NewView,
    "beacon": Beacon,
    "fetch_blocks": FetchBlocks,
    "blocks": Blocks,
    "fetch_body": FetchBody,
    "body": Body,
    "tip_query": TipQuery,
    "tip_reply": TipReply,
}
_NAMES: Final = {made: name for name, made in _KINDS.items()}


def encode_message(message: Message) -> bytes:
    """A message as it travels: its kind and its fields, canonical."""
    return encode({"kind": _NAMES[type(message)], "message": message.fields()})


def decode_message(data: bytes) -> Message:
    """Errors: InvalidInput naming the field. Signatures are not checked here."""

    def read(fields: Fields) -> Message:
        kind = _KINDS.get(fields.text("kind"))
        if kind is None:
            raise InvalidInput("a message of an unknown kind", field="kind")
        reader: Callable[[Fields], Message] = kind.read
        return fields.nested("message", reader)

    def write(message: Message) -> Value:
        return {"kind": _NAMES[type(message)], "message": message.fields()}

    return decode(data, read, write, "message", max_bytes=MOST_BYTES)


def _certificate(fields: Fields, name: str) -> Certificate:
    return Certificate.decode(fields.binary(name, at_most=_CERTIFICATE_BYTES))


def _height(fields: Fields) -> Height:
    return Height(fields.integer("height", at_least=1))


def _validator(fields: Fields) -> int:
    return fields.integer("validator", at_most=LIMITS.validators - 1)
