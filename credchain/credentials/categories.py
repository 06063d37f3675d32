"""Categories: what kinds of credential a network knows, and which claims each carries.

A category is a JSON file, so that a consortium adds one without code. The network file carries the
documents, the ledger's parameters their digests.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..encoding import Digest, check_text, digest, printable
from ..errors import InvalidInput
from ..limits import LIMITS

Claim = bool | int | float | str | list[str]
Claims = Mapping[str, Claim]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_TYPES: Final = ("string", "integer", "number", "boolean", "array")
RESERVED: Final = frozenset(
    (
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "cnf",
        "vct",
        "status",
        "_sd",
        "_sd_alg",
        "...",
        "npi",
        "valid_from",
        "valid_until",
        "renews",
        "line",
        "attestation",
        "note",
    )
)
"""Registered names of JWT, SD-JWT and SD-JWT VC, and columns of our tables: never claims."""


@dataclass(frozen=True, slots=True)
class Category:
    """One category. ``schemas`` holds each claim's JSON Schema, in the file's order."""

    name: str
    title: str
    description: str
    subject: str
    document: str
    primary_source: str
    exclusive: bool
    jurisdiction_claim: str | None
    until: str
    max_months: int | None
    renew_every_months: int | None
    matches: tuple[str, ...]
    schemas: Mapping[str, Mapping[str, Any]]
    required: tuple[str, ...]
    source: Mapping[str, Any] = field(repr=False)
    digest: Digest = field(repr=False)

    @property
    def by_npi(self) -> bool:
        return self.subject == "npi"

    @property
    def published(self) -> bool:
        return self.document == "published"

    def matching_key(self, claims: Claims) -> str:
        """Tells one running credential of an issuer and person from another, across renewals."""
        return canonical_json({name: claims.get(name, "") for name in self.matches})


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space (RFC 8785 for the values that we allow)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse_json(text: str, what: str) -> Any:
    """JSON without duplicate keys and without NaN; InvalidInput otherwise."""
    try:
        return _DECODER.decode(text)
    except InvalidInput as problem:
        raise InvalidInput(f"{what} {problem.message}", field=what) from None
    except (ValueError, RecursionError) as problem:
        raise InvalidInput(f"{what} is not JSON: {problem}", field=what) from problem


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(items)
    if len(result) != len(items):
        raise InvalidInput("has a key that stands twice")
    return result


def _no_constant(name: str) -> Any:
    raise InvalidInput(f"holds {name}, which is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)


def parse_category(document: Any) -> Category:
    """A category from its JSON document, every part checked; InvalidInput names the part."""
    reader = _Part(document, "category")
    name = reader.text("category")
    if not _NAME.match(name):
        raise InvalidInput(f"category {printable(name)} is not lower-case letters and _", field="category")
    reader = _Part(document, name)
    reader.only(_PARTS)
    reader.one_of("version", (1,))
    validity = reader.part("validity")
    validity.only(frozenset(("until", "max_months")))
    renewal = reader.part("renewal")
    renewal.only(frozenset(("every_months", "matches")))
    claims = reader.part("claims")
    claims.only(frozenset(("type", "properties", "required", "additionalProperties")))
    schemas = _read_schemas(claims, name)
    required = tuple(claims.texts("required"))
    matches = tuple(renewal.texts("matches"))
    jurisdiction = reader.text("jurisdiction_claim") if reader.has("jurisdiction_claim") else None
    for claim in (*required, *matches, *([jurisdiction] if jurisdiction else [])):
        if claim not in schemas:
            raise InvalidInput(
                f"{name} names the claim {printable(claim)}, which it does not define", field=name
            )
    subject = reader.one_of("subject", ("npi", "holder"))
    kept = reader.one_of("document", ("published", "sealed"))
    if jurisdiction and (subject, kept) == ("npi", "sealed"):
        raise InvalidInput(
            f"{name} names a jurisdiction claim, which nobody who asks by NPI could read",
            field=f"{name}.jurisdiction_claim",
            hint="publish its documents, or leave the jurisdiction out",
        )
    until: str = validity.one_of("until", ("required", "optional", "never"))
    return Category(
        name=name,
        title=reader.text("title"),
        description=reader.text("description"),
        subject=subject,
        document=kept,
        primary_source=reader.text("primary_source"),
        exclusive=reader.one_of("exclusive", (True, False)),
        jurisdiction_claim=jurisdiction,
        until=until,
        max_months=validity.months("max_months"),
        renew_every_months=renewal.months("every_months"),
        matches=matches,
        schemas=schemas,
        required=required,
        source=document,
        digest=_category_digest(document, name),
    )


def _read_schemas(claims: _Part, name: str) -> dict[str, Mapping[str, Any]]:
    claims.one_of("type", ("object",))
    claims.one_of("additionalProperties", (False,))
    properties = claims.part("properties")
    schemas: dict[str, Mapping[str, Any]] = {}
    for claim in properties.names():
        if claim in RESERVED or not _NAME.match(claim):
            raise InvalidInput(f"{name} defines the claim {printable(claim)}, a reserved name", field=name)
        schema = properties.part(claim)
        schema.one_of("type", _TYPES)
        schema.text("title")
        schema.text("description")
        _check_keywords(schema, f"{name}.{claim}")
        schemas[claim] = schema.value
    if not 1 <= len(schemas) <= LIMITS.disclosures:
        raise InvalidInput(f"{name} must define 1 to {LIMITS.disclosures} claims", field=name)
    return schemas


_PARTS: Final = frozenset(
    ("category", "version", "title", "description", "subject", "document", "primary_source")
    + ("exclusive", "jurisdiction_claim", "validity", "renewal", "claims")
)
_KEYWORDS: Final = frozenset(
    ("type", "title", "description", "examples", "enum", "format", "pattern", "minLength", "maxLength")
    + ("minimum", "maximum", "multipleOf", "items", "minItems", "maxItems", "uniqueItems")
)
"""What a claim's schema may say. No references: a category file must not make its reader fetch."""


def _check_keywords(schema: _Part, what: str) -> None:
    for keyword in schema.names():
        if keyword not in _KEYWORDS:
            raise InvalidInput(f"{what} uses the keyword {keyword[:40]!r}, which is not allowed", field=what)
    if schema.has("pattern"):
        try:
            re.compile(schema.text("pattern"))
        except (re.error, OverflowError, RecursionError) as problem:
            raise InvalidInput(f"{what} has a broken pattern", field=what) from problem
    if schema.has("items"):
        _check_keywords(schema.part("items"), what)


def _category_digest(document: Any, name: str) -> Digest:
    _check_numbers(document, name)
    text = canonical_json(document)
    if not text.isascii() or len(text) > LIMITS.category_bytes:
        raise InvalidInput(f"{name} must be ASCII and at most {LIMITS.category_bytes} bytes", field=name)
    return digest("category", text.encode())


def _check_numbers(value: Any, name: str, depth: int = 0) -> None:
    """Floats whose shortest decimal is the same in every language, or the digest would not be."""
    if depth > 16:
        raise InvalidInput(f"{name} is nested deeper than 16 levels", field=name)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_numbers(item, name, depth + 1)
    elif isinstance(value, float) and (not math.isfinite(value) or "e" in repr(value) or value.is_integer()):
        raise InvalidInput(f"{name} holds the number {value!r}: write it without exponent", field=name)


class _Part:
    """A JSON object of a category file, read by name."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise InvalidInput(f"{what} must be a JSON object", field=what)
        self.value: dict[str, Any] = value
        self._what = what

    def _get(self, name: str) -> Any:
        if name not in self.value:
            raise InvalidInput(f"{self._what} lacks {name}", field=f"{self._what}.{name}")
        return self.value[name]

    def has(self, name: str) -> bool:
        return name in self.value

    def names(self) -> list[str]:
        return list(self.value)

    def only(self, known: frozenset[str]) -> None:
        """A misspelt part must not silently drop a rule."""
        for name in self.value:
            if name not in known:
                shown = printable(name)
                raise InvalidInput(f"{self._what} has an unknown part {shown}", field=shown)

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not value:
            raise InvalidInput(f"{self._what}.{name} must be text", field=f"{self._what}.{name}")
        return check_text(value, f"{self._what}.{name}")

    def one_of(self, name: str, allowed: tuple[Any, ...]) -> Any:
        value = self._get(name)
        if not any(value is each or (value == each and type(value) is type(each)) for each in allowed):
            raise InvalidInput(
                f"{self._what}.{name} must be one of {', '.join(str(each) for each in allowed)}",
                field=f"{self._what}.{name}",
            )
        return value

    def texts(self, name: str) -> list[str]:
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise InvalidInput(f"{self._what}.{name} must be a list of text", field=f"{self._what}.{name}")
        return value

    def months(self, name: str) -> int | None:
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) is not int or not 1 <= value <= 1200:
            raise InvalidInput(f"{self._what}.{name} must be 1 to 1200 months", field=f"{self._what}.{name}")
        return value

    def part(self, name: str) -> _Part:
        return _Part(self._get(name), f"{self._what}.{name}")


def claim_from_text(category: Category, name: str, text: str) -> Claim:
    """A claim's value from what a person typed, as the schema types it.

    Lists are separated by ``;``. Whether the value fits the schema is `check_claims`' affair.
    """
    schema = category.schemas.get(name)
    if schema is None:
        raise InvalidInput(
            f"{category.name} has no claim {printable(name)}",
            field=printable(name),
            hint=f"its claims are {', '.join(category.schemas)}",
        )
    kind = schema["type"]
    if kind == "boolean":
        truth = {"true": True, "yes": True, "false": False, "no": False}.get(text.strip().lower())
        if truth is None:
            raise InvalidInput(
                f"{name} is {text[:60]!r}, neither true nor false", field=name, hint="write true or false"
            )
        return truth
    if kind == "array":
        return [part.strip() for part in text.split(";") if part.strip()]
    if kind in ("integer", "number"):
        number: int | float = _number(name, text.strip(), whole=kind == "integer")
        return number
    return text


def _number(name: str, text: str, *, whole: bool) -> Any:
    pattern = r"-?[0-9]{1,15}\Z" if whole else r"-?[0-9]{1,12}(\.[0-9]{1,6})?\Z"
    if not re.match(pattern, text):
        described = "a whole number" if whole else "a number"
        raise InvalidInput(
            f"{name} is {text[:60]!r}, not {described}", field=name, hint="digits only, for example 12"
        )
    value = float(text)
    return int(text) if whole else _whole(value)


def check_claims(category: Category, claims: Mapping[str, Any]) -> Claims:
    """The claims, if they fit the category's schema; InvalidInput names the first that does not."""
    for name in claims:
        if name not in category.schemas:
            raise InvalidInput(
                f"{category.name} has no claim {printable(name)}",
                field=printable(name),
                hint=f"its claims are {', '.join(category.schemas)}",
            )
    for name in category.required:
        if name not in claims:
            raise InvalidInput(
                f"{category.name} requires the claim {name}",
                field=name,
                hint=str(category.schemas[name]["description"]),
            )
    found = {name: _whole(value) for name, value in claims.items()}
    for name, value in found.items():
        check_claim(category, name, value)
    return cast(Claims, found)


def _whole(value: Any) -> Any:
    """24.0 as 24, so that one number has one form."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


def misfit(category: Category, claims: Mapping[str, Any], *, whole: bool) -> str:
    """Why a credential's claims are not this category's; "" if they are, by name and type.

    With ``whole`` none that is required may be missing. Values are the issuer's affair
    (`check_claims`): a verifier needs no JSON Schema.
    """
    for name, value in claims.items():
        schema = category.schemas.get(name)
        if schema is None:
            return f"it has the claim {name}, which the category does not"
        if type(value) not in _PYTHON_TYPES[schema["type"]]:
            return f"its claim {name} is not of the type {schema['type']}"
    missing = [name for name in category.required if name not in claims]
    return f"it lacks the claim {missing[0]}" if whole and missing else ""


def check_claim(category: Category, name: str, value: Any) -> None:
    """InvalidInput unless the value fits the claim's schema."""
    schema = category.schemas[name]
    for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
        if isinstance(text, str):
            check_text(text, name, max_bytes=LIMITS.claim_bytes)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{name} is {value}, not a number", field=name)
    validator = _validator(category.name, name, canonical_json(schema))
    problem = next(iter(validator.iter_errors(value)), None)
    if problem is not None:
        examples = schema.get("examples") or []
        hint = f"{schema['description']}" + (f"; for example {examples[0]}" if examples else "")
        raise InvalidInput(f"{name}: {_explain(problem)}", field=name, hint=hint)


def _explain(problem: Any) -> str:
    """A schema violation in words that name no JSON Schema keyword."""
    shown = repr(problem.instance)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    kind, bound = problem.validator, problem.validator_value
    words = {
        "type": f"{shown} is not of the type {bound}",
        "enum": f"{shown} is not one of {', '.join(map(str, bound)) if kind == 'enum' else ''}",
        "format": f"{shown} is not a {bound} that exists",
        "pattern": f"{shown} does not have the form asked for",
        "minLength": f"{shown} is too short",
        "maxLength": f"{shown} is longer than {bound} characters",
        "minimum": f"{shown} is less than {bound}",
        "maximum": f"{shown} is more than {bound}",
        "multipleOf": f"{shown} is not a multiple of {bound}",
        "minItems": "the list is too short",
        "maxItems": f"the list has more than {bound} items",
        "uniqueItems": "the list names something twice",
    }
    return words.get(kind) or str(problem.message)


_VALIDATORS: dict[tuple[str, str, str], Any] = {}


def _validator(category: str, claim: str, schema: str) -> Any:
    key = (category, claim, schema)
    if key not in _VALIDATORS:
        from jsonschema import Draft202012Validator, FormatChecker
        from jsonschema.exceptions import SchemaError

        parsed = json.loads(schema)
        try:
            Draft202012Validator.check_schema(parsed)
        except SchemaError as problem:
            raise InvalidInput(
                f"{category}.{claim} is not a JSON Schema: {problem.message}", field=claim
            ) from problem
        _VALIDATORS[key] = Draft202012Validator(parsed, format_checker=FormatChecker(["date"]))
    return _VALIDATORS[key]


def jurisdiction_covers(jurisdictions: tuple[str, ...], state: str) -> bool:
    """Whether an issuer's jurisdictions (ISO 3166-2, ``US`` or ``US-CA``) cover a state's code."""
    return "US" in jurisdictions or f"US-{state}" in jurisdictions
