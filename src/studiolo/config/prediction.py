"""The settings of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..errors import ConfigError
from .checking import Probability, camel_case_dict, checked
from .lora import LoraList, full_form

FiniteAmount = Annotated[float, Meta(ge=0, le=1e30)]
StopString = Annotated[str, Meta(min_length=1)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]

MAX_TIMEOUT_SEC = 1e9


class StructuredSetting(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The form that the generated text must have.

    Parameters:
        type: ``"json"`` for text that satisfies ``json_schema``, ``"gbnf"`` for a ``gbnf_grammar``, ``"none"``.
        json_schema: a JSON Schema; without one, any JSON.
        gbnf_grammar: a grammar in GBNF, whose start is the rule ``root``.
    """

    type: Literal["none", "json", "gbnf"]
    json_schema: dict[str, Any] | bool | None = None
    gbnf_grammar: str | None = None

    def __post_init__(self) -> None:
        if self.type == "gbnf" and not self.gbnf_grammar:
            raise ConfigError("The structured setting is of type 'gbnf' and has no gbnf_grammar")
        other = {"gbnf": "json_schema", "json": "gbnf_grammar"}.get(self.type)
        if other is not None and getattr(self, other) is not None:
            raise ConfigError(f"The structured setting is of type {self.type!r} and has a {other} as well")

    @classmethod
    def any_object(cls) -> StructuredSetting:
        """Return the form of a JSON object with any properties, which some APIs call JSON mode."""
        return cls(type="json", json_schema={"type": "object"})


class MirostatSetting(Struct, kw_only=True, omit_defaults=False, forbid_unknown_fields=True):
    """Mirostat: sampling that keeps the perplexity of the text constant.

    Parameters:
        version: 1 or 2; 0 for off.
        learning_rate: how fast the level is corrected (eta).
        target_entropy: the target, in bits (tau).
    """

    version: Literal[0, 1, 2]
    learning_rate: FiniteAmount = 0.1
    target_entropy: FiniteAmount = 5.0


ToolNaming = Literal["passThrough", "removeSpecial", "snakeCase", "camelCase"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ContextOverflowPolicy = Literal["stopAtLimit", "truncateMiddle", "rollingWindow"]
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class JinjaPromptTemplate(Struct, kw_only=True, omit_defaults=True):
    """A chat template in Jinja.

    Parameters:
        template: the template.
        bos_token, eos_token: the tokens at the beginning and the end of a text. Default: the model's.
        input_config: in LM Studio's form, whether a message's content is text or a list of parts. Default: text.
    """

    template: str
    bos_token: str | None = None
    eos_token: str | None = None
    input_config: dict[str, Any] | None = None


class ManualPromptTemplate(Struct, kw_only=True):
    """A chat template made of the texts before and after each role's messages."""

    before_system: str = ""
    after_system: str = ""
    before_user: str = ""
    after_user: str = ""
    before_assistant: str = ""
    after_assistant: str = ""


class PromptTemplate(Struct, kw_only=True, omit_defaults=True):
    """A chat template to use instead of the model's own.

    Parameters:
        type: ``"jinja"`` or ``"manual"``.
        jinja_prompt_template, manual_prompt_template: the template of that type.
        stop_strings: more stop strings, which end the assistant's turn.
    """

    type: Literal["jinja", "manual"]
    stop_strings: list[StopString] = []
    jinja_prompt_template: JinjaPromptTemplate | None = None
    manual_prompt_template: ManualPromptTemplate | None = None

    def __post_init__(self) -> None:
        wanted = f"{self.type}_prompt_template"
        if getattr(self, wanted) is None:
            raise ConfigError(f"The prompt template is of type {self.type!r} and has no {wanted}")


class ReasoningParsing(Struct, kw_only=True, forbid_unknown_fields=True):
    """How reasoning is separated from the answer.

    Parameters:
        enabled: whether it is separated.
        start_string, end_string: the tags before and after a block of reasoning.
    """

    enabled: bool
    start_string: str = "<think>"
    end_string: str = "</think>"

    def __post_init__(self) -> None:
        if self.enabled and not (self.start_string and self.end_string):
            raise ConfigError("The reasoning_parsing setting needs a start_string and an end_string")


class PredictionConfig(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How text is generated. docs/prediction-config.md describes each setting.

    Parameters:
        temperature: 0 always samples the most likely token; higher values are more varied. Default: 0.8.
        max_tokens: the maximum number of generated tokens; ``False`` or -1 (the default) for no limit except the
            context.
        stop_strings: generation ends before the first of these in the answer; in a chat, reasoning that is separated
            from the answer and tool calls do not count. Default: none.
        tool_call_stop_strings: as ``stop_strings``, with the stop reason ``toolCalls``. Default: none.
        context_overflow_policy: what to do when prompt and answer exceed the context: ``"stopAtLimit"``,
            ``"truncateMiddle"`` or ``"rollingWindow"``. Default: ``"stopAtLimit"``.
        keep_tokens: tokens at the beginning of the prompt that ``"rollingWindow"`` keeps, at most half of the context;
            -1 for the whole prompt. Default: 0.
        structured: the form that the text must have. Default: any.
        raw_tools: the tools of a chat, in LM Studio's form; ``act()`` sets them. Default: none.
        tool_choice: ``"required"``: the model must call a tool; ``"none"``: it must not; ``"auto"``: it chooses,
            the default. Without tools, ``"required"`` is refused.
        tool_naming: the form of tool names that the model sees: ``"removeSpecial"`` (the default) replaces all but
            letters, digits, ``_`` and ``-`` by ``_``; ``"snakeCase"`` and ``"camelCase"`` rewrite the words;
            ``"passThrough"`` leaves them as they are.
        top_k_sampling: sample among this many most likely tokens; 0 for all. Also ``top_k``. Default: 40.
        top_p_sampling: sample among the most likely tokens whose probabilities add up to this, 0 to 1; ``False`` for
            off. Also ``top_p``. Default: 0.95.
        min_p_sampling: drop tokens less likely than this fraction of the most likely one, 0 to 1; ``False`` for off.
            Also ``min_p``. Default: 0.05.
        repeat_penalty: divides the logit of recent tokens; 1 or ``False`` for off. Default: 1.1.
        presence_penalty: subtracted once from the logit of every recent token. Default: off.
        frequency_penalty: subtracted from the logit of a token for each recent occurrence. Default: off.
        penalty_tokens: how many of the last tokens are recent for these penalties; 0 for none, -1 for the whole
            context. Default: 64.
        xtc_probability: the probability, 0 to 1, of dropping the most likely candidates for a token. Default: off.
        xtc_threshold: which those are: all with at least this probability but the least likely of them. Default: 0.1.
        locally_typical_sampling: sample among the tokens whose surprise is nearest to the expected one, until their
            probabilities add up to this, 0 to 1. Default: off.
        tail_free_sampling: no engine does it any more; anything but ``False`` is refused.
        mirostat_sampling: Mirostat instead of the other samplers. Default: off.
        logit_bias: pairs of a token id and the number to add to its logit; ``"-inf"`` forbids the token.
        log_probs: return the log-probability of each token and of this many most likely candidates, 0 to 100;
            ``False`` for off. Default: off.
        seed: the same seed, prompt and settings give the same text; -1 for a random one. Default: random.
        prompt_template: how a chat becomes text. Default: as the model's own template says.
        system_prompt: the system prompt of chats without one. Default: none.
        reasoning_parsing: how reasoning is separated from the answer. Default: by the tags ``<think>`` and
            ``</think>``.
        enable_thinking: the variable ``enable_thinking`` of the chat template; ``False`` also ends every thought
            where it begins, for models whose template does not know it. Default: true.
        stop_strings_in_reasoning: ``True``: stop strings also end generation within reasoning and tool calls. Default:
            ``False``.
        reasoning_budget: maximum tokens of reasoning, 0 for none; the model then continues with its answer.
            ``False`` for no limit, which is the default.
        reasoning_effort: how much a model that reasons may: ``"none"`` disables reasoning; ``"minimal"``, ``"low"`` and
            ``"medium"`` also limit it to 256, 1024 and 4096 tokens where no ``reasoning_budget`` is set; chat templates
            get the word as ``reasoning_effort``. A model that does not reason refuses all but ``"none"``. Default: the
            template's.
        cpu_threads: refused: an engine sets its threads when it loads a model.
        draft_model: the name of a draft model. An engine with another one, or none, is restarted with this
            one, after the predictions that run on it have ended. Default: the one that it has.
        speculative_decoding_num_draft_tokens_exact, speculative_decoding_min_draft_length_to_consider,
        speculative_decoding_min_continue_drafting_probability: how the draft model drafts, as the load config's
            ``speculative_draft_max_tokens``, ``_min_tokens`` and ``_min_continue_probability`` have it; anything else
            is refused.
        lora: the LoRA adapters of the load that are in force, each alone (with the scale 1), with a scale
            (``("key", 0.5)``), or as a :class:`LoraSetting`; the others of the load have no effect. Default: all, with
            the scales of the load.
        user_max_image_dimension_pixels: pixels of the longer side of an image at most: larger ones are scaled down;
            ``False`` for no limit. Default: 2048.
        ignore_model_preferred_max_image_dimension: ``True`` is refused: an engine gives a model its images in the
            size that it was made for.
        control_tokens: what the spelling of a control token (``<|im_end|>``) in the text of a raw completion is:
            ``"read"`` makes it that token, which is the default, since the caller writes the whole prompt; ``"text"``
            keeps it text. In chats and gaps it is always text, and ``"read"`` is refused.
        on_engine_failure: what happens when the engine's process ends in the middle of an answer: ``"resume"`` restarts
            it and continues from the text that was sent, ``"error"`` raises :class:`EngineDiedError`. Default:
            ``"resume"``, except for answers with tools or a structured form, which cannot be resumed.
        timeout_sec: the time limit in seconds, from the request to the end: the prediction then ends with the text so
            far and the stop reason ``timeLimitReached``. ``False`` for no limit, which is the default.
        raw: further settings in LM Studio's key-value form, ``{"fields": [{"key": ..., "value": ...}]}``.
    """

    temperature: FiniteAmount | None = None
    max_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | bool | None = None
    stop_strings: list[StopString] | None = None
    tool_call_stop_strings: list[StopString] | None = None
    context_overflow_policy: ContextOverflowPolicy | None = None
    keep_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    structured: StructuredSetting | None = None
    raw_tools: dict[str, Any] | None = None
    tool_choice: Literal["auto", "required", "none"] | None = None
    tool_naming: ToolNaming | None = None
    top_k_sampling: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p_sampling: Probability | bool | None = None
    min_p_sampling: Probability | bool | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=1e30)] | bool | None = None
    presence_penalty: Finite | bool | None = None
    frequency_penalty: Finite | bool | None = None
    penalty_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    xtc_probability: Probability | bool | None = None
    xtc_threshold: Probability | bool | None = None
    locally_typical_sampling: Probability | bool | None = None
    tail_free_sampling: Probability | bool | None = None
    mirostat_sampling: MirostatSetting | None = None
    logit_bias: list[tuple[Token, Finite | Literal["-inf"]]] | None = None
    log_probs: Annotated[int, Meta(ge=0, le=100)] | bool | None = None
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 1)] | None = None
    prompt_template: PromptTemplate | None = None
    system_prompt: str | None = None
    reasoning_parsing: ReasoningParsing | None = None
    enable_thinking: bool | None = None
    stop_strings_in_reasoning: bool | None = None
    reasoning_budget: Annotated[int, Meta(ge=0, le=2**31 - 1)] | bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    cpu_threads: Annotated[int, Meta(ge=1)] | None = None
    draft_model: str | None = None
    speculative_decoding_num_draft_tokens_exact: Annotated[int, Meta(ge=1)] | None = None
    speculative_decoding_min_draft_length_to_consider: Annotated[int, Meta(ge=0)] | None = None
    speculative_decoding_min_continue_drafting_probability: Probability | None = None
    lora: LoraList | None = None
    user_max_image_dimension_pixels: Annotated[int, Meta(ge=1, le=2**31 - 1)] | bool | None = None
    ignore_model_preferred_max_image_dimension: bool | None = None
    control_tokens: Literal["read", "text"] | None = None
    on_engine_failure: Literal["resume", "error"] | None = None
    timeout_sec: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_SEC)] | bool | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p: Probability | bool | None = None
    min_p: Probability | bool | None = None
    raw: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.lora = full_form(self.lora)
        if self.max_tokens == -1:
            self.max_tokens = False
        elif self.max_tokens == 0 and self.max_tokens is not False:
            raise ConfigError("The prediction config's field 'max_tokens' is 0", suggestion="Set at least 1, or false.")
        for short in _SHORT_NAMES:
            long = f"{short}_sampling"
            a, b = getattr(self, short), getattr(self, long)
            if a is not None and b is not None and a != b:
                raise ConfigError(
                    f"{short} and {long} are two names of one setting, and they differ ({a!r} and {b!r})",
                    suggestion="Set one of them.",
                )
            setattr(self, short, b if a is None else a)

    @property
    def log_prob_candidates(self) -> int | None:
        """The number of candidates wanted for each token, which may be 0; ``None`` without log-probabilities."""
        return None if self.log_probs is None or self.log_probs is False else int(self.log_probs)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if (other := _OTHER_NAME.get(name)) is not None:
            super().__setattr__(other, value)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PredictionConfig:
        """Return the config of a dict with keys in snake_case or camelCase. Raise :class:`ConfigError`."""
        return prediction_config(data)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as a dict with keys in camelCase."""
        return camel_case_dict(self, without=_SHORT_NAMES)


_SHORT_NAMES = frozenset({"top_k", "top_p", "min_p"})
_OTHER_NAME = {name: f"{name}_sampling" for name in _SHORT_NAMES} | {f"{name}_sampling": name for name in _SHORT_NAMES}
"""The other name of a setting that has two, which always have one value."""

PREDICTION_DEFAULTS = PredictionConfig(
    temperature=0.8,
    max_tokens=False,
    stop_strings=[],
    context_overflow_policy="stopAtLimit",
    top_k_sampling=40,
    top_p_sampling=0.95,
    min_p_sampling=0.05,
    repeat_penalty=1.1,
    reasoning_parsing=ReasoningParsing(enabled=True),
    enable_thinking=True,
)
"""LM Studio's defaults."""

_OFF_BY_FALSE = frozenset(
    {
        *("max_tokens", "top_p", "top_p_sampling", "min_p", "min_p_sampling", "repeat_penalty"),
        *("presence_penalty", "frequency_penalty", "xtc_probability", "xtc_threshold", "log_probs"),
        *("locally_typical_sampling", "tail_free_sampling", "user_max_image_dimension_pixels"),
        *("reasoning_budget", "timeout_sec"),
    }
)


def prediction_config(value: PredictionConfig | Mapping[str, Any] | None) -> PredictionConfig:
    """Return a checked prediction config of a typed one, a dict, or ``None``. Raise :class:`ConfigError`."""
    return checked(PredictionConfig, value, "prediction config", _OFF_BY_FALSE)


# The official client's names for the same types.
LlmPredictionConfig = PredictionConfig
LlmPredictionConfigDict = Mapping[str, Any]
