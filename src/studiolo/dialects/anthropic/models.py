"""Models: ``GET /v1/models`` and ``GET /v1/models/{id}`` in Anthropic's form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ...library.model import Model
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import wrong
from ..http.models import created_at, known_model, known_models

PAGE = 20
"""Models on a page, by default."""

MAX_PAGE = 1000


async def list_models(call: Call[None]) -> Answer:
    """List the models on disk and the server's aliases, a page at a time."""
    found = await known_models(call)
    names = [name for name, _ in found]
    first, last = 0, len(found)
    if (after := call.query.get("after_id")) is not None:
        first = _place(names, after, "after_id") + 1
    if (before := call.query.get("before_id")) is not None:
        last = _place(names, before, "before_id")
    limit = _limit(call.query.get("limit"))
    page = found[max(last - limit, first) : last] if after is None and before is not None else found[first:last][:limit]
    data = [_entry(name, model) for name, model in page]
    ids = [entry["id"] for entry in data]
    return Whole(
        {
            "data": data,
            "has_more": len(data) < max(last - first, 0),
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
    )


async def get_model(call: Call[None]) -> Answer:
    """Return one model."""
    name = call.path["model"].removeprefix("/")
    return Whole(_entry(name, await known_model(call, name)))


def _place(names: list[str], name: str, param: str) -> int:
    if name not in names:
        raise wrong(param, f"there is no model {name!r}")
    return names.index(name)


def _limit(value: str | None) -> int:
    if value is None:
        return PAGE
    limit = int(value) if value.isascii() and value.isdigit() else 0
    if not 1 <= limit <= MAX_PAGE:
        raise wrong("limit", f"expected a number from 1 to {MAX_PAGE}")
    return limit


def _entry(name: str, model: Model) -> dict[str, Any]:
    created = datetime.fromtimestamp(int(created_at(model)), UTC)
    context = model.metadata.max_context_length if model.metadata else None
    return {
        "id": name,
        "type": "model",
        "display_name": model.display_name,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }
