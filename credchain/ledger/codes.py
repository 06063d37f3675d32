"""Statuses, reasons and roles: the listed codes of the ledger, and the table of status changes."""

from __future__ import annotations

from typing import Final

ACTIVE: Final = "active"
PROBATION: Final = "probation"
SUSPENDED: Final = "suspended"
LAPSED: Final = "lapsed"
REVOKED: Final = "revoked"
SURRENDERED: Final = "surrendered"
ISSUED_IN_ERROR: Final = "issued_in_error"

TERMINAL: Final = frozenset((REVOKED, SURRENDERED, ISSUED_IN_ERROR))
ADVERSE: Final = frozenset((PROBATION, SUSPENDED, REVOKED, SURRENDERED))

_ENDINGS: Final = (REVOKED, SURRENDERED, ISSUED_IN_ERROR)

TRANSITIONS: Final[dict[str, tuple[str, ...]]] = {
    ACTIVE: (PROBATION, SUSPENDED, LAPSED, *_ENDINGS),
    PROBATION: (ACTIVE, SUSPENDED, LAPSED, *_ENDINGS),
    SUSPENDED: (ACTIVE, PROBATION, LAPSED, *_ENDINGS),
    LAPSED: (ACTIVE, PROBATION, SUSPENDED, *_ENDINGS),
    REVOKED: (),
    SURRENDERED: (),
    ISSUED_IN_ERROR: (),
}
"""From each status, the statuses that may follow. Terminal ones have none."""

STATUSES: Final = tuple(TRANSITIONS)

REASONS: Final[dict[str, tuple[str, ...]]] = {
    "data_error": (ISSUED_IN_ERROR,),
    "wrong_person": (ISSUED_IN_ERROR,),
    "duplicate": (ISSUED_IN_ERROR,),
    "conditions_imposed": (PROBATION,),
    "under_investigation": (PROBATION, SUSPENDED),
    "disciplinary_action": (PROBATION, SUSPENDED, REVOKED, SURRENDERED),
    "court_order": (PROBATION, SUSPENDED, REVOKED),
    "fraud": (SUSPENDED, REVOKED),
    "nonpayment": (SUSPENDED, LAPSED),
    "requirements_not_met": (PROBATION, SUSPENDED, LAPSED, REVOKED),
    "not_renewed": (LAPSED,),
    "voluntary": (LAPSED, SURRENDERED),
    "retired": (LAPSED, SURRENDERED),
    "deceased": (LAPSED,),
    "reinstated": (ACTIVE,),
    "conditions_met": (ACTIVE,),
    "correction": (ACTIVE, PROBATION, SUSPENDED, LAPSED),
}
"""Each reason code and the statuses it can give. Free text stays off the ledger."""

ERASE_REASONS: Final = ("erasure_request", "data_error", "wrong_person", "retention_ended")

PURPOSES: Final = (
    "initial_appointment",
    "temporary_privileges",
    "reappointment",
    "credentialing_by_proxy",
    "locum_tenens",
    "payer_enrollment",
    "monitoring",
)
"""What a bundle may be shared for."""

ISSUER: Final = "issuer"
HOSPITAL: Final = "hospital"
RADIOLOGIST: Final = "radiologist"
VALIDATOR: Final = "validator"
GOVERNOR: Final = "governor"
ROLES: Final = (ISSUER, HOSPITAL, RADIOLOGIST, VALIDATOR, GOVERNOR)

IDENTITY: Final = "identity"
"""The category whose issuers enrol radiologists."""
