"""What each entry of a dossier is to a caller at a time: in force, adverse, not current, history."""

from __future__ import annotations

from ..certificates import Millis
from ..credentials.dates import rfc3339
from ..ledger.codes import ACTIVE, ADVERSE, ISSUED_IN_ERROR, LAPSED
from ..ledger.records import Dossier, Entry
from .checks import Standing


def standing(dossier: Dossier, entry: Entry, now: Millis) -> tuple[Standing, str]:
    """The standing, and a sentence why.

    An adverse status stays adverse after a renewal: an issuer ends it by a status change, not by a
    second attestation. A renewal counts from its own first day, and not if it was issued in error.
    """
    status = entry.status
    if status == ISSUED_IN_ERROR:
        return Standing.HISTORY, f"issued in error, said on {_since(entry)}"
    if status in ADVERSE:
        reason = entry.history[-1].reason
        return Standing.ADVERSE, f"{status} since {_since(entry)}, reason {reason}"
    renewal = dossier.renewal_of(entry.id)
    if renewal is not None and renewal.valid_from <= now:
        return Standing.HISTORY, f"renewed by {renewal.id.hex()[:12]}"
    if status == LAPSED:
        return Standing.NOT_CURRENT, f"lapsed since {_since(entry)}"
    if now < entry.valid_from:
        return Standing.NOT_CURRENT, f"not valid before {rfc3339(entry.valid_from)}"
    if entry.valid_until is not None and now > entry.valid_until:
        return Standing.NOT_CURRENT, f"expired on {rfc3339(entry.valid_until)}"
    until = "without an end" if entry.valid_until is None else f"until {rfc3339(entry.valid_until)}"
    return Standing.IN_FORCE, f"{_status(entry)}, valid {until}"


def status_in_words(entry: Entry, now: Millis) -> str:
    """The ledger's status, or *expired* and *not yet valid*, which follow from the dates."""
    if entry.status != ACTIVE:
        return entry.status
    if now < entry.valid_from:
        return "not_yet_valid"
    if entry.valid_until is not None and now > entry.valid_until:
        return "expired"
    return entry.status


def _status(entry: Entry) -> str:
    return entry.status if not entry.history else f"{entry.status} since {_since(entry)}"


def _since(entry: Entry) -> str:
    return rfc3339(entry.history[-1].time)
