"""Keys, categories, forged credentials and sample ledger values for the tests of the pure rooms.

What stands for an outside party here (base64url, JWS signing) is made without credchain's own code.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings

from credchain import keys
from credchain.certificates import Certificate, Height, Millis, Validator, ValidatorSet, View
from credchain.credentials.categories import Category, parse_category
from credchain.encoding import Digest
from credchain.keys import EncryptionKey, PublicKey, SigningKey
from credchain.ledger.blocks import Block, CertifiedHeader, Header, Receipt
from credchain.ledger.cards import MemberCard
from credchain.ledger.operations import Attest, Enroll, Erase, SetStatus
from credchain.ledger.proofs import StateProof
from credchain.ledger.records import (
    CategoryRule,
    Dossier,
    Entry,
    KeyTerm,
    Member,
    Parameters,
    StatusChange,
    Term,
)
from credchain.ledger.transactions import Transaction
from tests.values import replace

VECTORS = Path(__file__).parent.parent / "vectors"

HOSTILE = settings(max_examples=150, deadline=None, derandomize=True, database=None)
"""Hypothesis with the same examples on every run, and no time limits."""

NETWORK = Digest(b"\x11" * 32)
HEADER = Digest(b"\x22" * 32)


def vectors(name: str) -> dict[str, Any]:
    """A file of tests/vectors."""
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text("utf-8"))
    return loaded


def signer(number: int) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(b"test key %d" % number).digest())


def validator_set(count: int) -> tuple[ValidatorSet, tuple[SigningKey, ...]]:
    """That many validators, and their keys in the set's order."""
    pairs = sorted((str(keys.did_of(key.public)), key) for key in map(signer, range(count)))
    members = tuple(Validator(keys.did_of(key.public), key.public) for _, key in pairs)
    return ValidatorSet(members), tuple(key for _, key in pairs)


def category_document(name: str) -> dict[str, Any]:
    file = resources.files("credchain.credentials.data") / f"{name}.json"
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return document


def category(name: str) -> Category:
    return parse_category(category_document(name))


def example_claims(document: Mapping[str, Any]) -> dict[str, Any]:
    """The first example of every claim."""
    properties = document["claims"]["properties"]
    return {name: schema["examples"][0] for name, schema in properties.items()}


# Credentials as an outsider makes them: RFC 7515 and RFC 9901 by hand.


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def disclosure(content: Any) -> str:
    """Of ``[salt, name, value]``, or of any other content, or of raw JSON text."""
    text = content if isinstance(content, str) else json.dumps(content, allow_nan=True)
    return base64url(text.encode("utf-8", "surrogatepass"))


def disclosure_digest(text: str) -> str:
    return base64url(hashlib.sha256(text.encode()).digest())


def sign_jwt(seed: bytes, header: Any, payload: Any) -> str:
    """A JWS in compact form; header and payload are JSON values, or raw JSON text."""
    segments = [each if isinstance(each, str) else json.dumps(each) for each in (header, payload)]
    signing_input = ".".join(base64url(each.encode()) for each in segments)
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(signing_input.encode())
    return f"{signing_input}.{base64url(signature)}"


ISSUER_SEED = bytes(range(32))
ISSUER = SigningKey.from_seed(ISSUER_SEED)
ISSUER_DID = keys.did_of(ISSUER.public)
HOLDER = signer(77)
HEADER_JSON: dict[str, Any] = {"alg": "EdDSA", "typ": "dc+sd-jwt"}


def payload_json(disclosures: Iterable[str] = (), **changes: Any) -> dict[str, Any]:
    """A good payload for these disclosures; a change to None removes the claim."""
    payload: dict[str, Any] = {
        "iss": ISSUER_DID,
        "vct": "urn:credchain:cme_credit",
        "sub": "ab" * 32,
        "iat": 1_767_225_600,
        "nbf": 1_767_225_600,
        "exp": 1_798_761_600,
        "_sd_alg": "sha-256",
        "_sd": [disclosure_digest(each) for each in disclosures],
    }
    payload.update(changes)
    return {name: value for name, value in payload.items() if value is not None}


def forge(
    *disclosures: str, header: Any = None, payload: Any = None, changes: Mapping[str, Any] | None = None
) -> str:
    """A credential text whose signature by the issuer is good, whatever it says."""
    body = payload_json(disclosures, **(changes or {})) if payload is None else payload
    jwt = sign_jwt(ISSUER_SEED, HEADER_JSON if header is None else header, body)
    return "~".join((jwt, *disclosures, ""))


# Sample ledger values, one of every decoder.


@dataclass(frozen=True)
class Sample:
    """``encoded`` is a valid encoding; ``again`` decodes any bytes and encodes the value anew."""

    name: str
    encoded: bytes
    again: Callable[[bytes], bytes]


def _attest() -> Attest:
    return Attest("state_license", Digest(b"s" * 32), Digest(b"c" * 32), Millis(1000), Millis(2000))


def _card() -> MemberCard:
    return MemberCard(
        signer(5).public,
        EncryptionKey(b"e" * 32),
        name="Example Board",
        peer="a:7440",
        certificate="PEM",
    )


def sample_transaction() -> Transaction:
    """With one operation of each kind."""
    sender = signer(3)
    operations = (
        _attest(),
        SetStatus("fellowship", Digest(b"s" * 32), Digest(b"a" * 32), "suspended", "fraud"),
        Enroll(_card().encode(), b"p" * 64, ("hospital", "issuer"), ("cme_credit",), ("US-CA",)),
        Erase("identity", Digest(b"s" * 32), Digest(b"a" * 32), "data_error"),
    )
    did = keys.did_of(sender.public)
    return Transaction.sign(NETWORK, did, sender, Millis(1_000_000), operations)


def sample_header() -> Header:
    filler = [Digest(bytes([number]) * 32) for number in range(6)]
    return Header(
        network=NETWORK,
        height=Height(7),
        parent=filler[0],
        time=Millis(1_767_225_600_000),
        view=View(2),
        proposer=keys.did_of(signer(1).public),
        transactions_root=filler[1],
        transaction_count=2,
        state_root=filler[2],
        validators=filler[3],
        next_validators=filler[4],
    )


def _certificate() -> Certificate:
    return Certificate(View(300), ((0, b"x" * 64), (2, b"y" * 64), (3, b"z" * 64)))


def _dossier() -> Dossier:
    did = keys.did_of(signer(1).public)
    change = StatusChange("suspended", "fraud", did, Height(9), Millis(5), Digest(b"n" * 32))
    entry = Entry(
        id=Digest(b"i" * 32),
        issuer=did,
        key=signer(1).public,
        height=Height(8),
        time=Millis(4),
        credential=Digest(b"c" * 32),
        valid_from=Millis(3),
        valid_until=Millis(70_000),
        history=(change,),
    )
    return Dossier("fellowship", Digest(b"s" * 32), (entry,))


def _member() -> Member:
    return Member(
        did=keys.did_of(signer(1).public),
        enrolled=Height(1),
        encryption_key=EncryptionKey(b"e" * 32),
        keys=(KeyTerm(PublicKey(b"k" * 32), Height(1), Height(9), Height(5)),),
        roles=(Term("issuer", Height(1)), Term("hospital", Height(2), Height(3))),
        categories=(),
        jurisdictions=(),
        name="Example Board",
    )


def samples() -> list[Sample]:
    """A valid encoding of every typed decoder of certificates and ledger."""
    transaction, header = sample_transaction(), sample_header()
    receipt = Receipt(CertifiedHeader(header, _certificate()), 1, (Digest(b"m" * 32),))
    parameters = Parameters((CategoryRule("cme_credit", Digest(b"d" * 32), False),))
    proof = StateProof(b"q" * 64, b"b" * 64)

    def transaction_again(data: bytes) -> bytes:
        return replace(Transaction.decode(data)).encoded  # a copy keeps nothing of the input

    def block_again(data: bytes) -> bytes:
        block = Block.decode(data)
        return Block(block.header, tuple(map(replace, block.transactions))).encoded

    return [
        Sample(
            "validators",
            validator_set(4)[0].encode(),
            lambda data: ValidatorSet.decode(data).encode(),
        ),
        Sample(
            "certificate",
            _certificate().encode(),
            lambda data: Certificate.decode(data).encode(),
        ),
        Sample("transaction", transaction.encoded, transaction_again),
        Sample("header", header.encoded, lambda data: replace(Header.decode(data)).encoded),
        Sample("block", Block(header, (transaction, transaction)).encoded, block_again),
        Sample("receipt", receipt.encode(), lambda data: Receipt.decode(data).encode()),
        Sample("member", _member().encode(), lambda data: Member.decode(data).encode()),
        Sample("dossier", _dossier().encode(), lambda data: Dossier.decode(data).encode()),
        Sample("parameters", parameters.encode(), lambda data: Parameters.decode(data).encode()),
        Sample("member card", _card().encode(), lambda data: MemberCard.decode(data).encode()),
        Sample("state proof", proof.encode(), lambda data: StateProof.decode(data).encode()),
    ]
