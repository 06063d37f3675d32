"""The demo's forgeries: what a dishonest holder can do with its own key, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from credchain.verification.bundle import Bundle, BundleBody
    from credchain.verification.evidence import Answer


class Forger:
    """Opens bundles with the hospital's key, alters them, and signs them with a radiologist's."""

    def __init__(self, folder: Path, bundle: str, passphrase: str, hospital: str) -> None:
        self._folder = folder
        self._bundle = Path(bundle)
        self._passphrase = passphrase
        self._hospital = hospital

    def change_claim(self, home: str, out: str) -> None:
        """The CME credits become more than the issuer attested."""
        from credchain.credentials.sdjwt import base64url, parse, unbase64url

        bundle = self._open(self._bundle)
        credentials = []
        for text in bundle.body.credentials:
            credential = parse(text)
            disclosures = [
                base64url(unbase64url(each, "disclosure").replace(b"6.25", b"62.5"))
                for each in credential.disclosures
            ]
            credentials.append("~".join((credential.jwt, *disclosures, "")))
        self._seal(home, replace(bundle.body, credentials=tuple(credentials)), bundle.evidence, out)

    def borrow(self, home: str, own: str, out: str) -> None:
        """The second's own bundle, with the first's board certification in the place of its own."""
        from credchain.credentials.sdjwt import parse

        bundle = self._open(self._folder / own)
        first = self._open(self._bundle)
        borrowed = [text for text in first.body.credentials if parse(text).category == "board_certification"]
        self._seal(home, replace(bundle.body, credentials=tuple(borrowed)), bundle.evidence, out)

    def _open(self, path: Path) -> Bundle:
        from credchain.storage.home import Home
        from credchain.verification.bundle import Bundle, open_bundle

        hospital = Home(self._folder / self._hospital).unlock(self._passphrase)
        return Bundle.decode(open_bundle(path.read_bytes(), hospital.encryption))

    def _seal(self, home: str, body: BundleBody, evidence: Answer, out: str) -> None:
        from credchain.storage.home import Home
        from credchain.verification.bundle import Bundle

        radiologist = Home(self._folder / home).unlock(self._passphrase)
        hospital = Home(self._folder / self._hospital).unlock(self._passphrase)
        forged = Bundle.sign(body, radiologist.signing, evidence)
        (self._folder / out).write_bytes(forged.seal(hospital.encryption.public))
