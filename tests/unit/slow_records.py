"""How records were read before msgspec: field by field, by `Fields`. The oracle of test_records_oracle.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from credchain import keys
from credchain.credentials.npi import parse_npi
from credchain.encoding import Fields, check_text, unpack
from credchain.errors import InvalidInput
from credchain.limits import LIMITS

Read = Callable[[Fields], dict[str, Any]]
MANY = 100_000


def present(**fields: Any) -> dict[str, Any]:
    """The fields, without those that are absent."""
    return {name: value for name, value in fields.items() if value is not None}


def term(fields: Fields) -> dict[str, Any]:
    name = fields.text("name", max_bytes=LIMITS.name_bytes)
    return present(name=name, start=fields.integer("start"), end=fields.optional_integer("end"))


def key_term(fields: Fields) -> dict[str, Any]:
    return present(
        key=fields.binary("key", 32),
        start=fields.integer("start"),
        end=fields.optional_integer("end"),
        distrusted=fields.optional_integer("distrusted"),
    )


def member(fields: Fields) -> dict[str, Any]:
    private = fields.texts("private_categories", at_most=256) if fields.has("private_categories") else ()
    return present(
        did=keys.check_did(fields.text("did")),
        enrolled=fields.integer("enrolled"),
        encryption_key=fields.binary("encryption_key", 32),
        keys=list(fields.maps("keys", key_term, at_most=MANY)),
        roles=list(fields.maps("roles", term, at_most=MANY)),
        categories=list(fields.maps("categories", term, at_most=MANY)),
        jurisdictions=list(fields.maps("jurisdictions", term, at_most=MANY)),
        name=fields.optional_text("name", max_bytes=LIMITS.name_bytes),
        recovery=fields.optional_digest("recovery"),
        subjects_root=fields.optional_digest("subjects_root"),
        private_categories=list(private) or None,
    )


def change(fields: Fields) -> dict[str, Any]:
    return present(
        status=fields.text("status", max_bytes=64),
        reason=fields.text("reason", max_bytes=64),
        by=keys.check_did(fields.text("by"), "by"),
        height=fields.integer("height"),
        time=fields.integer("time"),
        note=fields.optional_digest("note"),
    )


def entry(fields: Fields) -> dict[str, Any]:
    return present(
        id=fields.digest("id"),
        issuer=keys.check_did(fields.text("issuer"), "issuer"),
        key=fields.binary("key", 32),
        height=fields.integer("height"),
        time=fields.integer("time"),
        credential=fields.digest("credential"),
        valid_from=fields.integer("valid_from"),
        valid_until=fields.optional_integer("valid_until"),
        renews=fields.optional_digest("renews"),
        history=list(fields.maps("history", change, at_most=MANY)),
        erased=fields.optional_integer("erased"),
    )


def dossier(fields: Fields) -> dict[str, Any]:
    return present(
        category=fields.text("category", max_bytes=64),
        subject=fields.digest("subject"),
        entries=list(fields.maps("entries", entry, at_most=MANY)),
    )


def header(fields: Fields) -> dict[str, Any]:
    return present(
        version=fields.integer("version", at_least=1, at_most=1),
        network=fields.digest("network"),
        height=fields.integer("height", at_least=1),
        parent=fields.digest("parent"),
        time=fields.integer("time"),
        view=fields.integer("view"),
        proposer=keys.check_did(fields.text("proposer"), "proposer"),
        transactions_root=fields.digest("transactions_root"),
        transaction_count=fields.integer("transaction_count"),
        state_root=fields.digest("state_root"),
        validators=fields.digest("validators"),
        next_validators=fields.digest("next_validators"),
    )


def certificate(fields: Fields) -> dict[str, Any]:
    def one(item: Fields) -> dict[str, Any]:
        index = item.integer("validator", at_most=LIMITS.validators - 1)
        return present(signature=item.binary("signature", 64), validator=index)

    signatures = list(fields.maps("signatures", one, at_most=LIMITS.validators))
    indexes = [each["validator"] for each in signatures]
    if indexes != sorted(set(indexes)):
        raise InvalidInput("a validator signs a certificate once, in order", field="signatures")
    return present(signatures=signatures, view=fields.integer("view"))


def proof(fields: Fields) -> dict[str, Any]:
    path = fields.binary("path", at_most=32 * LIMITS.proof_depth)
    bucket = fields.binary("bucket", at_most=64 * LIMITS.bucket_entries)
    if len(path) % 32 or len(bucket) % 64:
        raise InvalidInput("a state proof is of whole digests", field="proof")
    return present(path=path, bucket=bucket)


def opening(fields: Fields) -> dict[str, Any]:
    found = present(
        category=fields.text("category", max_bytes=64),
        subject=fields.digest("subject"),
        salt=fields.binary("salt", 16),
        index=fields.integer("index"),
        count=fields.integer("count"),
        path=fields.binary("path", at_most=32 * 16),
    )
    if len(found["path"]) % 32 or not 0 <= found["index"] < found["count"] <= 256:
        raise InvalidInput("the opening of a subject is not well formed", field="opening")
    return found


def scope(fields: Fields) -> dict[str, Any]:
    claims = list(fields.texts("claims", at_most=LIMITS.disclosures))
    return present(category=fields.text("category", max_bytes=64), claims=claims)


def ascii_text(item: object, field: str) -> str:
    if type(item) is not str or not item.isascii():
        raise InvalidInput(f"{field} must be ASCII text", field=field)
    return check_text(item, field, max_bytes=LIMITS.credential_bytes)


def body(fields: Fields) -> dict[str, Any]:
    most = LIMITS.bundle_credentials
    found = present(
        network=fields.digest("network"),
        holder=keys.check_did(fields.text("holder"), "holder"),
        key=fields.binary("key", 32),
        npi=parse_npi(fields.text("npi")),
        audience=keys.check_did(fields.text("audience"), "audience"),
        purpose=fields.text("purpose", max_bytes=64),
        scope=list(fields.maps("scope", scope, at_most=most)),
        issued=fields.integer("issued"),
        expires=fields.integer("expires"),
        identity=ascii_text(fields.text("identity", max_bytes=LIMITS.credential_bytes), "identity"),
        credentials=list(fields.items("credentials", ascii_text, at_most=most)),
        openings=list(fields.maps("openings", opening, at_most=most)),
        grant=fields.optional_digest("grant"),
    )
    jwts = {text.partition("~")[0] for text in (found["identity"], *found["credentials"])}
    if len(jwts) != 1 + len(found["credentials"]):
        raise InvalidInput("a credential stands twice in the bundle", field="credentials")
    for part in ("scope", "openings"):
        names = [each["category"] for each in found[part]]
        if names != sorted(set(names)):
            raise InvalidInput(f"{part} names each category once, in order", field=part)
    return found


def proved(fields: Fields) -> dict[str, Any]:
    value = fields.binary("value") if fields.has("value") else None
    return present(key=fields.digest("key"), value=value, proof=fields.nested("proof", proof))


def evidence(fields: Fields) -> dict[str, Any]:
    head, signed = fields.binary("header"), fields.binary("certificate")
    read(header, head, "header", 4096)
    read(certificate, signed, "certificate")
    records = list(fields.maps("records", proved, at_most=1_000))
    return present(header=head, certificate=signed, records=records)


def bundle(fields: Fields) -> dict[str, Any]:
    return present(
        body=fields.nested("body", body),
        signature=fields.binary("signature", 64),
        evidence=fields.nested("evidence", evidence),
    )


def read(reader: Read, data: bytes, what: str, max_bytes: int = LIMITS.message_bytes) -> dict[str, Any]:
    """The map from canonical bytes, or InvalidInput; encoded again by another library than ours."""
    fields = Fields(unpack(data, what, max_bytes=max_bytes), what)
    value = reader(fields)
    fields.finish()
    if msgpack.packb(in_order(value)) != data:
        raise InvalidInput(f"{what} is not in canonical form", field=what)
    return value


def in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value, key=str.encode)}
    return [in_order(each) for each in value] if isinstance(value, list) else value
