"""API tokens on the page of the server: created, listed and revoked by the user of its computer alone."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

import studiolo as lm
from studiolo.errors import AuthenticationError
from studiolo.paths import Home
from studiolo.server.token_file import add_api_token, list_api_tokens
from tests.support.browser import NARROW, Site, overflow
from tests.support.homes import new_home
from tests.support.running import serving

pytestmark = pytest.mark.slow

Opener = Callable[..., Page]
Faults = Callable[..., list[str]]


@pytest.fixture(scope="module")
def guarded(browser: Browser, quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The pages of a server that requires API tokens, in a session of the user."""
    folder = tmp_path_factory.mktemp("guarded")
    home = new_home(folder, quick_home)
    token = add_api_token(home.root / "tokens", "the first")
    with serving(home, folder, "--no-load", "--token-file", str(home.root / "tokens")) as server:
        context = browser.new_context()
        site = Site(server, home, context)
        site.enter()
        yield site
        context.close()
    assert token.passkey not in server.said()


def test_a_token_is_shown_once_and_accepted_until_it_is_revoked(guarded: Site, faults_of: Faults) -> None:
    page = guarded.new_page("/server", size=NARROW)
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="Create an API token…").click()
    page.get_by_label("What it is for").fill("the laptop")
    page.keyboard.press("Enter")
    shown = page.get_by_role("dialog").get_by_role("region", name="API token")
    expect(shown).to_have_text(re.compile("^sk-lm-"))
    token = shown.inner_text()
    assert faults_of(page, "[role=dialog]") == []
    page.get_by_role("button", name="Close").press("Enter")
    expect(shown).to_have_count(0)
    identifier = token[6:14]
    line = page.get_by_role("group", name=f"API token {identifier}")
    expect(line).to_contain_text("the laptop")
    expect(line).to_contain_text("created 20")
    page.reload()
    expect(line).to_be_visible()
    assert token.partition(":")[2] not in page.content()
    assert overflow(page) == 0 and faults_of(page) == []
    with lm.Client(guarded.server.address, token) as client:
        assert client.llm.list_loaded() == []

    line.get_by_role("button", name="Revoke…").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).press("Enter")
    expect(line).to_have_count(0)
    with lm.Client(guarded.server.address, token) as client, pytest.raises(AuthenticationError):
        client.llm.list_loaded()
    page.get_by_role("group", name=re.compile("^API token")).get_by_role("button", name="Revoke…").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("is the last API token")).to_be_visible()
    assert len(list_api_tokens(guarded.home.root / "tokens")) == 1
    assert guarded.faults == []
    page.close()


def test_a_session_of_an_api_token_sees_and_changes_none(guarded: Site, browser: Browser) -> None:
    token = add_api_token(guarded.home.root / "tokens")
    order = urllib.request.Request(f"{guarded.url}/link", b"", {"Authorization": f"Bearer {token}"}, method="POST")
    with urllib.request.urlopen(order, timeout=60) as answer:
        path = json.loads(answer.read())["path"]
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://{guarded.server.address}{path}")
    page.wait_for_url(f"{guarded.url}/")
    page.goto(f"{guarded.url}/server")
    expect(page.get_by_text("This session belongs to an API token.")).to_be_visible()
    assert "Create an API token" not in page.content() and "the first" not in page.content()
    page.goto(f"{guarded.url}/")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Max tokens", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Save as a preset…")).to_have_count(0)
    context.close()


def test_a_server_without_tokens_says_how_to_require_them(open_page: Opener) -> None:
    page = open_page("/server")
    commands = page.get_by_role("region", name="Commands")
    expect(commands).to_contain_text("studiolo server token")
    expect(commands).to_contain_text("studiolo server restart --token-file")
    expect(page.get_by_role("button", name="Create an API token…")).to_have_count(0)
