"""The routes of OpenAI's API."""

from __future__ import annotations

from typing import Any

from ..http.dialect import HttpDialect
from ..http.endpoint import Endpoint
from . import (
    chat_request,
    chat_stored,
    completions,
    decisions,
    embeddings,
    reranking,
    responses_compact,
    responses_request,
    responses_stored,
    transcriptions,
)
from .chat import complete_chat
from .chat_answer import ChatCompletion
from .chat_request import ChatBody
from .completions import Completion, CompletionBody, complete
from .decisions import DecisionAnswer, DecisionBody, DecisionList, decide_between
from .embeddings import EmbeddingList, EmbeddingsBody, embed
from .errors import error_answer
from .models import ModelEntry, ModelList, get_model, list_models
from .pages import ItemList
from .reranking import Ranking, RerankBody, ScoreBody, ScoreList, rerank, score
from .responses import TokenCount, count_input, create_response
from .responses_answer import Response
from .transcriptions import Transcription, TranscriptionBody, transcribe

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
        attachments=("messages",),
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/completions",
        summary="Continue a text",
        handle=complete,
        request=CompletionBody,
        fields=completions.FIELDS,
        response=Completion,
        stream_type="text/event-stream",
    ),
    Endpoint(
        methods=("GET",),
        path="/v1/chat/completions",
        summary="The stored chat completions",
        handle=chat_stored.list_chats,
        response=ItemList,
    ),
    Endpoint(
        methods=("GET",),
        path="/v1/chat/completions/{completion_id:str}",
        summary="A stored chat completion",
        handle=chat_stored.get_chat,
        response=ChatCompletion,
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/chat/completions/{completion_id:str}",
        summary="Change the metadata of a stored chat completion",
        handle=chat_stored.update_chat,
        request=chat_stored.UpdateBody,
        fields=chat_stored.UPDATE_FIELDS,
        response=ChatCompletion,
    ),
    Endpoint(
        methods=("DELETE",),
        path="/v1/chat/completions/{completion_id:str}",
        summary="Remove a stored chat completion",
        handle=chat_stored.delete_chat,
        response=chat_stored.Deleted,
    ),
    Endpoint(
        methods=("GET",),
        path="/v1/chat/completions/{completion_id:str}/messages",
        summary="The messages of the request of a stored chat completion",
        handle=chat_stored.list_messages,
        response=ItemList,
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/rerank",
        summary="Order texts by how well they answer a question",
        handle=rerank,
        request=RerankBody,
        fields=reranking.FIELDS,
        response=Ranking,
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/score",
        summary="Score how well texts answer a question",
        handle=score,
        request=ScoreBody,
        fields=reranking.SCORE_FIELDS,
        response=ScoreList,
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/decisions",
        summary="Choose between answers by their probabilities",
        handle=decide_between,
        request=DecisionBody,
        fields=decisions.FIELDS,
        response=DecisionAnswer | DecisionList,
        attachments=("messages",),
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
    Endpoint(
        methods=("POST",),
        path="/v1/audio/transcriptions",
        summary="The text of an audio file, by a model with audio input",
        handle=transcribe,
        request=TranscriptionBody,
        fields=transcriptions.FIELDS,
        response=Transcription,
        stream_type="text/event-stream",
        form=True,
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/responses",
        summary="Answer an input, which may continue a stored response",
        handle=create_response,
        request=responses_request.ResponseBody,
        fields=responses_request.FIELDS,
        response=Response,
        stream_type="text/event-stream",
        attachments=("input",),
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/responses/input_tokens",
        summary="The number of tokens of the input of a response",
        handle=count_input,
        request=responses_request.CountBody,
        fields=responses_request.COUNT_FIELDS,
        response=TokenCount,
        attachments=("input",),
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/responses/compact",
        summary="A summary in place of a long input",
        handle=responses_compact.compact,
        request=responses_compact.CompactBody,
        fields=responses_compact.COMPACT_FIELDS,
        response=responses_compact.Compaction,
        attachments=("input",),
    ),
    Endpoint(
        methods=("GET",),
        path="/v1/responses/{response_id:str}",
        summary="A stored response",
        handle=responses_stored.get_response,
        response=Response,
        stream_type="text/event-stream",
    ),
    Endpoint(
        methods=("DELETE",),
        path="/v1/responses/{response_id:str}",
        summary="Remove a stored response",
        handle=responses_stored.delete_response,
        response=responses_stored.Deleted,
    ),
    Endpoint(
        methods=("POST",),
        path="/v1/responses/{response_id:str}/cancel",
        summary="Cancel a response in the background",
        handle=responses_stored.cancel_response,
        response=Response,
    ),
    Endpoint(
        methods=("GET",),
        path="/v1/responses/{response_id:str}/input_items",
        summary="The items of which a response was made",
        handle=responses_stored.list_input,
        response=ItemList,
    ),
)


def openai() -> HttpDialect:
    """Return the dialect: OpenAI's API."""
    return HttpDialect(prefixes=("/v1",), endpoints=ENDPOINTS, to_answer=error_answer)
