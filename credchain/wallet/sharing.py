"""Sharing: chosen credentials, in them chosen claims, for one hospital, a purpose and a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..certificates import Millis
from ..client import Client
from ..credentials.npi import parse_npi
from ..credentials.sdjwt import Credential, parse, select
from ..credentials.subjects import HolderSubjects
from ..encoding import Digest
from ..errors import InvalidInput
from ..keys import Did
from ..ledger.codes import HOSPITAL, IDENTITY, PURPOSES
from ..ledger.records import Dossier, Entry, Member
from ..limits import LIMITS
from ..storage.keyfile import KeyPair
from ..storage.wallet_store import Held, Shared, WalletStore
from ..verification.bundle import Bundle, BundleBody, ScopeEntry
from ..verification.by_bundle import bound_anew
from ..verification.checks import Standing
from ..verification.evidence import ProvedState
from ..verification.standing import standing
from .syncing import Wallet

_AGAIN = "after a restore, the identity issuer's enroll sends it again"
IDENTITY_CLAIMS = ("family_name", "given_name", "history_restarts", "holder", "subjects_root")
"""What a bundle discloses of the identity: who it is, and what binds the rest to them."""


@dataclass(frozen=True, slots=True)
class Made:
    """A sealed bundle, what it is, and what its reader will see beside what was chosen."""

    data: bytes
    bundle: Bundle
    audience: Member
    notes: tuple[str, ...] = ()


def parse_scope(texts: Sequence[str], known: dict[str, tuple[str, ...]]) -> tuple[ScopeEntry, ...]:
    """``CATEGORY`` or ``CATEGORY:claim,claim``; ``known`` has each category's claims."""
    found: dict[str, ScopeEntry] = {}
    for text in texts:
        category, colon, listed = text.partition(":")
        if category not in known:
            raise InvalidInput(
                f"this network has no category {category}",
                field="category",
                hint=f"its categories are {', '.join(sorted(known))}",
            )
        claims = tuple(sorted({each.strip() for each in listed.split(",") if each.strip()}))
        if colon and not claims:
            raise InvalidInput(
                f"{text} names no claim after the colon",
                field="category",
                hint="name the claims to disclose, or leave the colon out to disclose all",
            )
        for claim in claims:
            if claim not in known[category]:
                raise InvalidInput(
                    f"{category} has no claim {claim}",
                    field="category",
                    hint=f"its claims are {', '.join(known[category])}",
                )
        if category in found:
            raise InvalidInput(f"{category} is named twice", field="category")
        if category == IDENTITY:
            raise InvalidInput("the identity is in every bundle", field="category", hint="leave it out")
        found[category] = ScopeEntry(category, claims)
    if not found:
        raise InvalidInput("a bundle shares at least one category", field="category")
    return tuple(found[name] for name in sorted(found))


class Sharing:
    """Makes bundles for one wallet."""

    def __init__(self, store: WalletStore, client: Client, keys: KeyPair, wallet: Wallet) -> None:
        self._store = store
        self._client = client
        self._keys = keys
        self._subjects: HolderSubjects = wallet.subjects

    async def make(
        self, audience: Did, scope: tuple[ScopeEntry, ...], purpose: str, lifetime: Millis, now: Millis
    ) -> Made:
        """A bundle with fresh evidence; InvalidInput where the wallet lacks what is to be shared."""
        if purpose not in PURPOSES:
            raise InvalidInput(
                f"{purpose!r} is not a listed purpose", field="purpose", hint=f"use {', '.join(PURPOSES)}"
            )
        if lifetime > LIMITS.bundle_lifetime:
            raise InvalidInput("a bundle is for at most 366 days", field="expires")
        npi = self._store.npi()
        if npi is None:
            raise InvalidInput(
                "the wallet has no identity credential that confirms your NPI",
                field="npi",
                hint=f"credchain wallet sync --npi NPI; {_AGAIN}",
            )
        names = [each.category for each in scope]
        subjects = self._subjects_of([IDENTITY, *names], npi)
        evidence, state = await self._client.evidence(sorted(subjects.items()), [self._keys.did, audience])
        recipient = state.member(audience)
        if recipient is None or not recipient.has_role(HOSPITAL, state.certified.header.height):
            raise InvalidInput("the bundle's recipient is not a hospital of this network", field="to")
        held = {each.credential: each for each in self._store.held()}
        dossiers = {name: state.dossier(name, subject) for name, subject in subjects.items()}
        identity = self._chosen(
            IDENTITY, dossiers[IDENTITY], held, self._identity_claims(names, dossiers[IDENTITY], state), now
        )
        if not identity:
            raise InvalidInput(
                "the wallet has no identity credential in force",
                field="wallet",
                hint=f"credchain wallet sync collects it; {_AGAIN}",
            )
        credentials: list[str] = []
        for each in scope:
            chosen = self._chosen(each.category, dossiers[each.category], held, each.claims, now)
            if not chosen and self._in_force(dossiers[each.category], now):
                raise InvalidInput(
                    f"{each.category} is attested and in force, but its document is not in this wallet",
                    field="category",
                    hint="credchain wallet sync collects it; else ask its issuer to run its attest command"
                    " again, or credchain wallet add FILE",
                )
            if not chosen:
                raise InvalidInput(
                    f"the wallet has no {each.category} in force",
                    field="category",
                    hint="credchain wallet list shows what there is",
                )
            credentials.extend(chosen)
        if len(credentials) > LIMITS.bundle_credentials:
            raise InvalidInput(
                f"{len(credentials)} credentials are more than a bundle holds ({LIMITS.bundle_credentials})",
                field="category",
                hint="share fewer categories in one bundle",
            )
        notes = [note for each in scope for note in self._notes(each.category, dossiers, held, now)]
        body = BundleBody(
            network=self._client.network.id,
            holder=self._keys.did,
            key=self._keys.signing.public,
            npi=parse_npi(npi),
            audience=audience,
            purpose=purpose,
            scope=scope,
            issued=now,
            expires=Millis(now + lifetime),
            identity=identity[0],
            credentials=tuple(credentials),
            openings=tuple(
                self._subjects.open(name) for name in sorted(names) if name in self._subjects.categories
            ),
        )
        bundle = Bundle.sign(body, self._keys.signing, evidence)
        data = bundle.seal(recipient.encryption_key)
        share = Shared(body.digest, audience, purpose, ", ".join(names), body.issued, body.expires)
        self._store.keep_share(share)
        return Made(data, bundle, recipient, tuple(notes))

    def _identity_claims(
        self, names: Sequence[str], bindings: Dossier | None, state: ProvedState
    ) -> Sequence[str]:
        """All, for private categories of an NPI that was bound anew: a verifier relies on no less."""
        private = any(not self._client.network.category(each).by_npi for each in names)
        if private and bindings is not None and bound_anew(bindings, state.member(self._keys.did)):
            return ()
        return IDENTITY_CLAIMS

    def _notes(
        self, name: str, dossiers: dict[str, Dossier | None], held: dict[Digest, Held], now: Millis
    ) -> list[str]:
        dossier = dossiers[name]
        if dossier is None:
            return []
        found = [(entry, standing(dossier, entry, now)[0]) for entry in dossier.entries]
        adverse = [entry.status for entry, where in found if where is Standing.ADVERSE]
        missing = sum(
            1 for entry, where in found if where is Standing.IN_FORCE and entry.credential not in held
        )
        notes = [f"{name} has an entry that is {status}: the hospital will see it" for status in adverse]
        if missing:
            notes.append(f"{missing} of {name} in force are not in the wallet and will show as undisclosed")
        return notes

    def _subjects_of(self, names: Sequence[str], npi: str) -> dict[str, Digest]:
        from ..credentials.subjects import npi_subject

        number = parse_npi(npi)
        network = self._client.network
        return {
            name: npi_subject(name, number)
            if network.category(name).by_npi
            else self._subjects.open(name).subject
            for name in names
        }

    def _chosen(
        self,
        name: str,
        dossier: Dossier | None,
        held: dict[Digest, Held],
        claims: Sequence[str],
        now: Millis,
    ) -> list[str]:
        """The documents of the entries in force, each with the chosen claims only."""
        in_force = self._in_force(dossier, now)
        documents = [parse(held[each.credential].text) for each in in_force if each.credential in held]
        return [self._disclosing(each, claims) for each in documents]

    def _in_force(self, dossier: Dossier | None, now: Millis) -> list[Entry]:
        if dossier is None:
            return []
        return [each for each in dossier.entries if standing(dossier, each, now)[0] is Standing.IN_FORCE]

    def _disclosing(self, credential: Credential, claims: Sequence[str]) -> str:
        if not claims:
            return credential.text
        return select(credential, [name for name in claims if name in credential.claims])
