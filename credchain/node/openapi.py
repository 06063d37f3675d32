"""The OpenAPI description of `/v1`, served at /v1/openapi.json."""

from __future__ import annotations

from typing import Any

from .. import __version__

_ANSWER = (
    "JSON with header, certificate, records (key, value, proof) and documents; bytes are base64. "
    "PROTOCOL.md says how to check them: an answer never needs trusting."
)

_STATUS = (
    "JSON, not proved: version; network; height and time of the last block; clock, this node's time now; "
    "view; primary, the name of the validator whose turn it is; round_age_ms, how long the round has lasted "
    "or null; state, one of committing, waiting, view_change, catching_up, lost_record, halted; validators "
    "[{did, name, connected, last_heard_ms or null, height or null, missing_of_last [k, m]: its signature is "
    "not in k of the last m certificates}]; pool and pool_operations, what waits; evidence [{validator, "
    "height, view, kind}] of contradicting signed votes; why_idle, in one sentence why nothing commits; and "
    "counts of what is stored (attestations, members, documents and others)."
)


def _get(summary: str, ok: str, parameters: tuple[tuple[str, str, str, bool], ...] = ()) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "parameters": [
                {
                    "name": name,
                    "in": place,
                    "description": description,
                    "required": required,
                    "schema": {"type": "string"},
                }
                for name, place, description, required in parameters
            ],
            "responses": {
                "200": {"description": ok},
                "400": {"description": "The request is not well formed; the error names the field."},
                "404": {"description": "There is no such thing, as far as this node says."},
                "503": {"description": "The node is busy or has no block yet; see Retry-After."},
            },
        }
    }


def _post(summary: str, content: str, ok: str) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {content: {"schema": {}}}},
            "responses": {
                "200": {"description": ok},
                "400": {"description": "Not well formed; the error names the field."},
                "409": {"description": "Refused by the ledger's rules; the error names rule and operation."},
                "413": {"description": "Too large."},
                "503": {"description": "Busy: nothing was taken; see Retry-After."},
            },
        }
    }


def _submission() -> dict[str, Any]:
    described = _post(
        "Submit a transaction, or many in one body, and wait for their blocks",
        "application/vnd.msgpack",
        "JSON with receipt, base64 of canonical MessagePack. Of many: outcomes, in their order, each with "
        "status (what it would have had alone: 200, 400, 409 or 503) and receipt, or error, field and hint.",
    )
    described["post"]["requestBody"]["content"]["application/vnd.credchain.transactions"] = {
        "schema": {"description": "Canonical MessagePack {transactions: [wire bytes]}, 1 to 1000 of them"}
    }
    return described


def description() -> dict[str, Any]:
    """The document, made from nothing but the routes."""
    prefix = (("prefix", "path", "At least 8 hexadecimal digits of an attestation id", True),)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "credchain node",
            "version": __version__,
            "description": "Reads come with proofs; transactions are canonical MessagePack.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/head": _get("The newest certified header", "JSON with header and certificate"),
            "/v1/status": _get("How the node is, for operators", _STATUS),
            "/v1/dossiers": _get(
                "Dossiers with proofs of content or absence, their issuers and documents",
                _ANSWER,
                (
                    ("dossier", "query", "CATEGORY:SUBJECT (64 hexadecimal digits), repeatable", True),
                    ("member", "query", "A DID whose record to prove beside them, repeatable", False),
                    ("documents", "query", "0 to leave the documents out", False),
                ),
            ),
            "/v1/members": _get(
                "Member records with proofs, a page at a time",
                _ANSWER + " Also members (DIDs) and next (the DID to continue after, or null).",
                (
                    ("role", "query", "Only members with this role", False),
                    ("after", "query", "Continue after this DID", False),
                ),
            ),
            "/v1/members/{did}": _get(
                "One member record with proof of content or absence",
                _ANSWER,
                (("did", "path", "A did:key", True),),
            ),
            "/v1/attestations/{prefix}": _get(
                "Which dossier an attestation is in", "JSON with matches, at most two; not proved", prefix
            ),
            "/v1/documents/{credential}": _get(
                "A published document by its credential digest",
                "The SD-JWT as text",
                (("credential", "path", "64 hexadecimal digits", True),),
            ),
            "/v1/documents": _post(
                "Deposit published documents of committed attestations",
                "application/json",
                "JSON with stored: how many",
            ),
            "/v1/mailbox/deposit": _post(
                "Leave sealed documents for their holders, signed by their issuer",
                "application/vnd.msgpack",
                "JSON with stored: how many",
            ),
            "/v1/mailbox/collect": _post(
                "Sealed documents that wait for the signer",
                "application/vnd.msgpack",
                "JSON with items (category, subject, attestation, sealed)",
            ),
            "/v1/mailbox/acknowledge": _post(
                "The signer has these: delete them", "application/vnd.msgpack", "JSON with deleted"
            ),
            "/v1/transactions": _submission(),
            "/v1/transactions/{id}": _get(
                "The receipt of a transaction",
                "JSON with receipt; 404 has the head, from which its expiry can be judged",
                (("id", "path", "64 hexadecimal digits", True),),
            ),
            "/v1/openapi.json": _get("This document", "JSON"),
            "/healthz": _get("Whether the node works", "ok"),
            "/metrics": _get("Prometheus metrics", "text"),
        },
    }
