"""The trust anchor: genesis, and the network file that carries it with categories and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from .. import keys
from ..certificates import Height, Millis, Validator, ValidatorSet
from ..credentials.categories import Category, canonical_json, parse_category, parse_json
from ..encoding import Digest, Fields, Value, check_ascending, check_text, decode, digest, encode
from ..errors import InvalidInput
from ..keys import Did, EncryptionKey, PublicKey
from ..limits import LIMITS
from .codes import ROLES
from .records import KeyTerm, Member, Parameters, Term
from .state import Record, key_of_record
from .statemap import StateMap, value_digest

FORMAT: Final = "credchain-network/1"
_HEX: Final = "hex:"
_GENESIS_HEIGHT: Final = Height(0)


@dataclass(frozen=True, slots=True)
class GenesisMember:
    """An organisation enrolled from the start."""

    name: str
    key: PublicKey
    encryption_key: EncryptionKey
    roles: tuple[str, ...]
    categories: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()

    @property
    def did(self) -> Did:
        return keys.did_of(self.key)

    def fields(self) -> dict[str, Value]:
        return {
            "name": self.name,
            "key": self.key,
            "encryption_key": self.encryption_key,
            "roles": list(self.roles),
            "categories": list(self.categories),
            "jurisdictions": list(self.jurisdictions),
        }

    @staticmethod
    def read(fields: Fields) -> GenesisMember:
        member = GenesisMember(
            name=fields.text("name", max_bytes=LIMITS.name_bytes),
            key=PublicKey(fields.binary("key", keys.PUBLIC_KEY_BYTES)),
            encryption_key=EncryptionKey(fields.binary("encryption_key", keys.PUBLIC_KEY_BYTES)),
            roles=fields.texts("roles", at_most=LIMITS.roles),
            categories=fields.texts("categories", at_most=LIMITS.categories),
            jurisdictions=fields.texts("jurisdictions", at_most=LIMITS.jurisdictions),
        )
        for role in member.roles:
            if role not in ROLES:
                raise InvalidInput(
                    f"{member.name} has the role {role}",
                    field="roles",
                    hint=f"roles are {', '.join(ROLES)}",
                )
        return member

    def record(self) -> Member:
        def terms(names: tuple[str, ...]) -> tuple[Term, ...]:
            return tuple(Term(name, _GENESIS_HEIGHT) for name in names)

        return Member(
            did=self.did,
            enrolled=_GENESIS_HEIGHT,
            encryption_key=self.encryption_key,
            keys=(KeyTerm(self.key, _GENESIS_HEIGHT),),
            roles=terms(self.roles),
            categories=terms(self.categories),
            jurisdictions=terms(self.jurisdictions),
            name=self.name,
        )


@dataclass(frozen=True)
class Genesis:
    """Where a ledger begins. Its digest is the network's name in everything that is signed."""

    name: str
    time: Millis
    parameters: Parameters
    members: tuple[GenesisMember, ...]
    validators: ValidatorSet

    @cached_property
    def network(self) -> Digest:
        return digest("genesis", encode(self.fields()))

    def fields(self) -> dict[str, Value]:
        return {
            "version": 1,
            "name": self.name,
            "time": self.time,
            "parameters": self.parameters.fields(),
            "members": [member.fields() for member in self.members],
            **self.validators.fields(),
        }

    def records(self) -> list[Record]:
        """The state at height 0."""
        return [self.parameters, self.validators, *(member.record() for member in self.members)]

    def state_map(self) -> StateMap:
        changes = {key_of_record(record).key: value_digest(record.encode()) for record in self.records()}
        return StateMap().update(changes)


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a validator's node is; outside genesis, so that a move changes no signature.

    ``certificate`` is the PEM of the node's TLS certificate, with which it meets its peers, and its
    clients where ``api`` is https. Only a validator that is alone may lack it.
    """

    validator: Did
    peer: str
    api: str
    certificate: str | None

    def json(self) -> dict[str, Any]:
        found = {"validator": self.validator, "peer": self.peer, "api": self.api}
        return found if self.certificate is None else {**found, "certificate": self.certificate}


@dataclass(frozen=True)
class Network:
    """`network.json`. The fingerprint covers all of it: it is what people compare."""

    genesis: Genesis
    categories: dict[str, Category]
    nodes: tuple[NodeAddress, ...]

    @property
    def id(self) -> Digest:
        return self.genesis.network

    @property
    def validators(self) -> ValidatorSet:
        return self.genesis.validators

    @cached_property
    def _document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "genesis": _to_json(self.genesis.fields()),
            "categories": [self.categories[name].source for name in sorted(self.categories)],
            "nodes": [node.json() for node in self.nodes],
        }

    def json(self) -> dict[str, Any]:
        return self._document

    @cached_property
    def fingerprint(self) -> Digest:
        return digest("network-file", canonical_json(self._document).encode())

    def check_peers(self) -> None:
        """InvalidInput unless each validator can know each other one by its certificate."""
        if len(self.nodes) > 1:
            for node in self.nodes:
                if not node.certificate:
                    raise InvalidInput(
                        f"the validator {self.name_of(node.validator)} has no TLS certificate, and validators"
                        " know each other by it",
                        field="nodes.certificate",
                        hint="found the network with member files that credchain init --validator makes",
                    )

    def name_of(self, did: Did) -> str:
        """A member's name as genesis has it; else the DID."""
        return next((each.name for each in self.genesis.members if each.did == did), did)

    def category(self, name: str) -> Category:
        """The category, or InvalidInput with those there are."""
        found = self.categories.get(name)
        if found is None:
            raise InvalidInput(
                f"this network has no category {name}",
                field="category",
                hint=f"its categories are {', '.join(sorted(self.categories))}",
            )
        return found

    @staticmethod
    def parse(text: str) -> Network:
        """From the text of network.json, everything checked; InvalidInput names the part."""
        if len(text) > LIMITS.network_file_bytes:
            raise InvalidInput("the network file is too large", field="network")
        document = parse_json(text, "network file")
        if type(document) is not dict or document.get("format") != FORMAT:
            raise InvalidInput(
                "this is not a credchain network file",
                field="network",
                hint=f'it is JSON with "format": "{FORMAT}"',
            )
        if set(document) != {"format", "genesis", "categories", "nodes"}:
            raise InvalidInput(
                "the network file must have format, genesis, categories and nodes", field="network"
            )
        genesis = _read_genesis(document["genesis"])
        categories = _read_categories(document["categories"], genesis.parameters)
        nodes = _read_nodes(document["nodes"], genesis.validators)
        return Network(genesis, categories, nodes)


def _read_genesis(document: Any) -> Genesis:
    if type(document) is not dict:
        raise InvalidInput("genesis must be an object", field="genesis")
    data = encode(_from_json(document, "genesis"))
    genesis = decode(data, _genesis_of, Genesis.fields, "genesis")
    check_genesis(genesis)
    return genesis


def _genesis_of(fields: Fields) -> Genesis:
    fields.integer("version", at_least=1, at_most=1)
    return Genesis(
        name=fields.text("name", max_bytes=LIMITS.name_bytes),
        time=Millis(fields.integer("time")),
        parameters=fields.nested("parameters", Parameters.read),
        members=fields.maps("members", GenesisMember.read, at_most=10_000),
        validators=ValidatorSet.read(fields),
    )


def check_genesis(genesis: Genesis) -> None:
    """Members ascending by DID with unique names; validators are members with that role and key."""
    check_ascending([member.did.encode() for member in genesis.members], "genesis.members")
    names = [member.name for member in genesis.members]
    if len(set(names)) != len(names):
        raise InvalidInput("two members have the same name", field="genesis.members")
    by_did = {member.did: member for member in genesis.members}
    with_role = [member.did for member in genesis.members if "validator" in member.roles]
    if with_role != [each.did for each in genesis.validators.members]:
        raise InvalidInput("the validators are not the members with that role", field="genesis.validators")
    for validator in genesis.validators.members:
        if by_did[validator.did].key != validator.key:
            raise InvalidInput(
                f"the validator {validator.did} has another key than the member",
                field="genesis.validators",
            )
    known = {each.category for each in genesis.parameters.categories}
    for member in genesis.members:
        for category in member.categories:
            if category not in known:
                raise InvalidInput(
                    f"{member.name} has the category {category}, which the network does not",
                    field="genesis.members",
                )


def _read_categories(documents: Any, parameters: Parameters) -> dict[str, Category]:
    if type(documents) is not list:
        raise InvalidInput("categories must be a list", field="categories")
    parsed = [parse_category(document) for document in documents]
    categories = {category.name: category for category in parsed}
    if len(categories) != len(parsed):
        raise InvalidInput("a category stands twice", field="categories")
    for rule in parameters.categories:
        category = categories.get(rule.category)
        if category is None or category.digest != rule.digest or category.exclusive != rule.exclusive:
            raise InvalidInput(
                f"the category {rule.category} is missing or not the one that genesis names",
                field="categories",
            )
    if len(categories) != len(parameters.categories):
        raise InvalidInput("the file has a category that genesis does not name", field="categories")
    return categories


def _read_nodes(documents: Any, validators: ValidatorSet) -> tuple[NodeAddress, ...]:
    if type(documents) is not list:
        raise InvalidInput("nodes must be a list", field="nodes")
    nodes = tuple(_read_node(document) for document in documents)
    if [node.validator for node in nodes] != [each.did for each in validators.members]:
        raise InvalidInput("nodes must list each validator once, ascending by DID", field="nodes")
    check_distinct(nodes)
    return nodes


def check_distinct(nodes: Sequence[NodeAddress]) -> None:
    """No two validators share an address or a certificate: one machine would speak for both."""
    parts: tuple[tuple[str, str, list[str]], ...] = (
        ("peer", "peer address", [node.peer.lower() for node in nodes]),
        ("api", "API address", [node.api.lower().rstrip("/") for node in nodes]),
        ("certificate", "TLS certificate", ["".join((node.certificate or "").split()) for node in nodes]),
    )
    for part, what, values in parts:
        given = [value for value in values if value]
        for value in given:
            if given.count(value) > 1:
                shown = "" if part == "certificate" else f" {value}"
                raise InvalidInput(
                    f"two validators have the same {what}{shown}",
                    field=f"nodes.{part}",
                    hint="each validator needs its own",
                )


def _read_node(document: Any) -> NodeAddress:
    names = {"validator", "peer", "api"}
    if type(document) is not dict or not names <= set(document) <= names | {"certificate"}:
        raise InvalidInput("a node has validator, peer, api and certificate", field="nodes")
    if not all(type(value) is str for value in document.values()):
        raise InvalidInput("a node's parts are text", field="nodes")
    for name in ("peer", "api"):
        check_text(document[name], f"nodes.{name}", max_bytes=LIMITS.name_bytes)
    if not document.get("certificate", "").isascii():
        raise InvalidInput("a node's certificate is PEM", field="nodes.certificate")
    return NodeAddress(
        validator=keys.check_did(document["validator"], "nodes.validator"),
        peer=document["peer"],
        api=document["api"],
        certificate=document.get("certificate"),
    )


def _to_json(value: Any) -> Any:
    """Bytes become ``hex:…``; the rest stays what it is."""
    if isinstance(value, bytes):
        return _HEX + value.hex()
    if isinstance(value, str) and value.startswith(_HEX):
        raise InvalidInput(f"no text of genesis starts with {_HEX}", field="genesis")
    if isinstance(value, dict):
        return {name: _to_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_to_json(each) for each in value]
    return value


def _from_json(value: Any, field: str, depth: int = 1) -> Any:
    if depth > LIMITS.depth:
        raise InvalidInput(f"{field} is nested too deep", field=field)
    if isinstance(value, dict):
        return {name: _from_json(each, name, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_from_json(each, field, depth + 1) for each in value]
    if isinstance(value, str) and value.startswith(_HEX):
        try:
            data = bytes.fromhex(value.removeprefix(_HEX))
        except ValueError as problem:
            raise InvalidInput(f"{field} is not hexadecimal", field=field) from problem
        if _HEX + data.hex() != value:
            raise InvalidInput(f"{field} is not lower-case hexadecimal", field=field)
        return data
    return value


def validators_of(members: tuple[GenesisMember, ...]) -> ValidatorSet:
    """The members with the validator role, in the order that the set wants."""
    found = (Validator(each.did, each.key) for each in members if "validator" in each.roles)
    return ValidatorSet(tuple(sorted(found, key=lambda each: each.did)))
