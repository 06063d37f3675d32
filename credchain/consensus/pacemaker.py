"""Timers as data: when the view is given up, when a heartbeat is due, when to say things again.

Castro & Liskov, section 4.4 (liveness) and 4.5.2 of the TOCS paper: a timeout that doubles with each
failed view, so that it outgrows any delay at last; here with a cap, so that one bad hour does not slow
the next day.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..certificates import Millis
from ..limits import LIMITS


@dataclass
class Pacemaker:
    """All in monotonic milliseconds. ``expires`` is the view's timer, None while it is stopped."""

    committed: Millis
    resend: Millis
    timeout: int = LIMITS.base_timeout
    expires: Millis | None = None

    def run(self, now: Millis) -> None:
        """Start the view's timer unless it runs: neither NEW-VIEW nor a proposal restarts it, or a
        primary that does both and nothing else would never be suspected."""
        if self.expires is None:
            self.expires = Millis(now + self.timeout)

    def stop(self) -> None:
        self.expires = None

    def expired(self, now: Millis) -> bool:
        return self.expires is not None and now >= self.expires

    def view_failed(self) -> None:
        """The own timer expired; joining others' view-changes does not come here, or one fast
        validator would drive everybody's timeouts up."""
        self.timeout = min(2 * self.timeout, LIMITS.most_timeout)
        self.stop()

    def block_committed(self, now: Millis) -> None:
        self.timeout = max(LIMITS.base_timeout, self.timeout // 2)
        self.committed = now
        self.stop()

    @property
    def heartbeat(self) -> Millis:
        """When an empty block is due, by this validator's own clock since its own commit: by header times,
        a few seconds of skew would change views for nothing."""
        return Millis(self.committed + LIMITS.heartbeat)
