"""The vectors of judging (tests/vectors/JUDGING.md): answers and bundles, check by check, as a second
implementation judged them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

from credchain.certificates import Millis
from credchain.credentials.npi import parse_npi
from credchain.errors import InvalidInput, ProofError
from credchain.keys import BoxKey, check_did
from credchain.ledger.network import Network
from credchain.verification.bundle import Bundle, open_bundle
from credchain.verification.by_bundle import BundleQuestion, verify_bundle
from credchain.verification.by_npi import Question, verify_npi
from credchain.verification.checks import Check
from credchain.verification.evidence import Answer, open_answer
from credchain.verification.statement import CredentialResult, Statement
from tests.unit.vector_files import load, named, raw

VECTORS = load("judging.json")


@cache
def network() -> Network:
    return Network.parse(json.dumps(VECTORS["network_file"]))


def numbers(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "network": network(),
        "now": Millis(asked["now"]),
        "max_age": Millis(asked["max_age"]),
        "seen_height": asked["seen_height"],
        "trusted_at": Millis(asked["trusted_at"]),
    }


def judge_answer(vector: dict[str, Any]) -> Statement:
    asked = vector["question"]
    question = Question(
        npi=parse_npi(asked["npi"]), required=tuple(sorted(asked["required"])), **numbers(asked)
    )
    return verify_npi(question, open_answer(Answer.parse(vector["answer"]), question.network))


def judge_bundle(vector: dict[str, Any]) -> Statement:
    bundle = Bundle.decode(raw(vector["bundle"]))
    asked = vector["question"]
    question = BundleQuestion(bundle=bundle, audience=check_did(asked["audience"]), **numbers(asked))
    return verify_bundle(question, open_answer(bundle.evidence, question.network))


def outcomes(checks: Iterable[Check]) -> dict[str, str]:
    return {str(each.id): each.outcome.value for each in checks}


def shown(credential: CredentialResult) -> dict[str, Any]:
    return {
        "attestation": credential.attestation.hex(),
        "category": credential.category,
        "checks": outcomes(credential.checks),
        "claims": None if credential.claims is None else dict(credential.claims),
    }


def test_there_are_vectors_of_each_kind() -> None:
    for kind in ("answers", "bundles"):
        assert any("accused" in each for each in VECTORS[kind])
        assert {each.get("verdict") for each in VECTORS[kind]} >= {
            "established",
            "adverse",
            "not_current",
            "untrusted",
            "invalid",
            "not_established",
        }


@named(VECTORS["answers"])
def test_answers(vector: dict[str, Any]) -> None:
    if "accused" in vector:
        with pytest.raises((ProofError, InvalidInput)) as refused:
            judge_answer(vector)
        # What does not decode accuses the node like what does not hold.
        assert not isinstance(refused.value, ProofError) or refused.value.check == vector["accused"]
        return
    found = judge_answer(vector)
    assert found.verdict.value == vector["verdict"]
    assert list(found.absent) == vector["absent"]
    assert [shown(each) for each in found.credentials] == vector["credentials"]


@named(VECTORS["bundles"])
def test_bundles(vector: dict[str, Any]) -> None:
    if vector.get("refused"):
        with pytest.raises(InvalidInput):
            judge_bundle(vector)
        return
    if "accused" in vector:
        with pytest.raises(ProofError) as refused:
            judge_bundle(vector)
        assert refused.value.check == vector["accused"]
        return
    found = judge_bundle(vector)
    assert found.verdict.value == vector["verdict"]
    assert list(found.absent) == vector["absent"]
    assert outcomes(found.checks) == vector["checks"]
    presented = [{**shown(each), "presented": each.presented} for each in found.credentials]
    assert presented == vector["credentials"]


def test_the_sealed_file() -> None:
    vector = VECTORS["sealed"]
    key = BoxKey.from_seed(raw(VECTORS["seeds"][f"{vector['recipient']}-box"]))
    assert open_bundle(raw(vector["file"]), key).hex() == vector["content"]
