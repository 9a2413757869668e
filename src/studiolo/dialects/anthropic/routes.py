"""The routes of Anthropic's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..http.dialect import HttpDialect
from ..http.endpoint import Endpoint
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
        attachments=("messages",),
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/messages/count_tokens",
        summary="The number of tokens of a conversation",
        handle=count_message_tokens,
        request=PromptBody,
        fields=request.COUNT_FIELDS,
        response=TokenCount,
        attachments=("messages",),
    ),
    Endpoint(methods=("GET",), path="/v1/models", summary="The models on disk", handle=list_models, response=ModelPage),
    Endpoint(
        methods=("GET",), path="/v1/models/{model:path}", summary="One model", handle=get_model, response=ModelEntry
    ),
)


def _answer_headers() -> Mapping[str, str]:
    return {REQUEST_ID: new_request_id()}


def anthropic() -> HttpDialect:
    """Return the dialect: Anthropic's API, whose clients send a header by which they are known."""
    return HttpDialect(
        prefixes=("/v1/messages",),
        header="anthropic-version",
        shared_prefix="/v1/models",
        endpoints=ENDPOINTS,
        to_answer=error_answer,
        answer_headers=_answer_headers,
    )
