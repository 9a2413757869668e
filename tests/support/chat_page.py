"""The chat page in a browser: its parts, and how a question is asked."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Locator, Page, expect

from tests.support.browser import choose


def field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Question")


def ask(page: Page, text: str) -> None:
    field(page).fill(text)
    field(page).press("Enter")


def answers(page: Page) -> Locator:
    return page.get_by_role("article", name="Model")


def text_that_comes(page: Page) -> Locator:
    """Wait until an answer has text, and return this, without what is said of the answer before."""
    text = page.get_by_role("article", name="Answer that comes").locator(".st-body")
    expect(text).to_contain_text(re.compile(r"\w{2}"))
    return text


def answered(page: Page) -> Locator:
    """Wait for the end of an answer, and return the last one."""
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(answers(page).last).to_contain_text("tokens in")
    return answers(page).last


def set_setting(page: Page, name: str, value: str) -> None:
    """Set a prediction setting in the panel, which is open."""
    field = page.get_by_label(name, exact=True)
    field.fill(value)
    expect(field).to_have_value(value)


def set_endless(page: Page) -> None:
    """Make the next answer one without an end, with the panel, which is open."""
    set_setting(page, "Max tokens", "false")
    set_setting(page, "Logit bias", json.dumps([[token, "-inf"] for token in range(17)]))  # no end of anything
    choose(page, "Context overflow policy", "rollingWindow")


def begin_endless_answer(page: Page) -> Locator:
    """Ask for an answer without an end, and return its text when that comes."""
    page.get_by_role("button", name="Settings").click()
    set_endless(page)
    page.get_by_role("button", name="Settings").click()
    ask(page, "Write a story")
    return text_that_comes(page)


def rename(page: Page, conversation: str, title: str) -> None:
    """Give the conversation, which is the one on the page, a title."""
    page.get_by_role("button", name=f"Actions: {conversation}").first.click()
    page.get_by_role("button", name="Rename").click()
    field = page.get_by_role("textbox", name="Title")
    field.fill(title)
    page.get_by_role("dialog").filter(has=field).get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
