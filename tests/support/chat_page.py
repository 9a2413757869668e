"""The chat page in a browser: its parts, and how a question is asked."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect


def field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Question")


def ask(page: Page, text: str) -> None:
    field(page).fill(text)
    field(page).press("Enter")


def answers(page: Page) -> Locator:
    return page.get_by_role("article", name="Model")


def answered(page: Page) -> Locator:
    """Wait for the end of an answer, and return the last one."""
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(answers(page).last).to_contain_text("tokens in")
    return answers(page).last


def set_setting(page: Page, name: str, value: str) -> None:
    """Set a prediction setting in the panel, which is open."""
    page.get_by_label(name, exact=True).fill(value)


def begin_long_answer(page: Page) -> Locator:
    """Ask for an answer that has no limit, and return it when its text comes."""
    page.get_by_role("button", name="Settings").click()
    set_setting(page, "Max tokens", "false")
    page.get_by_role("button", name="Settings").click()
    ask(page, "Write a story")
    growing = page.get_by_role("article", name="Answer that comes")
    expect(growing).to_contain_text(re.compile(r"\w{2}"))
    return growing
