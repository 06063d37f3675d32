"""The vectors of the rules and of holders (tests/vectors/RULES.md), as a second implementation found them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from credchain.certificates import Certificate, Height, Millis, Validator, ValidatorSet, View
from credchain.credentials.addresses import Address
from credchain.credentials.npi import Npi, parse_npi
from credchain.credentials.subjects import HolderSubjects, Opening, npi_subject
from credchain.encoding import Digest, decode_record
from credchain.errors import InvalidInput, ProofError, Rejected
from credchain.keys import Did, EncryptionKey, PublicKey, SigningKey, check_did
from credchain.ledger.blocks import Block, CertifiedHeader, Header, Receipt
from credchain.ledger.cards import MemberCard
from credchain.ledger.execution import Tip, execute
from credchain.ledger.network import Network
from credchain.ledger.operations import attestation_id, note_digest
from credchain.ledger.records import Member
from credchain.ledger.rules import BlockContext, apply_transaction
from credchain.ledger.state import State
from credchain.ledger.statemap import StateMap, value_digest
from credchain.ledger.transactions import Transaction
from credchain.mailbox import decode_request
from tests.unit.vector_files import as_digest, load, named, raw

RULES, HOLDERS = load("rules.json"), load("holders.json")


class Base:
    """One of the vectors' states, as a store and as a map."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.values = {as_digest(each["key"]): raw(each["value"]) for each in state["records"]}
        self.map = StateMap().update({key: value_digest(value) for key, value in self.values.items()})

    def value(self, key: Digest) -> bytes | None:
        return self.values.get(key)


@cache
def network() -> Network:
    return Network.parse(json.dumps(RULES["network_file"]))


@cache
def base(name: str) -> Base:
    return Base(RULES["states"][name])


def holds(check: Callable[[], object]) -> bool:
    """Whether a check passes; what it gives counts if it is a boolean."""
    try:
        return check() is not False
    except (InvalidInput, ProofError, Rejected):
        return False


def test_the_network() -> None:
    assert network().id.hex() == RULES["network"]


@pytest.mark.parametrize("name", RULES["states"])
def test_states(name: str) -> None:
    assert base(name).map.root.hex() == RULES["states"][name]["state_root"]


@named(RULES["transactions"])
def test_transactions(vector: dict[str, Any]) -> None:
    refused = vector.get("refused")
    if refused == "bytes":
        with pytest.raises(InvalidInput):
            Transaction.decode(raw(vector["transaction"]))
        return
    transaction = Transaction.decode(raw(vector["transaction"]))
    assert transaction.signature_holds() is (refused != "signature")
    if refused == "signature":
        return
    before = base(vector["state"])
    state = State(before)
    context = BlockContext(network().id, Height(vector["height"]), Millis(vector["time"]))
    if refused:
        with pytest.raises(Rejected) as caught:
            apply_transaction(state, transaction, context, lambda _: vector["repeated"])
        assert (caught.value.rule, state.changes()) == (refused, [])
        return
    apply_transaction(state, transaction, context, lambda _: vector["repeated"])
    written = {key.key: record.encode() for key, record in state.changes()}
    assert [{"key": key.hex(), "value": value.hex()} for key, value in written.items()] == vector["changes"]
    after = before.map.update({key: value_digest(value) for key, value in written.items()})
    assert after.root.hex() == vector["state_root"]


@named(RULES["blocks"])
def test_blocks(vector: dict[str, Any]) -> None:
    state, before = RULES["states"][vector["state"]], base(vector["state"])
    tip = Tip(
        network().id,
        Height(state["height"]),
        as_digest(state["digest"]),
        Millis(state["time"]),
        View(0),
        before.map,
        network().validators,
    )
    if not vector["valid"]:
        with pytest.raises((InvalidInput, ProofError, Rejected)):
            execute(tip, before, Block.decode(raw(vector["block"])), lambda _: False)
        return
    found = execute(tip, before, Block.decode(raw(vector["block"])), lambda _: False)
    assert found.state_map.root.hex() == vector["state_root"]


@named(RULES["certificates"])
def test_certificates(vector: dict[str, Any]) -> None:
    listed = RULES["validators"][str(vector["validators"])]
    validators = ValidatorSet(
        tuple(Validator(check_did(each["did"]), PublicKey(raw(each["key"]))) for each in listed)
    )

    def check() -> None:
        header, certificate = (
            Header.decode(raw(vector["header"])),
            Certificate.decode(raw(vector["certificate"])),
        )
        CertifiedHeader(header, certificate).check(validators, network().id)

    assert holds(check) is vector["holds"]


@named(RULES["receipts"])
def test_receipts(vector: dict[str, Any]) -> None:
    def check() -> None:
        found = Receipt.decode(raw(vector["receipt"]))
        found.check(raw(vector["transaction"]), network().validators, network().id)

    assert holds(check) is vector["holds"]


# --- holders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", HOLDERS["subjects"])
def test_subjects(vector: dict[str, Any]) -> None:
    found = HolderSubjects.of(raw(vector["secret"]), vector["categories"])
    assert found.root.hex() == vector["root"]
    assert [found.open(each).encode().hex() for each in vector["categories"]] == [
        each["encoded"] for each in vector["openings"]
    ]


@pytest.mark.parametrize("vector", HOLDERS["links"])
def test_links(vector: dict[str, Any]) -> None:
    assert npi_subject(vector["category"], Npi(vector["npi"])).hex() == vector["subject"]


@named(HOLDERS["openings"])
def test_openings(vector: dict[str, Any]) -> None:
    member = Member(
        did=Did(HOLDERS["dids"][0]["did"]),
        enrolled=Height(1),
        encryption_key=EncryptionKey(bytes(32)),
        keys=(),
        roles=(),
        categories=(),
        jurisdictions=(),
        subjects_root=as_digest(vector["root"]),
        private_categories=tuple(vector["private_categories"]),
    )
    opening = raw(vector["opening"])
    assert holds(lambda: member.commits_to(decode_record(opening, Opening, "opening"))) is vector["holds"]


@named(HOLDERS["cards"])
def test_cards(vector: dict[str, Any]) -> None:
    if vector.get("refused"):
        with pytest.raises(InvalidInput):
            MemberCard.decode(raw(vector["encoded"]))
        return
    card = MemberCard.decode(raw(vector["encoded"]))
    assert (card.digest().hex(), card.did) == (vector["digest"], vector["did"])
    signature = card.sign(SigningKey.from_seed(raw(vector["seed"])))
    assert signature.hex() == vector["signature"]
    assert card.signed_by_its_key(signature)


@pytest.mark.parametrize("vector", HOLDERS["npis"])
def test_npis(vector: dict[str, Any]) -> None:
    assert holds(lambda: parse_npi(vector["npi"])) is vector["valid"]


@named(HOLDERS["dids"])
def test_dids(vector: dict[str, Any]) -> None:
    assert holds(lambda: check_did(vector["did"])) is vector["valid"]


@named(HOLDERS["addresses"])
def test_addresses(vector: dict[str, Any]) -> None:
    network_id = as_digest(vector["network"])
    assert (
        holds(lambda: Address.parse(vector["text"]).check(network_id, vector["category"])) is vector["holds"]
    )


@named(HOLDERS["mailbox"])
def test_mailbox(vector: dict[str, Any]) -> None:
    wire = raw(vector["wire"])
    assert holds(lambda: decode_request(vector["purpose"], wire).signature_holds()) is vector["holds"]
    if "digest" in vector:
        assert decode_request(vector["purpose"], wire).digest.hex() == vector["digest"]


@pytest.mark.parametrize("vector", HOLDERS["notes"])
def test_notes(vector: dict[str, Any]) -> None:
    assert note_digest(raw(vector["salt"]), vector["text"]).hex() == vector["digest"]


@pytest.mark.parametrize("vector", HOLDERS["attestation_ids"])
def test_attestation_ids(vector: dict[str, Any]) -> None:
    found = attestation_id(
        as_digest(vector["network"]),
        Did(vector["issuer"]),
        vector["category"],
        as_digest(vector["subject"]),
        as_digest(vector["credential"]),
    )
    assert found.hex() == vector["id"]
