"""Messages of the ``llm`` namespace: predictions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, field
from msgspec.structs import replace

from ..config import PredictionConfig
from ..domain.decisions import Normalization, QuestionKind
from .chat import ChatHistoryData, TextData, UserMessage
from .declarations import Channel, Rpc
from .kv import KvConfig, KvConfigStack, KvField, KvLayer, encode_prediction_config
from .models import LlmInstanceInfo, ModelSpecifier
from .structs import Message, WireStruct, always_sent
from .tools import ToolCallEvent

StopReason = Literal[
    "userStopped",
    "timeLimitReached",
    "modelUnloaded",
    "failed",
    "eosFound",
    "stopStringFound",
    "toolCalls",
    "maxPredictedTokensReached",
    "contextLengthReached",
]

"""``timeLimitReached`` is studiolo's own: on the wire it is ``userStopped``, the only such reason that LM Studio's
clients accept, and :attr:`PredictSuccess.time_limit_reached`."""

ReasoningType = Literal["none", "reasoning", "reasoningStartTag", "reasoningEndTag"]


MIN_TIME_LIMIT_SEC = 0.001


class LogProb(WireStruct, frozen=True):
    """A candidate token and the natural logarithm of its probability."""

    text: str
    logprob: float
    id: int | None = None
    """The token's number in the model's vocabulary; absent if the host does not send it."""


UNKNOWN_TOKEN = -1
"""The id of a token whose id the engine does not report; clients require one."""


class CandidateToken(WireStruct, frozen=True, kw_only=True):
    """A token that the model might have chosen instead."""

    text: str
    id: int
    log_prob: float


class FragmentToken(WireStruct, frozen=True, kw_only=True):
    """A token of a fragment, with its log-probability and the likeliest alternatives if the request asks for them."""

    text: str
    id: int
    log_prob: float | None = None
    candidates: list[CandidateToken] | None = None


class Fragment(WireStruct, frozen=True):
    """A piece of generated text. It prints as its text.

    Parameters:
        content: the text.
        tokens_count: the number of its tokens.
        contains_drafted: whether any of them was proposed by a draft model.
        reasoning_type: whether the text is an answer (``none``) or part of a reasoning block.
        is_structural: whether the text is structure rather than content.
        logprobs: if the request sets ``log_probs``: for each token its own entry, then the likeliest alternatives.
        tokens: the same in LM Studio's form; set in fragments on the wire.
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

    def __format__(self, spec: str) -> str:
        return format(self.content, spec)


def merge_fragments(last: Fragment, new: Fragment) -> Fragment | None:
    """Return two adjacent fragments as one; ``None`` if they differ in reasoning type or structure."""
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
    """Statistics of a prediction.

    Parameters:
        stop_reason: why it ended.
        stop_string: the stop string that ended it, if one did.
        tokens_per_second: the rate of generation, prompt processing excluded.
        num_gpu_layers: layers of the model on GPUs; absent if the engine does not report it.
        time_to_first_token_sec: seconds from the request to the first token, including the wait for a slot.
        total_time_sec: seconds from the request to the end.
        prompt_tokens_count, predicted_tokens_count, total_tokens_count: prompt tokens, generated tokens, sum.
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


class InfillParameter(WireStruct, frozen=True, kw_only=True):
    model_specifier: ModelSpecifier
    prefix: str
    suffix: str
    prediction_config_stack: KvConfigStack
    fuzzy_preset_identifier: str | None = None


A = TypeVar("A", PredictParameter, InfillParameter)


def with_time_limit(parameter: A, limit_sec: float | None) -> A:
    """Return a request with a time limit, instead of the one in its settings; unchanged for ``None``."""
    if limit_sec is None:
        return parameter
    limit = encode_prediction_config(PredictionConfig(timeout_sec=max(limit_sec, MIN_TIME_LIMIT_SEC)))
    first, *others = parameter.prediction_config_stack.layers
    fields = [*first.config.fields, *limit.fields]
    layers = [replace(first, config=KvConfig(fields=fields)), *others]
    return replace(parameter, prediction_config_stack=KvConfigStack(layers=layers))


class FragmentMessage(Message, frozen=True, tag="fragment"):
    """A fragment. LM Studio's SDK 2.0.0 reads log-probabilities from ``fragment.tokens``, 1.5.0 from ``logprobs``."""

    fragment: Fragment
    logprobs: list[list[LogProb]] | None = None


def received_fragment(message: FragmentMessage) -> Fragment:
    """Return the fragment of a message, with its log-probabilities from either form."""
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
    """Token counts of a prompt: cached, processed and unprocessed add up to the total. All are 0 while unknown.

    Parameters:
        cached_token_count: tokens reused from the cache of an earlier prompt with the same beginning.
        total_prompt_token_count: all tokens of the prompt.
        processed_prompt_token_count: tokens processed for this prompt so far.
        unprocessed_prompt_token_count: tokens not processed yet.
    """

    cached_token_count: int = always_sent(0)
    total_prompt_token_count: int = always_sent(0)
    processed_prompt_token_count: int = always_sent(0)
    unprocessed_prompt_token_count: int = always_sent(0)


class PromptProcessingProgress(Message, frozen=True, tag="promptProcessingProgress"):
    progress: float
    """0 to 1."""
    details: PromptProcessingDetails | None = None
    """Absent from hosts older than LM Studio's SDK 2.0.0."""
    queue_position: int | None = None
    """The prediction's place in the queue for a slot, from 1; sent only by studiolo's hosts."""


class StructuredOutcome(WireStruct, frozen=True):
    """The validation of a structured answer. The field is studiolo's own; LM Studio's clients ignore it.

    Parameters:
        problem: why the answer is invalid: it was cut off, or violates the schema.
        warnings: likely mistakes in the schema, each with its path.
    """

    problem: str | None = None
    warnings: list[str] | None = None


class PredictSuccess(Message, frozen=True, tag="success"):
    stats: PredictionStats
    model_info: LlmInstanceInfo
    load_model_config: KvConfig
    prediction_config: KvConfig
    structured: StructuredOutcome | None = None
    engine_restarts: int | None = None
    """How often the engine died and the answer was continued on its successor; absent for never. studiolo's own."""
    time_limit_reached: bool | None = None
    """Whether the time limit ended it, with the stop reason ``userStopped``. studiolo's own."""


PredictMessage = FragmentMessage | PromptProcessingProgress | ToolCallEvent | PredictSuccess

PREDICT: Channel[PredictParameter, PredictMessage] = Channel("predict", PredictParameter, PredictMessage)


INFILL: Channel[InfillParameter, PredictMessage] = Channel("studiolo.infill", InfillParameter, PredictMessage)
"""An addition of studiolo's: the text between two others."""


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
    """How a chat is formatted as a prompt.

    Parameters:
        omit_bos_token, omit_eos_token: leave out the tokens that begin and end a text.
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


class QuestionData(WireStruct, frozen=True, kw_only=True):
    """A question and its choices; ``None`` where the chat itself asks it."""

    choices: list[str]
    text: str | None = None
    kind: QuestionKind = "choice"


class Calibration(WireStruct, frozen=True, kw_only=True):
    """What makes the probabilities of decisions say how often they are right, fitted by :meth:`AsyncLLM.calibrate`.

    Parameters:
        temperature: the logarithms of probabilities are divided by it: above 1 for less certainty.
        bias: what is then added for each choice, by its text; 0 for other choices.
        examples: how many it was fitted on.
        held_out: on how many others it was measured.
        error_before, error_after: their expected calibration error without it and with it: how far the probability
            of the likeliest choice is from how often that is right, 0 to 1.
        accuracy_before, accuracy_after: the share of them whose likeliest choice is right.
    """

    temperature: Annotated[float, Meta(gt=0, le=1e30)] = 1.0
    bias: dict[str, Annotated[float, Meta(ge=-1e30, le=1e30)]] = field(default_factory=dict[str, float])
    examples: int = 0
    held_out: int = 0
    error_before: float | None = None
    error_after: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None


class DecideParameter(WireStruct, frozen=True, kw_only=True):
    specifier: ModelSpecifier
    history: ChatHistoryData
    prediction_config_stack: KvConfigStack
    questions: list[QuestionData]
    normalization: Normalization
    calibration: Calibration | None = None


class Probabilities(WireStruct, frozen=True):
    """The probabilities of each question's choices."""

    probabilities: list[list[float]]


DECIDE: Rpc[DecideParameter, Probabilities] = Rpc("studiolo.decide", DecideParameter, Probabilities)
"""An addition of studiolo's: the probability of each choice of several questions that follow one chat."""


class PreloadDraftModelParameter(WireStruct, frozen=True, kw_only=True):
    specifier: ModelSpecifier
    draft_model_key: str


PRELOAD_DRAFT_MODEL: Rpc[PreloadDraftModelParameter, None] = Rpc("preloadDraftModel", PreloadDraftModelParameter, None)

PROMPT_TEMPLATE_KEY = "llm.prediction.promptTemplate"
_PASS_THROUGH_TEMPLATE = "{%- for message in messages -%}{{ message['content'] }}{%- endfor -%}"


def raw_completion(
    prompt: str, specifier: ModelSpecifier, config: KvConfig, preset: str | None = None
) -> PredictParameter:
    """Return the request to continue ``prompt`` unchanged.

    It has the form that LM Studio's own clients send: a chat of one user message, with a prompt template that passes
    the text through.
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
