"""The demo's lying node: it goes on telling what was true once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen


class Liar:
    """A node that goes on telling what was true once."""

    def __init__(self, honest: str) -> None:
        self._honest = honest
        self._answers: dict[str, bytes] = {}
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = liar._answers.get(self.path, b"{}")
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def remember(self, npi: str, network_file: Path) -> None:
        """Fetch what the honest node says about this NPI now, and keep saying it."""
        from credchain.credentials.npi import parse_npi
        from credchain.credentials.subjects import npi_subject
        from credchain.storage.home import load_network

        network = load_network(network_file)
        names = [name for name in sorted(network.categories) if network.categories[name].by_npi]
        query = "&".join(f"dossier={name}:{npi_subject(name, parse_npi(npi)).hex()}" for name in names)
        path = f"/v1/dossiers?{query}&documents=1"
        with urlopen(self._honest + path, timeout=10) as response:  # noqa: S310  # our own node
            self._answers[path] = response.read()


@contextmanager
def lying_node(honest: str) -> Iterator[Liar]:
    liar = Liar(honest)
    thread = threading.Thread(target=liar.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield liar
    finally:
        liar.server.shutdown()
        liar.server.server_close()
