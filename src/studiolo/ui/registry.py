"""The table of the pages. A page is a module with a function that makes its elements."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from .layout import Destination, frame


@dataclass(frozen=True)
class Page:
    """A page.

    Parameters:
        path: below ``/ui``; it may have parameters in braces, which ``build`` gets by name.
        destination: its place in the navigation, which several pages may share.
        module: a module of this package with ``async def build(...)``, which makes the elements of the page.
    """

    path: str
    destination: Destination
    module: str


CHAT = Destination("Chat", "/")

MODELS = Destination("Models", "/models")
SERVER = Destination("Server", "/server")
PLAYGROUND = Destination("Playground", "/playground")

DESTINATIONS = [CHAT, MODELS, SERVER, PLAYGROUND]
"""The navigation, in its order."""

BUILD_LIMIT_SEC = 60.0
"""How long the elements of a page may take: the first question to a host looks through the library."""

PAGES = [
    Page("/", CHAT, ".chat.page"),
    Page("/chat/{conversation_id}", CHAT, ".chat.page"),
    Page("/models", MODELS, ".models.page"),
    Page("/models/load", MODELS, ".models.load"),
    Page("/models/bench", MODELS, ".models.bench"),
    Page("/server", SERVER, ".server.page"),
    Page("/playground", PLAYGROUND, ".playground.page"),
]


def add_routes() -> None:
    """Make every page known to NiceGUI."""
    for page in PAGES:
        module = importlib.import_module(page.module, __package__)
        title = f"{page.destination.title} · studiolo"
        ui.page(page.path, title=title, response_timeout=BUILD_LIMIT_SEC)(_framed(page, module.build))


def _framed(page: Page, build: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def show(**parameters: Any) -> None:
        with frame(page.destination, DESTINATIONS):
            await build(**parameters)

    # The parameters of the path are read from the signature.
    show.__signature__ = inspect.signature(build, eval_str=True)  # pyright: ignore[reportFunctionMemberAccess]
    return show
