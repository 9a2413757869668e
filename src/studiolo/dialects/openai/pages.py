"""Lists in pages, in the form of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from ..http.fields import wrong

MAX_LISTED = 100

Order = Literal["asc", "desc"]


class ItemList(Struct, kw_only=True):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


@dataclass(frozen=True)
class Page:
    """What a request asks for.

    Parameters:
        order: by time.
        limit: entries at most.
        after: the id of the entry before the first one.
    """

    order: Order
    limit: int
    after: str | None

    def of(self, items: Sequence[dict[str, Any]]) -> ItemList:
        """Return this page of ``items``, which are in ascending order."""
        items = items if self.order == "asc" else items[::-1]
        if self.after is not None:
            index = next((i for i, item in enumerate(items) if item["id"] == self.after), None)
            if index is None:
                raise wrong("after", f"there is no {self.after!r} in the list")
            items = items[index + 1 :]
        return page_of(items, self.limit)


def read_page(query: Mapping[str, str], order: Order) -> Page:
    """Return what a request asks for.

    Parameters:
        query: its own.
        order: where it does not say.

    Raises:
        InvalidRequestError: it is malformed.
    """
    asked, limit = query.get("order", order), query.get("limit", "20")
    if asked not in ("asc", "desc"):
        raise wrong("order", f"{asked!r} is none of asc, desc")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= MAX_LISTED):
        raise wrong("limit", f"expected a number from 1 to {MAX_LISTED}")
    return Page(asked, int(limit), query.get("after"))


def page_of(items: Sequence[dict[str, Any]], limit: int) -> ItemList:
    """Return the first ``limit`` of ``items`` as a page."""
    data = list(items[:limit])
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    return ItemList(data=data, first_id=first, last_id=last, has_more=len(items) > len(data))
