"""The playground: one request on two sides, with log-probabilities of the tokens, and errors at their side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, choose, overflow
from tests.support.homes import DEFAULT_MODEL

pytestmark = pytest.mark.slow

Opener = Callable[..., Page]
Faults = Callable[..., list[str]]


@pytest.mark.screenshots
def test_one_text_on_two_settings_with_the_probabilities_of_the_tokens(
    open_page: Opener, faults_of: Faults, take_screenshots: Callable[[str, Page], None]
) -> None:
    page = open_page("/playground", size=NARROW)
    for side, tokens in (("A", "6"), ("B", "3")):
        choose(page, f"{side}: model", DEFAULT_MODEL)
        page.get_by_label(f"{side}: Max tokens", exact=True).fill(tokens)
        page.get_by_label(f"{side}: Seed", exact=True).fill("1")
    choose(page, "The prompt is", "Text that the model continues")
    page.get_by_label("Prompt", exact=True).fill("Once upon a time")
    page.get_by_role("checkbox", name="Log-probabilities").click()
    page.get_by_role("button", name="Run").click()
    a, b = (page.get_by_role("region", name=f"Side {side}") for side in "AB")
    expect(a).to_contain_text("6 tokens, ")
    expect(b).to_contain_text("3 tokens, ")
    tokens = a.get_by_role("region", name="Answer of A").get_by_role("button")
    expect(tokens).to_have_count(6)
    first = tokens.first.inner_text()
    others = b.get_by_role("region", name="Answer of B").get_by_role("button")
    assert others.first.inner_text() == first  # the same seed
    tokens.first.focus()
    expect(a.get_by_text("%").last).to_contain_text("%  ")
    assert overflow(page) == 0
    take_screenshots("playground", page)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert faults_of(page) == []
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert faults_of(page) == []


def test_a_wrong_setting_is_an_error_of_its_side(open_page: Opener) -> None:
    page = open_page("/playground")
    choose(page, "A: model", DEFAULT_MODEL)
    page.get_by_label("A: Temperature", exact=True).fill("hot")
    choose(page, "B: model", DEFAULT_MODEL)
    page.get_by_label("B: Max tokens", exact=True).fill("2")
    page.get_by_label("Prompt", exact=True).fill("Hello")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("region", name="Side A")).to_contain_text("temperature")
    expect(page.get_by_role("region", name="Side B")).to_contain_text("2 tokens, ")
