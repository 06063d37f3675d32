"""Addresses: what a radiologist gives an issuer, so that a private credential can be made out to it.

An address is one line of text with a checksum. It names the network, the holder, the category and the
subject, opens the subject's leaf under the holder's ``subjects_root``, and is signed by the holder's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import base58

from .. import keys
from ..encoding import BYTES_32, Digest, Fields, Record, Value, decode, digest, encode
from ..errors import InvalidInput
from ..keys import Did, PublicKey, SigningKey
from .subjects import SALT_BYTES, Opening

PREFIX: Final = "ccaddr1"
_TAG_BYTES: Final = 8
_MOST_TEXT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Address:
    """``network`` is the first 8 bytes of the network's digest; the signature is over all of it."""

    network: bytes
    holder: Did
    key: PublicKey
    opening: Opening
    signature: bytes

    @staticmethod
    def make(network: Digest, holder: Did, signer: SigningKey, opening: Opening) -> Address:
        signature = signer.sign(_signed(network, holder, opening))
        return Address(network[:_TAG_BYTES], holder, signer.public, opening, signature)

    @property
    def text(self) -> str:
        """``ccaddr1`` and base58 with a checksum of four bytes."""
        return PREFIX + base58.b58encode_check(encode(self._fields())).decode()

    def _fields(self) -> dict[str, Value]:
        """Letters for names: people paste this. ``k`` is absent where the key is the holder's first."""
        opening = self.opening
        other: dict[str, Value] = {} if keys.did_of(self.key) == self.holder else {"k": self.key}
        return {
            "n": self.network,
            "h": keys.key_of(self.holder),
            "c": opening.category,
            "s": opening.subject,
            "t": opening.salt,
            "i": opening.index,
            "m": opening.count,
            "p": opening.path,
            "g": self.signature,
            **other,
        }

    @staticmethod
    def parse(text: str) -> Address:
        """From pasted text, white space around it dropped; InvalidInput for a mistyped one."""
        cleaned = "".join(text.split())
        hint = "copy the whole line that credchain wallet address prints"
        if not cleaned.startswith(PREFIX) or not cleaned.isascii() or len(cleaned) > _MOST_TEXT:
            raise InvalidInput("this is not a credchain address", field="to", hint=hint)
        try:
            data = base58.b58decode_check(cleaned.removeprefix(PREFIX))
        except ValueError:
            raise InvalidInput(
                "the address is mistyped: its checksum is wrong", field="to", hint=hint
            ) from None
        return decode(data, _read, Address._fields, "address", max_bytes=_MOST_TEXT)

    def check(self, network: Digest, category: str) -> None:
        """InvalidInput unless it is for this network and category, and signed by the key that it names.

        Whether that key is the holder's, and the leaf under its root, the ledger says.
        """
        if self.network != network[:_TAG_BYTES]:
            raise InvalidInput("the address is for another network", field="to")
        if self.opening.category != category:
            raise InvalidInput(
                f"the address is for {self.opening.category}, not for {category}",
                field="to",
                hint=f"ask for the line that credchain wallet address {category} prints",
            )
        if not keys.verify(self.key, _signed(network, self.holder, self.opening), self.signature):
            raise InvalidInput("the address is not signed by its holder", field="to")


class _Statement(Record, frozen=True):
    """What the holder signs."""

    network: Annotated[Digest, BYTES_32]
    holder: Did
    opening: Opening


def _signed(network: Digest, holder: Did, opening: Opening) -> Digest:
    return digest("address", _Statement(network, holder, opening).encode())


def _read(fields: Fields) -> Address:
    first = PublicKey(fields.binary("h", keys.PUBLIC_KEY_BYTES))
    other = PublicKey(fields.binary("k", keys.PUBLIC_KEY_BYTES)) if fields.has("k") else first
    return Address(
        network=fields.binary("n", _TAG_BYTES),
        holder=keys.did_of(first),
        key=other,
        opening=Opening(
            category=fields.text("c", max_bytes=64),
            subject=fields.digest("s"),
            salt=fields.binary("t", SALT_BYTES),
            index=fields.integer("i"),
            count=fields.integer("m"),
            path=fields.binary("p", at_most=32 * 16),
        ),
        signature=fields.binary("g", keys.SIGNATURE_BYTES),
    )
