"""The app of the pages, for the server: NiceGUI's, below ``/ui``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Any

from ..page_contract import PREFIX, PageContext
from ..sdk.async_client import AsyncClient

RECONNECT_SEC = 30.0
"""How long a page that has lost its connection is kept. A browser is asked whether it is there at 0.8 of this."""


@contextlib.asynccontextmanager
async def pages(context: PageContext) -> AsyncGenerator[Any, None]:
    """Start the pages and stop them. Yields the ASGI app; see :class:`studiolo.page_contract.Pages`.

    Raises:
        ImportError: NiceGUI is not installed.
        ConnectionFailedError: the host does not answer.
    """
    with _nothing_in_the_working_directory(context):
        from fastapi import FastAPI
        from nicegui import app as nicegui_app
        from nicegui import ui

    from .backend import Backend, use_backend
    from .chat.images import add_image_route
    from .chat.live import stop_all
    from .history import start_history
    from .models.benchmarks import stop_benchmarks
    from .models.downloads import stop_downloads
    from .monitor import start_monitor, stop_monitor
    from .registry import add_routes
    from .server.logs import start_log, stop_log
    from .server.recorder import stop_recorder
    from .theme import HEAD, appear_at_once

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    ui.add_head_html(HEAD, shared=True)
    appear_at_once()
    add_routes()
    add_image_route()
    core: Any = nicegui_app
    core.config.quasar_config["loadingBar"]["skipHijack"] = True  # a bar for each request, without a name
    nicegui: Any = ui  # the types of some of its functions are unknown
    nicegui.run_with(
        app,
        mount_path=PREFIX,
        title="studiolo",
        language="en-US",
        dark=None,
        favicon="◫",
        tailwind=False,
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_SEC,
        show_welcome_message=False,
    )
    async with AsyncClient(context.address, context.api_token) as client:
        use_backend(Backend(context, client))
        async with app.router.lifespan_context(app):
            start_log()
            start_history()
            start_monitor()
            try:
                yield app
            finally:
                await stop_benchmarks()
                await stop_monitor()
                await stop_recorder()
                stop_log()
                await stop_downloads()
                await stop_all()
                use_backend(None)


@contextlib.contextmanager
def _nothing_in_the_working_directory(context: PageContext):  # pyright: ignore[reportUnknownParameterType]
    """NiceGUI looks for its storage in a folder of the working directory when it is imported. The pages use none."""
    name = "NICEGUI_STORAGE_PATH"
    before = os.environ.get(name)
    os.environ[name] = str(context.home.root / "pages")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
