"""`node run`: one process that holds the home, orders blocks, serves clients, and stops in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web

from ..consensus.events import Identity
from ..consensus.record import Record
from ..consensus.replica import Replica
from ..encoding import build_readers
from ..errors import InvalidInput, NetworkError
from ..keys import Did, verify
from ..ledger.network import Network
from ..storage.files import exclusive
from ..storage.home import Home
from ..storage.keyfile import KeyPair, check_private
from .admission import VERIFIERS
from .api import Api
from .calls import threads
from .clock import both
from .driver import Driver
from .ledger_port import LedgerHeaders, LedgerPort
from .logs import set_up_logging
from .metrics import Metrics
from .peers import Peers, PeerStatus
from .pool import Pool
from .report import NodeReport
from .safety import SafetyDisk
from .settings import NodeSettings
from .tls import server_context

logger = logging.getLogger("credchain.node")

_STOP_SECONDS = 3
_COLLECTIONS = (20_000, 20, 100)
"""Of Python's garbage: a block makes some hundred thousand objects, none of them in a cycle, and looking for
cycles after each 700 took a tenth of a full node's time."""


class _NoLinks:
    """A validator alone has nobody to speak to."""

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def send(self, to: int, data: bytes) -> None:
        pass

    def broadcast(self, data: bytes) -> None:
        pass

    def status(self) -> list[PeerStatus]:
        return []


def check_validator(network: Network, keys: KeyPair) -> None:
    """InvalidInput unless this key is a validator's of this network."""
    if network.validators.index_of(keys.did) is None:
        raise InvalidInput(
            "these keys are not a validator's of this network",
            field="home",
            hint="credchain members --role validator lists them",
        )


def run_node(home: Home, network: Network, keys: KeyPair, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. ``ready`` is told the address once clients can connect.

    Errors: InvalidInput for settings, NetworkError for a taken port or home, StorageError when the
    ledger cannot be read or written: the process then ends, and starts anew from what is on disk.
    """
    check_validator(network, keys)
    settings = NodeSettings.load(home)
    context = None
    if settings.tls:
        check_private(home.tls_key)
        context = server_context(home.tls_certificate, home.tls_key)
    with exclusive(home.node_lock, "this home's node"):
        set_up_logging(settings.log_format)
        build_readers()
        gc.freeze()  # what is loaded by now stays: no collection need walk through it
        gc.set_threshold(*_COLLECTIONS)
        asyncio.run(_serve(home, network, keys, settings, context, ready))


async def _serve(
    home: Home,
    network: Network,
    keys: KeyPair,
    settings: NodeSettings,
    context: ssl.SSLContext | None,
    ready: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        on_ledger, on_disk = threads(stack, "ledger"), threads(stack, "safety")
        on_verifiers = threads(stack, "verifier", VERIFIERS)
        ledger: LedgerPort = await on_ledger(lambda: LedgerPort(home.ledger, network))
        stack.push_async_callback(on_ledger, ledger.close)
        safety: SafetyDisk = await on_disk(lambda: SafetyDisk(home.safety))
        stack.push_async_callback(on_disk, safety.close)
        record: Record | None = await on_disk(safety.load)
        identity = Identity(keys.did, keys.signing.sign, os.urandom(32))
        replica = Replica(identity, verify, LedgerHeaders(), ledger.chain(), record, both())
        pool = Pool()
        driver = Driver(replica, ledger, pool, safety, keys.did, on_ledger, on_disk, on_verifiers)
        links = _links(home, network, keys.did, settings, driver)
        driver.attach(links)
        names = {each.did: each.name for each in network.genesis.members}
        report = NodeReport(ledger, pool, driver, links, safety, names, on_disk)
        api = Api(ledger, pool, driver, Metrics(), on_ledger, report)
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        address = settings.listen_api
        try:
            await web.TCPSite(runner, address.host, address.port, ssl_context=context).start()
        except OSError as problem:
            raise NetworkError(
                f"cannot listen on {address.host}:{address.port}: {_system_words(problem)}",
                field="node.toml listen_api",
                hint="another program uses the port, or the address is not this machine's",
            ) from problem
        stack.push_async_callback(links.stop)
        await links.start()
        logger.info("started height=%d api=%s:%d", ledger.tip.height, address.host, address.port)
        ordering = asyncio.create_task(driver.run())
        ready(f"{'https' if context else 'http'}://{address.host}:{address.port}")
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((ordering, waiting), return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping height=%d", ledger.tip.height)
        driver.stop()
        waiting.cancel()
        await ordering


def _system_words(problem: OSError) -> str:
    """The system's own; a name that is not found has a negative number, which only its error knows."""
    if problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno)
    return problem.strerror or type(problem).__name__


def _links(
    home: Home, network: Network, own: Did, settings: NodeSettings, driver: Driver
) -> Peers | _NoLinks:
    if len(network.validators.members) == 1:
        return _NoLinks()
    check_private(home.tls_key)
    return Peers(
        network,
        own,
        home.tls_certificate,
        home.tls_key,
        settings.listen_peer,
        driver.receive,
        linked=driver.gossip.linked,
    )
