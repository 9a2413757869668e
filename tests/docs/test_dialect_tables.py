"""The page about the fields of requests is what the dialects declare."""

from __future__ import annotations

from tests.support.dialect_tables import PAGE, page


def test_the_page_is_what_the_dialects_declare() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make tables"
