"""A server in a thread of the tests' own process, on the fake engine: for faults, races and its own speed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from studiolo.dialects import dialects
from studiolo.dialects.base import Credentials, Serving
from studiolo.host.host import Host
from studiolo.server.access import AccessRules, guarded
from studiolo.server.app import create_app
from studiolo.server.gathered_writes import gathering_protocol
from studiolo.store.store import open_store
from tests.support.homes import DEFAULT_MODEL
from tests.support.running import free_port, wait_until

LLM = DEFAULT_MODEL
"""The key of an LLM of the server that the tests of the HTTP dialects share: quick, and what it says makes no sense."""
SENSIBLE = "smollm2-135m-sensible"
"""The key of the whole default model there, for tests that want an answer to end, a call or a value to make sense."""
VALUES = "smollm2-135m-values"
"""The key of the quick model there whose values end: for tests that want any call, or any value of a schema."""
EMBEDDING_MODEL = "text-embedding-nomic-embed-text-v1.5"
"""The key of an embedding model there."""


@dataclass
class ServerInThread:
    """A server, and its host.

    Parameters:
        url: such as ``http://127.0.0.1:1234``.
        host: belongs to the server's event loop: look at it, and change nothing.
    """

    url: str
    host: Host


@contextlib.contextmanager
def serving_in_thread(
    credentials: Credentials | None = None, rules: AccessRules | None = None
) -> Iterator[ServerInThread]:
    """Serve the home of the environment, in a thread, to the end of the block.

    Parameters:
        rules: which pages may use it; ``None`` for requests of no page.
    """
    port = free_port()
    servers: list[uvicorn.Server] = []
    hosts: list[Host] = []

    async def serve() -> None:
        host = Host()
        store = open_store(host.home, host.settings.current().store)
        app = create_app(Serving(host, credentials=credentials, store=store), dialects())
        if rules is not None:
            app = guarded(app, rules)
        config = uvicorn.Config(app, "127.0.0.1", port, http=gathering_protocol(), log_config=None, lifespan="off")
        hosts.append(host)
        servers.append(uvicorn.Server(config))
        try:
            await servers[0].serve()
        finally:
            await host.stop()
            await store.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        wait_until(lambda: bool(servers) and servers[0].started, "the server to listen")
        yield ServerInThread(f"http://127.0.0.1:{port}", hosts[0])
    finally:
        if servers:
            servers[0].should_exit = servers[0].force_exit = True
        thread.join(30)
