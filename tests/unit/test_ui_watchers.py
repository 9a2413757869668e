"""Pages that follow something: called after each change while in a browser, and once when they are there again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("nicegui")

from nicegui import Client, core, ui
from starlette.requests import Request

from studiolo.ui.watchers import Watchers


async def test_a_page_that_lost_its_connection_is_called_once_when_it_is_there_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core, "loop", asyncio.get_running_loop())
    client: Any = Client(
        ui.page(""), request=Request({"type": "http", "path": "/", "query_string": b"", "headers": []})
    )
    watchers, calls = Watchers(), list[object]()
    with client:
        watchers.add_page(lambda: calls.append(ui.context.client))

    watchers.call()
    assert not watchers.are_there and calls == [], "it was called before a browser had it"
    await client.handle_handshake("socket", "tab", None, "document", None)
    assert watchers.are_there and calls == [client]
    watchers.call()
    assert calls == [client] * 2

    client.handle_disconnect("socket")
    for _ in range(3):
        watchers.call()
    assert calls == [client] * 2, "what it shows was changed, which keeps the library busy"
    await client.handle_handshake("other socket", "tab", None, "document", None)
    assert calls == [client] * 3
    client.handle_disconnect("other socket")
    await client.handle_handshake("third socket", "tab", None, "document", None)
    assert calls == [client] * 3, "nothing had changed meanwhile"

    client.delete()
    watchers.call()
    assert len(calls) == 3
    await asyncio.sleep(0)
