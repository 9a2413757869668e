"""Models: ``GET /v1/models`` and ``GET /v1/models/{id}``."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ...library.model import Model
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.models import created_at, known_model, known_models


class ModelEntry(Struct, kw_only=True):
    """A model; ``created`` is when its file was written, in seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Struct):
    """The models on disk, and the aliases of the server."""

    data: list[ModelEntry]
    object: Literal["list"] = "list"


async def list_models(call: Call[None]) -> Answer:
    """List the models on disk, and the aliases of the server."""
    return Whole(ModelList([_entry(name, model) for name, model in await known_models(call)]))


async def get_model(call: Call[None]) -> Answer:
    """Return one model."""
    name = call.path["model"].removeprefix("/")
    return Whole(_entry(name, await known_model(call, name)))


def _entry(name: str, model: Model) -> ModelEntry:
    return ModelEntry(id=name, created=int(created_at(model)), owned_by=model.publisher or "local")
