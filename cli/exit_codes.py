"""Exit codes: the same for every command, documented in the README."""

from __future__ import annotations

from enum import IntEnum

from credchain.errors import (
    CredchainError,
    InvalidInput,
    NetworkError,
    ProofError,
    Rejected,
    StorageError,
)


class ExitCode(IntEnum):
    DONE = 0
    """Established, or done."""
    INTERNAL = 1
    """Internal or storage error."""
    USAGE = 2
    """Usage or invalid input, wrong passphrase."""
    INVALID = 3
    """Invalid or forged; audit mismatch."""
    NOT_GOOD = 4
    """Adverse or not current."""
    UNTRUSTED = 5
    """Issuer not to be trusted."""
    UNREACHABLE = 6
    """Could not check or reach; busy; not established."""
    REFUSED = 7
    """Refused by the ledger's rules."""


OF_VERDICT = {
    "established": ExitCode.DONE,
    "invalid": ExitCode.INVALID,
    "untrusted": ExitCode.UNTRUSTED,
    "adverse": ExitCode.NOT_GOOD,
    "not_current": ExitCode.NOT_GOOD,
    "not_established": ExitCode.UNREACHABLE,
}

_OF_ERROR: tuple[tuple[type[CredchainError], ExitCode], ...] = (
    (InvalidInput, ExitCode.USAGE),
    (Rejected, ExitCode.REFUSED),
    (ProofError, ExitCode.INVALID),
    (StorageError, ExitCode.INTERNAL),
    (NetworkError, ExitCode.UNREACHABLE),
)


def code_of(problem: CredchainError) -> ExitCode:
    """An error's exit code. What is none of the five kinds is a fault of this program."""
    return next((code for kind, code in _OF_ERROR if isinstance(problem, kind)), ExitCode.INTERNAL)
