"""The routes of Ollama's API."""

from __future__ import annotations

from typing import Any

from ..http.answers import NDJSON
from ..http.dialect import HttpDialect
from ..http.endpoint import Endpoint
from . import changes, chat, embeddings, generate, models
from .errors import error_answer

ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        methods=("GET", "HEAD"),
        path="/",
        summary="Whether the server runs",
        handle=models.root,
        response=str,
        media_type="text/plain; charset=utf-8",
    ),
    Endpoint(
        methods=("GET", "HEAD"),
        path="/api/version",
        summary="The version of the API",
        handle=models.version,
        response=models.Version,
    ),
    Endpoint(
        methods=("GET", "HEAD"),
        path="/api/tags",
        summary="The models on disk",
        handle=models.list_models,
        response=models.ModelList,
    ),
    Endpoint(
        methods=("GET",),
        path="/api/ps",
        summary="The loaded models",
        handle=models.list_loaded,
        response=models.LoadedList,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/show",
        summary="What is known of a model",
        handle=models.show,
        request=models.ShowBody,
        fields=models.SHOW_FIELDS,
        response=models.ShowAnswer,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/generate",
        summary="Answer a prompt, or load or unload a model",
        handle=generate.generate,
        request=generate.GenerateBody,
        fields=generate.FIELDS,
        response=generate.GenerateAnswer,
        stream_type=NDJSON,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/chat",
        summary="Answer a chat, or load or unload a model",
        handle=chat.chat,
        request=chat.ChatBody,
        fields=chat.FIELDS,
        response=chat.ChatAnswer,
        stream_type=NDJSON,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/embed",
        summary="The vectors of texts",
        handle=embeddings.embed,
        request=embeddings.EmbedBody,
        fields=embeddings.FIELDS,
        response=embeddings.EmbedAnswer,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/embeddings",
        summary="The vector of a text, as older clients ask for it",
        handle=embeddings.embed_one,
        request=embeddings.OldEmbedBody,
        fields=embeddings.OLD_FIELDS,
        response=embeddings.OldEmbedAnswer,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/pull",
        summary="Download a model",
        handle=changes.pull,
        request=changes.PullBody,
        fields=changes.PULL_FIELDS,
        response=changes.Progress,
        stream_type=NDJSON,
    ),
    Endpoint(
        methods=("DELETE",),
        path="/api/delete",
        summary="Delete a model",
        handle=changes.delete,
        request=changes.DeleteBody,
        fields=changes.DELETE_FIELDS,
        response=str,
        media_type=changes.NO_CONTENT,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/copy",
        summary="Give a model a further name",
        handle=changes.copy,
        request=changes.CopyBody,
        fields=changes.COPY_FIELDS,
        response=str,
        media_type=changes.NO_CONTENT,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/create",
        summary="Derive a model from another",
        handle=changes.create,
        request=changes.CreateBody,
        fields=changes.CREATE_FIELDS,
        response=changes.Progress,
        stream_type=NDJSON,
    ),
    Endpoint(
        methods=("POST",),
        path="/api/push",
        summary="Refused: upload a model",
        handle=changes.push,
        request=changes.PushBody,
        fields=changes.PUSH_FIELDS,
    ),
    Endpoint(
        methods=("HEAD", "POST"),
        path="/api/blobs/{digest:str}",
        summary="Refused: upload a file",
        handle=changes.blob,
    ),
)


def ollama() -> HttpDialect:
    """Return the dialect: Ollama's API."""
    return HttpDialect(prefixes=("/api", "/$"), endpoints=ENDPOINTS, to_answer=error_answer)
