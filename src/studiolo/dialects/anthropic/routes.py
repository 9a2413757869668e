"""The routes of Anthropic's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litestar.types import ControllerRouterHandler

from ...errors import StudioloError
from ..base import ErrorAnswer, Serving
from ..http.endpoint import Endpoint, handlers
from . import request
from .errors import REQUEST_ID, error_answer, new_request_id
from .message_types import Message, TokenCount
from .messages import count_message_tokens, create_message
from .models import ModelEntry, ModelPage, get_model, list_models
from .request import MessagesBody, PromptBody

ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        methods=("POST",),
        path="/v1/messages",
        summary="Answer a conversation",
        handle=create_message,
        request=MessagesBody,
        fields=request.FIELDS,
        response=Message,
        stream_type="text/event-stream",
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/messages/count_tokens",
        summary="The number of tokens of a conversation",
        handle=count_message_tokens,
        request=PromptBody,
        fields=request.COUNT_FIELDS,
        response=TokenCount,
    ),
    Endpoint(methods=("GET",), path="/v1/models", summary="The models on disk", handle=list_models, response=ModelPage),
    Endpoint(
        methods=("GET",), path="/v1/models/{model:path}", summary="One model", handle=get_model, response=ModelEntry
    ),
)


class Anthropic:
    """See :class:`studiolo.dialects.base.Dialect`. Its clients send a header by which they are known."""

    max_message_bytes = 0
    prefixes = ("/v1/messages",)
    header = "anthropic-version"
    shared_prefix = "/v1/models"
    authenticates = False
    endpoints = ENDPOINTS

    def routes(self, serving: Serving) -> Sequence[ControllerRouterHandler]:
        """See :meth:`studiolo.dialects.base.Dialect.routes`."""
        return handlers(ENDPOINTS, serving, _answer_headers)

    def error(self, error: StudioloError, status: int) -> ErrorAnswer:
        """See :meth:`studiolo.dialects.base.Dialect.error`."""
        return error_answer(error, status)


def _answer_headers() -> Mapping[str, str]:
    return {REQUEST_ID: new_request_id()}
