"""Every page at 360 px: the names in the header fit, and nothing is scrolled sideways but what has a bar of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, overflow
from tests.support.homes import DEFAULT_MODEL

pytestmark = pytest.mark.slow

PATHS = (
    *("/", "/models", f"/models/load?model={DEFAULT_MODEL}", f"/models/bench?model={DEFAULT_MODEL}"),
    *("/server", "/playground"),
)

CLIPPED = """() => {
  const header = document.querySelector("header"), room = document.querySelector("nav").getBoundingClientRect();
  const fits = (box, within) => box.left >= within.left - 0.5 && box.right <= within.right + 0.5;
  const names = [...document.querySelectorAll("nav a")];
  const clipped = names.filter((name) =>
    !fits(name.getBoundingClientRect(), room) || name.scrollWidth > name.clientWidth || name.getClientRects()[1]);
  const outside = [...header.querySelectorAll("a, button")].filter((each) =>
    !fits(each.getBoundingClientRect(), {left: 0, right: document.documentElement.clientWidth}));
  return [names.map((name) => name.textContent), [...clipped, ...outside].map((each) => each.outerHTML)];
}"""
"""The names in the header, and what of the header is not wholly to be seen."""

WIDE_WORDS = "\n".join(
    (
        "A link: https://example.org/" + "a" * 120,
        "\n```python\nprint('" + "x" * 120 + "')\n```\n",
        "| " + " | ".join("column" for _ in range(12)) + " |",
        "|" + "---|" * 12,
        "| " + " | ".join("word" * 3 for _ in range(12)) + " |",
    )
)


@pytest.mark.parametrize("path", PATHS)
def test_the_names_in_the_header_fit(open_page: Callable[..., Page], path: str) -> None:
    page = open_page(path, size=NARROW)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate(CLIPPED) == [["Chat", "Models", "Server", "Playground"], []]
    assert overflow(page) == 0


def test_wide_content_of_messages_is_scrolled_by_itself(open_page: Callable[..., Page]) -> None:
    page = open_page(size=NARROW)
    question = page.get_by_role("textbox", name="Question")
    question.fill("word" * 60)
    question.press("Enter")
    answer = page.get_by_role("article", name="Model")
    answer.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Edited message").fill(WIDE_WORDS)
    page.get_by_role("button", name="Keep as a branch").click()
    code = answer.locator("pre")
    expect(code).to_be_visible()
    assert code.evaluate("(element) => element.scrollWidth > element.clientWidth")
    assert page.get_by_role("log").evaluate("(element) => element.scrollWidth - element.clientWidth") == 0
    assert page.evaluate(CLIPPED)[1] == [] and overflow(page) == 0
