"""The validators' keys: real Ed25519, or a keyed hash that is as unforgeable here and far faster.

A machine gets only its own validator's signer, so a liar lies with its own key and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from credchain import keys
from credchain.certificates import Validator, ValidatorSet
from credchain.encoding import Digest
from credchain.keys import Did, PublicKey

Signer = Callable[[Digest], bytes]


class Keyring:
    """n validators, ascending by DID."""

    def __init__(self, seed: int, validators: int, *, real: bool = False) -> None:
        self._secrets: dict[PublicKey, bytes] = {}
        self._real = real
        pairs: list[tuple[Did, PublicKey, Signer]] = []
        for number in range(validators):
            secret = hashlib.sha256(f"simulation {seed} {number}".encode()).digest()
            pairs.append(self._real_pair(secret) if real else self._fast_pair(secret))
        pairs.sort(key=lambda pair: pair[0])
        self.validators = ValidatorSet(tuple(Validator(did, public) for did, public, _ in pairs))
        self.signers = [signer for _, _, signer in pairs]

    @staticmethod
    def _real_pair(secret: bytes) -> tuple[Did, PublicKey, Signer]:
        key = keys.SigningKey.from_seed(secret)
        return keys.did_of(key.public), key.public, key.sign

    def _fast_pair(self, secret: bytes) -> tuple[Did, PublicKey, Signer]:
        public = PublicKey(hashlib.sha256(b"public" + secret).digest())
        self._secrets[public] = secret
        return keys.did_of(public), public, lambda message: _mac(secret, message)

    def verify(self, public: PublicKey, message: Digest, signature: bytes) -> bool:
        if self._real:
            return keys.verify(public, message, signature)
        secret = self._secrets.get(public)
        return secret is not None and _mac(secret, message) == signature


def _mac(secret: bytes, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=secret, digest_size=keys.SIGNATURE_BYTES).digest()
