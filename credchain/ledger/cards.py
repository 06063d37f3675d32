"""Member cards: what a member says of itself, signed by its first key.

A card is made before any network exists, so it is the one signed thing that names no network; it
proves possession of the key and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import keys
from ..encoding import Digest, Fields, Value, decode, digest, encode
from ..errors import InvalidInput
from ..keys import Did, EncryptionKey, PublicKey, SigningKey
from ..limits import LIMITS

CARD_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class MemberCard:
    """``name`` is for organisations only: a radiologist's card names nobody.

    ``peer`` (HOST:PORT), ``api`` (URL) and ``certificate`` (PEM) are a validator's; ``recovery``,
    ``subjects_root`` and the ``private_categories`` whose subjects are under it are a radiologist's.
    """

    key: PublicKey
    encryption_key: EncryptionKey
    name: str | None = None
    peer: str | None = None
    api: str | None = None
    certificate: str | None = None
    recovery: Digest | None = None
    subjects_root: Digest | None = None
    private_categories: tuple[str, ...] = ()

    @property
    def did(self) -> Did:
        return keys.did_of(self.key)

    def fields(self) -> dict[str, Value]:
        optional: dict[str, Value | None] = {
            "name": self.name,
            "peer": self.peer,
            "api": self.api,
            "certificate": None if self.certificate is None else self.certificate.encode(),
            "recovery": self.recovery,
            "subjects_root": self.subjects_root,
        }
        present = {name: value for name, value in optional.items() if value is not None}
        if self.private_categories:
            present["private_categories"] = list(self.private_categories)
        return {"encryption_key": self.encryption_key, "key": self.key, "version": 1, **present}

    def encode(self) -> bytes:
        return encode(self.fields())

    def digest(self) -> Digest:
        return digest("member-card", self.encode())

    @staticmethod
    def read(fields: Fields) -> MemberCard:
        fields.integer("version", at_least=1, at_most=1)
        certificate = None
        if fields.has("certificate"):
            pem = fields.binary("certificate", at_most=4096)
            if not pem.isascii():
                raise InvalidInput("certificate is not PEM", field="certificate")
            certificate = pem.decode("ascii")
        return MemberCard(
            key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
            encryption_key=EncryptionKey(fields.binary("encryption_key", keys.PUBLIC_KEY_BYTES)),
            name=fields.optional_text("name", max_bytes=LIMITS.name_bytes),
            peer=fields.optional_text("peer", max_bytes=LIMITS.name_bytes),
            api=fields.optional_text("api", max_bytes=LIMITS.name_bytes),
            certificate=certificate,
            recovery=fields.optional_digest("recovery"),
            subjects_root=fields.optional_digest("subjects_root"),
            private_categories=fields.texts("private_categories", at_most=LIMITS.categories)
            if fields.has("private_categories")
            else (),
        )

    @staticmethod
    def decode(data: bytes) -> MemberCard:
        return decode(data, MemberCard.read, MemberCard.fields, "member card", max_bytes=CARD_BYTES)

    def sign(self, signer: SigningKey) -> bytes:
        return signer.sign(self.digest())

    def signed_by_its_key(self, signature: bytes) -> bool:
        return keys.verify(self.key, self.digest(), signature)
