"""What is fixed while one height is agreed on: its validators, its views, what holds in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..certificates import Certificate, Height, Validator, View, faults
from ..encoding import Digest
from ..errors import CredchainError
from ..limits import LIMITS
from .events import Chain, HeaderFacts, Headers, Verify
from .messages import COMMIT, NewView, Signed, ViewChange, Vote


def first_view(chain: Chain) -> View:
    """The first view of the next height: where the last block was first proposed, so that a primary that
    works stays; one more every 100 heights, so that none rules for ever."""
    turn = 1 if chain.height and chain.height % LIMITS.rotation == 0 else 0
    return View(chain.view + turn)


@dataclass(frozen=True, slots=True)
class Setting:
    """One height on top of one chain. Votes count here for this height only, by its validators."""

    chain: Chain
    headers: Headers
    verify: Verify
    _known: dict[tuple[int, Digest, bytes], None] = field(default_factory=dict, compare=False, repr=False)
    """Signatures that hold: the same ones come in many view-changes. (Validator, signed, signature) in
    full: a signature that was good for something else says nothing."""

    @property
    def height(self) -> Height:
        return Height(self.chain.height + 1)

    @property
    def first(self) -> View:
        return first_view(self.chain)

    @property
    def members(self) -> tuple[Validator, ...]:
        return self.chain.validators.members

    @property
    def faults(self) -> int:
        return faults(len(self.members))

    @property
    def quorum(self) -> int:
        return self.chain.validators.quorum

    def primary(self, view: View) -> int:
        """p = v mod n (section 4)."""
        return view % len(self.members)

    def signature_holds(self, statement: Signed) -> bool:
        """Whether its validator, one of this height's, signed it for this network."""
        if statement.validator >= len(self.members):
            return False
        signed = statement.signed(self.chain.network)
        seen = (statement.validator, signed, statement.signature)
        if seen in self._known:
            return True
        if not self.verify(self.members[statement.validator].key, signed, statement.signature):
            return False
        if len(self._known) < LIMITS.signatures_known:
            self._known[seen] = None
        return True

    def certificate_holds(self, phase: str, height: Height, block: Digest, certificate: Certificate) -> bool:
        """Whether a quorum of this height's validators, each once, voted so in the certificate's view.

        Each once: a `Certificate` has its signatures ascending by validator.
        """
        votes = [
            Vote(phase, height, certificate.view, block, index, signature)
            for index, signature in certificate.signatures
        ]
        return len(votes) >= self.quorum and all(self.signature_holds(vote) for vote in votes)

    def facts_of(self, header: bytes) -> HeaderFacts | None:
        """The facts of a header of this network; None if it is none."""
        try:
            facts = self.headers.of_header(header)
        except CredchainError:
            return None
        return facts if facts.network == self.chain.network else None

    def block_facts(self, block: bytes) -> tuple[bytes, HeaderFacts] | None:
        """(header, its facts) of a block's bytes that follows this chain; None if it does not."""
        try:
            header, facts = self.headers.of_block(block)
        except CredchainError:
            return None
        chain = self.chain
        follows = (facts.network, facts.height, facts.parent) == (chain.network, self.height, chain.digest)
        return (header, facts) if follows else None

    def parent_certificate_holds(self, certificate: Certificate | None) -> bool:
        """Whether it certifies this chain's last block; at height 1 there is none to show."""
        chain = self.chain
        if chain.height == 0:
            return certificate is None
        if certificate is None:
            return False
        return self.certificate_holds(COMMIT, Height(chain.height), chain.digest, certificate)


def statement_key(statement: ViewChange | NewView | Vote) -> tuple[str, int, int]:
    """What an honest validator says at most once: (kind, validator, view)."""
    kind = statement.phase if isinstance(statement, Vote) else type(statement).__name__
    return kind, statement.validator, statement.view
