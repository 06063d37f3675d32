"""The ledger's vectors (tests/vectors/LEDGER.md): bytes that a second implementation arrived at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from credchain.certificates import Certificate, Height, Millis, View, certify, commit_digest
from credchain.credentials.npi import parse_npi
from credchain.encoding import Digest
from credchain.errors import InvalidInput, ProofError
from credchain.keys import SigningKey, check_did
from credchain.ledger.blocks import Block, CertifiedHeader, Header, Receipt
from credchain.ledger.execution import ExecutedBlock, execute, genesis_tip, propose
from credchain.ledger.network import Network
from credchain.ledger.operations import Attest, attestation_id
from credchain.ledger.proofs import StateProof, check_state_proof
from credchain.ledger.state import key_of_record
from credchain.ledger.statemap import StateMap, value_digest
from credchain.ledger.transactions import Transaction
from credchain.verification.by_npi import Question, verify_npi
from credchain.verification.evidence import Answer, open_answer
from credchain.verification.statement import Statement
from tests.unit.vector_files import as_digest, load, named, raw

VECTORS = load("ledger.json")
REFUSED: dict[str, Any] = VECTORS["refused"]


def network() -> Network:
    return Network.parse(json.dumps(VECTORS["genesis"]["network_file"]))


class Store:
    """The values of a state as the vectors list them."""

    def __init__(self, state: list[dict[str, Any]]) -> None:
        self._values = {raw(each["key"]): raw(each["value"]) for each in state}

    def value(self, key: Digest) -> bytes | None:
        return self._values.get(key)


def executed() -> ExecutedBlock:
    genesis = network().genesis
    tip = genesis_tip(genesis.network, genesis.time, genesis.state_map(), genesis.validators)
    block = Block.decode(raw(VECTORS["block"]["encoded"]))
    return execute(tip, Store(VECTORS["genesis"]["state"]), block, lambda each: False)


def test_genesis() -> None:
    vector, found = VECTORS["genesis"], network()
    assert found.id.hex() == vector["id"]
    assert found.fingerprint.hex() == vector["fingerprint"]
    digests = {name: each.digest.hex() for name, each in found.categories.items()}
    assert digests == vector["category_digests"]
    assert found.genesis.state_map().root.hex() == vector["state_root"]
    records = {key_of_record(each).key.hex(): each.encode().hex() for each in found.genesis.records()}
    assert records == {each["key"]: each["value"] for each in vector["state"]}


def test_the_transaction() -> None:
    vector = VECTORS["transaction"]
    decoded = Transaction.decode(raw(vector["encoded"]))
    assert (decoded.body.hex(), decoded.id.hex()) == (vector["body"], vector["id"])
    assert (decoded.sender, decoded.expiry) == (vector["sender"], vector["expiry"])
    assert decoded.signature_holds()
    signer = SigningKey.from_seed(raw(VECTORS["seeds"][vector["signer"]]))
    signed = Transaction.sign(
        decoded.network, check_did(vector["sender"]), signer, decoded.expiry, decoded.operations
    )
    assert signed.encoded.hex() == vector["encoded"]
    assert signed.signature.hex() == vector["signature"]
    attestations = [
        attestation_id(decoded.network, decoded.sender, each.category, each.subject, each.credential).hex()
        for each in decoded.operations
        if isinstance(each, Attest)
    ]
    assert attestations == vector["attestations"]


def test_the_block_is_what_its_transaction_gives() -> None:
    vector, genesis = VECTORS["block"], network().genesis
    tip = genesis_tip(genesis.network, genesis.time, genesis.state_map(), genesis.validators)
    proposed, refused = propose(
        tip,
        Store(VECTORS["genesis"]["state"]),
        [Transaction.decode(raw(VECTORS["transaction"]["encoded"]))],
        time=Millis(vector["time"]),
        view=View(vector["view"]),
        proposer=genesis.validators.members[0].did,
        repeated=lambda each: False,
    )
    assert refused == []
    assert proposed.block.encoded.hex() == vector["encoded"]
    header = proposed.block.header
    assert (header.encoded.hex(), header.digest.hex()) == (vector["header"], vector["header_digest"])
    assert header.transactions_root.hex() == vector["transactions_root"]
    assert header.state_root.hex() == vector["state_root"]


def test_executing_the_block_gives_the_state() -> None:
    found = executed()
    before = {each["key"]: each["value"] for each in VECTORS["genesis"]["state"]}
    written = {each.key.key.hex(): each.value.hex() for each in found.changes}
    after = {each["key"]: each["value"] for each in VECTORS["block"]["state"]}
    assert {**before, **written} == after
    assert found.state_map.root.hex() == VECTORS["block"]["state_root"]
    for each in VECTORS["block"]["state"]:
        assert value_digest(raw(each["value"])).hex() == each["value_digest"]
        assert found.state_map.get(as_digest(each["key"])) == raw(each["value_digest"])


def test_the_certificate() -> None:
    vector, found = VECTORS["certificate"], network()
    header = Header.decode(raw(VECTORS["block"]["header"]))
    view = View(vector["view"])
    signed = commit_digest(found.id, Height(1), view, header.digest)
    assert signed.hex() == vector["commit_digest"]
    seeds = [SigningKey.from_seed(raw(seed)) for seed in VECTORS["seeds"].values()]
    holders = {each.public: each for each in seeds}
    made = Certificate(
        view,
        tuple(
            (
                index,
                certify(
                    found.id, Height(1), view, header.digest, holders[found.validators.members[index].key]
                ),
            )
            for index in vector["signers"]
        ),
    )
    assert made.encode().hex() == vector["encoded"]
    certified = CertifiedHeader(header, Certificate.decode(raw(vector["encoded"])))
    certified.check(found.validators, found.id)
    receipt = Receipt.decode(Receipt(certified, 0, ()).encode())
    receipt.check(raw(VECTORS["transaction"]["encoded"]), found.validators, found.id)


@named(VECTORS["maps"])
def test_maps(vector: dict[str, Any]) -> None:
    entries = {as_digest(key): as_digest(value) for key, value in vector["entries"]}
    assert StateMap().update(entries).root.hex() == vector["root"]


@named(VECTORS["proofs"])
def test_proofs(vector: dict[str, Any]) -> None:
    proof = StateProof.decode(raw(vector["proof"]))
    found = check_state_proof(proof, as_digest(vector["root"]), as_digest(vector["key"]))
    assert (None if found is None else found.hex()) == vector["value_digest"]


def test_the_map_proves_in_the_same_bytes() -> None:
    maps = [{as_digest(key): as_digest(value) for key, value in each["entries"]} for each in VECTORS["maps"]]
    states = [StateMap().update(each) for each in maps] + [executed().state_map]
    by_root = {state.root.hex(): state for state in states}
    for vector in VECTORS["proofs"]:
        assert by_root[vector["root"]].prove(as_digest(vector["key"])).encode().hex() == vector["proof"]


def judge(vector: dict[str, Any]) -> Statement:
    asked = vector["question"]
    question = Question(
        network=network(),
        npi=parse_npi(asked["npi"]),
        required=tuple(asked["required"]),
        now=Millis(asked["now"]),
        max_age=Millis(asked["max_age"]),
        seen_height=asked["seen_height"],
        trusted_at=Millis(asked["trusted_at"]),
    )
    return verify_npi(question, open_answer(Answer.parse(vector["answer"]), question.network))


@named(VECTORS["answers"])
def test_answers(vector: dict[str, Any]) -> None:
    statement = judge(vector)
    assert statement.verdict.value == vector["verdict"]
    assert list(statement.absent) == vector["absent"]
    assert [each.attestation.hex() for each in statement.credentials] == vector["attestations"]
    claims = [None if each.claims is None else dict(each.claims) for each in statement.credentials]
    assert claims == vector["claims"]
    assert Answer.parse(vector["answer"]).json() == vector["answer"]


@named(REFUSED["transactions"])
def test_refused_transactions(vector: dict[str, Any]) -> None:
    if vector["refused"] == "bytes":
        with pytest.raises(InvalidInput):
            Transaction.decode(raw(vector["encoded"]))
    else:
        assert vector["refused"] == "signature"
        assert not Transaction.decode(raw(vector["encoded"])).signature_holds()


@named(REFUSED["proofs"])
def test_refused_proofs(vector: dict[str, Any]) -> None:
    with pytest.raises((InvalidInput, ProofError)):
        check_state_proof(
            StateProof.decode(raw(vector["proof"])), as_digest(vector["root"]), as_digest(vector["key"])
        )


@named(REFUSED["certificates"])
def test_refused_certificates(vector: dict[str, Any]) -> None:
    found = network()
    header = Header.decode(raw(vector["header"]))
    if vector["refused"] == "bytes":
        with pytest.raises(InvalidInput):
            Certificate.decode(raw(vector["certificate"]))
    else:
        assert vector["refused"] == "proof"
        certified = CertifiedHeader(header, Certificate.decode(raw(vector["certificate"])))
        with pytest.raises(ProofError):
            certified.check(found.validators, found.id)


@named(REFUSED["answers"])
def test_refused_answers(vector: dict[str, Any]) -> None:
    with pytest.raises(ProofError) as caught:
        judge(vector)
    assert caught.value.check == vector["check"]
