"""View changes as functions of bytes: what is valid, and what a new view must propose.

Castro & Liskov, section 4.4, with one instance a height: there are no checkpoints to agree on and no
sequence numbers to fill, so O is one block or none.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..encoding import Digest
from .messages import PREPARE, NewView, Prepared, ViewChange
from .setting import Setting


def prepared_block(prepared: Prepared, setting: Setting) -> Digest | None:
    """The block that the certificate prepares, or None if it does not hold at this height."""
    facts = setting.facts_of(prepared.header)
    if facts is None or facts.height != setting.height:
        return None
    if prepared.view < setting.first:
        return None
    holds = setting.certificate_holds(PREPARE, setting.height, facts.digest, prepared.certificate)
    return facts.digest if holds else None


def view_change_holds(change: ViewChange, setting: Setting) -> bool:
    """Valid by its bytes and the chain below: everybody at this height judges it alike.

    For this height, a view above its first, signed; its prepared certificate of a view below and true
    (a forged one would overrule a block that others committed); the parent's certificate true.
    """
    if change.height != setting.height or change.view <= setting.first:
        return False
    if not setting.signature_holds(change):
        return False
    if change.prepared is not None and (
        change.prepared.view >= change.view or prepared_block(change.prepared, setting) is None
    ):
        return False
    return setting.parent_certificate_holds(change.parent)


def new_view_holds(new_view: NewView, setting: Setting, known: Iterable[ViewChange] = ()) -> bool:
    """Signed by its view's primary, with a quorum of valid view-changes for exactly this view, each
    validator's once (``known`` are some that were found valid before). Refused whole otherwise."""
    if new_view.height != setting.height or new_view.validator != setting.primary(new_view.view):
        return False
    changes = new_view.view_changes
    senders = [each.validator for each in changes]
    if len(senders) < setting.quorum or len(set(senders)) != len(senders):
        return False
    if any(each.view != new_view.view for each in changes) or not setting.signature_holds(new_view):
        return False
    before = list(known)
    return all(each in before or view_change_holds(each, setting) for each in changes)


def choose(changes: Iterable[ViewChange]) -> Prepared | None:
    """What the new view must propose: the block prepared in the highest view, or nothing in particular.

    The highest counts because a block that was committed in view v is in the certificate of every
    later view in which anything was prepared; two certificates of one view prepare one block.
    """
    prepared = [each.prepared for each in changes if each.prepared is not None]
    return max(prepared, key=lambda each: each.view, default=None)
