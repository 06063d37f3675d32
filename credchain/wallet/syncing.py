"""Syncing: every credential that the ledger says is the holder's, collected, checked and kept.

What counts is the ledger: a document is kept only if a dossier of the holder's own subjects, proved now,
has its digest, and its issuer's signature holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..certificates import Millis
from ..client import Client, Mail
from ..credentials.npi import Npi
from ..credentials.sdjwt import Credential, parse, verify_signature
from ..credentials.subjects import HolderSubjects, npi_subject
from ..encoding import Digest
from ..errors import InvalidInput
from ..ledger.codes import IDENTITY
from ..ledger.records import Dossier, Entry
from ..limits import LIMITS
from ..mailbox import ACKNOWLEDGE, COLLECT, Request, sign_request
from ..storage.keyfile import KeyPair
from ..storage.wallet_store import Held, WalletStore
from ..verification.standing import status_in_words


@dataclass(frozen=True, slots=True)
class Listed:
    """An attestation about the holder: its status now, and what it was at the last look."""

    category: str
    subject: Digest
    entry: Entry
    status: str
    before: str | None
    held: bool

    @property
    def change(self) -> str:
        """``new``, ``was STATUS``, or nothing."""
        if self.before is None:
            return "new"
        return "" if self.before == self.status else f"was {self.before}"


@dataclass(slots=True)
class Synced:
    """What a sync brought: how many documents, those that were refused with why, and what to know."""

    collected: int = 0
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Wallet:
    """A radiologist's wallet: its store, its keys, and a client."""

    def __init__(self, store: WalletStore, client: Client, keys: KeyPair, now: Callable[[], Millis]) -> None:
        if keys.subjects is None:
            raise InvalidInput(
                "this home is not a radiologist's",
                field="home",
                hint="credchain init --radiologist makes one",
            )
        self._store = store
        self._client = client
        self._keys = keys
        self._now = now
        self.subjects: HolderSubjects = keys.subjects
        stored = store.npi()
        self._npi: Npi | None = None if stored is None else Npi(stored)

    def own_subjects(self) -> list[tuple[str, Digest]]:
        """(category, subject) of every dossier that is about the holder, as far as it knows its NPI."""
        categories = self._client.network.categories
        found = [(name, self.subjects.open(name).subject) for name in self.subjects.categories]
        if self._npi is not None:
            public = [name for name in sorted(categories) if categories[name].by_npi]
            found += [(name, npi_subject(name, self._npi)) for name in public]
        return found

    async def sync(self, npi: Npi | None = None) -> Synced:
        """Collect from the mailbox and fetch what is published; keep what holds.

        An NPI is the holder's once an identity credential says so: until then it is not kept, and
        nothing is fetched by it. InvalidInput for another NPI than the wallet's.
        """
        if npi is not None and self._npi not in (None, npi):
            raise InvalidInput(f"this wallet is of NPI {self._npi}", field="npi", hint="leave --npi out")
        self._npi = npi or self._npi
        synced = Synced()
        if await self._client.member(self._keys.did) is None:
            synced.notes.append("you are not enrolled yet: take your member card to an identity issuer")
            return synced
        state = await self._client.documents(self.own_subjects())
        dossiers = [state.dossier(*each) for each in self.own_subjects()]
        found = {each.subject: each for each in dossiers if each is not None}
        known = {each.attestation for each in self._store.held()}
        await self._collect(found, known, synced)
        if not self._confirmed():
            synced.notes.append(
                "no identity credential confirms that this NPI is yours: nothing was fetched by it"
            )
            return synced
        if self._npi is not None:
            self._store.set_npi(self._npi)
        for dossier in found.values():
            for entry in dossier.entries:
                if entry.id in known or entry.erased is not None:
                    continue
                text = state.document(entry.credential)
                if text is None and self._client.network.category(dossier.category).published:
                    text = await self._client.document(entry.credential)  # of another node
                if text is not None:
                    self._keep(text, dossier, entry, synced)
        return synced

    def _confirmed(self) -> bool:
        """Whether an identity credential in the wallet names this holder and this NPI."""
        if self._npi is None:
            return False
        subject = npi_subject(IDENTITY, self._npi)
        return any(
            each.subject == subject and parse(each.text).claims.get("holder") == self._keys.did
            for each in self._store.held()
        )

    async def _collect(self, dossiers: dict[Digest, Dossier], known: set[Digest], synced: Synced) -> None:
        """Every page of the mailbox; then what is kept is deleted at the node.

        What is refused stays there until it expires: it may be for another look. So nobody can hide a
        document behind others, and nothing is given up that could not be placed yet.
        """
        met: dict[Digest, None] = {}
        tried: dict[tuple[Digest, bytes], None] = {}
        async for mails in self._client.mail(lambda cursor: self._request(COLLECT, cursor)):
            for mail in mails:
                met[mail.attestation] = None
                copy = (mail.attestation, mail.sealed)  # a node may give junk in place of the document
                if mail.attestation not in known and copy not in tried:
                    tried[copy] = None
                    if await self._open(mail, dossiers, synced):
                        known.add(mail.attestation)
        held = {each.attestation for each in self._store.held()}
        done = [each for each in met if each in held]
        for start in range(0, len(done), LIMITS.documents_per_deposit):
            part = tuple(done[start : start + LIMITS.documents_per_deposit])
            await self._client.acknowledge_mail(self._request(ACKNOWLEDGE, part))

    async def _open(self, mail: Mail, dossiers: dict[Digest, Dossier], synced: Synced) -> bool:
        """Whether it is in the wallet now; else the reason is among the refused."""
        try:
            dossier, entry = await self._find(mail, dossiers)
            text = self._keys.encryption.open(mail.sealed).decode("ascii")
            return self._keep(text, dossier, entry, synced)
        except (InvalidInput, UnicodeDecodeError) as problem:
            synced.refused.append(f"{mail.category[:64]}: {problem}")
            return False

    async def _find(self, mail: Mail, dossiers: dict[Digest, Dossier]) -> tuple[Dossier, Entry]:
        """The mail's entry among the holder's own dossiers, read anew if it is newer than these."""
        if (mail.category, mail.subject) not in self.own_subjects():
            raise InvalidInput("a document about somebody else", field="mailbox")
        dossier = dossiers.get(mail.subject)
        entry = dossier.entry(mail.attestation) if dossier else None
        if dossier is None or entry is None:
            key = (mail.category, mail.subject)
            dossier = dossiers[mail.subject] = (await self._client.dossiers([key]))[key]
            entry = dossier.entry(mail.attestation)
        if entry is None:
            raise InvalidInput("a document for no attestation of the ledger", field="mailbox")
        return dossier, entry

    def _request(self, purpose: str, attestations: tuple[Digest, ...] = ()) -> Request:
        return sign_request(
            purpose,
            self._client.network.id,
            self._keys.did,
            self._keys.signing,
            self._now(),
            attestations=attestations,
        )

    def _keep(self, text: str, dossier: Dossier, entry: Entry, synced: Synced) -> bool:
        try:
            check_credential(text, dossier, entry)
        except InvalidInput as problem:
            synced.refused.append(f"{dossier.category}: {problem.message}")
            return False
        held = Held(entry.id, dossier.category, dossier.subject, entry.credential, text)
        self._store.add(held, self._now())
        synced.collected += 1
        return True

    async def add(self, text: str) -> Held:
        """Keep a credential that was handed over otherwise, if the ledger has it for this holder."""
        credential = parse(text)
        own = dict(self.own_subjects())
        subject = own.get(credential.category)
        if subject is None or subject != credential.subject:
            raise InvalidInput(
                "the credential is not about the holder of this wallet",
                field="credential",
                hint="for categories by NPI, credchain wallet sync --npi NPI says whose wallet this is",
            )
        key = (credential.category, subject)
        dossier = (await self._client.dossiers([key]))[key]
        entry = next((each for each in dossier.entries if each.credential == credential.digest), None)
        if entry is None:
            raise InvalidInput(
                "the credential is not attested on the ledger", field="credential", hint="ask its issuer"
            )
        check_credential(text, dossier, entry)
        held = Held(entry.id, credential.category, subject, credential.digest, text)
        self._store.add(held, self._now())
        return held

    async def statuses(self) -> list[Listed]:
        """Every attestation about the holder, with its status as proved now. Remembers what it shows."""
        keys = self.own_subjects()
        dossiers = await self._client.dossiers(keys)
        before = self._store.seen()
        held = {each.attestation for each in self._store.held()}
        listed = [
            Listed(
                key[0],
                key[1],
                entry,
                status_in_words(entry, self._now()),
                before.get(entry.id),
                entry.id in held,
            )
            for key in keys
            for entry in dossiers[key].entries
        ]
        self._store.remember({each.entry.id: each.status for each in listed}, self._client.seen_height)
        return listed


def check_credential(text: str, dossier: Dossier, entry: Entry) -> Credential:
    """The credential, if it is this entry's and its issuer signed it; InvalidInput otherwise."""
    credential = parse(text)
    if credential.digest != entry.credential or credential.subject != dossier.subject:
        raise InvalidInput("the document is not the attested one", field="credential")
    if not verify_signature(credential, entry.key):
        raise InvalidInput("the issuer's signature on the document does not hold", field="credential")
    return credential
