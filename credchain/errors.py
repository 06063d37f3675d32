"""The one tree of errors. Each carries a sentence, and where it helps a hint and a field.

Who shows them to people, and with which exit code, is the command line's affair.
"""

from __future__ import annotations


class CredchainError(Exception):
    """Base of all errors that a user can meet.

    ``field`` names the part of the input that is wrong (``operations[3].category``, ``npi``, …);
    ``hint`` says what to do about it. Both are empty when there is nothing to say.
    """

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint


class InvalidInput(CredchainError):
    """Bytes, text, files or arguments that are not well formed."""


class Rejected(CredchainError):
    """The ledger's rules refuse a transaction.

    ``rule`` is the rule's short name (listed in PROTOCOL.md); ``operation`` is the index of the
    refused operation within its transaction, or None when the transaction itself is refused.
    """

    def __init__(
        self,
        rule: str,
        message: str,
        *,
        operation: int | None = None,
        field: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, field=field, hint=hint)
        self.rule = rule
        self.operation = operation

    def at(self, operation: int) -> Rejected:
        """The same refusal, naming the operation's index."""
        return Rejected(self.rule, self.message, operation=operation, field=self.field, hint=self.hint)


class ProofError(CredchainError):
    """A proof, signature or certificate that does not hold.

    ``check`` is the number of the verification check it belongs to (PROTOCOL.md, checklist).
    """

    def __init__(self, message: str, *, check: int = 2, field: str = "", hint: str = "") -> None:
        super().__init__(message, field=field, hint=hint)
        self.check = check


class StorageError(CredchainError):
    """The local database or a local file could not be read or written."""


class NetworkError(CredchainError):
    """A node could not be reached, was too slow, or is busy."""
