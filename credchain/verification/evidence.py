"""Evidence: what a node answers, with proofs, and what of it holds under the trust anchor.

An `Answer` is a claim of the node. `open_answer` checks every proof and gives a `ProvedState`, from
which records are read; there is no other way to one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta

from ..certificates import Certificate
from ..credentials.sdjwt import credential_digest
from ..encoding import BYTES_32, Digest, Record
from ..errors import InvalidInput, ProofError
from ..keys import Did
from ..ledger.blocks import CertifiedHeader, Header
from ..ledger.network import Network
from ..ledger.proofs import Hashes, StateProof, check_state_proof
from ..ledger.records import Dossier, Member
from ..ledger.state import StateKey, dossier_key, member_key
from ..ledger.statemap import value_digest


class ProvedValue(Record, frozen=True):
    """One state key (its digest), the proof of its value or absence, and the value where there is one."""

    key: Annotated[Digest, BYTES_32]
    proof: StateProof
    value: bytes | None = None

    def __post_init__(self) -> None:
        self.proof.check_form()


class Evidence(Record, frozen=True):
    """An answer's form in a bundle: canonical MessagePack, without documents."""

    header: bytes
    certificate: bytes
    records: Annotated[tuple[ProvedValue, ...], Meta(max_length=1_000)]


@dataclass(frozen=True, slots=True)
class Answer:
    """One consistent answer: everything under one certified header. ``documents`` are SD-JWTs."""

    certified: CertifiedHeader
    records: tuple[ProvedValue, ...] = ()
    documents: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """The wire form: bytes are standard base64."""
        return {
            **certified_json(self.certified),
            "records": [
                {
                    "key": each.key.hex(),
                    "value": None if each.value is None else _base64(each.value),
                    "proof": _base64(each.proof.encode()),
                }
                for each in self.records
            ],
            "documents": list(self.documents),
        }

    @property
    def evidence(self) -> Evidence:
        certified = self.certified
        return Evidence(certified.header.encoded, certified.certificate.encode(), self.records)

    @staticmethod
    def of(evidence: Evidence) -> Answer:
        """From the form in a bundle."""
        header = Header.decode(evidence.header)
        return Answer(CertifiedHeader(header, Certificate.decode(evidence.certificate)), evidence.records)

    @staticmethod
    def parse(document: Any) -> Answer:
        """From the wire form; InvalidInput for anything that is not one."""
        body = _object(document, "answer")
        records = tuple(_record(each) for each in _list(body, "records"))
        documents = _list(body, "documents")
        if not all(type(each) is str for each in documents):
            raise InvalidInput("documents must be text", field="documents")
        return Answer(parse_certified(body), records, tuple(documents))


def certified_json(certified: CertifiedHeader) -> dict[str, Any]:
    """A certified header in the wire form."""
    return {
        "header": _base64(certified.header.encoded),
        "certificate": _base64(certified.certificate.encode()),
    }


def parse_certified(document: Any) -> CertifiedHeader:
    """A certified header from the wire form."""
    body = _object(document, "answer")
    return CertifiedHeader(
        Header.decode(_bytes(body, "header")), Certificate.decode(_bytes(body, "certificate"))
    )


def _record(document: Any) -> ProvedValue:
    body = _object(document, "record")
    key = body.get("key")
    if type(key) is not str or len(key) != 64:
        raise InvalidInput("a record's key must be 64 hexadecimal digits", field="key")
    try:
        decoded = Digest(bytes.fromhex(key))
    except ValueError as problem:
        raise InvalidInput("a record's key is not hexadecimal", field="key") from problem
    if decoded.hex() != key:
        raise InvalidInput("a record's key is not lower-case hexadecimal", field="key")
    value = None if body.get("value") is None else _bytes(body, "value")
    return ProvedValue(decoded, StateProof.decode(_bytes(body, "proof")), value)


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise InvalidInput(f"the {what} is not a JSON object", field=what)
    return value


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if type(value) is not list:
        raise InvalidInput(f"{name} is not a list", field=name)
    return value


def _bytes(body: Mapping[str, Any], name: str) -> bytes:
    value = body.get(name)
    if type(value) is not str:
        raise InvalidInput(f"{name} is not base64 text", field=name)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise InvalidInput(f"{name} is not base64", field=name) from problem


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True, slots=True)
class ProvedState:
    """What is proved under one certified header. A record that nobody proved cannot be read."""

    certified: CertifiedHeader
    _values: Mapping[Digest, bytes | None]
    _documents: Mapping[Digest, str]
    _members: dict[Did, Member | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def dossier(self, category: str, subject: Digest) -> Dossier | None:
        """The whole dossier, or None where it is proved that there is none."""
        value = self._value(dossier_key(category, subject))
        if value is None:
            return None
        dossier = Dossier.decode(value)
        if (dossier.category, dossier.subject) != (category, subject):
            raise ProofError("a dossier is of another subject", check=8, field="dossier")
        return dossier

    def member(self, did: Did) -> Member | None:
        """The member, or None where it is proved that there is none; its bytes are decoded once."""
        if did not in self._members:
            self._members[did] = self._read_member(did)
        return self._members[did]

    def _read_member(self, did: Did) -> Member | None:
        value = self._value(member_key(did))
        if value is None:
            return None
        member = Member.decode(value)
        if member.did != did:
            raise ProofError("a member record is of another member", check=4, field="member")
        return member

    def document(self, credential: Digest) -> str | None:
        """The document with this credential digest, where the node gave it."""
        return self._documents.get(credential)

    def _value(self, key: StateKey) -> bytes | None:
        if key.key not in self._values:
            raise ProofError(f"the answer leaves out a {key.kind}", check=8, field=key.kind)
        return self._values[key.key]


def open_answer(answer: Answer, network: Network) -> ProvedState:
    """Check the certificate (check 2) and every proof; ProofError at the first that does not hold."""
    answer.certified.check(network.validators, network.id)
    root = answer.certified.header.state_root
    values: dict[Digest, bytes | None] = {}
    hashes = Hashes()
    for record in answer.records:
        found = check_state_proof(record.proof, root, record.key, hashes)
        expected = None if record.value is None else value_digest(record.value)
        if found != expected:
            raise ProofError("a value is not the one that its proof shows", field="record")
        values[record.key] = record.value
    return ProvedState(
        answer.certified, MappingProxyType(values), MappingProxyType(_by_digest(answer.documents))
    )


def _by_digest(documents: Iterable[str]) -> dict[Digest, str]:
    found: dict[Digest, str] = {}
    for text in documents:
        if not text.isascii():
            raise ProofError("a document is not an SD-JWT", check=1, field="documents")
        found[credential_digest(text.partition("~")[0])] = text
    return found
