"""The packaged categories, the claims they take, and hostile category files."""

from __future__ import annotations

import copy
import json
import math
import urllib.request
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credchain.credentials.categories import (
    RESERVED,
    canonical_json,
    check_claims,
    claim_from_text,
    jurisdiction_covers,
    parse_category,
    parse_json,
)
from credchain.encoding import digest
from credchain.errors import InvalidInput
from tests.unit.credential_helpers import HOSTILE, category, category_document, example_claims

BY_NPI = {"board_certification", "state_license", "medical_education", "exclusion_check", "identity"}
BY_HOLDER = {
    "residency",
    "fellowship",
    "dea_registration",
    "cme_credit",
    "mqsa_experience",
    "hospital_privileges",
    "malpractice_coverage",
    "malpractice_claims_history",
    "peer_reference",
    "npdb_query",
    "life_support",
}
NAMES = sorted(BY_NPI | BY_HOLDER)
each_category = pytest.mark.parametrize("name", NAMES)


def test_the_packaged_files_are_the_sixteen_of_the_design() -> None:
    files = {each.name for each in resources.files("credchain.credentials.data").iterdir()}
    assert {name.removesuffix(".json") for name in files if name.endswith(".json")} == set(NAMES)
    assert len(NAMES) == 16


@each_category
def test_each_parses_with_the_subject_and_document_of_the_design(name: str) -> None:
    parsed = category(name)
    assert parsed.name == name
    assert parsed.by_npi is (name in BY_NPI)
    assert parsed.published is (name in BY_NPI - {"identity"})
    assert parsed.exclusive is (name == "identity")
    assert set(parsed.required) <= set(parsed.schemas)
    assert not set(parsed.schemas) & RESERVED


def test_digests_are_distinct_and_of_the_canonical_text() -> None:
    digests = {name: category(name).digest for name in NAMES}
    assert len(set(digests.values())) == 16
    for name, found in digests.items():
        text = json.dumps(category_document(name), sort_keys=True, separators=(",", ":"))
        assert found == digest("category", text.encode())


def test_the_digest_covers_every_leaf_of_a_document() -> None:
    document = category_document("state_license")
    original = parse_category(document).digest
    for path, value in _leaves(document):
        changed = copy.deepcopy(document)
        _at(changed, path[:-1])[path[-1]] = not value if isinstance(value, bool) else f"{value}x"
        try:
            assert parse_category(changed).digest != original
        except InvalidInput as refused:
            assert refused.message  # a change may also be refused


@each_category
def test_the_examples_of_each_pass_its_own_schema(name: str) -> None:
    claims = example_claims(category_document(name))
    assert check_claims(category(name), claims) == claims


@each_category
def test_every_example_of_each_claim_passes(name: str) -> None:
    document, parsed = category_document(name), category(name)
    first = example_claims(document)
    for claim, schema in document["claims"]["properties"].items():
        for value in schema["examples"]:
            assert check_claims(parsed, {**first, claim: value})[claim] == value


@each_category
def test_examples_typed_as_text_become_the_same_claims(name: str) -> None:
    parsed = category(name)
    for claim, value in example_claims(category_document(name)).items():
        typed = ";".join(value) if isinstance(value, list) else str(value)
        read = claim_from_text(parsed, claim, typed)
        assert read == value
        assert type(read) is type(value)


@each_category
def test_a_missing_claim_is_named_with_what_it_is(name: str) -> None:
    parsed, claims = category(name), example_claims(category_document(name))
    for missing in parsed.required:
        with pytest.raises(InvalidInput, match=missing) as caught:
            check_claims(parsed, {claim: value for claim, value in claims.items() if claim != missing})
        assert caught.value.field == missing
        assert caught.value.hint


@each_category
def test_an_unknown_claim_is_named(name: str) -> None:
    parsed, claims = category(name), example_claims(category_document(name))
    for unknown in ("licence_number", "", "_sd", "...", "iss", "npi", "Family_Name"):
        with pytest.raises(InvalidInput) as caught:
            check_claims(parsed, {**claims, unknown: "x"})
        assert caught.value.field == unknown


OF_ANOTHER_TYPE: dict[str, list[Any]] = {
    "string": [1, 1.5, True, None, [], ["x"], {}, b"x"],
    "boolean": [0, 1, "true", None, [], {}],
    "integer": [1.5, True, "1", None, [1], {}, math.nan, math.inf],
    "number": [True, "1", None, [1], {}, math.nan, math.inf, -math.inf],
    "array": ["CA", 1, True, None, {}, [1], [None], [["CA"]], [{}], [True]],
}


@each_category
def test_a_claim_of_another_type_is_named(name: str) -> None:
    parsed, claims = category(name), example_claims(category_document(name))
    for claim, schema in parsed.schemas.items():
        for value in OF_ANOTHER_TYPE[schema["type"]]:
            with pytest.raises(InvalidInput) as caught:
                check_claims(parsed, {**claims, claim: value})
            assert caught.value.field == claim


@each_category
def test_hostile_text_in_a_claim_is_refused(name: str) -> None:
    parsed, claims = category(name), example_claims(category_document(name))
    for claim, schema in parsed.schemas.items():
        if schema["type"] not in ("string", "array"):
            continue
        good = claims[claim]
        for spoiled in (
            *("{}\n", "\n{}", "{}\x1b[2J", "{}\u202e", "{}\x00", "{}\ud800", "{}e\u0301"),
            *("{}\U0001f600", "{}\u1e9e", "{}\ue000", "{}\u200b", "{}\U00010efd"),
        ):
            value = [spoiled.format(good[0])] if isinstance(good, list) else spoiled.format(good)
            with pytest.raises(InvalidInput) as caught:
                check_claims(parsed, {**claims, claim: value})
            assert caught.value.field == claim
            assert caught.value.message.isprintable()


@each_category
def test_a_pattern_or_a_date_covers_the_whole_text(name: str) -> None:
    parsed, claims = category(name), example_claims(category_document(name))
    for claim, schema in parsed.schemas.items():
        if "pattern" not in schema:
            continue
        for spoiled in (claims[claim] + "\n", claims[claim] + " ", " " + claims[claim], claims[claim] + "١"):
            with pytest.raises(InvalidInput):
                check_claims(parsed, {**claims, claim: spoiled})


@each_category
def test_dates_must_exist(name: str) -> None:
    parsed, claims = category(name), example_claims(category_document(name))
    dates = [claim for claim, schema in parsed.schemas.items() if schema.get("format") == "date"]
    assert dates or name in ("dea_registration", "malpractice_coverage") or name in BY_HOLDER
    for claim in dates:
        assert check_claims(parsed, {**claims, claim: "2024-02-29"})
        for text in (
            "2025-02-29",
            "2026-02-30",
            "2026-13-01",
            "20260101",
            "2026-1-1",
            "2026-01-0１",
            "٢٠٢٦-01-01",
        ):
            with pytest.raises(InvalidInput) as caught:
                check_claims(parsed, {**claims, claim: text})
            assert caught.value.field == claim
            assert "pattern" not in caught.value.message


def test_the_taxonomy_codes_are_those_of_radiology() -> None:
    """NUCC Health Care Provider Taxonomy, section 2085."""
    codes = category("board_certification").schemas["taxonomy_code"]["enum"]
    assert set(codes) == {
        *("2085R0202X", "2085R0204X", "2085N0700X", "2085P0229X", "2085N0904X", "2085U0001X"),
        *("2085B0100X", "2085D0003X", "2085R0001X", "2085R0203X", "2085R0205X", "2085H0002X"),
    }


def test_the_states_are_fifty_the_district_and_five_territories() -> None:
    states = category("state_license").schemas["state"]["enum"]
    assert len(states) == len(set(states)) == 56
    assert {"DC", "PR", "GU", "VI", "AS", "MP"} <= set(states)


def test_credits_come_in_quarters() -> None:
    parsed, claims = category("cme_credit"), example_claims(category_document("cme_credit"))
    for good in (0.25, 1, 6.25, 250):
        assert check_claims(parsed, {**claims, "credits": good})["credits"] == good
    for bad in (0, -1, 0.1, 6.3, 250.25, 251, 10**400):
        with pytest.raises(InvalidInput) as caught:
            check_claims(parsed, {**claims, "credits": bad})
        assert caught.value.field == "credits"


@pytest.mark.parametrize(
    ("text", "value"),
    [("6.25", 6.25), ("6", 6), ("6.0", 6), ("6.00", 6), (" 12.50 ", 12.5), ("-1", -1), ("0", 0), ("-0.0", 0)],
)
def test_numbers_typed_as_people_type_them(text: str, value: float) -> None:
    assert claim_from_text(category("cme_credit"), "credits", text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "six",
        "1e3",
        "1,5",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1_0",
        "１",
        "NaN",
        "inf",
        "-",
        "1\n2",
        "9" * 5000,
    ],
)
def test_what_is_no_number_is_refused_by_name(text: str) -> None:
    for parsed, claim in (
        (category("cme_credit"), "credits"),
        (category("hospital_privileges"), "term_months"),
    ):
        with pytest.raises(InvalidInput) as caught:
            claim_from_text(parsed, claim, text)
        assert caught.value.field == claim


def test_a_whole_number_has_no_fraction() -> None:
    parsed = category("hospital_privileges")
    assert claim_from_text(parsed, "term_months", "24") == 24
    with pytest.raises(InvalidInput, match="not a whole number"):
        claim_from_text(parsed, "term_months", "24.0")


def test_truth_is_true_false_yes_or_no() -> None:
    parsed = category("state_license")
    for text, value in (("true", True), ("YES", True), (" no ", False), ("False", False)):
        assert claim_from_text(parsed, "conditions", text) is value
    for text in ("", "1", "0", "y", "on", "truee", "true\u200b"):
        with pytest.raises(InvalidInput) as caught:
            claim_from_text(parsed, "conditions", text)
        assert caught.value.field == "conditions"


def test_lists_are_separated_by_semicolons() -> None:
    parsed = category("malpractice_coverage")
    assert claim_from_text(parsed, "covered_states", " CA ; TX;;") == ["CA", "TX"]
    assert claim_from_text(parsed, "covered_states", "") == []


@pytest.mark.parametrize(
    ("name", "claim", "given_value", "kept"),
    [
        ("hospital_privileges", "term_months", 24.0, 24),
        ("hospital_privileges", "term_months", 24, 24),
        ("cme_credit", "credits", 6.0, 6),
        ("cme_credit", "credits", 6.25, 6.25),
        ("cme_credit", "credits", 6, 6),
    ],
)
def test_one_number_has_one_form(name: str, claim: str, given_value: float, kept: float) -> None:
    """24.0 in a JSON file means 24: else two credentials of one content would differ in their bytes."""
    claims = {**example_claims(category_document(name)), claim: given_value}
    found = check_claims(category(name), claims)
    assert found[claim] == kept
    assert type(found[claim]) is type(kept)
    assert canonical_json(found[claim]) == str(kept)
    assert type(claims[claim]) is type(given_value), "the caller's claims stay as they were"


@pytest.mark.parametrize("value", [24.5, 1e300, -1e300, -24.0, 0.0, -0.0, math.nan, math.inf, -math.inf])
def test_a_float_is_no_way_around_the_schema(value: float) -> None:
    for name, claim in (("hospital_privileges", "term_months"), ("cme_credit", "credits")):
        if (name, value) == ("cme_credit", 24.5):
            continue
        claims = {**example_claims(category_document(name)), claim: value}
        with pytest.raises(InvalidInput) as caught:
            check_claims(category(name), claims)
        assert caught.value.field == claim


def test_whole_floats_in_a_list_or_for_truth_or_text_stay_wrong() -> None:
    for name, claim, value in (
        ("malpractice_coverage", "covered_states", [1.0]),
        ("state_license", "conditions", 1.0),
        ("state_license", "license_number", 1.0),
    ):
        with pytest.raises(InvalidInput) as caught:
            check_claims(category(name), {**example_claims(category_document(name)), claim: value})
        assert caught.value.field == claim


def test_an_unknown_claim_typed_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="has no claim licence") as caught:
        claim_from_text(category("state_license"), "licence", "x")
    assert caught.value.field == "licence"
    assert "license_number" in caught.value.hint


@HOSTILE
@given(st.sampled_from(NAMES), st.data(), st.text(max_size=30))
def test_any_text_for_any_claim_is_a_good_claim_or_invalid_input(
    name: str, data: st.DataObject, text: str
) -> None:
    document, parsed = category_document(name), category(name)
    claim = data.draw(st.sampled_from(sorted(parsed.schemas)))
    try:
        value = claim_from_text(parsed, claim, text)
        accepted = check_claims(parsed, {**example_claims(document), claim: value})
    except InvalidInput as refused:
        assert refused.field == claim
        return
    assert json.loads(canonical_json(dict(accepted)))[claim] == value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["npi", "sealed", "string", "date", "^a$", "#/x", "_sd", "object"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "type", "enum", "_sd", "title"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@HOSTILE
@given(st.sampled_from(NAMES), st.data(), json_values)
def test_any_json_as_a_claim_passes_or_is_invalid_input(name: str, data: st.DataObject, value: Any) -> None:
    document, parsed = category_document(name), category(name)
    claim = data.draw(st.sampled_from(sorted(parsed.schemas)))
    try:
        check_claims(parsed, {**example_claims(document), claim: value})
    except InvalidInput as refused:
        assert refused.field == claim
        return
    kinds: dict[str, Any] = {
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
        "array": list,
    }
    kind = kinds[parsed.schemas[claim]["type"]]
    assert isinstance(value, kind) or (isinstance(value, float) and value.is_integer())


# Hostile category files: `parse_category` accepts or refuses, and what it accepts checks claims.

Path = tuple[str | int, ...]


def _leaves(value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    """Every leaf with its path."""
    if not isinstance(value, (dict, list)):
        return [(path, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [leaf for key, item in items for leaf in _leaves(item, (*path, key))]


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _nodes(value: Any, path: Path = ()) -> list[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in items for deeper in _nodes(item, (*path, key)))]


def parse_and_use(document: Any, claims: dict[str, Any]) -> None:
    """Nothing but InvalidInput may come out."""
    try:
        check_claims(parse_category(document), claims)
    except InvalidInput as refused:
        assert refused.message


@HOSTILE
@given(st.sampled_from(NAMES), st.data(), json_values)
def test_a_category_file_with_any_part_replaced_only_raises_invalid_input(
    name: str, data: st.DataObject, value: Any
) -> None:
    document = category_document(name)
    claims = example_claims(document)
    path = data.draw(st.sampled_from(_nodes(document)))
    if not path:
        parse_and_use(value, claims)
        return
    changed = copy.deepcopy(document)
    _at(changed, path[:-1])[path[-1]] = value
    parse_and_use(changed, claims)
    del _at(changed, path[:-1])[path[-1]]
    parse_and_use(changed, claims)


KEYWORDS: tuple[str, ...] = (
    "pattern",
    "enum",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "multipleOf",
    "items",
    "format",
)
KEYWORDS += ("examples", "type", "const", "not", "allOf", "if", "$defs", "$id", "contains", "unknown")


@HOSTILE
@given(st.sampled_from(["topic", "credits", "self_assessment"]), st.sampled_from(KEYWORDS), json_values)
def test_any_keyword_in_a_claims_schema_only_raises_invalid_input(
    claim: str, keyword: str, value: Any
) -> None:
    document = category_document("cme_credit")
    claims = example_claims(document)
    document["claims"]["properties"][claim][keyword] = value
    parse_and_use(document, claims)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "("},
        {"pattern": "[z-a]"},
        {"pattern": "a{99999999999}"},
        {"multipleOf": 0},
        {"$schema": "http://example.org/other"},
        {"$id": "not a uri \\"},
        {"items": {"$ref": "#"}},
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"$ref": "#nowhere"},
        {"$dynamicRef": "#nowhere"},
        {"$ref": 5},
    ],
    ids=str,
)
def test_a_broken_schema_is_invalid_input(schema: dict[str, Any]) -> None:
    document = category_document("cme_credit")
    claims = example_claims(document)
    document["claims"]["properties"]["topic"].update(schema)
    parse_and_use(document, claims)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize("target", ["http://example.org/schema.json", "file:///a/schema.json"])
def test_a_schema_fetches_nothing(keyword: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A category file comes from other people: it must not make its reader open files or connections."""
    opened: list[str] = []

    def urlopen(request: Any, *_: Any, **__: Any) -> Any:
        opened.append(str(request))
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    document = category_document("cme_credit")
    claims = example_claims(document)
    document["claims"]["properties"]["topic"][keyword] = target
    with pytest.raises(InvalidInput, match=r"which is not allowed"):
        parse_category(document)
    parse_and_use(document, claims)
    assert opened == []


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e400"])
@pytest.mark.parametrize("place", ["top", "claim"])
def test_a_number_beyond_floats_in_a_category_file_is_invalid_input(number: str, place: str) -> None:
    document = category_document("cme_credit")
    (document if place == "top" else document["claims"]["properties"]["credits"])["maximum"] = "NUMBER"
    text = json.dumps(document).replace('"NUMBER"', number)
    with pytest.raises(InvalidInput):
        parse_category(parse_json(text, "category"))


def test_nesting_that_the_json_reader_bears_is_invalid_input_at_worst() -> None:
    document = category_document("cme_credit")
    claims = example_claims(document)
    parsed = parse_category(document)
    refused = 0
    for depth in range(100, 1200, 7):
        text = "[" * depth + "]" * depth
        try:
            nested = parse_json(text, "category")
            parse_category({**document, "x": nested})
            check_claims(parsed, {**claims, "topic": nested})
        except InvalidInput:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"category": "CME"}, "category"),
        ({"category": "a\n"}, "category"),
        ({"category": "a" * 65}, "category"),
        ({"category": "é"}, "category"),
        ({"category": "1a"}, "category"),
        ({"category": 5}, "category"),
        ({"version": 2}, "version"),
        ({"version": True}, "version"),
        ({"version": 1.0}, "version"),
        ({"subject": "NPI"}, "subject"),
        ({"subject": ["npi"]}, "subject"),
        ({"document": "public"}, "document"),
        ({"exclusive": 1}, "exclusive"),
        ({"exclusive": "false"}, "exclusive"),
        ({"title": ""}, "title"),
        ({"title": "a\x1b[2J"}, "title"),
        ({"validity": {"until": "sometimes"}}, "until"),
        ({"validity": {"until": "required", "max_months": 0}}, "max_months"),
        ({"validity": {"until": "required", "max_months": True}}, "max_months"),
        ({"validity": {"until": "required", "max_months": 12.0}}, "max_months"),
        ({"renewal": {"matches": ["nothing"]}}, "nothing"),
        ({"renewal": {"matches": "topic"}}, "matches"),
        ({"jurisdiction_claim": "nothing"}, "nothing"),
        ({"claims": []}, "claims"),
        ({"subject": "npi", "document": "sealed", "jurisdiction_claim": "provider"}, "jurisdiction_claim"),
    ],
    ids=str,
)
def test_a_wrong_part_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_category({**category_document("cme_credit"), **change})
    assert named in caught.value.field or named in caught.value.message


def printable_refusal(document: Any) -> InvalidInput:
    """The error in reading this category, fit for a terminal: category files come from other people."""
    with pytest.raises(InvalidInput) as caught:
        parse_category(document)
    for part in (caught.value.message, caught.value.field, caught.value.hint):
        assert part.isprintable(), part
    return caught.value


LEVELS: dict[str, Path] = {
    "the document": (),
    "validity": ("validity",),
    "renewal": ("renewal",),
    "claims": ("claims",),
    "a claim": ("claims", "properties", "activity_title"),
    "the items of a list": ("claims", "properties", "topics", "items"),
}
UNKNOWN = [
    *("exclusve", "Title", "until ", "max_month", "matchs", "comment", "$comment", "$schema", "x-note", ""),
    *("\x1b[2J", "é", "\u202e", "k" * 1_000, "a\nb", "__proto__"),
]


def with_a_list() -> dict[str, Any]:
    """cme_credit with one more claim: a list of text."""
    document = category_document("cme_credit")
    document["claims"]["properties"]["topics"] = {
        "type": "array",
        "title": "Topics",
        "description": "What it was about",
        "items": {"type": "string", "maxLength": 20},
        "maxItems": 3,
        "examples": [["mammography"]],
    }
    return document


def test_a_claim_that_is_a_list_can_be_added() -> None:
    """So that what is refused below is refused for its one change."""
    document = with_a_list()
    parsed, claims = parse_category(document), example_claims(document)
    assert check_claims(parsed, claims)["topics"] == ["mammography"]


@pytest.mark.parametrize("unknown", UNKNOWN, ids=lambda name: ascii(name[:12]))
@pytest.mark.parametrize("path", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("value", ["x", None, {}], ids=str)
def test_an_unknown_part_is_refused_at_every_level(path: Path, unknown: str, value: Any) -> None:
    """A misspelt rule would silently be no rule."""
    document = with_a_list()
    _at(document, path)[unknown] = value
    error = printable_refusal(document)
    assert ascii(unknown[:12])[1:-1] in error.message or repr(unknown[:12])[1:-1] in error.message
    assert len(error.message) < 1_000


@pytest.mark.parametrize(
    ("level", "known"),
    [
        *[("the document", each) for each in ("until", "every_months", "properties", "required", "type")],
        *[("validity", each) for each in ("every_months", "exclusive", "title", "matches")],
        *[("renewal", each) for each in ("until", "max_months", "exclusive", "required")],
        *[("claims", each) for each in ("title", "description", "category", "minProperties")],
        *[("a claim", each) for each in ("required", "properties", "until", "document", "subject")],
        *[("the items of a list", each) for each in ("required", "properties", "exclusive")],
    ],
)
def test_a_part_of_one_level_is_unknown_at_another(level: str, known: str) -> None:
    document = with_a_list()
    _at(document, LEVELS[level])[known] = True
    assert known in printable_refusal(document).message


ALLOWED_KEYWORDS: dict[str, Any] = {
    "enum": ["a", "b"],
    "format": "date",
    "pattern": "^a$",
    "minLength": 1,
    "maxLength": 9,
    "minimum": 1,
    "maximum": 9,
    "multipleOf": 0.25,
    "items": {"type": "string"},
    "minItems": 1,
    "maxItems": 2,
    "uniqueItems": True,
    "examples": ["a"],
}
OTHER_KEYWORDS = [
    *(
        "$schema",
        "$id",
        "$ref",
        "$anchor",
        "$dynamicRef",
        "$dynamicAnchor",
        "$vocabulary",
        "$comment",
        "$defs",
    ),
    *(
        "definitions",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentSchemas",
        "prefixItems",
    ),
    *("contains", "properties", "patternProperties", "additionalProperties", "propertyNames", "const"),
    *("unevaluatedItems", "unevaluatedProperties", "exclusiveMaximum", "exclusiveMinimum", "maxContains"),
    *("minContains", "maxProperties", "minProperties", "required", "dependentRequired", "default"),
    *("deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"),
]
"""All others of JSON Schema 2020-12: its core, applicator, validation, meta-data and content words."""


@pytest.mark.parametrize("keyword", ALLOWED_KEYWORDS)
def test_these_keywords_say_what_a_claim_is(keyword: str) -> None:
    document = with_a_list()
    for path in (LEVELS["a claim"], LEVELS["the items of a list"]):
        _at(document, path)[keyword] = ALLOWED_KEYWORDS[keyword]
    assert keyword in parse_category(document).schemas["topics"]["items"]


@pytest.mark.parametrize("keyword", OTHER_KEYWORDS)
def test_no_other_keyword_of_json_schema_is_allowed(keyword: str) -> None:
    """Also where its value is harmless, as one cannot tell from the word."""
    harmless: list[Any] = [True, {}, [], "x", 1]
    for path in (LEVELS["a claim"], LEVELS["the items of a list"]):
        for value in harmless:
            document = with_a_list()
            _at(document, path)[keyword] = value
            assert keyword in printable_refusal(document).message


HOSTILE_NAMES = ["\x1b[2J", "a\nb", "\u202ea", "\x9b31m", "k" * 4_000, "\ud800"]


@pytest.mark.parametrize(
    "place", ["a claim", "required", "matches", "jurisdiction_claim", "category", "title"]
)
def test_an_error_in_a_category_file_repeats_no_escapes_and_no_kilobytes(place: str) -> None:
    for name in HOSTILE_NAMES:
        document = category_document("cme_credit")
        if place == "a claim":
            document["claims"]["properties"][name] = document["claims"]["properties"]["activity_title"]
        elif place == "required":
            document["claims"]["required"].append(name)
        elif place == "matches":
            document["renewal"]["matches"].append(name)
        else:
            document[place] = name * 2 if place == "title" else name
        assert len(printable_refusal(document).message) < 1_000


def test_items_nested_as_deep_as_the_json_reader_bears_are_invalid_input() -> None:
    for depth in (2, 20, 100, 300, *range(800, 1_000, 3)):
        document = with_a_list()
        document["claims"]["properties"]["topics"]["items"] = "ITEMS"
        text = json.dumps(document).replace('"ITEMS"', '{"items":' * depth + "{}" + "}" * depth)
        try:
            parse_category(parse_json(text, "category"))
        except InvalidInput:
            continue
        assert depth < 16


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_no_claims(name: str) -> None:
    document = category_document("cme_credit")
    document["claims"]["properties"][name] = document["claims"]["properties"]["topic"]
    with pytest.raises(InvalidInput, match="reserved name"):
        parse_category(document)


def test_claims_without_a_schema_are_never_allowed() -> None:
    others: list[Any] = [True, {}, None, 0]
    for value in others:
        document = category_document("cme_credit")
        document["claims"]["additionalProperties"] = value
        with pytest.raises(InvalidInput, match="additionalProperties"):
            parse_category(document)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"x":{"a":1,"a":1}}',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "",
        "{",
        "[1,]",
        "{'a':1}",
        "01",
        "[" * 100_000,
        "1" * 10_000,
        '"\x00"',
        '"\n"',
        "\ufeff{}",
        "nul",
        "{} {}",
    ],
)
def test_what_is_no_json_is_invalid_input(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(text, "claims")
    assert caught.value.field == "claims"


def test_json_is_read_as_it_is() -> None:
    assert parse_json('{"a":[1,2.5,true,null,"\\u00e9"]}', "claims") == {"a": [1, 2.5, True, None, "é"]}


def test_canonical_json_is_sorted_and_tight() -> None:
    """RFC 8785, section 3.2, for the values that categories and claims hold."""
    assert canonical_json({"b": [1, 2.5, "é"], "a": {"d": True, "c": False}}) == (
        '{"a":{"c":false,"d":true},"b":[1,2.5,"é"]}'
    )


def test_a_matching_key_tells_credentials_apart_by_the_named_claims_alone() -> None:
    parsed = category("state_license")
    claims = example_claims(category_document("state_license"))
    key = parsed.matching_key(claims)
    assert parsed.matching_key({**claims, "family_name": "Other"}) == key
    assert parsed.matching_key({**claims, "state": "TX"}) != key
    assert parsed.matching_key({**claims, "license_number": "B1"}) != key


def test_a_jurisdiction_covers_its_own_state() -> None:
    assert jurisdiction_covers(("US",), "CA")
    assert jurisdiction_covers(("US-CA", "US-TX"), "TX")
    for jurisdictions in ((), ("US-CA",), ("CA",), ("US-",), ("us",)):
        assert not jurisdiction_covers(jurisdictions, "TX")
