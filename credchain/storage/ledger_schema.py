"""The tables of a node's ledger, and the views in which people read it (made by sqlite-utils)."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import sqlite_utils

SCHEMA_VERSION: Final = 1

_TABLES: Final[dict[str, tuple[dict[str, Any], str | tuple[str, ...]]]] = {
    "blocks": (
        {
            "height": int,
            "time": int,
            "proposer": str,
            "view": int,
            "transactions": int,
            "header": bytes,
            "certificate": bytes,
        },
        "height",
    ),
    "transactions": (
        {
            "height": int,
            "position": int,
            "id": bytes,
            "sender": str,
            "expiry": int,
            "operations": int,
            "bytes": bytes,
        },
        ("height", "position"),
    ),
    "state": (
        {"key": bytes, "kind": str, "name": str, "height": int, "value": bytes},
        "key",
    ),
    "attestations": (
        {
            "id": bytes,
            "height": int,
            "category": str,
            "subject": bytes,
            "issuer": str,
            "credential": bytes,
            "valid_from": int,
            "valid_until": int,
            "renews": bytes,
            "status": str,
            "changed": int,
            "erased": int,
        },
        "id",
    ),
    "status_changes": (
        {
            "attestation": bytes,
            "number": int,
            "height": int,
            "time": int,
            "status": str,
            "reason": str,
            "by": str,
            "note": bytes,
        },
        ("attestation", "number"),
    ),
    "members": (
        {
            "did": str,
            "name": str,
            "height": int,
            "roles": str,
            "categories": str,
            "jurisdictions": str,
        },
        "did",
    ),
    "documents": ({"attestation": bytes, "credential": bytes, "text": str}, "attestation"),
    "mailbox": (
        {
            "attestation": bytes,
            "recipient": str,
            "sender": str,
            "category": str,
            "subject": bytes,
            "sealed": bytes,
            "expires": int,
        },
        "attestation",
    ),
    "about": ({"name": str, "value": str}, "name"),
}

AUDITED: Final = ("blocks", "transactions", "state", "attestations", "status_changes", "members")
"""Tables that follow from the blocks, column by column."""

_VIEWS: Final = {
    "block_list": """
        select height, datetime(time / 1000, 'unixepoch') as time_utc, proposer, view, transactions,
               length(header) as header_bytes, length(certificate) as certificate_bytes
        from blocks""",
    "attestation_list": """
        select lower(hex(a.id)) as attestation, a.height, a.category, lower(hex(a.subject)) as subject,
               m.name as issuer_name, a.issuer, a.status,
               date(a.valid_from / 1000, 'unixepoch') as valid_from,
               date(a.valid_until / 1000, 'unixepoch') as valid_until,
               lower(hex(a.renews)) as renews, a.erased as erased_at_height,
               d.attestation is not null as document_here
        from attestations a
        left join members m on m.did = a.issuer
        left join documents d on d.attestation = a.id""",
    "status_list": """
        select lower(hex(attestation)) as attestation, number, height,
               datetime(time / 1000, 'unixepoch') as time_utc, status, reason, "by"
        from status_changes""",
    "transaction_list": """
        select height, position, lower(hex(id)) as id, sender, operations, length(bytes) as bytes
        from transactions""",
}


def create_schema(conn: sqlite3.Connection) -> None:
    """Tables, indexes and views, by sqlite-utils."""
    database = sqlite_utils.Database(conn)
    for name, (columns, primary_key) in _TABLES.items():
        database.table(name).create(columns, pk=primary_key)
    database.table("transactions").create_index(["id"])
    database.table("documents").create_index(["credential"])
    database.table("mailbox").create_index(["recipient"])
    database.table("mailbox").create_index(["sender"])
    for name, query in _VIEWS.items():
        database.create_view(name, query)
