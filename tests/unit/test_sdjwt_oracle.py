"""Credentials as they are read, against the slow reading of old: accepted alike, and alike in value."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credchain.credentials import sdjwt
from credchain.credentials.categories import canonical_json
from credchain.errors import InvalidInput
from tests.unit import slow_sdjwt
from tests.unit.credential_helpers import HEADER_JSON, HOLDER, HOSTILE, base64url, payload_json
from tests.unit.credential_helpers import disclosure_digest as digest_of

VALUES: list[Any] = [1, 1.0, -0.0, 2**53, -(2**53), 2**64, 10**30, 1e300, True, False, None, "", "x", "é"]
VALUES += ["e\u0301", "\ud800", "\x00", "\u202e", "a" * 4097, [], ["a"], ["a", 1], [["a"]], {}, {"_sd": []}]
RAW = [
    "NaN",
    "1e400",
    "-0",
    "1e0",
    "01",
    " 1",
    "1 ",
    "\ufeff1",
    "\n1\n",
    "tru",
    '"\\u0041"',
    '"\\ud83d\\ude00"',
]
RAW += ['"\\ud800"', '"\\/"', "1" * 400, "1.0", "1767225600.0", "1767225600e0", "[" * 2_000 + "]" * 2_000]
STRAY = ["=", "+", "/", "A", "B", "", "-", "_", " ", "\n"]


def written(value: Any, random: Random) -> str:
    """JSON text of a value in some form, hostile at times."""
    if random.random() < 0.03:
        return random.choice(RAW) if random.random() < 0.5 else json.dumps(random.choice(VALUES))
    space = random.choice(["", "", "", " ", "\n"])
    if isinstance(value, dict):
        pairs = [f"{json.dumps(name)}:{space}{written(each, random)}" for name, each in value.items()]
        if random.random() < 0.05:
            pairs.append(random.choice([*pairs, '"x":1', '"exp":null', '"_sd":[]', '"cnf":null']))
        if pairs and random.random() < 0.1:
            pairs.remove(random.choice(pairs))
        if random.random() < 0.3:
            random.shuffle(pairs)
        return "{" + f",{space}".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + f",{space}".join(written(each, random) for each in value) + "]"
    return json.dumps(value, ensure_ascii=random.random() < 0.5)


def encoded(text: str, random: Random) -> str:
    found = base64url(text.encode("utf-8", "surrogatepass"))
    if random.random() < 0.03:
        at = random.randrange(len(found) or 1)
        found = found[:at] + random.choice(STRAY) + found[at + 1 :]
    return found + ("=" if random.random() < 0.01 else "")


def hostile(random: Random) -> str:
    """A credential with a little, or nothing, wrong; digests fit what is disclosed."""
    names = ["family_name", "credits", "topics", "x", "iss", "Name", "a" * 65, "é"]
    salt = base64url(random.randbytes(16 if random.random() < 0.97 else random.choice([0, 15, 17])))
    disclosures = []
    for name in random.sample(names[:4] if random.random() < 0.8 else names, random.randrange(5)):
        plain = random.choice([12, 1.5, "text", ["a", "b"]])
        value = random.choice(VALUES) if random.random() < 0.4 else plain
        disclosures.append(encoded(written([salt, name, value], random), random))
    digests = [digest_of(each) for each in disclosures] + [digest_of("hidden")] * random.randrange(2)
    if random.random() < 0.05:
        digests.append(random.choice(["x", "é", digests[0] if digests else "", digest_of("") + "="]))
    changes: dict[str, Any] = {"_sd": digests}
    if random.random() < 0.3:
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url(HOLDER.public)}
        changes["cnf"] = {"jwk": jwk if random.random() < 0.9 else {**jwk, "kid": "1"}}
    if random.random() < 0.2:
        changes[random.choice(["iat", "nbf", "exp", "sub", "vct", "iss", "_sd_alg"])] = random.choice(VALUES)
    odd = {**HEADER_JSON, random.choice(["alg", "kid", "crit"]): "none"}
    header = HEADER_JSON if random.random() < 0.8 else odd
    parts = [header, payload_json([], **changes)]
    texts = [canonical_json(each) if random.random() < 0.5 else written(each, random) for each in parts]
    jwt = ".".join([*(encoded(each, random) for each in texts), encoded_signature(random)])
    return "~".join((jwt, *disclosures, ""))


def encoded_signature(random: Random) -> str:
    return base64url(bytes(64 if random.random() < 0.98 else 63))


def outcome(read: Any, text: str) -> Any:
    try:
        found = read(text)
    except InvalidInput as problem:
        assert problem.field
        return None
    return repr(found)


@pytest.mark.parametrize("part", range(8))
def test_credentials_are_accepted_as_they_were(part: int) -> None:
    accepted = 0
    for seed in range(part * 500, part * 500 + 500):
        text = hostile(Random(seed))
        expected = outcome(slow_sdjwt.parse, text)
        assert outcome(sdjwt.parse, text) == expected, (seed, text)
        accepted += expected is not None
    assert 50 < accepted < 450


ALPHABET = "ABCQZabcqwz0189-_+/=. \n\u00e9~"


@HOSTILE
@given(st.text(ALPHABET, max_size=12) | st.binary(max_size=9).map(base64url))
def test_base64url_is_as_strict_as_it_was(text: str) -> None:
    assert outcome(lambda each: sdjwt.unbase64url(each, "x"), text) == outcome(
        lambda each: slow_sdjwt.unbase64url(each, "x"), text
    )
