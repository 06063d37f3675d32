"""Bounds that nobody votes on: they protect a program from its input.

Bounds that the ledger's rules read are parameters in the state instead (`ledger.records`).
Sizes are bytes, durations milliseconds, unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Limits:
    """All such bounds in one value."""

    # encoding
    depth: int = 8
    max_integer: int = 2**53 - 1
    text_bytes: int = 4_096
    message_bytes: int = 8 * 2**20

    # credentials
    credential_bytes: int = 32 * 1024
    disclosures: int = 64
    claim_bytes: int = 4_096
    category_bytes: int = 64 * 1024
    name_bytes: int = 200

    # ledger
    validators: int = 100
    roles: int = 8
    categories: int = 256
    jurisdictions: int = 128
    bucket_entries: int = 8
    proof_depth: int = 256
    clock_skew: int = 10 * SECOND

    # files and tables that people hand in
    network_file_bytes: int = 4 * 2**20
    csv_line_bytes: int = 64 * 1024
    csv_rows: int = 1_000_000
    claims_file_bytes: int = 256 * 1024
    key_file_bytes: int = 8 * 1024

    # node and client
    dossiers_per_request: int = 64
    documents_per_deposit: int = 1_000
    members_per_page: int = 200
    pool_operations: int = 50_000
    pool_operations_per_sender: int = 20_000
    pool_bytes: int = 32 * 2**20
    pool_bytes_per_sender: int = 16 * 2**20
    transactions_per_batch: int = 1_000
    admission_bytes: int = 128 * 1024
    admission_frames: int = 4
    opened_bytes: int = 8 * 2**20
    reminder_bytes: int = 256 * 1024
    submission_bytes: int = 64 * 2**20
    request_timeout: int = 15 * SECOND
    submit_timeout: int = 30 * SECOND
    connect_timeout: int = 5 * SECOND
    answer_bytes: int = 32 * 2**20
    heartbeat: int = 10 * SECOND
    requests_under_way: int = 256

    # consensus: durations of PBFT's timers, and what a replica keeps of each other one
    base_timeout: int = 2 * SECOND
    most_timeout: int = 30 * SECOND
    retransmission: int = 1 * SECOND
    proposal_early: int = 5 * SECOND
    proposal_late: int = 10 * SECOND
    rotation: int = 100
    votes_kept: int = 32
    messages_kept: int = 16
    evidence_kept: int = 64
    new_views_refused: int = 16
    signatures_known: int = 4_096
    blocks_per_fetch: int = 32
    fetch_bytes: int = 4 * 2**20
    inputs_waiting: int = 1_024
    certificates_shown: int = 20
    pool_checked: int = 256
    pool_looked_at: int = 5 * SECOND
    refusal_settles: int = 1_500
    evidence_per_validator: int = 10
    evidence_bytes: int = 64 * 2**20

    # links between validators: what waits for a peer, and what a stranger may hold
    peer_queue_bytes: int = 32 * 2**20
    peer_queue_messages: int = 4_096
    peer_heartbeat: int = 3 * SECOND
    peer_silence: int = 10 * SECOND
    peer_handshake: int = 5 * SECOND
    peer_reconnect: int = 200
    peer_most_reconnect: int = 5 * SECOND
    peer_farewell: int = 1 * SECOND
    peer_arrivals: int = 64
    peer_arrivals_per_second: int = 200

    # mailbox: a node keeps sealed documents until they are collected, or half a year
    sealed_bytes: int = 48 * 1024
    mailbox_items_per_sender: int = 200_000
    mailbox_bytes_per_sender: int = 1 * 2**30
    mailbox_items_per_collection: int = 100
    collection_time: int = 5 * MINUTE
    mailbox_lifetime: int = 180 * DAY

    # verification
    bundle_bytes: int = 1 * 2**20
    bundle_credentials: int = 256
    bundle_lifetime: int = 366 * DAY
    freshness: int = 60 * SECOND


LIMITS: Final = Limits()
