"""The chat page in a real browser: from the first visit to the first answer, and what can be done with both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from studiolo.config import PredictionConfig
from studiolo.settings import read_settings
from tests.support.browser import IS_THERE, NARROW, PATIENCE_MS, Site, choose, overflow
from tests.support.chat_page import (
    answered,
    answers,
    ask,
    begin_endless_answer,
    field,
    rename,
    set_endless,
    set_setting,
)
from tests.support.command_line import good, run
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

expect.set_options(timeout=PATIENCE_MS)


ANSWER = """A *studiolo* is a place to read and write, in an Italian palace of the fifteenth century.

- It has a desk, shelves and a door that closes.
- Its owner keeps there what the work needs, and nothing else.
"""


@pytest.fixture(scope="module")
def first(site: Site) -> Iterator[Page]:
    """A page with a conversation that has an answer."""
    page = site.new_page()
    ask(page, "What is a **studiolo**?")
    answered(page)
    yield page
    page.close()


def test_a_first_visit_leads_to_an_answer_that_is_stored(first: Page, faults_of: Callable[[Page], list[str]]) -> None:
    expect(first.get_by_role("heading", level=1)).to_have_text("What is a **studiolo**?")
    assert re.search(r"/ui/chat/[0-9a-f]{12}$", first.url)
    expect(field(first)).to_have_value("")
    listed = first.get_by_role("complementary", name="Conversations").get_by_role("link", name="What is a")
    expect(listed).to_have_attribute("aria-current", "true")
    expect(first.get_by_text(re.compile(r"\d+ of 2048 tokens"))).to_be_visible()
    assert faults_of(first) == []
    first.emulate_media(color_scheme="dark")
    expect(first.locator("body.body--dark")).to_be_attached()
    assert faults_of(first) == []
    first.emulate_media(color_scheme="light")


def test_an_edited_question_begins_a_branch_and_both_are_kept(first: Page) -> None:
    before = answers(first).last.text_content() or ""
    first.get_by_role("article", name="You").get_by_role("button", name="Edit").click()
    first.get_by_role("textbox", name="Edited message").fill("Another question")
    first.get_by_role("button", name="Ask again").click()
    question = first.get_by_role("article", name="You")
    expect(question).to_contain_text("Another question")
    expect(question).to_contain_text("2 of 2")
    answered(first)
    question.get_by_role("button", name="Previous branch").click()
    expect(question).to_contain_text("What is a **studiolo**?")
    expect(answers(first)).to_have_text(before)


@pytest.mark.screenshots
def test_an_answer_is_tried_again_and_edited_in_branches_of_its_own(
    first: Page, take_screenshots: Callable[[str, Page], None]
) -> None:
    answers(first).last.get_by_role("button", name="Answer again").click()
    expect(answers(first).last).to_contain_text("2 of 2")
    answered(first)
    answers(first).last.get_by_role("button", name="Edit").click()
    first.get_by_role("textbox", name="Edited message").fill(ANSWER)
    first.get_by_role("button", name="Keep as a branch").click()
    expect(answers(first).last).to_contain_text("3 of 3")
    expect(answers(first).last.locator("em")).to_have_text("studiolo")
    expect(first.get_by_text(re.compile(r"\d+ of 2048 tokens"))).to_be_visible()
    take_screenshots("chat", first)


def test_a_conversation_is_renamed_found_exported_copied_and_deleted(first: Page, tmp_path: Path) -> None:
    side = first.get_by_role("complementary", name="Conversations")
    rename(first, "What is a", "Small rooms")
    side.get_by_label("Search conversations").fill("rooms SMALL")
    expect(side.get_by_role("status")).to_have_text("No message has these words.")
    expect(side.get_by_role("listitem")).to_have_count(1)
    side.get_by_label("Search conversations").fill("A STUDIOLO")
    found = side.get_by_role("list", name="In messages").get_by_role("link", name="Small rooms")
    expect(found).to_be_visible()
    expect(found).to_have_accessible_description(re.compile("studiolo", re.IGNORECASE))
    side.get_by_label("Search conversations").fill("rooms SMALL")
    expect(side.get_by_role("status")).to_have_text("No message has these words.")
    expect(side.get_by_role("listitem")).to_have_count(1)
    for form, name in (("Markdown", "Small-rooms.md"), ("JSON", "Small-rooms.json")):
        side.get_by_role("button", name="Actions: Small rooms").click()
        with first.expect_download() as download:
            first.get_by_role("button", name=f"Export as {form}").click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    assert "## You" in (tmp_path / "Small-rooms.md").read_text("utf-8")
    assert len(json.loads((tmp_path / "Small-rooms.json").read_text("utf-8"))["messages"]) >= 2
    side.get_by_role("button", name="Actions: Small rooms").click()
    first.get_by_role("button", name="Copy as a branch").click()
    expect(first.get_by_role("heading", level=1)).to_have_text("Small rooms (branch)")
    side.get_by_role("button", name="Actions: Small rooms (branch)").click()
    first.get_by_role("button", name="Delete").click()
    asked = first.get_by_role("dialog").filter(has_text="with all its branches?")
    asked.get_by_role("button", name="Delete").click()
    expect(first.get_by_role("heading", level=1)).to_have_text("New conversation")
    expect(side.get_by_role("link", name="Small rooms", exact=True)).to_be_visible()
    expect(side.get_by_role("link", name="Small rooms (branch)")).to_have_count(0)


def test_an_answer_outlives_a_reload_and_is_stopped(open_page: Callable[..., Page]) -> None:
    page = open_page()
    growing = begin_endless_answer(page)
    expect(page).to_have_url(re.compile("/ui/chat/"))
    page.reload()
    text = growing.inner_text()
    expect(growing).not_to_have_text(text)
    page.get_by_role("button", name="Stop").click()
    expect(answers(page)).to_contain_text("stopped")
    kept = answers(page).inner_text()
    page.reload()
    assert answers(page).inner_text().split() == kept.split()


def test_wrong_settings_are_refused_in_their_field_and_a_schema_is_followed(
    open_page: Callable[..., Page], faults_of: Callable[[Page], list[str]]
) -> None:
    page = open_page()
    page.get_by_role("button", name="Settings").click()
    panel = page.get_by_role("complementary", name="Settings")
    set_setting(page, "Top p sampling", "7")
    expect(panel.get_by_text(re.compile("top_p_sampling.*1"))).to_be_visible()
    set_setting(page, "Top p sampling", "0.5")
    schema = page.get_by_role("textbox", name="JSON schema")
    schema.fill('{"type": ')
    expect(panel.get_by_text("This is not JSON")).to_be_visible()
    schema.fill('{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}')
    expect(panel.get_by_text("This is not JSON")).to_have_count(0)
    assert faults_of(page) == []
    ask(page, "Is it?")
    text = answered(page).locator(".st-body").inner_text()
    assert isinstance(json.loads(text)["ok"], bool)


def test_settings_are_saved_as_a_preset_and_set_again(
    site: Site, open_page: Callable[..., Page], faults_of: Callable[..., list[str]]
) -> None:
    page = open_page()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("textbox", name="System prompt").fill("Be brief.")
    set_setting(page, "Max tokens", "7")
    page.get_by_role("button", name="Save as a preset…").press("Enter")
    page.get_by_label("Name of the preset").fill("short")
    page.keyboard.press("Enter")

    def presets() -> dict[str, PredictionConfig]:
        return read_settings(site.home.settings).presets

    wait_until(lambda: "short" in presets(), "the preset", PATIENCE_MS / 1000)
    expect(page.get_by_role("dialog")).to_have_count(0)
    saved = presets()["short"]
    assert (saved.system_prompt, saved.max_tokens) == ("Be brief.", 7)
    set_setting(page, "Max tokens", "8")
    for answer, kept in (("Cancel", 7), ("Overwrite", 8)):
        page.get_by_role("button", name="Save as a preset…").click()
        page.get_by_label("Name of the preset").fill("SHORT")
        page.keyboard.press("Enter")
        question = page.get_by_role("dialog").filter(has_text="Overwrite the preset “short”?")
        question.get_by_role("button", name=answer).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        wait_until(lambda kept=kept: presets()["short"].max_tokens == kept, "the preset", PATIENCE_MS / 1000)
        assert [*presets()] == ["short"]
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page, "aside[aria-label=Settings]") == []
    other = open_page()
    ask(other, "Hello?")
    answered(other)
    other.get_by_role("button", name="Settings").click()
    other.get_by_label("Max tokens", exact=True).fill("none")
    expect(other.get_by_text(re.compile("max_tokens.*none|got 'str'"))).to_be_visible()
    choose(other, "Preset", "short")
    expect(other.get_by_label("Max tokens", exact=True)).to_have_value("8")
    expect(other.get_by_text("got 'str'")).to_have_count(0)
    expect(other.get_by_role("textbox", name="System prompt")).to_have_value("Be brief.")
    other.reload()
    other.get_by_role("button", name="Settings").click()
    expect(other.get_by_label("Max tokens", exact=True)).to_have_value("8")
    expect(other.get_by_role("textbox", name="System prompt")).to_have_value("Be brief.")


def test_messages_in_the_middle_are_edited_and_answered_again_in_branches(open_page: Callable[..., Page]) -> None:
    page = open_page()
    for count, question in enumerate(("One?", "Two?", "Three?"), 1):
        ask(page, question)
        expect(answers(page)).to_have_count(count)
        answered(page)
    second = page.get_by_role("article", name="You").filter(has_text="Two?")
    second.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Edited message").fill("Deux?")
    page.get_by_role("button", name="Ask again").click()
    expect(answers(page)).to_have_count(2)
    answered(page)
    expect(page.get_by_role("article", name="You")).to_contain_text(["One?", "Deux?"])
    answers(page).first.get_by_role("button", name="Answer again").click()
    answered(page)
    expect(answers(page)).to_have_count(1)
    expect(answers(page)).to_contain_text("2 of 2")
    answers(page).get_by_role("button", name="Previous branch").click()
    expect(page.get_by_role("article", name="You")).to_contain_text(["One?", "Deux?"])
    page.get_by_role("article", name="You").last.get_by_role("button", name="Previous branch").click()
    expect(page.get_by_role("article", name="You")).to_contain_text(["One?", "Two?", "Three?"])


def test_reasoning_is_open_while_it_comes_and_folded_then(open_page: Callable[..., Page]) -> None:
    page = open_page()
    choose(page, "Model", "quick-thinking")
    page.get_by_role("button", name="Settings").click()
    set_endless(page)
    ask(page, "Why?")
    thoughts = page.get_by_role("article", name="Answer that comes").locator("details")
    expect(thoughts).to_have_attribute("open", "")
    expect(thoughts).to_contain_text(re.compile(r"Reasoning.*[a-z]{2}", re.DOTALL))
    page.get_by_role("button", name="Stop").click()
    again = page.get_by_role("button", name="Try again").element_handle()
    rename(page, "Why?", "Reasons")
    assert again.evaluate(IS_THERE)
    set_setting(page, "Reasoning budget", "8")
    set_setting(page, "Max tokens", "20")
    page.get_by_role("button", name="Try again").click()
    thoughts = answered(page).locator("details")
    expect(thoughts).not_to_have_attribute("open", "")
    expect(thoughts.locator(".st-markdown")).to_be_hidden()
    thoughts.locator("summary").press("Enter")
    expect(thoughts.locator(".st-markdown")).to_be_visible()


def test_a_narrow_page_has_everything_and_fits(
    open_page: Callable[..., Page], faults_of: Callable[[Page], list[str]]
) -> None:
    page = open_page(size=NARROW)
    expect(field(page)).to_be_visible()
    assert overflow(page) == 0
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("link", name="New conversation")).to_be_visible()
    assert (overflow(page), faults_of(page)) == (0, [])
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Temperature")).to_be_visible()
    assert overflow(page) == 0


def test_what_is_typed_while_a_question_is_on_its_way_is_the_next_draft(open_page: Callable[..., Page]) -> None:
    page = open_page()
    field(page).fill("Which question?")
    field(page).evaluate("""async (field) => {  // in less time than the server needs to answer
      field.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
      await Vue.nextTick();
      field.value = "The next draft";
      field.dispatchEvent(new Event("input", {bubbles: true}));
    }""")
    answered(page)
    expect(page.get_by_role("article", name="You")).to_contain_text("Which question?")
    expect(field(page)).to_have_value("The next draft")
    page.reload()
    expect(field(page)).to_have_value("The next draft")


def test_a_draft_belongs_to_its_conversation_and_outlives_a_reload(open_page: Callable[..., Page]) -> None:
    page = open_page()
    ask(page, "Which draft?")
    field(page).fill("What I was about to ask")  # while the page gets the address of its conversation
    answered(page)
    expect(page).to_have_url(re.compile("/ui/chat/"))
    page.get_by_role("link", name="New conversation").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New conversation")
    expect(page.get_by_text("The answer stays on this machine")).to_be_visible()
    expect(field(page)).to_have_value("")
    page.get_by_role("complementary", name="Conversations").get_by_role("link", name="Which draft?").click()
    expect(field(page)).to_have_value("What I was about to ask")
    page.reload()
    expect(field(page)).to_have_value("What I was about to ask")


def test_what_the_terminal_writes_is_shown_when_the_user_comes_back(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    ask(page, "From the browser?")
    answered(page)
    good(run(site.home, "chat", "-c", "-p", "From the terminal?", host=site.server.address))
    good(run(site.home, "chat", "-p", "Another conversation?", host=site.server.address))
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(page.get_by_role("article", name="You").last).to_contain_text("From the terminal?")
    expect(answers(page)).to_have_count(2)
    side = page.get_by_role("complementary", name="Conversations")
    expect(side.get_by_role("link", name="Another conversation?")).to_be_visible()
    ask(page, "And here again?")
    answered(page)
    expect(answers(page)).to_have_count(3)
    shown = good(run(site.home, "chats", "show", page.url.rpartition("/")[2]))
    places = [shown.index(f"From the {place}?") for place in ("browser", "terminal")]
    assert places[0] < places[1] < shown.index("And here again?")


def test_a_conversation_that_does_not_exist_is_a_notice(open_page: Callable[..., Page]) -> None:
    page = open_page("/chat/000000000000")
    expect(page.get_by_role("alert")).to_contain_text("no conversation")
    expect(field(page)).to_be_visible()
