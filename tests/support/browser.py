"""A real browser for the tests of the pages: Chromium; and axe-core, which judges whether pages are accessible."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from studiolo.paths import Home
from studiolo.server.pages.key import create_key
from studiolo.server.pages.sessions import sign_link
from tests.support.npm_packages import installed_packages
from tests.support.running import Server

PATIENCE_MS = 60_000
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 740}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser, in a profile of its own."""
    program = shutil.which("chromium")
    assert program is not None, "The tests of the pages need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Site:
    """The pages of a server, and a browser with a session.

    Attributes:
        faults: what the pages did that no page should: errors of scripts, requests to other hosts.
    """

    server: Server
    home: Home
    context: BrowserContext
    faults: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.server.address}/ui"

    @property
    def link(self) -> str:
        """A fresh one-time link."""
        return f"{self.url}/enter?code={sign_link(create_key(self.home), self.port)}"

    @property
    def port(self) -> int:
        return int(self.server.address.rpartition(":")[2])

    def enter(self) -> None:
        """Begin the session of the browser."""
        page = self.context.new_page()
        page.goto(self.link)
        page.wait_for_url(f"{self.url}/", timeout=PATIENCE_MS)
        page.close()

    def new_page(self, path: str = "/", size: dict[str, int] = WIDE) -> Page:
        """Open a page."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
        self.watch(page)
        page.goto(f"{self.url}{path}")
        return page

    def watch(self, page: Page) -> None:
        """Record the faults of a page."""
        page.on("pageerror", lambda error: self.faults.append(f"error of a script: {error}"))
        page.on("request", lambda request: self._look_at(request.url))

    def _look_at(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != self.server.address:
            self.faults.append(f"request to another host: {url}")


IS_THERE = "element => element.isConnected"
"""Whether an element is still the same: a button that is made again while it is pressed does nothing."""


FOCUSED = """() => {
  const element = document.activeElement;
  return element.getAttribute("aria-label") || element.innerText || element.tagName;
}"""
"""The name of the element that has the focus."""

OPEN_MENU = "[id^=q-portal--menu]"
"""What is there from before a menu opens until it is closed, in CSS."""


def choose(page: Page, name: str, option: str) -> None:
    """Choose an option of the select called ``name``, and wait until its menu is closed and the select has the focus.

    Before that, the menu takes the next click, and the select the next key.
    """
    select = page.get_by_role("combobox", name=name)
    select.click()
    page.get_by_role("option", name=option, exact=True).click()
    expect(page.locator(OPEN_MENU)).to_have_count(0, timeout=PATIENCE_MS)
    expect(select).to_be_focused(timeout=PATIENCE_MS)


def accessibility_faults(page: Page, cache: Path, within: str = "") -> list[str]:
    """Return what axe-core finds on a page by the rules of WCAG 2.1 A and AA, a line each.

    Parameters:
        within: a selector of the only part to examine, such as a dialog: axe takes what is behind it for visible.
    """
    folder = installed_packages(Path(__file__).with_name("axe"), "axe", cache)
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(f"() => {{ {(folder / 'node_modules' / 'axe-core' / 'axe.min.js').read_text()} }}")
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    found: dict[str, Any] = page.evaluate(
        "([within, rules]) => axe.run(within || document, {runOnly: rules, resultTypes: ['violations']})",
        [within, rules],
    )
    return [
        f"{each['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    return page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
