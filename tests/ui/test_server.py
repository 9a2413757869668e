"""The page of the server: slots and figures live, plots, the log, prompts exactly as the engine has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

import studiolo as lm
from tests.support.browser import NARROW, Site, overflow
from tests.support.homes import DEFAULT_MODEL

pytestmark = pytest.mark.slow

Opener = Callable[..., Page]
Faults = Callable[..., list[str]]


@pytest.fixture
def llm(site: Site) -> Iterator[lm.LLM]:
    """A loaded model, of another client than the pages."""
    with lm.Client(site.server.address) as client:
        llm = client.llm.load_new_instance(DEFAULT_MODEL, "watched", config={"context_length": 512})
        yield llm
        llm.unload()


@pytest.mark.screenshots
def test_what_a_client_does_is_seen_as_it_is_done(
    llm: lm.LLM, open_page: Opener, faults_of: Faults, take_screenshots: Callable[[str, Page], None]
) -> None:
    page = open_page("/server", size=NARROW)
    instance = page.get_by_role("group", name="watched", exact=True)
    expect(instance).to_contain_text("0 of 4 slots in use")
    expect(instance).to_contain_text("0 tokens generated")
    llm.complete("The quick brown fox", config={"max_tokens": 20})
    expect(instance).to_contain_text("20 tokens generated")
    plot = page.get_by_role("group", name="Tokens a second")
    expect(plot).to_contain_text("at most")
    take_screenshots("server", page)
    assert overflow(page) == 0
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert faults_of(page) == []


def test_requests_are_recorded_only_when_the_user_wants_it(
    site: Site, llm: lm.LLM, open_page: Opener, faults_of: Faults
) -> None:
    page = open_page("/server")
    expect(page.get_by_text("Nothing is recorded.")).to_be_visible()
    llm.complete("unseen", config={"max_tokens": 1})
    switch = page.get_by_role("switch", name="Record requests")
    switch.click()
    expect(switch).to_be_checked()
    expect(page.get_by_role("log")).to_be_visible()
    chat = lm.Chat("Be <brief>.")
    chat.add_user_message("Say 'hi' & \"bye\"")
    prompt = llm.apply_prompt_template(chat)
    llm.respond(chat, config={"max_tokens": 2})
    line = page.get_by_role("group", name="Prompt 1", exact=True)
    expect(line).to_contain_text("watched")
    expect(page.get_by_role("group", name="Answer 2")).to_contain_text("tokens, stop reason")
    line.get_by_role("button", name="Show").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("region", name="Text of the prompt")).to_have_text(prompt, use_inner_text=False)
    program = dialog.get_by_role("region", name="Program")
    for language, part in (("Python", "llm.complete("), ("TypeScript", "LMStudioClient"), ("curl", "/v1/completions")):
        dialog.get_by_role("button", name=f"Copy as {language}").click()
        expect(program).to_contain_text(part)
        expect(program).to_contain_text(site.server.address)
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page, "[role=dialog]") == []
    dialog.get_by_role("button", name="Close").click()
    switch.click()
    expect(switch).not_to_be_checked()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Nothing is recorded.")).to_be_visible()


def test_the_log_of_the_server_is_followed(site: Site, open_page: Opener, faults_of: Faults) -> None:
    page = open_page("/server")
    expect(page.get_by_role("log")).to_be_visible()
    with lm.Client(site.server.address) as client:
        client.system.notify("Look", "<here>")
    expect(page.get_by_role("log")).to_contain_text("Look: <here>")
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page) == []
