"""`node.toml`: where the node listens, what it advertises, how it logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..limits import LIMITS
from ..storage.files import parse_toml, read_text
from ..storage.home import Home

_LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    @staticmethod
    def parse(text: str, field: str) -> Address:
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise InvalidInput(
                f"{field} is {text!r}, not HOST:PORT", field=field, hint="for example 127.0.0.1:7440"
            )
        return Address(host.strip("[]"), int(port))

    def on_this_machine(self) -> Address:
        """Where to connect from here: an address that stands for all of this machine's is none."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)  # noqa: S104

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_api_url(url: str, field: str) -> tuple[bool, Address]:
    """(whether it is HTTPS, its address); plain HTTP on loopback only."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.path not in ("", "/"):
        raise InvalidInput(
            f"{field} is {url!r}, not an address of a node",
            field=field,
            hint="for example https://node.example.org:7441",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidInput(
            f"{field} {url} is plain HTTP, allowed on loopback only", field=field, hint="use https://"
        )
    return parts.scheme == "https", Address(parts.hostname, port)


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    listen_peer: Address
    listen_api: Address
    tls: bool
    log_format: str

    @property
    def local_url(self) -> str:
        """Where a program on this machine reaches the node's API."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{self.listen_api.on_this_machine()}"

    @staticmethod
    def load(home: Home) -> NodeSettings:
        """InvalidInput names the setting that is wrong."""
        text = read_text(home.node_settings, "node.toml", at_most=LIMITS.claims_file_bytes)
        document = parse_toml(text, str(home.node_settings))
        tls, _ = parse_api_url(_text(document, "api"), "node.toml api")
        log_format = document.get("log_format", "text")
        if log_format not in _LOG_FORMATS:
            raise InvalidInput(
                f"log_format must be {' or '.join(_LOG_FORMATS)}", field="node.toml log_format"
            )
        return NodeSettings(
            listen_peer=Address.parse(_text(document, "listen_peer"), "node.toml listen_peer"),
            listen_api=Address.parse(_text(document, "listen_api"), "node.toml listen_api"),
            tls=tls,
            log_format=log_format,
        )


def settings_text(*, peer: str, api: str) -> str:
    """A new node.toml: it listens where it is advertised."""
    _, address = parse_api_url(api, "api")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return (
        "# Where this node listens. The advertised addresses are in network.json;\n"
        "# behind a firewall or a proxy the two differ.\n"
        f'listen_peer = "{peer}"\n'
        f'listen_api = "{host}:{address.port}"\n'
        "# How clients reach it: https, or http on loopback.\n"
        f'api = "{api}"\n'
        '# "text" or "json", one event a line\n'
        'log_format = "text"\n'
    )


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"node.toml lacks {name}", field=f"node.toml {name}")
    return value
