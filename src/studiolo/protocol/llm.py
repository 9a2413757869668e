"""Messages of the ``llm`` namespace: predictions."""

from __future__ import annotations

from typing import Any, Literal

from msgspec.structs import replace

from .chat import ChatHistoryData, TextData, UserMessage
from .declarations import Channel, Rpc
from .kv import KvConfig, KvConfigStack, KvField, KvLayer
from .models import LlmInstanceInfo, ModelSpecifier
from .structs import Message, WireStruct, always_sent
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


class LogProb(WireStruct, frozen=True):
    """A token that was a candidate, and the natural logarithm of its probability."""

    text: str
    logprob: float
    id: int | None = None
    """The token's number in the model's vocabulary; absent where the host does not send it."""


UNKNOWN_TOKEN = -1
"""The number of a token that an engine gives none for: clients require one."""


class CandidateToken(WireStruct, frozen=True, kw_only=True):
    """A token that the model might have chosen."""

    text: str
    id: int
    log_prob: float


class FragmentToken(WireStruct, frozen=True, kw_only=True):
    """A token of a fragment, and where they were asked for its log-probability and the other likeliest candidates."""

    text: str
    id: int
    log_prob: float | None = None
    candidates: list[CandidateToken] | None = None


class Fragment(WireStruct, frozen=True):
    """A piece of generated text. It prints as its text.

    Parameters:
        content: the text.
        tokens_count: how many tokens it was made of.
        contains_drafted: whether any of them came from a draft model.
        reasoning_type: whether the text is an answer (``none``) or part of a reasoning block.
        is_structural: whether the text is structure rather than content.
        logprobs: where ``log_probs`` asked for them: for each token, itself and then the other likeliest candidates.
        tokens: the same in LM Studio's form, in fragments that a host has sent.
    """

    content: str
    tokens_count: int = always_sent(1)
    contains_drafted: bool = always_sent(False)
    reasoning_type: ReasoningType = always_sent("none")
    is_structural: bool = always_sent(False)
    logprobs: list[list[LogProb]] | None = None
    tokens: list[FragmentToken] | None = None

    def __str__(self) -> str:
        return self.content


def merge_fragments(last: Fragment, new: Fragment) -> Fragment | None:
    """Two fragments as one, where they are of one kind."""
    if last.reasoning_type != new.reasoning_type or last.is_structural != new.is_structural:
        return None
    return Fragment(
        content=last.content + new.content,
        tokens_count=last.tokens_count + new.tokens_count,
        contains_drafted=last.contains_drafted or new.contains_drafted,
        reasoning_type=last.reasoning_type,
        is_structural=last.is_structural,
        logprobs=[*last.logprobs, *new.logprobs] if last.logprobs and new.logprobs else last.logprobs or new.logprobs,
        tokens=[*last.tokens, *new.tokens] if last.tokens and new.tokens else last.tokens or new.tokens,
    )


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
    """A fragment. Clients of LM Studio's SDK 2.0.0 read log-probabilities in its tokens, those of 1.5.0 beside it."""

    fragment: Fragment
    logprobs: list[list[LogProb]] | None = None


def received_fragment(message: FragmentMessage) -> Fragment:
    """Return the fragment of a message, with its log-probabilities where they came in either form."""
    fragment, entries = message.fragment, message.logprobs
    if fragment.tokens and all(token.log_prob is not None for token in fragment.tokens):
        entries = [_entry(token) for token in fragment.tokens]
    return fragment if entries is None else replace(fragment, logprobs=entries)


def _entry(token: FragmentToken) -> list[LogProb]:
    """Return a token's log-probability, then those of the other candidates."""
    others = [each for each in token.candidates or () if each.id != token.id]
    return [
        LogProb(token.text, token.log_prob or 0.0, token.id),
        *(LogProb(each.text, each.log_prob, each.id) for each in others),
    ]


class PromptProcessingDetails(WireStruct, frozen=True, kw_only=True):
    """The tokens of a prompt: cached, processed and unprocessed ones are all of them; 0 where they are not known yet.

    Parameters:
        cached_token_count: those that an earlier prompt of the same beginning has left.
        total_prompt_token_count: all of them.
        processed_prompt_token_count: those that were processed for this prompt.
        unprocessed_prompt_token_count: those that are yet to be processed.
    """

    cached_token_count: int = always_sent(0)
    total_prompt_token_count: int = always_sent(0)
    processed_prompt_token_count: int = always_sent(0)
    unprocessed_prompt_token_count: int = always_sent(0)


class PromptProcessingProgress(Message, frozen=True, tag="promptProcessingProgress"):
    progress: float
    """0 to 1."""
    details: PromptProcessingDetails | None = None
    """Absent from hosts of before LM Studio's SDK 2.0.0."""
    queue_position: int | None = None
    """The turns until the prediction gets a slot, counted from 1; of studiolo's servers alone."""


class StructuredOutcome(WireStruct, frozen=True):
    """How an answer that is held to a form has come out. The field is studiolo's own; LM Studio's clients ignore it.

    Parameters:
        problem: why the answer does not have its form: it was cut off, or breaks the schema.
        warnings: what the author of the schema should look at, each with its path.
    """

    problem: str | None = None
    warnings: list[str] | None = None


class PredictSuccess(Message, frozen=True, tag="success"):
    stats: PredictionStats
    model_info: LlmInstanceInfo
    load_model_config: KvConfig
    prediction_config: KvConfig
    structured: StructuredOutcome | None = None


PredictMessage = FragmentMessage | PromptProcessingProgress | ToolCallEvent | PredictSuccess

PREDICT: Channel[PredictParameter, PredictMessage] = Channel("predict", PredictParameter, PredictMessage)


class CompleteRawTextParameter(WireStruct, frozen=True, kw_only=True):
    model_specifier: ModelSpecifier
    raw_prompt: str
    prediction_config_stack: KvConfigStack
    fuzzy_preset_identifier: str | None = None
    ignore_server_session_config: bool | None = None


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
