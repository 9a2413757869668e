"""The listener of the pages' client accepts the API token that it was made with, and nothing else."""

from __future__ import annotations

import pytest

import studiolo as lm
from studiolo.credentials import new_api_token
from studiolo.dialects import dialects
from studiolo.dialects.base import Serving
from studiolo.host.host import Host
from studiolo.paths import Home
from studiolo.server.app import create_app
from studiolo.server.pages.internal import internal_listener


async def test_the_listener_of_the_pages_accepts_its_own_api_token_alone(empty_home: Home) -> None:
    host = Host()
    async with internal_listener(Serving(host), dialects()["lmstudio"], create_app) as (address, token):
        assert address.startswith("127.0.0.1:")
        async with lm.AsyncClient(address, api_token=token) as client:
            assert await client.list_loaded_models() == []
        for wrong in ("", str(new_api_token())):
            async with lm.AsyncClient(address, api_token=wrong) as client:
                with pytest.raises(lm.AuthenticationError):
                    await client.list_loaded_models()
    await host.stop()
