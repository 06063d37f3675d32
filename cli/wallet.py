"""Commands of radiologists: collect, list, give addresses, hand over, share."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credchain.ledger.codes import PURPOSES

from .output import note, print_json, print_pairs, print_table, say, short
from .session import Session, command

if TYPE_CHECKING:
    from credchain.client import Client
    from credchain.storage.keyfile import KeyPair
    from credchain.storage.wallet_store import Held, WalletStore
    from credchain.wallet.sharing import Made
    from credchain.wallet.syncing import Listed, Synced, Wallet

PANEL = "Radiologists"


def register(app: typer.Typer) -> None:
    group = typer.Typer(name="wallet", help="Your credentials.", no_args_is_help=True)
    app.add_typer(group, name="wallet", rich_help_panel=PANEL)
    command(group, "sync", panel=PANEL, example="credchain wallet sync --npi 2012345676")(sync)
    command(group, "list", panel=PANEL, example="credchain wallet list")(list_credentials)
    command(group, "address", panel=PANEL, example="credchain wallet address cme_credit")(address)
    command(group, "add", panel=PANEL, example="credchain wallet add credential.txt")(add)
    command(
        group,
        "export",
        panel=PANEL,
        example="credchain wallet export 3f9a01c2 --audience https://example.org --nonce N",
    )(export)
    command(
        app,
        "share",
        panel=PANEL,
        example='credchain share --to "Lakeside Hospital" --category cme_credit '
        "--purpose reappointment --expires 30d --out bundle.ccb",
    )(share)


@dataclass(frozen=True)
class _Open:
    """The wallet under the home's lock."""

    store: WalletStore
    client: Client
    wallet: Wallet


@asynccontextmanager
async def _open(session: Session) -> AsyncIterator[_Open]:
    from credchain.storage.files import exclusive
    from credchain.storage.wallet_store import WalletStore
    from credchain.wallet.syncing import Wallet

    home, keys = session.home, _radiologist(session)
    with exclusive(home.member_lock, "this home"):
        store = WalletStore(home.wallet, session.network.id, keys.wallet_key)
        try:
            async with session.client() as client:
                yield _Open(store, client, Wallet(store, client, keys, session.now))
        finally:
            store.close()


def _radiologist(session: Session) -> KeyPair:
    """The unlocked keys; InvalidInput where the home is not a radiologist's."""
    from credchain.errors import InvalidInput

    keys = session.keys
    if keys.subjects is None:
        raise InvalidInput(
            "this home is not a radiologist's", field="home", hint="credchain init --radiologist makes one"
        )
    return keys


def sync(
    session: Session,
    npi: Annotated[str | None, typer.Option(help="Your NPI, once.")] = None,
) -> None:
    """Fetch every credential that is about you, check each against the ledger, keep them."""
    from credchain.credentials.npi import parse_npi
    from credchain.errors import InvalidInput

    number = None if npi is None else parse_npi(npi)

    async def work() -> Synced:
        async with _open(session) as opened:
            if number is None and opened.store.npi() is None:
                raise InvalidInput("the wallet does not know your NPI yet", field="npi", hint="add --npi NPI")
            return await opened.wallet.sync(number)

    synced = session.run(work())
    if session.as_json:
        print_json({"collected": synced.collected, "refused": [{"reason": each} for each in synced.refused]})
        for each in synced.notes:
            note(f"note: {each}")
        return
    say(f"{synced.collected} collected, {len(synced.refused)} refused")
    for each in synced.refused:
        note(f"refused: {each}")
    for each in synced.notes:
        note(f"note: {each}")


def list_credentials(session: Session) -> None:
    """Everything attested about you, with its status now; what changed since the last look is marked."""

    async def work() -> tuple[list[Listed], int, dict[str, str | None], bool]:
        async with _open(session) as opened:
            listed = await opened.wallet.statuses()
            issuers = sorted({each.entry.issuer for each in listed})
            names: dict[str, str | None] = {}
            for did in issuers:
                member = await opened.client.member(did)
                names[did] = member.name if member else None
            return listed, opened.client.seen_height, names, opened.store.npi() is not None

    listed, height, names, knows_npi = session.run(work())
    from credchain.credentials.dates import day_of, rfc3339

    if session.as_json:
        print_json(
            {
                "credentials": [
                    {
                        "attestation": each.entry.id.hex(),
                        "category": each.category,
                        "issuer": each.entry.issuer,
                        "issuer_name": names[each.entry.issuer],
                        "status": each.status,
                        "valid_from": rfc3339(each.entry.valid_from),
                        "valid_until": None
                        if each.entry.valid_until is None
                        else rfc3339(each.entry.valid_until),
                        "change": each.change or None,
                        "held": each.held,
                    }
                    for each in listed
                ],
                "as_of": {"height": height},
            }
        )
        return
    rows = [
        (
            each.category,
            each.status.replace("_", " "),
            day_of(each.entry.valid_from),
            "" if each.entry.valid_until is None else day_of(each.entry.valid_until),
            names[each.entry.issuer] or each.entry.issuer,
            short(each.entry.id.hex()),
            "; ".join(part for part in (each.change, _missing(each)) if part),
        )
        for each in listed
    ]
    if not knows_npi:
        note("only private categories were looked at, since the wallet does not know your NPI")
        note("Next: credchain wallet sync --npi NPI")
    elif not rows:
        note("nothing is attested about you yet")
    print_table(["category", "status", "from", "until", "issuer", "attestation", "note"], rows)


def _missing(each: Listed) -> str:
    """What to do about a document that the wallet does not have."""
    if each.held:
        return ""
    if each.entry.erased is not None:
        return "not in the wallet: it was erased"
    return "not in the wallet: wallet sync, or ask its issuer to send it again"


def address(
    session: Session,
    category: Annotated[str, typer.Argument(help="A private category; see credchain categories.")],
) -> None:
    """A line to give to an issuer, so that it can make out a private credential to you."""
    from credchain.credentials.addresses import Address
    from credchain.errors import InvalidInput

    network, keys = session.network, _radiologist(session)
    if network.category(category).by_npi:
        raise InvalidInput(
            f"{category} is attested by NPI: it needs no address", field="category", hint="give your NPI"
        )
    if keys.subjects is None:
        raise InvalidInput("this home is not a radiologist's", field="home")
    opening = keys.subjects.open(category)
    text = Address.make(network.id, keys.did, keys.signing, opening).text
    if session.as_json:
        print_json({"category": category, "address": text})
        return
    say(text)


def add(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A credential as text; - for standard input.")],
) -> None:
    """Keep a credential that was handed to you, if the ledger has it."""
    from credchain.limits import LIMITS
    from credchain.storage.files import read_text

    text = (
        sys.stdin.read(LIMITS.credential_bytes + 1)
        if str(file) == "-"
        else read_text(file, "credential", at_most=LIMITS.credential_bytes + 1)
    )

    async def work() -> Held:
        async with _open(session) as opened:
            return await opened.wallet.add(text.strip())

    held = session.run(work())
    if session.as_json:
        print_json({"attestation": held.attestation.hex(), "category": held.category})
        return
    say(f"kept: {held.category} {short(held.attestation.hex())}")


def export(
    session: Session,
    attestation: Annotated[str, typer.Argument(metavar="ID", help="8 or more digits.")],
    audience: Annotated[str, typer.Option(help="Whom the presentation is for.")],
    nonce: Annotated[str, typer.Option(help="The verifier's nonce.")],
) -> None:
    """A standard SD-JWT presentation with key binding, for verifiers outside credchain."""
    from credchain.credentials.sdjwt import parse, present
    from credchain.encoding import check_text
    from credchain.errors import InvalidInput
    from credchain.storage.wallet_store import WalletStore

    from .office import id_prefix

    prefix = id_prefix(attestation)
    for name, value in (("audience", audience), ("nonce", nonce)):
        if not check_text(value, name).strip():
            raise InvalidInput(f"the {name} is empty", field=name, hint="the verifier says what it is")
    keys = _radiologist(session)
    store = WalletStore(session.home.wallet, session.network.id, keys.wallet_key)
    try:
        found = [each for each in store.held() if each.attestation.hex().startswith(prefix)]
    finally:
        store.close()
    if len(found) != 1:
        raise InvalidInput(
            f"{len(found)} credentials in the wallet start with {prefix}",
            field="attestation",
            hint="credchain wallet list shows them",
        )
    text = present(
        parse(found[0].text), keys.signing, audience=audience, nonce=nonce, issued_at=session.now()
    )
    if session.as_json:
        print_json({"attestation": found[0].attestation.hex(), "presentation": text})
        return
    say(text)


def share(
    session: Session,
    to: Annotated[str, typer.Option(help="The hospital: its DID, or its name if that is unique.")],
    category: Annotated[list[str], typer.Option(help="CATEGORY or CATEGORY:claim,claim; repeatable.")],
    purpose: Annotated[str, typer.Option(help=f"One of {', '.join(PURPOSES)}.")],
    expires: Annotated[str, typer.Option(help="For how long: 12h, 30d.")],
    out: Annotated[Path | None, typer.Option(help="A new file; - or nothing is standard output.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Without a grant on the ledger: so far every bundle is.")
    ] = False,
) -> None:
    """Make a bundle for one hospital: chosen categories and claims, a purpose and a time."""
    from credchain.credentials.dates import parse_duration, rfc3339
    from credchain.errors import InvalidInput
    from credchain.keys import Did
    from credchain.storage.files import PRIVATE, write_new
    from credchain.wallet.sharing import Sharing, parse_scope

    known = {name: tuple(each.schemas) for name, each in session.network.categories.items()}
    scope = parse_scope(category, known)
    lifetime = parse_duration(expires, "expires")
    to_file = out is not None and str(out) != "-"
    if to_file and out is not None and out.exists():
        raise InvalidInput(f"{out} exists and is not overwritten", field="out", hint="name a new file")
    if not to_file and (sys.stdout.isatty() or session.as_json):
        raise InvalidInput("a bundle is binary", field="out", hint="give --out FILE")
    recipient = Did(_member(session, to))

    async def work() -> Made:
        async with _open(session) as opened:
            sharing = Sharing(opened.store, opened.client, session.keys, opened.wallet)
            return await sharing.make(recipient, scope, purpose, lifetime, session.now())

    made = session.run(work())
    if not to_file or out is None:
        sys.stdout.buffer.write(made.data)
        return
    write_new(out, made.data, mode=PRIVATE)
    for each in made.notes:
        note(f"note: {each}")
    body = made.bundle.body
    if session.as_json:
        print_json(
            {
                "bundle": body.digest.hex(),
                "to": body.audience,
                "purpose": body.purpose,
                "expires": rfc3339(body.expires),
                "credentials": len(body.credentials),
                "file": str(out),
                "bytes": len(made.data),
            }
        )
        return
    print_pairs(
        [
            ("for", made.audience.name or body.audience),
            ("purpose", body.purpose),
            ("until", rfc3339(body.expires)),
            ("credentials", len(body.credentials)),
            ("file", f"{out} ({len(made.data)} bytes)"),
        ]
    )


def _member(session: Session, text: str) -> str:
    """A DID, from itself or from a unique name in the network file."""
    from credchain.errors import InvalidInput
    from credchain.keys import check_did

    if text.startswith("did:"):
        return check_did(text, "to")
    found = [each.did for each in session.network.genesis.members if each.name.lower() == text.lower()]
    if len(found) != 1:
        raise InvalidInput(
            f"{len(found)} members are named {text!r}", field="to", hint="credchain members --role hospital"
        )
    return found[0]
