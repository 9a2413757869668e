"""Messages of the ``llm`` namespace: predictions."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from .chat import ChatHistoryData, TextData, UserMessage
from .endpoints import Channel, Rpc
from .kv import KvConfig, KvConfigStack, KvField, KvLayer
from .models import LlmInstanceInfo, ModelSpecifier
from .structs import Message, WireStruct
from .tools import ToolCallEvent

StopReason = Literal[
    "userStopped",
    "modelUnloaded",
    "failed",
    "eosFound",
    "stopStringFound",
    "toolCalls",
    "maxPredictedTokensReached",
    "contextLengthReached",
]

ReasoningType = Literal["none", "reasoning", "reasoningStartTag", "reasoningEndTag"]


T = TypeVar("T")


def _always(value: T) -> T:
    """A default that is sent all the same: the official clients want the field."""
    return msgspec.field(default_factory=lambda: value)


class LogProb(WireStruct, frozen=True):
    """A token that was a candidate, and the natural logarithm of its probability."""

    text: str
    logprob: float


class Fragment(WireStruct, frozen=True):
    """A piece of generated text. It prints as its text.

    Parameters:
        content: the text.
        tokens_count: how many tokens it was made of.
        contains_drafted: whether any of them came from a draft model.
        reasoning_type: whether the text is an answer (``none``) or part of a reasoning block.
        is_structural: whether the text is structure rather than content.
        logprobs: where ``log_probs`` asked for them: for each token, itself and then the other likeliest candidates.
    """

    content: str
    tokens_count: int = _always(1)
    contains_drafted: bool = _always(False)
    reasoning_type: ReasoningType = _always("none")
    is_structural: bool = _always(False)
    logprobs: list[list[LogProb]] | None = None

    def __str__(self) -> str:
        return self.content


class PredictionStats(WireStruct, frozen=True, kw_only=True):
    """How a prediction went.

    Parameters:
        stop_reason: why it ended.
        stop_string: the stop string that ended it, where one did.
        tokens_per_second: the rate of generation, the prompt not counted.
        num_gpu_layers: layers of the model on GPUs; absent where the engine does not tell.
        time_to_first_token_sec: seconds from the request to the first token, waiting for a slot included.
        total_time_sec: seconds from the request to the end.
        prompt_tokens_count, predicted_tokens_count, total_tokens_count: tokens in, out and together.
        used_draft_model_key and the ``draft`` counts: only with a draft model.
    """

    stop_reason: StopReason
    stop_string: str | None = None
    tokens_per_second: float | None = None
    num_gpu_layers: float | None = None
    time_to_first_token_sec: float | None = None
    total_time_sec: float | None = None
    prompt_tokens_count: int | None = None
    predicted_tokens_count: int | None = None
    total_tokens_count: int | None = None
    used_draft_model_key: str | None = None
    total_draft_tokens_count: int | None = None
    accepted_draft_tokens_count: int | None = None
    rejected_draft_tokens_count: int | None = None
    ignored_draft_tokens_count: int | None = None


class PredictParameter(WireStruct, frozen=True, kw_only=True):
    model_specifier: ModelSpecifier
    history: ChatHistoryData
    prediction_config_stack: KvConfigStack
    fuzzy_preset_identifier: str | None = None
    ignore_server_session_config: bool | None = None


class FragmentMessage(Message, frozen=True, tag="fragment"):
    fragment: Fragment
    logprobs: list[list[LogProb]] | None = None
    """The fragment's, which travel beside it."""


def fragment_message(fragment: Fragment) -> FragmentMessage:
    """``fragment`` as it travels: its log-probabilities beside it."""
    if fragment.logprobs is None:
        return FragmentMessage(fragment=fragment)
    return FragmentMessage(fragment=msgspec.structs.replace(fragment, logprobs=None), logprobs=fragment.logprobs)


def received_fragment(message: FragmentMessage) -> Fragment:
    """The fragment of a message, its log-probabilities with it."""
    if message.logprobs is None:
        return message.fragment
    return msgspec.structs.replace(message.fragment, logprobs=message.logprobs)


class PromptProcessingProgress(Message, frozen=True, tag="promptProcessingProgress"):
    progress: float
    """0 to 1."""
    queue_position: int | None = None
    """The turns until the prediction gets a slot, counted from 1; of studiolo's servers alone."""


class PredictSuccess(Message, frozen=True, tag="success"):
    stats: PredictionStats
    model_info: LlmInstanceInfo
    load_model_config: KvConfig
    prediction_config: KvConfig


PredictMessage = FragmentMessage | PromptProcessingProgress | ToolCallEvent | PredictSuccess

PREDICT: Channel[PredictParameter, PredictMessage] = Channel("predict", PredictParameter, PredictMessage)


class CompleteRawTextParameter(WireStruct, frozen=True, kw_only=True):
    model_specifier: ModelSpecifier
    prompt: str
    prediction_config_stack: KvConfigStack


COMPLETE_RAW_TEXT: Channel[CompleteRawTextParameter, PredictMessage] = Channel(
    "completeRawText", CompleteRawTextParameter, PredictMessage
)


class ApplyPromptTemplateOpts(WireStruct, frozen=True, kw_only=True):
    """How a chat is turned into text.

    Parameters:
        omit_bos_token, omit_eos_token: leave the tokens that begin and end a text out.
        tool_definitions: the tools that the model may call, as JSON objects.
    """

    omit_bos_token: bool | None = None
    omit_eos_token: bool | None = None
    tool_definitions: list[dict[str, Any]] | None = None


class ApplyPromptTemplateParameter(WireStruct, frozen=True, kw_only=True):
    specifier: ModelSpecifier
    history: ChatHistoryData
    prediction_config_stack: KvConfigStack
    opts: ApplyPromptTemplateOpts


class FormattedPrompt(WireStruct, frozen=True):
    formatted: str


APPLY_PROMPT_TEMPLATE: Rpc[ApplyPromptTemplateParameter, FormattedPrompt] = Rpc(
    "applyPromptTemplate", ApplyPromptTemplateParameter, FormattedPrompt
)


class PreloadDraftModelParameter(WireStruct, frozen=True, kw_only=True):
    specifier: ModelSpecifier
    draft_model_key: str


PRELOAD_DRAFT_MODEL: Rpc[PreloadDraftModelParameter, None] = Rpc("preloadDraftModel", PreloadDraftModelParameter, None)

PROMPT_TEMPLATE_KEY = "llm.prediction.promptTemplate"
_PASS_THROUGH_TEMPLATE = "{%- for message in messages -%}{{ message['content'] }}{%- endfor -%}"


def raw_completion(
    prompt: str, specifier: ModelSpecifier, config: KvConfig, preset: str | None = None
) -> PredictParameter:
    """The request to continue ``prompt`` exactly as it stands.

    It travels as LM Studio's own clients send it: a chat of one user message, with a prompt template that passes the
    text through.
    """
    template: dict[str, Any] = {
        "type": "jinja",
        "jinjaPromptTemplate": {"template": _PASS_THROUGH_TEMPLATE},
        "stopStrings": [],
    }
    pass_through = KvConfig(fields=[KvField(key=PROMPT_TEMPLATE_KEY, value=template)])
    return PredictParameter(
        model_specifier=specifier,
        history=ChatHistoryData(messages=[UserMessage(content=[TextData(text=prompt)])]),
        prediction_config_stack=KvConfigStack(
            layers=[
                KvLayer(layer_name="apiOverride", config=config),
                KvLayer(layer_name="completeModeFormatting", config=pass_through),
            ]
        ),
        fuzzy_preset_identifier=preset,
    )


# The official client's names for the same types.
LlmPredictionFragment = Fragment
LlmPredictionStats = PredictionStats
