"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar.types import ControllerRouterHandler

from ...errors import StudioloError
from ..base import ErrorAnswer, Serving
from ..http.endpoint import Endpoint, handlers
from . import chat_request, embeddings
from .chat import complete_chat
from .chat_answer import ChatCompletion
from .chat_request import ChatBody
from .embeddings import EmbeddingList, EmbeddingsBody, embed
from .errors import error_answer
from .models import ModelEntry, ModelList, get_model, list_models

ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(methods=("GET",), path="/v1/models", summary="The models on disk", handle=list_models, response=ModelList),
    Endpoint(
        methods=("GET",), path="/v1/models/{model:path}", summary="One model", handle=get_model, response=ModelEntry
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/chat/completions",
        summary="Answer a chat",
        handle=complete_chat,
        request=ChatBody,
        fields=chat_request.FIELDS,
        response=ChatCompletion,
        stream_type="text/event-stream",
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/embeddings",
        summary="The vectors of texts",
        handle=embed,
        request=EmbeddingsBody,
        fields=embeddings.FIELDS,
        response=EmbeddingList,
    ),
)


class OpenAi:
    """See :class:`studiolo.dialects.base.Dialect`."""

    max_message_bytes = 0
    prefixes = ("/v1",)
    header = None
    shared_prefix = ""
    authenticates = False
    endpoints = ENDPOINTS

    def routes(self, serving: Serving) -> Sequence[ControllerRouterHandler]:
        """See :meth:`studiolo.dialects.base.Dialect.routes`."""
        return handlers(ENDPOINTS, serving)

    def error(self, error: StudioloError, status: int) -> ErrorAnswer:
        """See :meth:`studiolo.dialects.base.Dialect.error`."""
        return error_answer(error, status)
