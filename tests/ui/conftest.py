"""One browser and one server for all tests of the pages, which run in one process."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError

import studiolo as lm
from docs import screenshots
from studiolo.paths import Home
from tests.support.browser import FOCUSED, PATIENCE_MS, Site, accessibility_faults, chromium
from tests.support.homes import DEFAULT_MODEL, new_home
from tests.support.models.built import built
from tests.support.models.thinking import write_thinking
from tests.support.running import serving
from tests.support.web import Web, go_nowhere_else

DOOR = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("door")


@server.tool()
def look() -> str:
    \"\"\"Look at the door.\"\"\"
    return "It is ajar."


server.run()
"""
"""An MCP server with one tool, which has no parameters."""


HIDE_FOLDER = """(folder) => {
  const hide = () => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      if (text.data.includes(folder)) text.data = text.data.replaceAll(folder, "~/.local/share/studiolo");
    }
  };
  new MutationObserver(hide).observe(document.body, {subtree: true, childList: true, characterData: true});
  hide();
}"""
"""Show the usual home folder in place of another one, also where a page is changed: before it is painted."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def hub() -> Iterator[Web]:
    """A stub of the Hugging Face hub, for the server of the pages."""
    with Web() as web:
        yield web


@pytest.fixture(scope="package")
def site(
    browser: Browser,
    cache_home: Home,
    quick_home: Home,
    vision_model: Path,
    hub: Web,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The pages of a server with the quick model, one that reasons and one that sees, and a browser with a session."""
    folder = tmp_path_factory.mktemp("pages")
    quick = next(quick_home.models.rglob("SmolLM2*.gguf"))
    thinking = built(cache_home.root, "quick-thinking.Q4_1.gguf", write_thinking, quick)
    home = new_home(folder, quick_home, vision_model, thinking)
    with home.settings.open("a") as settings:
        for model in (DEFAULT_MODEL, "tiny-vision", "quick-thinking"):
            settings.write(
                f'[models."{model}"]\nload = {{ context_length = 2048 }}\nprediction = {{ max_tokens = 30 }}\n'
            )
    program = folder / "door.py"
    program.write_text(DOOR)
    door = {"command": sys.executable, "args": [str(program)]}
    (home.root / "mcp.json").write_text(json.dumps({"mcpServers": {"door": door}}))
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            go_nowhere_else(patch, hub, folder)
            server = stack.enter_context(serving(home, folder, "--no-load"))
        context = browser.new_context()
        site = Site(server, home, context)
        site.enter()
        yield site
        context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report what the open pages show, where a test has failed."""
    report = yield
    site: Site | None = getattr(item, "funcargs", {}).get("site")
    if site is not None and call.when == "call" and report.failed:
        for page in site.context.pages:
            with contextlib.suppress(PlaywrightError):
                focused = str(page.evaluate(FOCUSED))[:80]
                shown = page.locator("body").aria_snapshot(timeout=5_000)
                report.sections.append((f"Page {page.url}", f"The focus is on {focused!r}.\n{shown}"))
    return report


@pytest.fixture(scope="module", autouse=True)
def _the_server_is_left_without_models(site: Site) -> Iterator[None]:
    """The tests of all files have the same server."""
    yield
    with lm.Client(site.server.address) as client:
        for model in client.llm.list_loaded():
            model.unload()


@pytest.fixture
def open_page(site: Site) -> Iterator[Callable[..., Page]]:
    """Opens pages, which are closed after the test. None may have a fault."""
    opened: list[Page] = []

    def open_page(path: str = "/", **options: dict[str, int]) -> Page:
        opened.append(site.new_page(path, **options))
        return opened[-1]

    site.faults.clear()
    yield open_page
    for page in opened:
        page.close()
    assert not site.faults


@pytest.fixture
def take_screenshots(site: Site) -> Callable[[str, Page], None]:
    """Takes the screenshots of a page that the documentation shows, by its name there, without the tests' folders."""

    def take_screenshots(name: str, page: Page) -> None:
        before = page.viewport_size
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.evaluate(HIDE_FOLDER, str(site.home.root))
        for width, height in screenshots.SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            screenshots.save(name, width, page.screenshot(animations="disabled"))
            assert str(site.home.root) not in page.inner_text("body")
        assert before is not None
        page.set_viewport_size(before)

    return take_screenshots


@pytest.fixture(scope="package")
def faults_of(cache_home: Home) -> Callable[..., list[str]]:
    """Finds what is not accessible on a page."""

    def faults_of(page: Page, within: str = "") -> list[str]:
        return accessibility_faults(page, cache_home.root, within)

    return faults_of
