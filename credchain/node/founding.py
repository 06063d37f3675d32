"""Founding a network: member cards in, genesis and network.json out; homes for who has none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..certificates import Millis
from ..credentials.categories import parse_category
from ..encoding import check_text
from ..errors import InvalidInput, StorageError
from ..keys import Did
from ..ledger.cards import MemberCard
from ..ledger.codes import ISSUER, ROLES, VALIDATOR
from ..ledger.network import (
    Genesis,
    GenesisMember,
    Network,
    NodeAddress,
    check_distinct,
    check_genesis,
    validators_of,
)
from ..ledger.records import CategoryRule, Parameters
from ..limits import LIMITS
from ..storage.backup import Backup, new_recovery_key, write_backup
from ..storage.card_file import card_text, read_card
from ..storage.files import parse_toml, read_text, write_new
from ..storage.home import Home, packaged_categories, slug
from ..storage.keyfile import KeyPair, write_keys
from ..storage.safety_store import SafetyStore
from .settings import Address, parse_api_url, settings_text
from .tls import make_certificate, read_certificate

_JURISDICTION: Final = re.compile(r"US(-[A-Z]{2})?\Z")


@dataclass(frozen=True, slots=True)
class SpecMember:
    """A member as the spec has it; ``file`` is its card, None where a home is to be made."""

    name: str
    roles: tuple[str, ...]
    categories: tuple[str, ...]
    jurisdictions: tuple[str, ...]
    file: Path | None
    peer: str | None
    api: str | None


@dataclass(frozen=True, slots=True)
class Spec:
    """The consortium to be. ``categories`` are the documents of a folder, or the packaged ones."""

    name: str
    members: tuple[SpecMember, ...]
    categories: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class MadeHome:
    """A home that founding made."""

    name: str
    did: Did
    path: Path


def make_home(
    home: Home,
    name: str,
    passphrase: str,
    *,
    validator: bool,
    peer: str | None = None,
    api: str | None = None,
) -> MemberCard:
    """New keys and a signed card; for a validator also a TLS certificate, node.toml, and the empty safety
    record, which is there before its key is: so its absence always means that it was lost.

    InvalidInput if the home has keys already, or a validator lacks its addresses.
    """
    check_text(name, "name", max_bytes=LIMITS.name_bytes)
    slug(name)
    if home.keys.exists():
        raise InvalidInput(
            f"{home.path} has keys already, and they are never overwritten",
            field="home",
            hint="use another --home for another member",
        )
    if validator and not (peer and api):
        raise InvalidInput(
            "a validator needs --peer HOST:PORT and --api URL", field="peer" if not peer else "api"
        )
    if not validator and (peer or api):
        raise InvalidInput("--peer and --api are for validators", field="validator", hint="add --validator")
    if not passphrase:
        raise InvalidInput(
            "the passphrase is empty", field="passphrase", hint="set CREDCHAIN_PASSPHRASE or type one"
        )
    certificate = None
    if peer and api:
        Address.parse(peer, "peer")
        parse_api_url(api, "api")
        certificate = make_certificate(name, home.tls_key, home.tls_certificate)
        write_new(home.node_settings, settings_text(peer=peer, api=api).encode())
    pair = KeyPair.generate()
    card = MemberCard(
        pair.signing.public, pair.encryption.public, name=name, peer=peer, api=api, certificate=certificate
    )
    if validator:
        # Born with the key, so that its absence means that it was lost.
        SafetyStore.create(home.safety).close()
    write_keys(home.keys, pair, passphrase)
    write_new(home.card, card_text(card, card.sign(pair.signing)).encode())
    return card


def make_radiologist(
    home: Home, passphrase: str, categories: Iterable[str], backup: Path, network: bytes | None
) -> MemberCard:
    """A radiologist's keys, card and first backup. The card names nobody; it commits to the subjects
    in these private categories, once and for all.
    """
    if home.keys.exists():
        raise InvalidInput(
            f"{home.path} has keys already, and they are never overwritten",
            field="home",
            hint="use another --home for another member",
        )
    if backup.exists():
        raise InvalidInput(f"{backup} exists and is not overwritten", field="backup", hint="name a new file")
    pair = KeyPair.generate(categories)
    recovery_seed, recovery = new_recovery_key()
    card = MemberCard(
        pair.signing.public,
        pair.encryption.public,
        recovery=recovery,
        subjects_root=None if pair.subjects is None else pair.subjects.root,
        private_categories=() if pair.subjects is None else pair.subjects.categories,
    )
    text = card_text(card, card.sign(pair.signing)).encode()
    # The backup first: keys that exist nowhere else must not be relied on.
    write_backup(backup, Backup(pair, text, recovery_seed, network), passphrase)
    try:
        write_keys(home.keys, pair, passphrase)
        write_new(home.card, text)
    except BaseException:
        backup.unlink(missing_ok=True)
        raise
    return card


def read_spec(path: Path) -> Spec:
    """The consortium's spec; InvalidInput names what is wrong with it."""
    text = read_text(path, "spec", at_most=LIMITS.network_file_bytes)
    document = parse_toml(text, str(path))
    for name in document:
        if name not in ("name", "member", "categories"):
            raise InvalidInput(f"the spec has an unknown part {name}", field=name)
    tables = document.get("member")
    if not isinstance(tables, list) or not tables:
        raise InvalidInput("the spec has no [[member]]", field="member")
    members = tuple(_member(table, path.parent) for table in tables)
    folder = document.get("categories")
    categories = packaged_categories() if folder is None else _categories(path.parent / str(folder))
    _check_jurisdictions(members, categories)
    return Spec(_string(document, "name", "spec"), members, tuple(categories))


def _member(table: Any, folder: Path) -> SpecMember:
    if not isinstance(table, dict):
        raise InvalidInput("a member is a [[member]] table", field="member")
    known = ("name", "roles", "categories", "jurisdictions", "file", "peer", "api")
    name = _string(table, "name", "member")
    for part in table:
        if part not in known:
            raise InvalidInput(f"{name} has an unknown part {part}", field=part, hint=", ".join(known))
    roles = _strings(table, "roles", name)
    for role in roles:
        if role not in ROLES:
            raise InvalidInput(
                f"{name} has the role {role}", field="roles", hint=f"roles are {', '.join(ROLES)}"
            )
    categories = _strings(table, "categories", name)
    if categories and ISSUER not in roles:
        raise InvalidInput(f"{name} has categories and is no issuer", field="roles", hint="add issuer")
    if ISSUER in roles and not categories:
        raise InvalidInput(
            f"{name} is an issuer of nothing", field="categories", hint="name what it may attest"
        )
    return SpecMember(
        name=name,
        roles=roles,
        categories=categories,
        jurisdictions=_jurisdictions(table, name),
        file=folder / _string(table, "file", name) if "file" in table else None,
        peer=_string(table, "peer", name) if "peer" in table else None,
        api=_string(table, "api", name) if "api" in table else None,
    )


def _jurisdictions(table: dict[str, Any], member: str) -> tuple[str, ...]:
    found = _strings(table, "jurisdictions", member)
    for each in found:
        if not _JURISDICTION.match(each):
            raise InvalidInput(
                f"{member} has the jurisdiction {each!r}",
                field="jurisdictions",
                hint='write "US" for the whole country, "US-CA" for one state',
            )
    return found


def _check_jurisdictions(members: Iterable[SpecMember], categories: Iterable[Any]) -> None:
    """Whoever attests what is good in a jurisdiction has one: else all that it attests is refused."""
    bound = {
        str(each.get("category"))
        for each in categories
        if isinstance(each, dict) and "jurisdiction_claim" in each
    }
    for member in members:
        for name in member.categories:
            if name in bound and not member.jurisdictions:
                raise InvalidInput(
                    f"{member.name} attests {name} and has no jurisdiction",
                    field="jurisdictions",
                    hint='add jurisdictions = ["US-CA"], or ["US"] for the whole country',
                )


def _string(table: dict[str, Any], name: str, what: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{what} lacks {name}", field=name)
    return check_text(value, name, max_bytes=LIMITS.name_bytes)


def _strings(table: dict[str, Any], name: str, what: str) -> tuple[str, ...]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidInput(f"{what}.{name} must be a list of text", field=name)
    return tuple(sorted(set(value)))


def _categories(folder: Path) -> list[Any]:
    from ..credentials.categories import parse_json

    files = sorted(folder.glob("*.json"))
    if not files:
        raise InvalidInput(f"there are no category files in {folder}", field="categories")
    texts = [read_text(file, "category", at_most=LIMITS.category_bytes) for file in files]
    return [parse_json(text, file.name) for text, file in zip(texts, files, strict=True)]


def create_network(
    spec: Spec,
    out: Path,
    now: Millis,
    *,
    dev: bool,
    api: str | None,
    passphrase: Callable[[], str],
) -> tuple[Network, list[MadeHome]]:
    """Write ``out`` whole or not at all: network.json, and homes that have joined it."""
    if out.exists():
        raise InvalidInput(f"{out} exists and is not overwritten", field="out", hint="name a new folder")
    if api is not None and not dev:
        raise InvalidInput("--api goes with --dev", field="api")
    if dev:
        spec = _one_validator(spec, api)
    _check_validators(spec)
    building = out.with_name(f".{out.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    try:
        network, homes = _build(spec, building, now, passphrase)
        building.rename(out)
    except OSError as problem:
        raise StorageError(f"cannot write {out}: {problem.strerror}") from problem
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return network, [replace(each, path=out / each.path.relative_to(building)) for each in homes]


def _check_validators(spec: Spec) -> None:
    """Their count, and that each is either a file or addresses for a home to be made."""
    validators = [member for member in spec.members if VALIDATOR in member.roles]
    if not 1 <= len(validators) <= LIMITS.validators:
        raise InvalidInput(
            f"the spec has {len(validators)} validators; a network has 1 to {LIMITS.validators}",
            field="member",
            hint='a validator is a [[member]] with roles = ["validator"]',
        )
    for member in validators:
        if member.file is None and not (member.peer and member.api):
            raise InvalidInput(
                f"the validator {member.name} has no addresses",
                field="api" if member.peer else "peer",
                hint='add file = "member.toml" of its operator, or peer = "HOST:PORT" and api = "URL"',
            )
        if member.file is not None and (member.peer or member.api):
            raise InvalidInput(
                f"{member.name} has a file and addresses",
                field="peer" if member.peer else "api",
                hint="its addresses are in its file, signed by its operator",
            )


def _one_validator(spec: Spec, api: str | None) -> Spec:
    """The first validator alone, on loopback; the others keep their other roles."""
    members: list[SpecMember] = []
    found = False
    for member in spec.members:
        if VALIDATOR not in member.roles:
            members.append(member)
        elif not found:
            found = True
            url = api or "http://127.0.0.1:7441"
            if not parse_api_url(url, "api")[1].host.startswith(("127.", "localhost", "::1")):
                raise InvalidInput("with --dev the node is on loopback", field="api")
            members.append(replace(member, file=None, peer="127.0.0.1:7440", api=url))
        else:
            rest = tuple(role for role in member.roles if role != VALIDATOR)
            if rest:
                members.append(replace(member, roles=rest, peer=None, api=None))
    if not found:
        raise InvalidInput("the spec has no validator", field="member")
    return replace(spec, members=tuple(members))


def _build(
    spec: Spec, folder: Path, now: Millis, passphrase: Callable[[], str]
) -> tuple[Network, list[MadeHome]]:
    secret = passphrase() if any(member.file is None for member in spec.members) else ""
    homes: list[MadeHome] = []
    cards: list[MemberCard] = []
    for member in spec.members:
        if member.file is not None:
            cards.append(read_card(member.file))
            continue
        is_validator = VALIDATOR in member.roles
        path = folder / ("validators" if is_validator else "members") / slug(member.name)
        if any(each.path == path for each in homes):
            raise InvalidInput(f"two members would have the folder {path.name}", field="name")
        card = make_home(
            Home(path), member.name, secret, validator=is_validator, peer=member.peer, api=member.api
        )
        cards.append(card)
        homes.append(MadeHome(member.name, card.did, path))
    network = found(spec, cards, now)
    import json

    text = (json.dumps(network.json(), indent=2, ensure_ascii=False) + "\n").encode()
    Network.parse(text.decode())
    write_new(folder / "network.json", text)
    for home in homes:
        write_new(Home(home.path).network_file, text)
    return network, homes


def found(spec: Spec, cards: Sequence[MemberCard], now: Millis) -> Network:
    """The network of these members, a card each in the spec's order."""
    parsed = [parse_category(document) for document in spec.categories]
    categories = {category.name: category for category in parsed}
    rules = tuple(
        CategoryRule(name, categories[name].digest, categories[name].exclusive) for name in sorted(categories)
    )
    members = [
        GenesisMember(
            name=member.name,
            key=card.key,
            encryption_key=card.encryption_key,
            roles=member.roles,
            categories=member.categories,
            jurisdictions=member.jurisdictions,
        )
        for member, card in zip(spec.members, cards, strict=True)
    ]
    _check_keys(members)
    members.sort(key=lambda member: member.did.encode())
    ordered = tuple(members)
    genesis = Genesis(spec.name, now, Parameters(rules), ordered, validators_of(ordered))
    check_genesis(genesis)
    addresses = {card.did: card for card in cards}
    nodes = tuple(_address(addresses[each.did]) for each in genesis.validators.members)
    check_distinct(nodes)
    network = Network(genesis, categories, nodes)
    network.check_peers()
    return network


def _check_keys(members: Sequence[GenesisMember]) -> None:
    names: dict[Did, str] = {}
    for member in members:
        if member.did in names:
            raise InvalidInput(
                f"{names[member.did]} and {member.name} have the same key",
                field="file",
                hint="is the same member.toml named twice?",
            )
        names[member.did] = member.name


def _address(card: MemberCard) -> NodeAddress:
    if not card.peer or not card.api:
        raise InvalidInput(
            f"the validator {card.name or card.did} has no peer and api address",
            field="member",
            hint="credchain init --validator --peer HOST:PORT --api URL",
        )
    Address.parse(card.peer, "peer")
    parse_api_url(card.api, "api")
    if card.certificate is not None:
        read_certificate(card.certificate)
    return NodeAddress(card.did, card.peer, card.api, card.certificate)
