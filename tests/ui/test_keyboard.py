"""The pages by the keyboard alone: the order of the focus, where dialogs leave it, and a chat without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import FOCUSED, OPEN_MENU
from tests.support.chat_page import answered, answers, field

pytestmark = pytest.mark.slow

VISIBLE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
}"""
"""Whether the element that has the focus has an outline."""

CHOOSE_AND_LEAVE = """(option) => {
  option.click();
  document.querySelector("[aria-label=Question]").focus();
}"""
"""Choose an option, and go to the field for questions."""


def names_by_tab(page: Page, count: int, key: str = "Tab") -> list[str]:
    names: list[str] = []
    for _ in range(count):
        page.keyboard.press(key)
        names.append(str(page.evaluate(FOCUSED)).splitlines()[0])
    return names


def test_the_focus_goes_through_a_page_in_the_order_in_which_it_is_read(open_page: Callable[..., Page]) -> None:
    page = open_page("/models")
    expect(page.get_by_role("heading", name="On disk")).to_be_visible()
    names = names_by_tab(page, 6)
    assert names[:5] == ["Skip to the page", "Chat", "Models", "Server", "Playground"] and "Colours" in names[5]
    assert page.evaluate(VISIBLE)
    page.reload()
    expect(page.get_by_role("heading", name="On disk")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skips the header
    assert names_by_tab(page, 1) == ["Filter"]


def test_a_chat_needs_no_mouse(open_page: Callable[..., Page]) -> None:
    page = open_page()
    expect(field(page)).to_be_focused()
    page.keyboard.type("What is a desk?")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("And a chair?")
    page.keyboard.press("Enter")
    answered(page)
    expect(page.get_by_role("article", name="You")).to_contain_text("And a chair?")
    expect(field(page)).to_be_focused()
    assert names_by_tab(page, 2) == ["Attach images and documents", "Send"]
    assert names_by_tab(page, 3, "Shift+Tab")[1:] == ["Question", "Answer again"]
    page.keyboard.press("Enter")
    expect(answers(page)).to_contain_text("2 of 2")
    answered(page)


def test_a_dialog_gives_the_focus_back_and_escape_closes_it(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.keyboard.type("What is a shelf?")
    page.keyboard.press("Enter")
    answered(page)
    actions = page.get_by_role("button", name=re.compile("^Actions: What is a shelf"))
    actions.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.closest('[role=dialog]')")
    names = names_by_tab(page, 6)
    assert {"Rename", "Copy as a branch", "Export as Markdown", "Export as JSON", "Delete"} <= set(names)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(actions).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Rename").press("Enter")
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("Shelves")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Shelves")


def test_a_select_does_not_take_the_focus_back(open_page: Callable[..., Page]) -> None:
    """Also beside a tooltip, and where the user goes to another field as soon as an option is chosen."""
    page = open_page()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Attach images and documents").hover()
    expect(page.get_by_role("tooltip", name="Attach images and documents")).to_be_visible()
    page.get_by_role("combobox", name="Tool choice").click()
    page.get_by_role("option", name="required", exact=True).evaluate(CHOOSE_AND_LEAVE)
    page.keyboard.type("What is a desk?")
    expect(page.locator(OPEN_MENU)).to_have_count(0)
    expect(field(page)).to_be_focused()
    expect(field(page)).to_have_value("What is a desk?")
