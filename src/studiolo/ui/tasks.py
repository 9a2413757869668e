"""Tasks beside the handlers of a page. An exception in one is shown on the page where it was begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from nicegui import background_tasks

_tasks: Any = background_tasks  # its types are unknown


def begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Begin a task. It ends with the pages at the latest.

    Parameters:
        name: what it does, for logs.
    """
    return _tasks.create(work, name=name)
