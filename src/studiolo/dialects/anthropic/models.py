"""Models: ``GET /v1/models`` and ``GET /v1/models/{id}`` in Anthropic's form."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ...library.model import Model
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import wrong
from ..http.forms import rfc3339
from ..http.models import created_at, known_model, known_models

PAGE = 20
"""Models on a page, by default."""

MAX_PAGE = 1000


class ModelEntry(Struct, kw_only=True):
    """A model."""

    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None
    max_tokens: int | None
    type: Literal["model"] = "model"
    lifecycle: Literal["active"] = "active"


class ModelPage(Struct):
    """Some of the models."""

    data: list[ModelEntry]
    has_more: bool
    first_id: str | None
    last_id: str | None


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
    ids = [entry.id for entry in data] or [None]
    return Whole(ModelPage(data, len(data) < max(last - first, 0), ids[0], ids[-1]))


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


def _entry(name: str, model: Model) -> ModelEntry:
    context = model.metadata.max_context_length if model.metadata else None
    return ModelEntry(
        id=name,
        display_name=model.display_name,
        created_at=rfc3339(int(created_at(model))),
        max_input_tokens=context,
        max_tokens=context,
    )
