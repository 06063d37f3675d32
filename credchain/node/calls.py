"""Threads of their own for what would hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

Call = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function on a thread of its own, and gives its result."""


def threads(stack: AsyncExitStack, name: str, count: int = 1) -> Call:
    """So many threads that end with the stack, as a function that runs others there."""
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(count, name)
    stack.callback(executor.shutdown)

    async def call(function: Callable[[], Any]) -> Any:
        return await loop.run_in_executor(executor, function)

    return call
