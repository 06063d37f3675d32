"""The node's API: nobody holds a request open by never ending its body."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiohttp import web

from credchain.limits import LIMITS
from credchain.node import api as node_api
from credchain.node.api import Api
from tests.values import replace


class _Endless:
    """A request whose body does not end."""

    content_length = 100
    content_type = "application/vnd.msgpack"
    transport = None

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


def _writes() -> list[str]:
    nothing = cast(Any, None)
    api = Api(nothing, nothing, nothing, nothing, nothing, nothing)
    routes = api.application().router.routes()
    return [each.handler.__name__ for each in routes if each.method == "POST"]


@pytest.mark.parametrize("name", _writes())
async def test_a_body_that_does_not_end_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_api, "LIMITS", replace(LIMITS, request_timeout=50))
    nothing = cast(Any, None)
    api = Api(nothing, nothing, nothing, nothing, nothing, nothing)
    async with asyncio.timeout(30):
        with pytest.raises(web.HTTPRequestTimeout):
            await getattr(api, name)(cast(web.Request, _Endless()))
