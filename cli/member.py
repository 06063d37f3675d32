"""Commands of every member: keys, the trust anchor, who is who."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import fingerprint_in_groups, note, print_json, print_pairs, printable, say
from .session import Session, command

if TYPE_CHECKING:
    from credchain.storage.home import Home

PANEL = "Every member"


def register(app: typer.Typer) -> None:
    command(app, "init", panel=PANEL, example='credchain init --name "Example Board"')(init)
    command(app, "join", panel=PANEL, example="credchain join network.json --expect FINGERPRINT")(join)
    command(app, "whoami", panel=PANEL, example="credchain whoami")(whoami)
    command(app, "backup", panel=PANEL, example="credchain backup --out backup.json")(backup)
    command(app, "restore", panel=PANEL, example="credchain restore backup.json --home NEW")(restore)
    command(app, "members", panel=PANEL, example="credchain members --role issuer")(members)


def init(
    session: Session,
    name: Annotated[str, typer.Option(help="Your organisation's name.")],
    validator: Annotated[bool, typer.Option("--validator", help="Also make a node's settings.")] = False,
    radiologist: Annotated[
        bool, typer.Option("--radiologist", help="Make a wallet; the card names nobody.")
    ] = False,
    backup: Annotated[
        Path | None, typer.Option(help="With --radiologist: where the first backup goes.")
    ] = None,
    peer: Annotated[str | None, typer.Option(help="HOST:PORT for other validators.")] = None,
    api: Annotated[str | None, typer.Option(help="URL for clients.")] = None,
) -> None:
    """Make keys and a member card to send to whoever founds the network, or enrols you."""
    from credchain.errors import InvalidInput
    from credchain.node.founding import make_home

    home = session.home
    if radiologist:
        if validator or peer or api:
            raise InvalidInput("a radiologist runs no node here", field="radiologist")
        _init_radiologist(session, name, backup)
        return
    if backup is not None:
        raise InvalidInput("--backup goes with --radiologist", field="backup")
    card = make_home(
        home,
        name,
        session.passphrase(confirm=True),
        peer=peer,
        api=api,
        validator=validator,
    )
    if session.as_json:
        print_json({"did": card.did, "home": str(home.path), "card": str(home.card)})
        return
    print_pairs([("DID", card.did), ("home", home.path), ("card", home.card)])
    note(f"Send {home.card} to the network's founder, and keep a backup of {home.keys}.")


def _init_radiologist(session: Session, name: str, backup: Path | None) -> None:
    """The private categories are the network's: the card commits to the subjects in them."""
    from credchain.encoding import check_text
    from credchain.node.founding import make_radiologist

    check_text(name, "name")
    home, network = session.home, session.network
    place = backup or home.path / f"first-backup-{day(session.now())}.json"
    private = [each for each, category in network.categories.items() if not category.by_npi]
    joined = home.network_file.read_bytes() if home.network_file.exists() else None
    card = make_radiologist(home, session.passphrase(confirm=True), private, place, joined)
    if session.as_json:
        found = {"did": card.did, "home": str(home.path), "card": str(home.card), "backup": str(place)}
        print_json(found)
        return
    print_pairs([("DID", card.did), ("home", home.path), ("card", home.card), ("backup", place)])
    note(f"Move {place} to a safe place: it alone has your recovery key.")
    note(f"Then take {home.card} to an identity issuer, who enrols you.")


def day(time: int) -> str:
    from credchain.credentials.dates import day_of

    return day_of(time)


def backup(
    session: Session,
    out: Annotated[Path, typer.Option(help="A new file.")],
) -> None:
    """Write an encrypted backup of this home: keys, card, network, and the wallet's documents."""
    from credchain.storage.backup import backup_of, write_backup

    passphrase = session.passphrase()
    made = backup_of(session.home, session.home.unlock(passphrase))
    write_backup(out, made, passphrase)
    if session.as_json:
        print_json({"did": made.keys.did, "backup": str(out), "documents": len(made.documents)})
        return
    print_pairs([("DID", made.keys.did), ("backup", out), ("documents", len(made.documents))])
    if made.keys.subjects is not None:
        note("Your recovery key is not in it: keep the first backup, which init made.")
        return
    _tell_what_is_left_out(session.home)


def _tell_what_is_left_out(home: Home) -> None:
    """A member's backup holds keys, card and network. What else its home has is kept by copying files.

    A validator's safety record is the exception: among several, an old one is worse than none.
    """
    alone = home.network_file.exists() and len(home.network().validators.members) == 1
    found = {
        home.member_database: "the records of what was issued",
        home.node_settings: "the node's settings",
        home.tls_key: "its TLS key, which is not encrypted",
        home.tls_certificate: "its certificate",
        **({home.ledger: "the only ledger", home.safety: "what the validator signed"} if alone else {}),
    }
    left = [f"{path.name} ({what})" for path, what in found.items() if path.exists()]
    if left:
        note(f"Not in it: {', '.join(left)}.")
        note(f"Copies of these files, made while nothing runs on {home.path}, keep them.")
    if home.safety.exists() and not alone:
        note("But never copy safety.db: with an old one a validator could sign against its own word.")


def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="BACKUP", help="A backup of a home.")],
) -> None:
    """Make this home anew from a backup."""
    from credchain.storage.backup import read_backup
    from credchain.storage.backup import restore as restore_home

    passphrase = session.passphrase()
    found = read_backup(file, passphrase)
    restore_home(session.home, found, passphrase, session.now())
    if session.as_json:
        shown = {"did": found.keys.did, "home": str(session.home.path), "documents": len(found.documents)}
        print_json(shown)
        return
    print_pairs([("DID", found.keys.did), ("home", session.home.path), ("documents", len(found.documents))])
    if found.keys.subjects is not None:
        note("Next: credchain wallet sync, which fetches what the backup lacks.")
        return
    note(
        "The records of what was issued are not in a backup: before you attest, put the old home's member.db"
    )
    note(f"into {session.home.path}, or rows that were attested before would be attested a second time.")


def join(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="NETWORK.JSON", help="The trust anchor.")],
    expect: Annotated[
        str | None, typer.Option(help="The fingerprint that you were told by another way.")
    ] = None,
) -> None:
    """Pin a network's trust anchor in this home, and print its fingerprint."""
    from credchain.errors import InvalidInput
    from credchain.limits import LIMITS
    from credchain.storage.files import read_file, replace_file
    from credchain.storage.home import load_network

    network = load_network(file)
    if expect is not None:
        told = "".join(expect.split()).lower()
        if told != network.fingerprint.hex():
            raise InvalidInput(
                f"the fingerprint is {fingerprint_in_groups(network.fingerprint)}, not the one expected",
                field="expect",
                hint="do not use this file; ask the network's founder again",
            )
    home = session.home
    if home.network_file.exists() and _joined(session) not in (None, network.id):
        raise InvalidInput(
            f"{home.path} has joined another network", field="home", hint="use another --home for this one"
        )
    replace_file(home.network_file, read_file(file, "network", at_most=LIMITS.network_file_bytes))
    if session.as_json:
        print_json(
            {
                "network": network.id.hex(),
                "name": network.genesis.name,
                "fingerprint": network.fingerprint.hex(),
                "home": str(home.path),
            }
        )
        return
    print_pairs(
        [
            ("network", network.genesis.name),
            ("fingerprint", fingerprint_in_groups(network.fingerprint)),
            ("validators", len(network.validators.members)),
            ("home", home.path),
        ]
    )
    if expect is None:
        note("Compare the fingerprint with the founder's, by telephone for example, before you rely on it.")


def _joined(session: Session) -> bytes | None:
    """The network that the home has joined; None where its file is damaged: it protects nothing."""
    from credchain.errors import InvalidInput

    try:
        return session.home.network().id
    except InvalidInput as problem:
        note(f"warning: {problem.message}; it is replaced")
        return None


def whoami(session: Session) -> None:
    """This home's DID, roles and keys, as the ledger has them now."""
    from credchain.certificates import Height
    from credchain.errors import NetworkError
    from credchain.ledger.records import Member

    did = session.home.did()
    network = session.network

    async def ask() -> tuple[Member | None, int | None]:
        async with session.client() as client:
            return await client.member(did), client.seen_height

    try:
        member, height = session.run(ask())
    except NetworkError as problem:
        note(f"warning: not checked with the ledger: {problem.message}")
        found = [each.record() for each in network.genesis.members if each.did == did]
        member, height = (found[0] if found else None), None
    terms = (
        {"roles": (), "categories": (), "jurisdictions": ()}
        if member is None
        else {
            "roles": member.roles,
            "categories": member.categories,
            "jurisdictions": member.jurisdictions,
        }
    )
    at = Height(height or 0)
    names = {each: [term.name for term in held if term.covers(at)] for each, held in terms.items()}
    keys = [] if member is None else member.keys
    if session.as_json:
        print_json(
            {
                "did": did,
                "name": member.name if member else None,
                "enrolled": member is not None,
                **_as_objects(names["roles"], names["categories"], names["jurisdictions"]),
                "keys": [
                    {
                        "key": each.key.hex(),
                        "start": each.start,
                        "end": each.end,
                        "distrusted": each.distrusted,
                    }
                    for each in keys
                ],
                "network": network.id.hex(),
                "fingerprint": network.fingerprint.hex(),
                "as_of": {"height": height},
            }
        )
        return
    print_pairs(
        [
            ("DID", did),
            ("name", member.name if member else "(not a member of this network)"),
            ("roles", ", ".join(names["roles"])),
            ("categories", ", ".join(names["categories"])),
            ("jurisdictions", ", ".join(names["jurisdictions"])),
            *(("key", f"{each.key.hex()} from height {each.start}") for each in keys),
            ("network", network.genesis.name),
            ("fingerprint", fingerprint_in_groups(network.fingerprint)),
            ("as of", "genesis, not checked" if height is None else f"height {height}"),
        ]
    )


def _as_objects(
    roles: Sequence[str], categories: Sequence[str], jurisdictions: Sequence[str]
) -> dict[str, list[dict[str, str]]]:
    """Lists in JSON are arrays of objects."""
    return {
        "roles": [{"role": each} for each in roles],
        "categories": [{"category": each} for each in categories],
        "jurisdictions": [{"jurisdiction": each} for each in jurisdictions],
    }


def members(
    session: Session,
    role: Annotated[str | None, typer.Option(help="Only members with this role.")] = None,
) -> None:
    """Names and DIDs of the network's members."""
    from credchain.errors import InvalidInput
    from credchain.ledger.codes import ROLES
    from credchain.ledger.records import Member

    if role is not None and role not in ROLES:
        raise InvalidInput(f"there is no role {role}", field="role", hint=f"roles are {', '.join(ROLES)}")

    async def ask() -> tuple[list[Member], int]:
        async with session.client() as client:
            return await client.members(role), client.seen_height

    from credchain.certificates import Height

    found, seen = session.run(ask())
    height = Height(seen)
    found.sort(key=lambda member: (member.name or "", member.did))
    rows = [
        (
            each.name,
            each.did,
            each.names_at(each.roles, height),
            each.names_at(each.categories, height),
            each.names_at(each.jurisdictions, height),
        )
        for each in found
    ]
    if session.as_json:
        members_json = [{"name": name, "did": did, **_as_objects(*held)} for name, did, *held in rows]
        print_json({"members": members_json, "as_of": {"height": height}})
        return
    for name, did, roles, categories, places in rows:
        say(printable(name or "(a radiologist)"))
        shown = [("DID", did), ("roles", ", ".join(roles))]
        shown += [("categories", ", ".join(categories))] if categories else []
        shown += [("jurisdictions", ", ".join(places))] if places else []
        print_pairs([("  " + label, value) for label, value in shown])
