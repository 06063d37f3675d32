"""A small ledger for tests: fixed keys, a genesis with every kind of member, a dict for a store.

`World` does what a network does, in one process and without consensus: it proposes a block, executes
a decoded copy of it, certifies it with the validators' keys, and answers questions with proofs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeVar

from credchain import keys
from credchain.certificates import Certificate, Millis, View, certify
from credchain.credentials.categories import Category, check_claims, parse_category
from credchain.credentials.npi import Npi, check_digit
from credchain.credentials.sdjwt import Credential, issue
from credchain.credentials.subjects import HolderSubjects, npi_subject
from credchain.encoding import Digest
from credchain.keys import BoxKey, Did, PublicKey, SigningKey
from credchain.ledger.blocks import Block, CertifiedHeader
from credchain.ledger.cards import MemberCard
from credchain.ledger.codes import RADIOLOGIST
from credchain.ledger.execution import ExecutedBlock, execute, genesis_tip, next_tip, propose
from credchain.ledger.network import Genesis, GenesisMember, Network, NodeAddress, validators_of
from credchain.ledger.operations import Attest, Enroll, Operation, SetStatus, attestation_id
from credchain.ledger.records import CategoryRule, Dossier, Entry, Member, Parameters
from credchain.ledger.state import Record, State, StateKey, dossier_key, key_of_record, member_key
from credchain.ledger.statemap import value_digest
from credchain.ledger.transactions import Transaction
from credchain.limits import DAY, MINUTE
from credchain.verification.by_npi import Question, verify_npi
from credchain.verification.evidence import Answer, ProvedValue, open_answer
from credchain.verification.statement import Statement
from tests.values import replace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

START: Final = Millis(1_800_000_000_000)
"""The genesis time: 2027-01-15T08:00:00Z, a whole second."""

CATEGORIES: Final = ("board_certification", "cme_credit", "identity", "state_license")
BOARD: Final = "Sample Specialty Board"
OTHER_BOARD: Final = "Second Specialty Board"
STATE_BOARD: Final = "Sample State Board"
IDENTITY_ISSUER: Final = "Sample Identity Desk"
PROVIDER: Final = "Sample CME Provider"
HOSPITAL: Final = "Sample Hospital"
GOVERNOR: Final = "Sample Governor"

_DUTIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    BOARD: (("issuer",), ("board_certification",), ()),
    OTHER_BOARD: (("issuer",), ("board_certification", "identity"), ()),
    STATE_BOARD: (("issuer",), ("state_license",), ("US-CA",)),
    IDENTITY_ISSUER: (("issuer",), ("identity",), ()),
    PROVIDER: (("issuer",), ("cme_credit",), ()),
    HOSPITAL: (("hospital",), (), ()),
    GOVERNOR: (("governor",), (), ()),
}
"""Of each organisation: roles, categories, jurisdictions."""

ISSUER_OF: Final = {
    "board_certification": BOARD,
    "cme_credit": PROVIDER,
    "identity": IDENTITY_ISSUER,
    "state_license": STATE_BOARD,
}

PRIVATE: Final = ("cme_credit",)
"""Categories whose subject only the holder knows."""

CLAIMS: Final[dict[str, dict[str, Any]]] = {
    "cme_credit": {
        "activity_title": "Breast tomosynthesis case review",
        "provider": "Sample CME Institute",
        "credit_type": "AMA PRA Category 1 Credit",
        "credits": 6.25,
        "completion_date": "2026-09-19",
    },
    "board_certification": {
        "family_name": "Navarro",
        "given_name": "Elena",
        "board": "Sample Specialty Board",
        "certificate_number": "990001",
        "discipline": "Diagnostic Radiology",
        "initial_certification_date": "2018-10-05",
    },
    "identity": {
        "family_name": "Navarro",
        "given_name": "Elena",
        "holder": keys.did_of(SigningKey.from_seed(b"h" * 32).public),
        "subjects_root": "3f" * 32,
        "verification_method": "in person with government photo ID",
    },
    "state_license": {
        "family_name": "Navarro",
        "given_name": "Elena",
        "state": "CA",
        "license_number": "A990001",
        "license_type": "full",
        "issued_date": "2017-05-12",
        "conditions": False,
    },
}


def signing_key(name: str) -> SigningKey:
    """The same key for the same name, in every run."""
    return SigningKey.from_seed(sha256(b"signing key of " + name.encode()).digest())


def box_key(name: str) -> BoxKey:
    return BoxKey.from_seed(sha256(b"encryption key of " + name.encode()).digest())


def did(name: str) -> Did:
    return keys.did_of(signing_key(name).public)


def npi(number: int = 0) -> Npi:
    """One of many well-formed NPIs."""
    first_nine = f"1{number:08d}"
    return Npi(first_nine + check_digit(first_nine))


def some_digest(text: str) -> Digest:
    """32 bytes that stand for nothing in particular."""
    return Digest(sha256(text.encode()).digest())


@cache
def categories() -> dict[str, Category]:
    folder = files("credchain.credentials.data")
    documents = [json.loads((folder / f"{name}.json").read_text()) for name in CATEGORIES]
    return {each.name: each for each in map(parse_category, documents)}


def make_member(name: str, duties: tuple[tuple[str, ...], ...]) -> GenesisMember:
    roles, kinds, jurisdictions = duties
    return GenesisMember(name, signing_key(name).public, box_key(name).public, roles, kinds, jurisdictions)


def make_network(validators: int = 1, **parameters: Any) -> Network:
    """A network of these organisations and so many validators, ``Node 1`` and on."""
    known = categories()
    rules = tuple(CategoryRule(name, known[name].digest, known[name].exclusive) for name in CATEGORIES)
    nodes = {f"Node {number}": (("validator",), (), ()) for number in range(1, validators + 1)}
    members = sorted(
        (make_member(name, duties) for name, duties in {**_DUTIES, **nodes}.items()),
        key=lambda member: member.did,
    )
    found = validators_of(tuple(members))
    genesis = Genesis(
        "Sample Network", START, replace(Parameters(rules), **parameters), tuple(members), found
    )
    addresses = tuple(
        NodeAddress(
            each.did, f"node{index}.example:7440", f"https://node{index}.example:7441", f"PEM {index}"
        )
        for index, each in enumerate(found.members)
    )
    return Network(genesis, known, addresses)


@dataclass(frozen=True, slots=True)
class Person:
    """A radiologist with a wallet: keys and link secret follow from the name."""

    name: str
    npi: Npi

    @property
    def did(self) -> Did:
        return did(self.name)

    @property
    def signer(self) -> SigningKey:
        return signing_key(self.name)

    @property
    def subjects(self) -> HolderSubjects:
        return HolderSubjects.of(some_digest(f"link secret of {self.name}"), PRIVATE)

    def subject(self, category: str) -> Digest:
        """By the NPI, or by the link secret."""
        if category in PRIVATE:
            return self.subjects.open(category).subject
        return npi_subject(category, self.npi)

    def card(self, **differing: Any) -> MemberCard:
        card = MemberCard(
            key=self.signer.public,
            encryption_key=box_key(self.name).public,
            recovery=some_digest(f"recovery key of {self.name}"),
            subjects_root=self.subjects.root,
            private_categories=self.subjects.categories,
        )
        return replace(card, **differing)

    def enroll(self, **differing: Any) -> Enroll:
        """The operation that enrols this person's card."""
        card = self.card(**differing)
        return Enroll(card.encode(), card.sign(self.signer), (RADIOLOGIST,))

    @property
    def identity_claims(self) -> dict[str, Any]:
        return {"holder": str(self.did), "subjects_root": self.subjects.root.hex()}


@dataclass(frozen=True, slots=True)
class Attested:
    """A committed attestation, with the document that it stands behind."""

    category: str
    subject: Digest
    id: Digest
    credential: Credential


class World:
    """One ledger. As a `StateReader` it gives the committed values."""

    def __init__(self, validators: int = 1, **parameters: Any) -> None:
        self.network = make_network(validators, **parameters)
        genesis = self.network.genesis
        self.store: dict[Digest, bytes] = {
            key_of_record(record).key: record.encode() for record in genesis.records()
        }
        self.documents: dict[Digest, str] = {}
        self.chain: list[CertifiedHeader] = []
        self.tip = genesis_tip(genesis.network, genesis.time, genesis.state_map(), genesis.validators)
        self._expiries: dict[Digest, Millis] = {}
        self._salts = 0

    def value(self, key: Digest) -> bytes | None:
        return self.store.get(key)

    def repeated(self, identifier: Digest) -> bool:
        return identifier in self._expiries

    @property
    def now(self) -> Millis:
        """The time of the last block."""
        return self.tip.time

    @property
    def certified(self) -> CertifiedHeader:
        return self.chain[-1]

    def validator_keys(self) -> list[SigningKey]:
        """In the order of the validator set."""
        by_did = {
            did(f"Node {number}"): signing_key(f"Node {number}")
            for number in range(1, len(self.network.validators.members) + 1)
        }
        return [by_did[each.did] for each in self.network.validators.members]

    def transaction(
        self,
        sender: str,
        *operations: Operation,
        signer: str | None = None,
        expiry: int | None = None,
        network: Digest | None = None,
    ) -> Transaction:
        return Transaction.sign(
            network or self.network.id,
            did(sender),
            signing_key(signer or sender),
            Millis(self.now + 30 * MINUTE if expiry is None else expiry),
            operations,
        )

    def commit(self, transactions: Iterable[Transaction] = (), time: int | None = None) -> ExecutedBlock:
        """One block, proposed, executed from its bytes, certified and stored.

        Raises the `Rejected` of the first transaction that the rules refuse.
        """
        proposed, refused = propose(
            self.tip,
            self,
            list(transactions),
            time=Millis(self.tip.time + 1_000 if time is None else time),
            view=View(0),
            proposer=self.network.validators.members[0].did,
            repeated=self.repeated,
        )
        if refused:
            raise refused[0].reason
        executed = execute(self.tip, self, Block.decode(proposed.block.encoded), self.repeated)
        assert executed == proposed
        self._keep(executed)
        return executed

    def _keep(self, executed: ExecutedBlock) -> None:
        for change in executed.changes:
            self.store[change.key.key] = change.value
        for transaction in executed.block.transactions:
            self._expiries[transaction.id] = transaction.expiry
        self.chain.append(self.certify(executed.block))
        self.tip = next_tip(self.tip, executed, State(self).validators)

    def certify(self, block: Block, signers: Sequence[int] | None = None, view: int = 0) -> CertifiedHeader:
        """The block's header with the signatures of these validators; of all without."""
        header = block.header
        holders = self.validator_keys()
        signatures = tuple(
            (index, certify(header.network, header.height, View(view), header.digest, holders[index]))
            for index in (range(len(holders)) if signers is None else signers)
        )
        return CertifiedHeader(header, Certificate(View(view), signatures))

    def rewrite(self, *records: Record) -> None:
        """Put records into the state, as an amendment would, and certify a block over them."""
        changes = {key_of_record(record).key: record.encode() for record in records}
        self.store.update(changes)
        state_map = self.tip.state_map.update({key: value_digest(each) for key, each in changes.items()})
        self.tip = replace(self.tip, state_map=state_map)
        self.commit()

    def member(self, name: str) -> Member:
        found = State(self).member(did(name))
        assert found is not None
        return found

    def dossier(self, category: str, person: Npi) -> Dossier:
        return State(self).dossier(category, npi_subject(category, person))

    def entry(self, attested: Attested) -> Entry:
        found = State(self).dossier(attested.category, attested.subject).entry(attested.id)
        assert found is not None
        return found

    def issue(
        self,
        category: str,
        person: Npi,
        *,
        issuer: str | None = None,
        valid_from: int = START,
        valid_until: int | None = None,
        subject: Digest | None = None,
        bound: PublicKey | None = None,
        signer: str | None = None,
        **claims: Any,
    ) -> Credential:
        """A credential of that category's usual issuer; ``claims`` replace those of `CLAIMS`.

        ``subject`` is a private one, ``bound`` the holder's key, ``signer`` whose key signs instead.
        """
        name = issuer or ISSUER_OF[category]
        filled = check_claims(categories()[category], {**CLAIMS[category], **claims})
        self._salts += 1
        salts = [
            sha256(f"salt {self._salts} {number}".encode()).digest()[:16] for number in range(len(filled))
        ]
        return issue(
            signing_key(signer or name),
            issuer=did(name),
            category=category,
            subject=subject or npi_subject(category, person),
            issued_at=self.now,
            valid_from=Millis(valid_from),
            valid_until=None if valid_until is None else Millis(valid_until),
            claims=filled,
            salts=salts,
            holder=bound,
        )

    def enroll(self, person: Person, **differing: Any) -> Attested:
        """Enrol and attest the identity, in one transaction; ``differing`` as for `issue`."""
        identity = self.issue(
            "identity", person.npi, bound=person.signer.public, **{**person.identity_claims, **differing}
        )
        attest = Attest(
            "identity", identity.subject, identity.digest, identity.valid_from, identity.valid_until
        )
        self.commit([self.transaction(IDENTITY_ISSUER, person.enroll(), attest)])
        identifier = self.attestation(IDENTITY_ISSUER, attest)
        return Attested("identity", identity.subject, identifier, identity)

    def attest_to(self, person: Person, category: str, **differing: Any) -> Attested:
        """Attest to an enrolled person: its subject in the category, bound to its key."""
        bound = {"subject": person.subject(category), "bound": person.signer.public}
        return self.attest(category, person.npi, published=False, **{**bound, **differing})

    def evidence(self, subjects: Iterable[tuple[str, Digest]], members: Iterable[Did] = ()) -> Answer:
        """Proofs of these dossiers, of the issuers that they name, and of these members."""
        wanted = list(subjects)
        issuers = {entry.issuer for each in wanted for entry in State(self).dossier(*each).entries} | set(
            members
        )
        asked = [
            *(dossier_key(*each) for each in wanted),
            *(member_key(each) for each in sorted(issuers)),
        ]
        return Answer(self.certified, tuple(self.prove(key) for key in asked))

    def attest(
        self,
        category: str,
        person: Npi,
        *,
        issuer: str | None = None,
        valid_from: int = START,
        valid_until: int | None = None,
        renews: Attested | None = None,
        published: bool = True,
        **claims: Any,
    ) -> Attested:
        """Issue, commit the attestation in a block of its own, and publish the document."""
        credential = self.issue(
            category,
            person,
            issuer=issuer,
            valid_from=valid_from,
            valid_until=valid_until,
            **claims,
        )
        return self.attest_credential(
            credential, issuer=issuer, renews=renews, published=published and category != "identity"
        )

    def attest_credential(
        self,
        credential: Credential,
        *,
        issuer: str | None = None,
        renews: Attested | None = None,
        published: bool = True,
        **differing: Any,
    ) -> Attested:
        """Attest this credential; ``differing`` replaces fields of the operation."""
        operation = Attest(
            credential.category,
            credential.subject,
            credential.digest,
            credential.valid_from,
            credential.valid_until,
            None if renews is None else renews.id,
        )
        operation = replace(operation, **differing)
        sender = issuer or ISSUER_OF[operation.category]
        self.commit([self.transaction(sender, operation)])
        if published:
            self.documents[credential.digest] = credential.text
        identifier = self.attestation(sender, operation)
        return Attested(operation.category, operation.subject, identifier, credential)

    def attestation(self, sender: str, operation: Attest) -> Digest:
        """The id that the operation gets."""
        return attestation_id(
            self.network.id, did(sender), operation.category, operation.subject, operation.credential
        )

    def set_status(self, attested: Attested, status: str, reason: str, by: str | None = None) -> None:
        operation = SetStatus(attested.category, attested.subject, attested.id, status, reason)
        self.commit([self.transaction(by or ISSUER_OF[attested.category], operation)])

    def prove(self, key: StateKey) -> ProvedValue:
        return ProvedValue(key.key, self.tip.state_map.prove(key.key), self.store.get(key.key))

    def question(self, person: Npi, required: tuple[str, ...] = (), **differing: Any) -> Question:
        """Asked one second after the last block, by one who trusts genesis and has seen nothing."""
        question = Question(
            network=self.network,
            npi=person,
            required=required,
            now=Millis(self.now + 1_000),
            max_age=Millis(MINUTE),
            seen_height=0,
            trusted_at=self.network.genesis.time,
        )
        return replace(question, **differing)

    def answer(self, person: Npi, required: tuple[str, ...] = ()) -> Answer:
        """What an honest node answers."""
        subjects = self.question(person, required).subjects
        dossiers = [State(self).dossier(*each) for each in subjects]
        entries = [entry for dossier in dossiers for entry in dossier.entries]
        asked = [
            *(dossier_key(*each) for each in subjects),
            *(member_key(issuer) for issuer in sorted({entry.issuer for entry in entries})),
        ]
        documents = tuple(
            self.documents[entry.credential] for entry in entries if entry.credential in self.documents
        )
        return Answer(self.certified, tuple(self.prove(key) for key in asked), documents)

    def verify(
        self, person: Npi, required: tuple[str, ...] = (), answer: Answer | None = None, **differing: Any
    ) -> Statement:
        """The statement on an honest node's answer, or on this one, after its way over the wire."""
        sent = json.dumps((answer or self.answer(person, required)).json())
        return judge(self.question(person, required, **differing), json.loads(sent))


def judge(question: Question, wire: Mapping[str, Any]) -> Statement:
    """What a client makes of an answer's JSON."""
    return verify_npi(question, open_answer(Answer.parse(wire), question.network))


def with_field(value: T, name: str, other: Any) -> T:
    """The same dataclass with one field changed."""
    changed: dict[str, Any] = {name: other}
    return replace(value, **changed)


def days(number: int) -> int:
    """So many days in milliseconds."""
    return number * DAY
