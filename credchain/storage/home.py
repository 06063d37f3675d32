"""A home: the folder with a member's keys, its card, the pinned network, and its databases."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..certificates import Millis
from ..encoding import Digest
from ..errors import InvalidInput, StorageError
from ..keys import Did
from ..ledger.network import Network
from ..limits import LIMITS
from .files import exclusive, read_text, replace_file
from .keyfile import KeyPair, read_did, read_keys


@dataclass(frozen=True)
class Home:
    """Paths below one folder; nothing is read or made by naming one."""

    path: Path

    @property
    def keys(self) -> Path:
        return self.path / "keys.json"

    @property
    def card(self) -> Path:
        return self.path / "member.toml"

    @property
    def network_file(self) -> Path:
        return self.path / "network.json"

    @property
    def node_settings(self) -> Path:
        return self.path / "node.toml"

    @property
    def tls_key(self) -> Path:
        return self.path / "tls-key.pem"

    @property
    def tls_certificate(self) -> Path:
        return self.path / "tls-certificate.pem"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.db"

    @property
    def safety(self) -> Path:
        return self.path / "safety.db"

    @property
    def member_database(self) -> Path:
        return self.path / "member.db"

    @property
    def wallet(self) -> Path:
        return self.path / "wallet.db"

    @property
    def node_lock(self) -> Path:
        return self.path / "node.lock"

    @property
    def member_lock(self) -> Path:
        return self.path / "member.lock"

    @property
    def trust_file(self) -> Path:
        return self.path / "trust.json"

    def did(self) -> Did:
        """Whose home it is; InvalidInput where there are no keys."""
        if not self.keys.exists():
            raise InvalidInput(
                f"there are no keys in {self.path}",
                field="home",
                hint="run credchain init --name NAME, or name another folder with --home",
            )
        return read_did(self.keys)

    def unlock(self, passphrase: str) -> KeyPair:
        return read_keys(self.keys, passphrase)

    def network(self) -> Network:
        """The pinned trust anchor; InvalidInput where none was joined."""
        if not self.network_file.exists():
            raise InvalidInput(
                f"no network was joined in {self.path}",
                field="network",
                hint="run credchain join network.json, or name the file with --network",
            )
        return load_network(self.network_file)

    @cached_property
    def trust(self) -> Trust:
        return Trust(self.trust_file, self.path / "trust.lock")


def load_network(path: Path) -> Network:
    """A network file; InvalidInput names what is wrong with it."""
    text = read_text(path, "network", at_most=LIMITS.network_file_bytes)
    try:
        network = Network.parse(text)
        network.check_peers()
    except InvalidInput as problem:
        raise InvalidInput(
            f"{path}: {problem.message}",
            field=problem.field,
            hint=problem.hint or "ask an operator for network.json and join again",
        ) from problem
    return network


@dataclass(frozen=True, slots=True)
class Seen:
    """The highest header this home ever verified in a network, and that header's time."""

    height: int
    time: Millis


class Trust:
    """What this home remembers of each network: it never believes a lower height again."""

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock

    def seen(self, network: Network) -> Seen:
        """The highest seen; genesis where none was."""
        found = self._read().get(network.id.hex())
        if found is None:
            return Seen(0, network.genesis.time)
        return Seen(found["height"], Millis(found["time"]))

    def remember(self, network: Network, seen: Seen) -> None:
        """Keep the higher; StorageError if it cannot be written."""
        with exclusive(self._lock, "the home's trust file", wait=2):
            known = self._read()
            before = known.get(network.id.hex())
            if before is not None and before["height"] >= seen.height:
                return
            subjects = {} if before is None else before.get("subjects", {})
            known[network.id.hex()] = {"height": seen.height, "time": seen.time, "subjects": subjects}
            self._write(known)

    def seen_subject(self, network: Network, subject: Digest) -> int:
        """The highest height at which this home verified this radiologist; 0 where it never did."""
        found: int = self._read().get(network.id.hex(), {}).get("subjects", {}).get(subject.hex(), 0)
        return found

    def remember_subject(self, network: Network, subject: Digest, height: int) -> None:
        """Keep the higher: an older bundle of this radiologist is not believed again."""
        with exclusive(self._lock, "the home's trust file", wait=2):
            known = self._read()
            default = {"height": 0, "time": network.genesis.time}
            subjects = known.setdefault(network.id.hex(), default).setdefault("subjects", {})
            if subjects.get(subject.hex(), 0) < height:
                subjects[subject.hex()] = height
                self._write(known)

    def _write(self, known: dict[str, Any]) -> None:
        replace_file(self._path, json.dumps(known, indent=2, sort_keys=True).encode() + b"\n")

    def _read(self) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        problem = StorageError(
            f"{self._path} is damaged",
            hint="without it an old state could be believed; delete it only if you accept that once",
        )
        try:
            document = json.loads(self._path.read_text())
        except (OSError, ValueError, RecursionError) as cause:
            raise problem from cause
        entries = list(document.values()) if isinstance(document, dict) else [None]
        if not all(
            isinstance(each, dict)
            and _whole(each, "height", "time")
            and isinstance(subjects := each.get("subjects", {}), dict)
            and _whole(subjects, *subjects)
            for each in entries
        ):
            raise problem
        return dict(document)


def _whole(entry: dict[str, Any], *names: str) -> bool:
    """Whether these are counts as JSON writes them: no booleans, nothing negative or absurd."""
    return all(type(entry.get(name)) is int and 0 <= entry[name] <= LIMITS.max_integer for name in names)


def default_home() -> Path:
    """The platform's folder for user data."""
    from platformdirs import user_data_path

    return user_data_path("credchain")


def slug(name: str) -> str:
    """A folder's name for a member: lower-case letters and digits, joined by hyphens."""
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not found:
        raise InvalidInput(f"the name {name!r} has no letters or digits", field="name")
    return found


def packaged_categories() -> list[dict[str, Any]]:
    """The category files that a new network starts from."""
    from importlib.resources import files

    folder = files("credchain.credentials.data")
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".json"))
    return [json.loads(folder.joinpath(name).read_text()) for name in names]


def samples() -> Path:
    """The folder with the sample consortium."""
    from importlib.resources import files

    return Path(os.fspath(str(files("credchain.samples"))))
