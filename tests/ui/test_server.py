"""The page of the server: slots and figures live, plots, the log, prompts exactly as the engine has them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page, expect

import studiolo as lm
from tests.support.browser import IS_THERE, NARROW, PATIENCE_MS, Site, overflow
from tests.support.homes import DEFAULT_MODEL, ENDLESS
from tests.support.running import environment

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


def test_who_waits_for_a_slot_is_seen(site: Site, open_page: Opener) -> None:
    page = open_page("/server")
    with lm.Client(site.server.address) as client:
        config = {"context_length": 512, "max_parallel_predictions": 1}
        llm = client.llm.load_new_instance(DEFAULT_MODEL, "narrow", config=config)
        with llm.complete_stream("1 2 3 4 5 6 7", config=ENDLESS | {"max_tokens": False}) as running:
            tokens = iter(running)
            next(tokens)
            with ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(llm.complete, "And I?", config={"max_tokens": 1})
                instance = page.get_by_role("group", name="narrow", exact=True)
                expect(instance).to_contain_text("1 of 1 slots in use")
                expect(instance).to_contain_text("1 waiting")
                expect(instance).to_contain_text("has waited for")
                running.cancel()
                assert waiting.result(60).stats.predicted_tokens_count == 1
        expect(instance).to_contain_text("0 waiting")
        llm.unload()


def test_requests_are_recorded_only_when_the_user_wants_it(
    site: Site, llm: lm.LLM, open_page: Opener, faults_of: Faults
) -> None:
    page = open_page("/server")
    expect(page.get_by_text("Nothing is recorded.")).to_be_visible()
    llm.complete("unseen", config={"max_tokens": 1})
    switch = page.get_by_role("switch", name="Record requests")
    switch.click()
    expect(switch).to_be_checked()
    anything = page.get_by_role("group", name=re.compile("^Prompt "))
    end = time.monotonic() + PATIENCE_MS / 1000
    while not anything.count():  # the switch turns at once, and the recorder when the server hears of it
        assert time.monotonic() < end, "nothing is recorded"
        llm.complete("Is it on?", config={"max_tokens": 1})
        page.wait_for_timeout(500)
    chat = lm.Chat("Be <brief>.")
    chat.add_user_message("Say 'hi' & \"bye\"")
    prompt = llm.apply_prompt_template(chat)
    llm.respond(chat, config={"max_tokens": 2})
    recorded = anything.filter(has_text='"bye"')  # a row shows the end of its prompt
    expect(recorded).to_contain_text("watched")
    expect(page.get_by_role("group", name=re.compile("^Answer ")).first).to_contain_text("tokens, stop reason")
    shown = recorded.get_by_role("button", name="Show").element_handle()
    recorded.get_by_role("button", name="Show").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("region", name="Text of the prompt")).to_have_text(prompt, use_inner_text=False)
    program = dialog.get_by_role("region", name="Program")
    for language, part in (("Python", "llm.complete("), ("TypeScript", "LMStudioClient"), ("curl", "/v1/completions")):
        dialog.get_by_role("button", name=f"Copy as {language}").click()
        expect(program).to_contain_text(part)
        expect(program).to_contain_text(site.server.address)
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page, "[role=dialog]") == []
    dialog.get_by_role("button", name="Copy as Python").click()
    expect(program).to_contain_text("llm.complete(")
    python = [sys.executable, "-c", program.text_content() or ""]
    done = subprocess.run(python, env=environment(site.home), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    expect(recorded).to_have_count(2)
    again = recorded.first
    assert shown.evaluate(IS_THERE)
    dialog.get_by_role("button", name="Close").click()  # the new entry has left it open
    again.get_by_role("button", name="Show").click()
    expect(page.get_by_role("region", name="Text of the prompt")).to_have_text(prompt, use_inner_text=False)
    page.get_by_role("button", name="Close").click()
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
