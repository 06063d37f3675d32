"""The readable story of a schedule. Off unless asked for: a failing seed is run again with it on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from credchain.consensus.messages import (
    Beacon,
    Blocks,
    FetchBlocks,
    Message,
    NewView,
    PrePrepare,
    TipReply,
    ViewChange,
    Vote,
)

from .scheduler import Scheduler


class Trace:
    """Lines, each with its virtual time."""

    def __init__(self, scheduler: Scheduler, *, on: bool) -> None:
        self.on = on
        self.lines: list[str] = []
        self._scheduler = scheduler

    def note(self, who: str, what: str | Callable[[], str]) -> None:
        if self.on:
            text = what if isinstance(what, str) else what()
            self.lines.append(f"{self._scheduler.now / 1000:9.3f}  {who:<4} {text}")


def kind_of(message: Message) -> str:
    """``pre_prepare``, ``prepare``, ``commit``, ``view_change``, ``new_view``, ``beacon``, ``blocks``, …"""
    if isinstance(message, Vote):
        return message.phase
    return _kind(type(message).__name__)


@cache
def _kind(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def describe(message: Message) -> str:
    """A message in a few words."""
    match message:
        case Vote():
            where = f"h{message.height} v{message.view}"
            return f"{message.phase.upper()} {where} {message.block.hex()[:6]} of {message.validator}"
        case PrePrepare():
            vote = message.vote
            return f"PRE-PREPARE h{vote.height} v{vote.view} {vote.block.hex()[:6]} of {vote.validator}"
        case ViewChange():
            prepared = (
                "nothing prepared" if message.prepared is None else f"prepared v{message.prepared.view}"
            )
            parent = "" if message.parent is None else f", parent cert v{message.parent.view}"
            where = f"h{message.height} v{message.view}"
            return f"VIEW-CHANGE {where} of {message.validator} ({prepared}{parent})"
        case NewView():
            senders = ",".join(str(each.validator) for each in message.view_changes)
            return f"NEW-VIEW h{message.height} v{message.view} of {message.validator} (from {senders})"
        case Beacon():
            flags = f"{'has' if message.has_new_view else 'no'} new-view"
            flags += f", {'has' if message.has_proposal else 'no'} proposal"
            return f"BEACON h{message.height} v{message.view} ({flags})"
        case FetchBlocks():
            return f"FETCH-BLOCKS from h{message.height}"
        case Blocks():
            return f"BLOCKS from h{message.height}, {len(message.blocks)} of them"
        case TipReply():
            return f"TIP-REPLY h{message.height}"
        case _:
            return type(message).__name__.upper()
