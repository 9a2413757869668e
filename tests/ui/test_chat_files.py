"""Images and documents of a question: pasted, dropped, chosen, removed, and waited for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import choose
from tests.support.chat_page import answered, ask, field
from tests.support.chatting import picture

pytestmark = pytest.mark.slow

GIVE = """([event, selector, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], `${event}.png`, {type: "image/png"}));
  const about = {clipboardData: data, dataTransfer: data, bubbles: true, cancelable: true};
  const given = event === "paste" ? new ClipboardEvent(event, about) : new DragEvent(event, about);
  document.querySelector(selector).dispatchEvent(given);
  return given.defaultPrevented;
}"""
"""Paste or drop an image on an element. Returns whether the page has taken it: otherwise the browser would open it."""


def attach(page: Page, file: Path) -> None:
    """Choose a file by the button with the paper clip."""
    page.locator("input[type=file]").set_input_files(file)


def test_images_are_pasted_and_dropped_anywhere_and_a_document_is_attached(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_page()
    choose(page, "Model", "tiny-vision")
    for event, selector in (("paste", "[aria-label=Question]"), ("drop", "[aria-label=Messages]")):
        assert page.evaluate(GIVE, [event, selector, list(picture())])
        expect(page.get_by_role("button", name=f"Remove {event}.png")).to_be_visible()
    dropped = page.get_by_role("button", name="Remove drop.png")
    dropped.click()
    expect(dropped).to_have_count(0)
    assert page.evaluate(GIVE, ["drop", "aside", list(picture())])
    note = tmp_path / "note.txt"
    note.write_text("A cat sleeps.")
    attach(page, note)
    attached = page.get_by_role("button", name="Remove note.txt")
    attached.click()
    expect(attached).to_have_count(0)
    attach(page, note)  # again
    expect(attached).to_be_visible()
    expect(dropped).to_be_visible()
    expect(page.get_by_text("Reading")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)
    ask(page, "What is this?")
    answered(page)
    question = page.get_by_role("article", name="You")
    for event in ("paste", "drop"):
        expect(question.get_by_role("img", name=f"{event}.png")).to_have_js_property("naturalWidth", 9)
    question.get_by_text("File note.txt").click()
    expect(question.get_by_text("A cat sleeps.")).to_be_visible()


def test_a_question_does_not_leave_without_a_file_that_is_on_its_way(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_page()
    held: list[Route] = []
    page.route(re.compile("/upload/"), lambda route: held.append(route))
    note = tmp_path / "note.txt"
    note.write_text("A cat sleeps.")
    attach(page, note)
    expect(page.get_by_text("Reading a file…")).to_be_visible()
    ask(page, "Who sleeps?")
    expect(page.get_by_role("alert")).to_contain_text("still being read")
    expect(field(page)).to_have_value("Who sleeps?")
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    expect(page.get_by_role("button", name="Remove note.txt")).to_be_visible()
    expect(page.get_by_text("Reading a file…")).to_have_count(0)
    field(page).press("Enter")
    expect(page.get_by_role("article", name="You").get_by_text("File note.txt")).to_be_visible()
    answered(page)


def test_a_file_that_is_no_document_is_refused_and_the_question_stays(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_page()
    field(page).fill("What is it?")
    noise = tmp_path / "noise.bin"
    noise.write_bytes(bytes(range(256)))
    attach(page, noise)
    expect(page.get_by_role("alert")).to_contain_text("noise.bin")
    expect(page.get_by_role("button", name="Remove noise.bin")).to_have_count(0)
    expect(page.get_by_text("Reading")).to_have_count(0)
    expect(field(page)).to_have_value("What is it?")
