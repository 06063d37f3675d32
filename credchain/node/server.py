"""`node run`: one process that holds the home, orders blocks, serves clients, and stops in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from ..errors import InvalidInput, NetworkError
from ..ledger.network import Network
from ..storage.files import exclusive
from ..storage.home import Home
from ..storage.keyfile import KeyPair, check_private
from .api import Api
from .ledger_port import LedgerPort
from .logs import set_up_logging
from .metrics import Metrics
from .pool import Pool
from .producer import Producer
from .settings import NodeSettings
from .tls import server_context

logger = logging.getLogger("credchain.node")

_STOP_SECONDS = 3


def check_validator(network: Network, keys: KeyPair) -> None:
    """InvalidInput unless this key can order this network alone."""
    validators = network.validators
    if validators.index_of(keys.did) is None:
        raise InvalidInput(
            "these keys are not a validator's of this network",
            field="home",
            hint="credchain members --role validator lists them",
        )
    if len(validators.members) > 1:
        raise InvalidInput(
            f"the network has {len(validators.members)} validators; this version runs one",
            field="network",
            hint="make the network with credchain network create --dev",
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
        thread = ThreadPoolExecutor(1, "ledger")
        stack.callback(thread.shutdown)

        async def call(function: Callable[[], Any]) -> Any:
            return await loop.run_in_executor(thread, function)

        ledger = await call(lambda: LedgerPort(home.ledger, network))
        stack.push_async_callback(call, ledger.close)
        pool = Pool()
        producer = Producer(ledger, keys, pool, call)
        api = Api(ledger, pool, Metrics(), call, lambda: _why_idle(producer, pool))
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        ordering = asyncio.create_task(producer.run())
        address = settings.listen_api
        try:
            await web.TCPSite(runner, address.host, address.port, ssl_context=context).start()
        except OSError as problem:
            ordering.cancel()
            raise NetworkError(
                f"cannot listen on {address.host}:{address.port}: {os.strerror(problem.errno or 0)}",
                field="node.toml listen_api",
                hint="another program uses the port, or the address is not this machine's",
            ) from problem
        logger.info("started height=%d api=%s:%d", ledger.tip.height, address.host, address.port)
        ready(f"{'https' if context else 'http'}://{address.host}:{address.port}")
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((ordering, waiting), return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping height=%d", ledger.tip.height)
        producer.stop()
        waiting.cancel()
        await ordering


def _why_idle(producer: Producer, pool: Pool) -> str:
    """In one sentence, why no transaction is being committed."""
    if producer.waiting_for_clock:
        return "the last block's time is ahead of this machine's clock: check the clock"
    if len(pool):
        return f"{len(pool)} transactions wait for the next block"
    return "nothing waits; a heartbeat block follows every 10 seconds"
