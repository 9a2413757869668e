"""Tools in the chat page: the user is asked before each call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import choose
from tests.support.chat_page import answered, ask, set_setting

pytestmark = pytest.mark.slow


def call_of_look(page: Page) -> Locator:
    """Ask a question that makes the model call a tool, and return what asks the user for permission."""
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("checkbox", name="door").click()
    choose(page, "Tool choice", "required")
    set_setting(page, "Max tokens", "200")
    ask(page, "Is the door open?")
    return page.get_by_role("group", name="Call of look")


def test_a_call_waits_for_permission(open_page: Callable[..., Page], faults_of: Callable[[Page], list[str]]) -> None:
    page = open_page()
    call = call_of_look(page)
    expect(call).to_contain_text("The model wants to call look")
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page) == []
    call.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_text("Result of look")).to_be_visible()
    page.get_by_text("Result of look").click()
    expect(page.get_by_text("It is ajar.")).to_be_visible()
    answered(page)


def test_a_refused_call_is_not_made(open_page: Callable[..., Page]) -> None:
    page = open_page()
    call_of_look(page).get_by_role("button", name="Refuse").press("Enter")
    page.get_by_text("Result of look").first.click()
    expect(page.get_by_text("The user did not allow this call.").first).to_be_visible()
    answered(page)
    expect(page.get_by_text("It is ajar.")).to_have_count(0)
