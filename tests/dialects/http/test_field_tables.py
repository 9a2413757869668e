"""Every field that the official clients can send has an entry in the table of its endpoint, and the table is true."""

from __future__ import annotations

from typing import Any

import ollama._types as ollama_types
import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_tokens_params
from anthropic.types.beta import message_create_params as beta_create_params
from openai.types import completion_create_params, embedding_create_params
from openai.types.audio import transcription_create_params
from openai.types.chat import CompletionUpdateParams
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import input_token_count_params, response_compact_params, response_create_params

from studiolo.dialects import dialects
from studiolo.dialects.http.endpoint import Endpoint
from tests.support.request_fields import paths

OFFICIAL: dict[tuple[str, str], list[Any]] = {
    ("anthropic", "/v1/messages"): [
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
        beta_create_params.MessageCreateParamsNonStreaming,
        beta_create_params.MessageCreateParamsStreaming,
    ],
    ("anthropic", "/v1/messages/count_tokens"): [
        message_count_tokens_params.MessageCountTokensParams,
        beta_count_tokens_params.MessageCountTokensParams,
    ],
    ("openai", "/v1/chat/completions"): [
        chat_create_params.CompletionCreateParamsNonStreaming,
        chat_create_params.CompletionCreateParamsStreaming,
    ],
    ("lmstudio-rest", "/api/v0/chat/completions"): [
        chat_create_params.CompletionCreateParamsNonStreaming,
        chat_create_params.CompletionCreateParamsStreaming,
    ],
    ("lmstudio-rest", "/api/v0/completions"): [
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ],
    ("lmstudio-rest", "/api/v0/embeddings"): [embedding_create_params.EmbeddingCreateParams],
    ("openai", "/v1/chat/completions/{completion_id:str}"): [CompletionUpdateParams],
    ("openai", "/v1/responses"): [
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ],
    ("openai", "/v1/responses/compact"): [response_compact_params.ResponseCompactParams],
    ("openai", "/v1/responses/input_tokens"): [input_token_count_params.InputTokenCountParams],
    ("openai", "/v1/completions"): [
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ],
    ("openai", "/v1/audio/transcriptions"): [
        transcription_create_params.TranscriptionCreateParamsNonStreaming,
        transcription_create_params.TranscriptionCreateParamsStreaming,
    ],
    ("openai", "/v1/embeddings"): [embedding_create_params.EmbeddingCreateParams],
    ("ollama", "/api/generate"): [ollama_types.GenerateRequest],
    ("ollama", "/api/chat"): [ollama_types.ChatRequest],
    ("ollama", "/api/embed"): [ollama_types.EmbedRequest],
    ("ollama", "/api/embeddings"): [ollama_types.EmbeddingsRequest],
    ("ollama", "/api/show"): [ollama_types.ShowRequest],
    ("ollama", "/api/pull"): [ollama_types.PullRequest],
    ("ollama", "/api/delete"): [ollama_types.DeleteRequest],
    ("ollama", "/api/copy"): [ollama_types.CopyRequest],
    ("ollama", "/api/push"): [ollama_types.PushRequest],
}
"""The official types of the requests, by dialect and path."""

OWN: dict[tuple[str, str], str] = {
    ("openai", "/v1/decisions"): (
        "model messages prompt context question choices levels questions normalization calibration"
    ),
    ("openai", "/v1/rerank"): "model query documents top_n return_documents max_tokens_per_doc",
    ("openai", "/v1/score"): "model text_1 text_2 truncate_prompt_tokens",
    ("lmstudio-rest", "/api/v1/chat"): (
        "model input system_prompt integrations stream temperature top_p top_k min_p repeat_penalty max_output_tokens "
        "reasoning context_length store previous_response_id"
    ),
    ("lmstudio-rest", "/api/v1/models/load"): (
        "model context_length eval_batch_size flash_attention num_experts offload_kv_cache_to_gpu echo_load_config"
    ),
    ("lmstudio-rest", "/api/v1/models/unload"): "instance_id",
    ("lmstudio-rest", "/api/v1/models/download"): "model quantization",
    ("ollama", "/api/create"): (  # the client's type has another name for "from"
        "model name from files adapters template license system parameters messages quantize stream"
    ),
}
"""The documented fields of endpoints that no client's types describe."""

WITH_BODY = {
    (name, endpoint.path): endpoint
    for name, dialect in dialects().items()
    for endpoint in dialect.endpoints
    if endpoint.request is not None
}


@pytest.mark.parametrize("key", OFFICIAL, ids=" ".join)
def test_every_field_of_the_official_request_is_in_the_table(key: tuple[str, str]) -> None:
    if key not in WITH_BODY:
        pytest.fail(f"there is no endpoint {key}")
    fields = WITH_BODY[key].fields
    missing = {path for kind in OFFICIAL[key] for path in paths(kind, fields) if path not in fields}
    assert missing == set()


@pytest.mark.parametrize("key", OWN, ids=" ".join)
def test_every_documented_field_is_in_the_table(key: tuple[str, str]) -> None:
    assert set(OWN[key].split()) <= set(WITH_BODY[key].fields)


def test_every_endpoint_with_a_body_is_compared_with_its_specification() -> None:
    assert set(WITH_BODY) == set(OFFICIAL) | set(OWN)


@pytest.mark.parametrize("endpoint", WITH_BODY.values(), ids=lambda endpoint: endpoint.path)
def test_what_the_table_honours_is_what_the_endpoint_reads(endpoint: Endpoint[Any]) -> None:
    honoured = {path for path, field in endpoint.fields.items() if field.standing == "honoured"}
    assert set(paths(endpoint.request, endpoint.fields)) == honoured


@pytest.mark.parametrize("endpoint", WITH_BODY.values(), ids=lambda endpoint: endpoint.path)
def test_no_entry_of_a_table_is_empty(endpoint: Endpoint[Any]) -> None:
    assert [path for path, field in endpoint.fields.items() if len(field.note) < 8] == []
    parents = {path.rpartition(".")[0] for path in endpoint.fields if "." in path}
    assert {path for path in parents if path not in endpoint.fields} == set()
