"""Markdown of models as HTML: nothing in it runs, and nothing is loaded from anywhere."""

from __future__ import annotations

import pytest

from studiolo.ui.markdown import MAX_FORMATTED_CHARS, as_html, split_blocks


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "[a](javascript:alert(1))",
        '[a](https://example.org/"onmouseover="alert(1))',
        '```"><script>alert(1)</script>\n<b>\n```',
        "```html\n<script>alert(1)</script>\n```",
        "    <script>",
        "![<script>](data:text/html,<script>)",
        "| <b> |\n|---|\n| <i> |",
        "<https://example.org/<script>>",
        "&lt;script&gt;",
        "<script>" * (MAX_FORMATTED_CHARS // 8 + 1),
    ],
)
def test_markup_is_text(text: str) -> None:
    html = as_html(text)
    for forbidden in ("<script", "<img", "<b>", "<i>", 'href="javascript', "data:text/html,<"):
        assert forbidden not in html
    assert ' onmouseover="' not in html


def test_images_are_links_and_links_lead_out_of_the_page() -> None:
    html = as_html("![a cat](https://example.org/cat.png) [b](https://example.org/)")
    assert html.count('target="_blank" rel="noopener noreferrer nofollow"') == 2
    assert ">a cat</a>" in html


def test_code_is_highlighted_and_unknown_languages_are_not() -> None:
    assert '<span class="hl-k">def</span>' in as_html("```python\ndef f(): ...\n```")
    assert "<code>def" in as_html("```nonsense\ndef f()\n```")


def test_blocks_that_have_ended_are_split_off() -> None:
    assert split_blocks("one") == ("", "one")
    assert split_blocks("one\n\ntwo") == ("one\n\n", "two")
    assert split_blocks("one\n\n```\ncode\n\nmore") == ("one\n\n", "```\ncode\n\nmore")
    assert "".join(split_blocks("- a\n- b\n\n# c\n\nd")) == "- a\n- b\n\n# c\n\nd"
