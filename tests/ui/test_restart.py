"""A server that is restarted under a page: the page comes back, with its session, its messages and its draft."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from studiolo.paths import Home
from tests.support.browser import PATIENCE_MS, Site
from tests.support.chat_page import begin_endless_answer
from tests.support.homes import new_home
from tests.support.running import free_port, serving

pytestmark = pytest.mark.slow

expect.set_options(timeout=PATIENCE_MS)


def test_a_page_comes_back_after_a_restart(browser: Browser, quick_home: Home, tmp_path: Path) -> None:
    home = new_home(tmp_path, quick_home)
    with home.settings.open("a") as settings:
        settings.write("[server]\ndrain_limit_sec = 0\n")
    port = str(free_port())
    context = browser.new_context()
    with serving(home, tmp_path, "--no-load", "--port", port) as server:
        site = Site(server, home, context)
        site.enter()
        page = site.new_page()
        begin_endless_answer(page)
        question = page.get_by_role("textbox", name="Question")
        question.fill("What I was about to ask")
        server.stop()
    expect(page.get_by_text("Connection lost")).to_be_visible()
    with serving(home, tmp_path, "--no-load", "--port", port):
        kept = page.get_by_role("article", name="Model")
        expect(kept).to_contain_text(re.compile("stopped|not complete"))
        expect(page.get_by_text("Connection lost")).to_be_hidden()
        expect(question).to_have_value("What I was about to ask")
        page.close()
    context.close()
    assert site.faults == []
