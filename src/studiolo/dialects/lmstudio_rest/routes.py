"""The routes of LM Studio's REST API."""

from __future__ import annotations

from typing import Any

from ..http.answers import SSE
from ..http.dialect import HttpDialect
from ..http.endpoint import Endpoint
from ..openai import chat_request as openai_chat
from ..openai import completions as openai_completions
from ..openai import embeddings as openai_embeddings
from . import chat_request, downloads, models
from .chat import chat
from .chat_answer import ChatAnswer
from .errors import error_answer
from .old import complete_chat_with_info, complete_with_info

ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        methods=("POST",),
        path="/api/v1/chat",
        summary="Chat with a model; the server keeps the chat",
        handle=chat,
        request=chat_request.ChatBody,
        fields=chat_request.FIELDS,
        response=ChatAnswer,
        stream_type=SSE,
        strict=True,
        attachments=("input",),
    ),
    Endpoint(
        methods=("GET",),
        path="/api/v1/models",
        summary="The models on disk, and their loaded instances",
        handle=models.list_models,
        response=models.ModelList,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/v1/models/load",
        summary="Load a model",
        handle=models.load,
        request=models.LoadBody,
        fields=models.LOAD_FIELDS,
        response=models.LoadAnswer,
        strict=True,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/v1/models/unload",
        summary="Unload an instance",
        handle=models.unload,
        request=models.UnloadBody,
        fields=models.UNLOAD_FIELDS,
        response=models.UnloadBody,
        strict=True,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/v1/models/download",
        summary="Begin to download a model",
        handle=downloads.begin_download,
        request=downloads.DownloadBody,
        fields=downloads.DOWNLOAD_FIELDS,
        response=downloads.DownloadState,
        strict=True,
    ),
    Endpoint(
        methods=("GET",),
        path="/api/v1/models/download/status/{job_id:str}",
        summary="How far a download is",
        handle=downloads.download_status,
        response=downloads.DownloadState,
    ),
    Endpoint(
        methods=("GET",),
        path="/api/v0/models",
        summary="The models on disk",
        handle=models.list_old,
        response=models.OldModelList,
    ),
    Endpoint(
        methods=("GET",),
        path="/api/v0/models/{model:path}",
        summary="One model",
        handle=models.get_old,
        response=models.OldModelEntry,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/v0/chat/completions",
        summary="Answer a chat, as /v1/chat/completions, and describe model and engine",
        handle=complete_chat_with_info,
        request=openai_chat.ChatBody,
        fields=openai_chat.FIELDS,
        stream_type=SSE,
        attachments=("messages",),
    ),
    Endpoint(
        methods=("POST",),
        path="/api/v0/completions",
        summary="Continue a text, as /v1/completions, and describe model and engine",
        handle=complete_with_info,
        request=openai_completions.CompletionBody,
        fields=openai_completions.FIELDS,
        stream_type=SSE,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/v0/embeddings",
        summary="The vectors of texts, as /v1/embeddings",
        handle=openai_embeddings.embed,
        request=openai_embeddings.EmbeddingsBody,
        fields=openai_embeddings.FIELDS,
        response=openai_embeddings.EmbeddingList,
    ),
)


def lmstudio_rest() -> HttpDialect:
    """Return the dialect: LM Studio's REST API."""
    return HttpDialect(prefixes=("/api/v0", "/api/v1"), endpoints=ENDPOINTS, to_answer=error_answer)
