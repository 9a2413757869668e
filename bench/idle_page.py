"""What an open page costs a server while nobody does anything: a long conversation, and the page of the server.

Run as ``python -m bench.idle_page``. Chromium opens the pages of a server without a loaded model. The figures are the
processor time of the server and its child processes as shares of one core: first without a page, then with each, and at
last when they are closed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import psutil
from playwright.sync_api import expect

from studiolo.domain.chat import Text
from studiolo.paths import Home
from studiolo.server.pages.key import create_key
from studiolo.server.pages.sessions import sign_link
from studiolo.settings import read_settings
from studiolo.store.conversation import Conversation, ConversationMessage
from studiolo.store.conversations import Conversations
from studiolo.store.store import open_store
from tests.support.browser import PATIENCE_MS, chromium

from .processes import Server, processor_seconds, serving

MESSAGES = 120
SETTLE_SEC = 5.0
"""Seconds after a start or a change before the server counts as idle."""

PARAGRAPH = (
    "A *studiolo* is a small room with `books`, where one reads and writes.\n\n- one\n- two\n\n```python\nx = 1\n```\n"
)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each page is watched")
    seconds = parser.parse_args(arguments).seconds
    with tempfile.TemporaryDirectory(prefix="studiolo-bench-") as folder:
        home = Home(Path(folder, "home"))
        home.root.mkdir()
        home.settings.write_text("[library]\nprograms = []\n")
        conversation = asyncio.run(_stored(home))
        with serving(environment={"STUDIOLO_HOME": str(home.root)}) as server:
            for name, share in _shares(home, server, conversation, seconds):
                print(f"{name}: {share:.2%} of a core over {seconds:g} s", flush=True)
    return 0


async def _stored(home: Home) -> str:
    """Store a conversation, and return its id."""
    store = open_store(home, read_settings(home.settings).store)
    conversations, conversation, parent = Conversations(store), Conversation(title="Rooms"), None
    await conversations.save(conversation)
    for number in range(MESSAGES):
        role = "assistant" if number % 2 else "user"
        message = ConversationMessage(role=role, parts=[Text(PARAGRAPH)], parent=parent)
        await conversations.add(conversation.id, message)
        parent = message.id
    await store.close()
    return conversation.id


def _shares(home: Home, server: Server, conversation: str, seconds: float) -> Generator[tuple[str, float]]:
    """Yield the name of what is open, and the server's share of a core meanwhile."""
    address, process = server.address, psutil.Process(server.process.pid)
    time.sleep(SETTLE_SEC)
    yield "no page, none opened before", _share(process, seconds)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"http://{address}/ui/enter?code={sign_link(create_key(home), int(address.rpartition(':')[2]))}")
        page.wait_for_url(f"http://{address}/ui/", timeout=PATIENCE_MS)
        for name, path, text in (
            (f"a conversation of {MESSAGES} messages", f"/chat/{conversation}", "Rooms"),
            ("the page of the server", "/server", "Server"),
        ):
            page.goto(f"http://{address}/ui{path}")
            expect(page.get_by_role("heading", level=1)).to_have_text(text, timeout=PATIENCE_MS)
            time.sleep(SETTLE_SEC)
            yield name, _share(process, seconds)
        page.close()
        time.sleep(SETTLE_SEC)
        yield "no page, all closed", _share(process, seconds)


def _share(process: psutil.Process, seconds: float) -> float:
    """Return the share of a core that a process and its children take within some seconds."""
    before, began = _used(process), time.monotonic()
    time.sleep(seconds)
    return (_used(process) - before) / (time.monotonic() - began)


def _used(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, in seconds."""
    return processor_seconds(process.pid, *(each.pid for each in process.children(recursive=True)))


if __name__ == "__main__":
    sys.exit(main())
