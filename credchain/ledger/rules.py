"""The rules: what a transaction may do to the state. Pure functions; a comment and a name per rule.

A refusal is `Rejected` with the rule's name (the table in PROTOCOL.md lists them all).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..certificates import Height, Millis
from ..encoding import Digest
from ..errors import InvalidInput, Rejected
from ..keys import Did, PublicKey
from .cards import MemberCard
from .codes import (
    ERASE_REASONS,
    GOVERNOR,
    IDENTITY,
    ISSUED_IN_ERROR,
    ISSUER,
    RADIOLOGIST,
    REASONS,
    STATUSES,
    TERMINAL,
    TRANSITIONS,
)
from .operations import Attest, Enroll, Erase, SetStatus, attestation_id
from .records import CategoryRule, Dossier, Entry, KeyTerm, Member, Parameters, StatusChange, Term
from .state import State
from .transactions import Transaction


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What the rules know of the block: nothing else is read, no clock and no file."""

    network: Digest
    height: Height
    time: Millis


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sent the transaction, with the key that signed it, and what holds for all its operations."""

    member: Member
    key: PublicKey
    parameters: Parameters
    height: Height
    _rules: dict[str, CategoryRule] = field(default_factory=dict)
    """Those found by `rule_of`: a transaction has a thousand operations, and seldom two categories."""

    @property
    def did(self) -> Did:
        return self.member.did

    def rule_of(self, category: str) -> CategoryRule:
        """That of a category in which the sender attests, or Rejected."""
        rule = self._rules.get(category)
        if rule is None:
            rule = self._rules[category] = self._find_rule(category)
        return rule

    def _find_rule(self, category: str) -> CategoryRule:
        rule = self.parameters.rule_of(category)
        # category: the network knows it.
        if rule is None:
            raise Rejected("category", f"this network has no category {category}", field="category")
        # authority: an issuer attests only in its categories.
        if not self.member.may_attest(category, self.height):
            raise Rejected(
                "authority",
                f"the sender is not authorised to attest {category}",
                field="category",
                hint="credchain whoami lists your categories",
            )
        return rule


def check_times(transaction: Transaction, time: Millis, window: int) -> None:
    """The transaction's place in block time: header.time <= expiry <= header.time + W."""
    if transaction.expiry < time:
        raise Rejected(
            "expired",
            "the transaction has expired",
            field="expiry",
            hint="sign it anew and send it again",
        )
    if transaction.expiry > time + window:
        raise Rejected(
            "expiry_too_far",
            f"the transaction expires more than {window} ms after the block",
            field="expiry",
            hint="check this machine's clock",
        )


def apply_transaction(
    state: State,
    transaction: Transaction,
    context: BlockContext,
    repeated: Callable[[Digest], bool],
) -> None:
    """Apply all operations to the state, or raise Rejected and leave the state as it was.

    The signature is checked apart (`Transaction.signature_holds`): it does not depend on the state.
    ``repeated`` says whether an id was seen in a block and has not expired.
    """
    sender = _check_transaction(state, transaction, context, repeated)
    layer = state.layer()
    for index, operation in enumerate(transaction.operations):
        try:
            match operation:
                case Attest():
                    _attest(layer, operation, sender, context)
                case SetStatus():
                    _set_status(layer, operation, sender, context)
                case Enroll():
                    _enroll(layer, operation, sender, context)
                case Erase():
                    _erase(layer, operation, sender, context)
        except Rejected as problem:
            raise problem.at(index) from None
    state.merge(layer)


def _check_transaction(
    state: State,
    transaction: Transaction,
    context: BlockContext,
    repeated: Callable[[Digest], bool],
) -> _Sender:
    parameters = state.parameters
    # network: a signature for one network says nothing on another.
    if transaction.network != context.network:
        raise Rejected("network", "the transaction is for another network", field="network")
    # expired, expiry_too_far: so that an id need be remembered for a bounded time only.
    check_times(transaction, context.time, parameters.expiry_window)
    # repeated: a transaction is applied once.
    if repeated(transaction.id):
        raise Rejected("repeated", "the transaction is on the ledger already")
    # too_large: the bounds that blocks are made for.
    if len(transaction.operations) > parameters.transaction_operations:
        raise Rejected(
            "too_large", f"a transaction has at most {parameters.transaction_operations} operations"
        )
    if len(transaction.encoded) > parameters.transaction_bytes:
        raise Rejected("too_large", f"a transaction has at most {parameters.transaction_bytes} bytes")
    # sender: only members write.
    member = state.member(transaction.sender)
    if member is None:
        raise Rejected(
            "sender",
            "the sender is not a member of this network",
            field="sender",
            hint="ask a governor",
        )
    # key: the key is the sender's at this height, neither ended nor distrusted.
    if not member.signs_with(transaction.key, context.height):
        raise Rejected("key", "the key is not one of the sender's current keys", field="key")
    return _Sender(member, transaction.key, parameters, context.height)


def _attest(state: State, operation: Attest, sender: _Sender, context: BlockContext) -> None:
    rule = sender.rule_of(operation.category)
    # validity: the window is not empty.
    if operation.valid_until is not None and operation.valid_until < operation.valid_from:
        raise Rejected("validity", "the validity ends before it begins", field="valid_until")
    dossier = state.dossier(operation.category, operation.subject)
    identifier = attestation_id(
        context.network, sender.did, operation.category, operation.subject, operation.credential
    )
    # attested: nothing is attested twice.
    if dossier.entry(identifier) is not None:
        raise Rejected("attested", "this credential is attested already", field="credential")
    # entries: one issuer cannot make a dossier too large to read.
    most = sender.parameters.entries_per_issuer
    if len(dossier.entries) >= most and dossier.count_of(sender.did) >= most:
        raise Rejected("entries", f"the dossier has as many entries of this issuer as there can be ({most})")
    _check_renewal(dossier, operation, sender)
    # exclusive: where a category allows one in force, on the whole ledger and of any issuer.
    if rule.exclusive and any(each != operation.renews for each in _occupying(dossier, context.time)):
        raise Rejected(
            "exclusive",
            f"the subject has an attestation of {operation.category} in force, and one is the most",
            field="subject",
            hint="its issuer ends the earlier one first, or renews it",
        )
    entry = Entry(
        id=identifier,
        issuer=sender.did,
        key=sender.key,
        height=context.height,
        time=context.time,
        credential=operation.credential,
        valid_from=operation.valid_from,
        history=(),
        valid_until=operation.valid_until,
        renews=operation.renews,
    )
    state.put(dossier.with_entry(entry))


def _check_renewal(dossier: Dossier, operation: Attest, sender: _Sender) -> None:
    if operation.renews is None:
        return
    renewed = dossier.entry(operation.renews)
    # renews: an earlier attestation of the same issuer and subject, not ended, renewed once.
    if renewed is None or renewed.issuer != sender.did:
        raise Rejected(
            "renews",
            "there is no such earlier attestation of this issuer and subject",
            field="renews",
        )
    if renewed.terminal:
        raise Rejected("renews", f"the earlier attestation is {renewed.status}", field="renews")
    if dossier.renewal_of(renewed.id) is not None:
        raise Rejected("renews", "the earlier attestation is renewed already", field="renews")


def _occupying(dossier: Dossier, time: Millis) -> list[Digest]:
    """The entries that hold the one place: not ended, expired, or renewed by one whose first day has come."""
    renewed = {
        each.renews for each in dossier.entries if each.status != ISSUED_IN_ERROR and each.valid_from <= time
    }
    return [
        entry.id
        for entry in dossier.entries
        if not entry.terminal
        and (entry.valid_until is None or entry.valid_until >= time)
        and entry.id not in renewed
    ]


def _lines(dossier: Dossier, time: Millis) -> int:
    """How many would come to be in force: who renews one that holds the place will only take it over."""
    holding = set(_occupying(dossier, time))
    return sum(entry.id in holding and entry.renews not in holding for entry in dossier.entries)


def _set_status(state: State, operation: SetStatus, sender: _Sender, context: BlockContext) -> None:
    dossier = state.dossier(operation.category, operation.subject)
    entry = _entry_for(state, dossier, operation.attestation, sender, context)
    # transition: by the table; a terminal status stays.
    if operation.status not in STATUSES:
        raise Rejected("transition", f"there is no status {operation.status}", field="status")
    if operation.status not in TRANSITIONS[entry.status]:
        raise Rejected(
            "transition",
            f"the attestation is {entry.status}, from which {operation.status} cannot follow",
            field="status",
            hint="its status is final; attest anew" if entry.terminal else "",
        )
    # reason: a listed code that can give this status.
    if operation.status not in REASONS.get(operation.reason, ()):
        raise Rejected(
            "reason",
            f"the reason {operation.reason} is not one for {operation.status}",
            field="reason",
            hint="use " + ", ".join(code for code, to in REASONS.items() if operation.status in to),
        )
    # changes: an issuer cannot make a dossier too large to read; an end is always possible.
    changes = sum(len(each.history) for each in dossier.entries if each.issuer == entry.issuer)
    if operation.status not in TERMINAL and changes >= sender.parameters.changes_per_issuer:
        raise Rejected(
            "changes",
            f"the dossier has {changes} status changes of this issuer, the most before a final one",
            field="status",
        )
    change = StatusChange(
        operation.status, operation.reason, sender.did, context.height, context.time, operation.note
    )
    changed = dossier.with_entry(replace(entry, history=(*entry.history, change)))
    # exclusive: a renewal that becomes an error puts the renewed one in force again, which must not
    # make a second one.
    rule = sender.parameters.rule_of(operation.category)
    if rule is not None and rule.exclusive:
        before, after = (_lines(each, context.time) for each in (dossier, changed))
        if after > max(1, before):
            raise Rejected(
                "exclusive",
                f"the change would put a second {operation.category} in force",
                field="status",
                hint="end the earlier attestation that it renewed first",
            )
    state.put(changed)


def _erase(state: State, operation: Erase, sender: _Sender, context: BlockContext) -> None:
    dossier = state.dossier(operation.category, operation.subject)
    entry = _entry_for(state, dossier, operation.attestation, sender, context)
    # reason: a listed code.
    if operation.reason not in ERASE_REASONS:
        raise Rejected(
            "reason",
            f"the reason {operation.reason} is not one for an erasure",
            field="reason",
            hint="use " + ", ".join(ERASE_REASONS),
        )
    # erased: once.
    if entry.erased is not None:
        raise Rejected(
            "erased",
            "the document is erased already",
            field="attestation",
            hint="nothing is left to erase; the status can still be changed",
        )
    state.put(dossier.with_entry(replace(entry, erased=context.height)))


def _entry_for(
    state: State, dossier: Dossier, attestation: Digest, sender: _Sender, context: BlockContext
) -> Entry:
    entry = dossier.entry(attestation)
    # attestation: it exists where the operation says.
    if entry is None:
        raise Rejected("attestation", "there is no such attestation in this dossier", field="attestation")
    # own: an issuer changes its own; a governor, those of an issuer that was removed.
    issuer = state.member(entry.issuer)
    removed = issuer is None or not issuer.has_role(ISSUER, context.height)
    if removed:
        if not sender.member.has_role(GOVERNOR, context.height):
            raise Rejected(
                "own", "the issuer was removed: a governor changes its attestations", field="attestation"
            )
    elif entry.issuer != sender.did:
        raise Rejected(
            "own", "the attestation is another issuer's", field="attestation", hint="ask its issuer"
        )
    return entry


def _enroll(state: State, operation: Enroll, sender: _Sender, context: BlockContext) -> None:
    # card: well formed, and signed by the key that it names.
    try:
        card = MemberCard.decode(operation.card)
    except InvalidInput as problem:
        raise Rejected("card", problem.message, field="card") from None
    if not card.signed_by_its_key(operation.proof):
        raise Rejected("card", "the member card is not signed by its own key", field="proof")
    # enroll: identity issuers enrol radiologists; organisations enter by genesis or amend.
    if not sender.member.may_attest(IDENTITY, context.height):
        raise Rejected(
            "enroll",
            "only issuers of identity enrol radiologists",
            field="sender",
            hint="credchain members --role issuer lists who is one",
        )
    if operation.roles != (RADIOLOGIST,) or operation.categories or operation.jurisdictions:
        raise Rejected("enroll", "an identity issuer enrols radiologists only", field="roles")
    # name: nothing readable about a person is on the ledger.
    if any(each is not None for each in (card.name, card.peer, card.api, card.certificate)):
        raise Rejected("name", "a radiologist's card names nobody and no address", field="card")
    # subjects: a radiologist commits to its private subjects once, now.
    if card.subjects_root is None or not card.private_categories:
        raise Rejected(
            "subjects", "a radiologist's card has subjects_root and private_categories", field="card"
        )
    # member: once.
    if state.member(card.did) is not None:
        raise Rejected("member", "the member is enrolled already", field="card")
    height = context.height
    state.put(
        Member(
            did=card.did,
            enrolled=height,
            encryption_key=card.encryption_key,
            keys=(KeyTerm(card.key, height),),
            roles=(Term(RADIOLOGIST, height),),
            categories=(),
            jurisdictions=(),
            recovery=card.recovery,
            subjects_root=card.subjects_root,
            private_categories=card.private_categories,
        )
    )
