"""The settings of a load and of a prediction: one place, with units and defaults.

Every field may be left out (``None``): the defaults below are then used, and what was in force is told in the
result. A user may give a config as one of these types or as a dict, in snake_case or in LM Studio's camelCase;
:func:`load_config` and :func:`prediction_config` turn either into a checked instance or raise a
:class:`~studiolo.errors.ConfigError` that names the field.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from .errors import ConfigError

DEFAULT_CONTEXT_LENGTH = 4096
"""Tokens, where nobody asks for more; less where the model's own limit or the memory is lower."""

DEFAULT_PARALLEL_PREDICTIONS = 4
DEFAULT_EVAL_BATCH = 2048
DEFAULT_PHYSICAL_BATCH = 512
UNQUANTIZED = ("f32", "f16", "bf16")

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
NgramSpeculation = Literal["ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache"]
PoolingType = Literal["none", "mean", "cls", "last", "rank"]

Probability = Annotated[float, Meta(ge=0, le=1)]
FiniteAmount = Annotated[float, Meta(ge=0, le=1e30)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]
Threads = Annotated[int, Meta(ge=1, le=512)]
BatchSize = Annotated[int, Meta(ge=1, le=2**20)]


class GpuSetting(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of the model goes to the GPU, and to which.

    Parameters:
        ratio: the share of the layers, 0 to 1; ``"max"`` for all of them, ``"off"`` for none. Default: what fits.
        main_gpu: the index of the GPU that ``split_strategy="favorMainGpu"`` favours.
        split_strategy: ``"evenly"`` (the default) or ``"favorMainGpu"``.
        disabled_gpus: the indices of GPUs to leave alone.
        num_cpu_expert_layers_ratio: the share of the layers whose experts stay in main memory, for
            mixture-of-experts models; ``"max"`` for all, ``"off"`` for none (the default).
    """

    ratio: Probability | Literal["max", "off"] | None = None
    main_gpu: Annotated[int, Meta(ge=0)] | None = None
    split_strategy: Literal["evenly", "favorMainGpu"] | None = None
    disabled_gpus: list[Annotated[int, Meta(ge=0)]] | None = None
    num_cpu_expert_layers_ratio: Probability | Literal["max", "off"] | None = None


class LoadConfig(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a model is loaded. ``docs/loading.md`` has the table of what each field does in the engine.

    Parameters:
        context_length: tokens that one prediction can hold, prompt and answer together. Default: 4096, or less
            where the model's own limit or the memory that the guardrail grants is lower.
        auto_fit: make the context as long as the model and the memory allow. Default: false.
        max_parallel_predictions: predictions that run at once. Default: 4.
        use_unified_kv_cache: share one context length among all predictions that run at once, instead of giving it
            to each. Default: false.
        gpu: what goes to the GPU. Default: everything that fits.
        gpu_strict_vram_cap: keep the offload within the GPUs' own free memory, whatever ``gpu.ratio`` asks for.
            Default: false.
        offload_kv_cache_to_gpu: keep the KV cache in GPU memory. Default: true.
        eval_batch_size: tokens of a prompt that are handed to the engine at once. Default: 2048.
        physical_batch_size: tokens that are computed at once. Default: 512, or the eval batch size where that is less.
        cpu_thread_pool_size: threads that generate. Default: one a core.
        batch_threads: threads that process prompts. Default: as many as generate.
        flash_attention: use flash attention. Default: where the engine supports it.
        try_mmap: map the file instead of reading it. Default: true.
        try_direct_io: read the file past the system's cache, instead of mapping it. Default: false.
        keep_model_in_memory: forbid the system to swap the weights out. Default: false.
        rope_frequency_base, rope_frequency_scale: overrides of the model's own RoPE parameters; ``False`` for none.
        llama_k_cache_quantization_type, llama_v_cache_quantization_type: the types of the KV cache. Default: f16.
        use_fp16_for_kv_cache: ``False`` means an f32 KV cache. Default: true.
        context_checkpoints: states that are kept for each prediction to go back to, for models with sliding-window or
            recurrent layers. Default: 32.
        prompt_cache_mib: MiB of main memory for the prompts of earlier conversations. Default: as much as the KV
            cache, 8192 at most, and no more than the guardrail leaves.
        num_experts: experts that compute each token, for mixture-of-experts models; 0 for the model's own number.
        speculative_draft_model: the key of a smaller model that drafts tokens for this one to check.
        speculative_draft_simple: use the draft model. Default: true where one is named.
        speculative_draft_mtp: draft with the model's own multi-token prediction layers. Default: false.
        speculative_draft_max_tokens, speculative_draft_min_tokens: tokens that are drafted at once. Default: 3 and 0.
        speculative_draft_min_continue_probability: drafting ends at a token less likely than this. Default: 0.
        speculative_ngram: draft without a model, from what the text so far repeats. Default: off.
        pooling_type: how an embedding model makes one vector of many. Default: the model's own.
        seed: the seed of predictions that bring none of their own; ``False`` or -1 for a random one. Default: random.
    """

    context_length: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    auto_fit: bool | None = None
    max_parallel_predictions: Annotated[int, Meta(ge=1, le=256)] | None = None
    use_unified_kv_cache: bool | None = None
    gpu: GpuSetting | None = None
    gpu_strict_vram_cap: bool | None = None
    offload_kv_cache_to_gpu: bool | None = None
    eval_batch_size: BatchSize | None = None
    physical_batch_size: BatchSize | None = None
    cpu_thread_pool_size: Threads | None = None
    batch_threads: Threads | None = None
    flash_attention: bool | None = None
    try_mmap: bool | None = None
    try_direct_io: bool | None = None
    keep_model_in_memory: bool | None = None
    rope_frequency_base: Annotated[float, Meta(ge=0)] | bool | None = None
    rope_frequency_scale: Annotated[float, Meta(ge=0)] | bool | None = None
    llama_k_cache_quantization_type: CacheType | bool | None = None
    llama_v_cache_quantization_type: CacheType | bool | None = None
    use_fp16_for_kv_cache: bool | None = None
    context_checkpoints: Annotated[int, Meta(ge=0, le=4096)] | None = None
    prompt_cache_mib: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    num_experts: Annotated[int, Meta(ge=0, le=4096)] | None = None
    speculative_draft_model: str | None = None
    speculative_draft_simple: bool | None = None
    speculative_draft_mtp: bool | None = None
    speculative_draft_max_tokens: Annotated[int, Meta(ge=1, le=1024)] | None = None
    speculative_draft_min_tokens: Annotated[int, Meta(ge=0, le=1024)] | None = None
    speculative_draft_min_continue_probability: Probability | None = None
    speculative_ngram: NgramSpeculation | None = None
    pooling_type: PoolingType | None = None
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 1)] | bool | None = None

    @property
    def drafts_with(self) -> str | None:
        """The key of the draft model that is in use."""
        return None if self.speculative_draft_simple is False else self.speculative_draft_model or None


def check_load_config(config: LoadConfig) -> None:
    """Check what one field demands of another. Raises :class:`ConfigError` that names both."""

    def refuse(field: str, why: str, remedy: str) -> None:
        raise ConfigError(f"The load config's field {field!r} does not fit the rest", cause=why, suggestion=remedy)

    v_type = config.llama_v_cache_quantization_type
    if config.flash_attention is False and isinstance(v_type, str) and v_type not in UNQUANTIZED:
        refuse(
            "llama_v_cache_quantization_type",
            f"A V cache of type {v_type} needs flash attention, and 'flash_attention' is false",
            "Leave flash_attention out, or choose f16.",
        )
    batch = config.eval_batch_size or DEFAULT_EVAL_BATCH
    if config.physical_batch_size is not None and config.physical_batch_size > batch:
        refuse(
            "physical_batch_size",
            f"It is {config.physical_batch_size}, and 'eval_batch_size' is {batch}",
            "The physical batch is a part of the other: make it no larger.",
        )
    if config.try_direct_io and (config.try_mmap or config.keep_model_in_memory):
        other = "try_mmap" if config.try_mmap else "keep_model_in_memory"
        refuse("try_direct_io", f"'{other}' is true too, and the file is read in one way only", "Choose one of them.")
    if config.auto_fit and config.context_length is not None:
        refuse("auto_fit", "'context_length' is given, and auto_fit means to find it", "Give one of them.")
    if config.speculative_draft_simple and not config.speculative_draft_model:
        refuse(
            "speculative_draft_simple", "No 'speculative_draft_model' is named", "Name a smaller model of the library."
        )
    ways = [
        name
        for name, used in (
            ("speculative_draft_model", config.drafts_with),
            ("speculative_draft_mtp", config.speculative_draft_mtp),
            ("speculative_ngram", config.speculative_ngram),
        )
        if used
    ]
    if len(ways) > 1:
        refuse(ways[-1], f"'{ways[0]}' drafts already", "Choose one way to draft.")
    unused = {
        "speculative_draft_max_tokens": not ways or config.speculative_ngram == "ngram-cache",
        "speculative_draft_min_tokens": not ways or config.speculative_ngram not in (None, "ngram-mod"),
        "speculative_draft_min_continue_probability": not ways or bool(config.speculative_ngram),
    }
    for field, has_no_effect in unused.items():
        if has_no_effect and getattr(config, field) is not None:
            refuse(
                field, f"It has no effect on {config.speculative_ngram or 'a load without drafting'}", "Leave it out."
            )
    low, high = config.speculative_draft_min_tokens or 0, config.speculative_draft_max_tokens
    if high is not None and low > high:
        refuse(
            "speculative_draft_min_tokens",
            f"It is {low}, and 'speculative_draft_max_tokens' is {high}",
            "Make it no larger.",
        )


class StructuredSetting(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What form the generated text is held to.

    Parameters:
        type: ``"json"`` for text that satisfies ``json_schema``, ``"gbnf"`` for a ``gbnf_grammar``, ``"none"``.
        json_schema: a JSON Schema; without one, any JSON.
        gbnf_grammar: a grammar in llama.cpp's GBNF, whose start is the rule ``root``.
    """

    type: Literal["none", "json", "gbnf"]
    json_schema: dict[str, Any] | bool | None = None
    gbnf_grammar: str | None = None

    def __post_init__(self) -> None:
        if self.type == "gbnf" and not self.gbnf_grammar:
            raise ConfigError("The structured setting is of type 'gbnf' and has no gbnf_grammar")


class MirostatSetting(Struct, kw_only=True, omit_defaults=False, forbid_unknown_fields=True):
    """Mirostat: sampling that keeps the text at one level of surprise.

    Parameters:
        version: 1 or 2; 0 for off.
        learning_rate: how fast the level is corrected (eta).
        target_entropy: the level of surprise, in bits (tau).
    """

    version: Literal[0, 1, 2]
    learning_rate: FiniteAmount = 0.1
    target_entropy: FiniteAmount = 5.0


ContextOverflowPolicy = Literal["stopAtLimit", "truncateMiddle", "rollingWindow"]
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class JinjaPromptTemplate(Struct, kw_only=True, omit_defaults=True):
    """A chat template in Jinja.

    Parameters:
        template: the template.
        bos_token, eos_token: the tokens that begin and end a text. Default: the model's own.
        input_config: in LM Studio's form, whether a message's content is text or a list of parts. Default: text.
    """

    template: str
    bos_token: str | None = None
    eos_token: str | None = None
    input_config: dict[str, Any] | None = None


class ManualPromptTemplate(Struct, kw_only=True):
    """A chat template that is put together from what stands before and after each role's messages."""

    before_system: str = ""
    after_system: str = ""
    before_user: str = ""
    after_user: str = ""
    before_assistant: str = ""
    after_assistant: str = ""


class PromptTemplate(Struct, kw_only=True, omit_defaults=True):
    """How a chat becomes text, instead of the model's own way.

    Parameters:
        type: which of the two templates is meant: ``"jinja"`` or ``"manual"``.
        jinja_prompt_template, manual_prompt_template: the template.
        stop_strings: further stop strings, which end the assistant's turn.
    """

    type: Literal["jinja", "manual"]
    stop_strings: list[str] = []
    jinja_prompt_template: JinjaPromptTemplate | None = None
    manual_prompt_template: ManualPromptTemplate | None = None

    def __post_init__(self) -> None:
        wanted = f"{self.type}_prompt_template"
        if getattr(self, wanted) is None:
            raise ConfigError(f"The prompt template is of type {self.type!r} and has no {wanted}")


class ReasoningParsing(Struct, kw_only=True, forbid_unknown_fields=True):
    """How what a model thinks is told from what it answers.

    Parameters:
        enabled: whether it is told.
        start_string, end_string: what stands before and after a stretch of reasoning.
    """

    enabled: bool
    start_string: str = "<think>"
    end_string: str = "</think>"

    def __post_init__(self) -> None:
        if self.enabled and not (self.start_string and self.end_string):
            raise ConfigError("The reasoning_parsing setting needs a start_string and an end_string")


class PredictionConfig(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How text is generated. docs/prediction-config.md tells each setting's effect at length.

    Parameters:
        temperature: 0 always takes the likeliest token; higher is more varied. Default: 0.8.
        max_tokens: tokens to generate at most; ``False`` or -1 for no limit but the context. Default: no limit.
        stop_strings: generation ends before the first of these. Default: none.
        tool_call_stop_strings: as ``stop_strings``, with the stop reason ``toolCalls``. Default: none.
        context_overflow_policy: what happens when prompt and answer outgrow the context: ``"stopAtLimit"``,
            ``"truncateMiddle"`` or ``"rollingWindow"``. Default: ``"stopAtLimit"``.
        structured: what form the text is held to. Default: none.
        raw_tools: the tools of a chat, in LM Studio's form; ``act()`` sets them. Default: none.
        tool_choice: ``"required"``: the model must call a tool; ``"none"``: it must not; ``"auto"``: as it sees fit,
            the default. Without tools it means nothing.
        top_k_sampling: sample among this many likeliest tokens; 0 for all. Also ``top_k``. Default: 40.
        top_p_sampling: sample among the likeliest tokens whose probabilities add up to this, 0 to 1; ``False`` for
            off. Also ``top_p``. Default: 0.95.
        min_p_sampling: leave out tokens less likely than this share of the likeliest, 0 to 1; ``False`` for off.
            Also ``min_p``. Default: 0.05.
        repeat_penalty: divides the score of tokens seen lately; 1 or ``False`` for off. Default: 1.1.
        presence_penalty: taken from the score of every token seen lately, once. Default: off.
        frequency_penalty: taken from the score of a token for each time it was seen lately. Default: off.
        xtc_probability: the chance, 0 to 1, that a token is chosen without the likeliest candidates. Default: off.
        xtc_threshold: which those are: all with at least this probability but the least likely of them. Default: 0.1.
        locally_typical_sampling: sample among the tokens whose surprise is nearest to the expected one, until their
            probabilities add up to this, 0 to 1. Default: off.
        tail_free_sampling: llama.cpp does it no more; anything but ``False`` is refused.
        mirostat_sampling: Mirostat instead of the other samplers. Default: off.
        logit_bias: pairs of a token's number and what is added to its score; ``"-inf"`` forbids the token.
        log_probs: tell the log-probability of each token and of this many likeliest candidates, 0 to 100; ``False``
            for off. Default: off.
        seed: the same seed, prompt and settings give the same text; -1 for a random one. Default: random.
        prompt_template: how a chat becomes text. Default: as the model's own template says.
        system_prompt: what the model is told to be, in a chat that does not say it. Default: nothing.
        reasoning_parsing: how reasoning is told from the answer. Default: what stands between ``<think>`` and
            ``</think>``.
        reasoning_budget: tokens of reasoning at most, 0 for none: it is then cut short, and the model goes on to
            its answer. Default: no limit.
        cpu_threads: llama.cpp sets its threads when a model is loaded: refused.
        draft_model: the key of the draft model that the model was loaded with; another one is refused. Default: the
            one that it was loaded with.
        speculative_decoding_num_draft_tokens_exact, speculative_decoding_min_draft_length_to_consider,
        speculative_decoding_min_continue_drafting_probability: how the draft model drafts.
        raw: further settings in LM Studio's key-value form, ``{"fields": [{"key": ..., "value": ...}]}``.
    """

    temperature: Annotated[float, Meta(ge=0)] | None = None
    max_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | bool | None = None
    stop_strings: list[str] | None = None
    tool_call_stop_strings: list[str] | None = None
    context_overflow_policy: ContextOverflowPolicy | None = None
    structured: StructuredSetting | None = None
    raw_tools: dict[str, Any] | None = None
    tool_choice: Literal["auto", "required", "none"] | None = None
    top_k_sampling: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p_sampling: Probability | bool | None = None
    min_p_sampling: Probability | bool | None = None
    repeat_penalty: Annotated[float, Meta(ge=0)] | bool | None = None
    presence_penalty: float | bool | None = None
    frequency_penalty: float | bool | None = None
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
    reasoning_budget: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    cpu_threads: Annotated[int, Meta(ge=1)] | None = None
    draft_model: str | None = None
    speculative_decoding_num_draft_tokens_exact: Annotated[int, Meta(ge=1)] | None = None
    speculative_decoding_min_draft_length_to_consider: Annotated[int, Meta(ge=0)] | None = None
    speculative_decoding_min_continue_drafting_probability: Probability | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p: Probability | bool | None = None
    min_p: Probability | bool | None = None
    raw: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.max_tokens == -1:
            self.max_tokens = False
        elif self.max_tokens == 0 and self.max_tokens is not False:
            raise ConfigError(
                "The prediction config's field 'max_tokens' is 0", suggestion="Give at least 1, or false."
            )
        for short in ("top_k", "top_p", "min_p"):
            long = f"{short}_sampling"
            a, b = getattr(self, short), getattr(self, long)
            if a is not None and b is not None and a != b:
                raise ConfigError(
                    f"{short} and {long} are two names of one setting, and they differ ({a!r} and {b!r})",
                    suggestion="Give one of them.",
                )
            setattr(self, short, b if a is None else a)
            setattr(self, long, b if a is None else a)


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
)
"""LM Studio's defaults."""

# The official client's names for the same types.
LlmLoadModelConfig = LoadConfig
LlmPredictionConfig = PredictionConfig
EmbeddingLoadModelConfig = LoadConfig
LlmLoadModelConfigDict = Mapping[str, Any]
LlmPredictionConfigDict = Mapping[str, Any]
EmbeddingLoadModelConfigDict = Mapping[str, Any]

C = TypeVar("C", LoadConfig, PredictionConfig)


def load_config(value: LoadConfig | Mapping[str, Any] | None) -> LoadConfig:
    """A checked load config from a typed one, a dict, or nothing. Raises :class:`ConfigError`."""
    config = _checked(LoadConfig, value, "load config")
    check_load_config(config)
    return config


def prediction_config(value: PredictionConfig | Mapping[str, Any] | None) -> PredictionConfig:
    """A checked prediction config from a typed one, a dict, or nothing. Raises :class:`ConfigError`."""
    return _checked(PredictionConfig, value, "prediction config")


def explicit_fields(config: Struct) -> dict[str, Any]:
    """The fields that say something, by name."""
    return {name: value for name in config.__struct_fields__ if (value := getattr(config, name)) is not None}


def _checked(kind: type[C], value: C | Mapping[str, Any] | None, what: str) -> C:
    if value is None:
        return kind()
    if isinstance(value, kind):
        fields = explicit_fields(value)
    elif isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        fields = snake_case_keys(value)
    else:
        raise ConfigError(f"The {what} is a {type(value).__name__}, not a dict or a {kind.__name__}")
    known = kind.__struct_fields__
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"The {what} has no field {name!r}",
                suggestion=f"Did you mean {near[0]!r}?" if near else f"The fields are {', '.join(known)}.",
            )
    for name, field in fields.items():
        if isinstance(field, float):
            if not math.isfinite(field):
                raise ConfigError(f"The {what}'s field {name!r} is {field}, not a finite number")
            fields[name] = int(field) if field.is_integer() else field  # 40.0 is a fine top_k
        if field is True and (name in _SWITCHED_OFF_BY_FALSE or (name == "seed" and kind is LoadConfig)):
            raise ConfigError(f"The {what}'s field {name!r} is true; give a value, or false to switch it off")
    try:
        return msgspec.convert(msgspec.to_builtins(fields), kind)
    except (msgspec.ValidationError, TypeError) as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise config_error(error, what) from None


_SWITCHED_OFF_BY_FALSE = frozenset(
    {
        *("max_tokens", "top_p", "top_p_sampling", "min_p", "min_p_sampling", "repeat_penalty"),
        *("presence_penalty", "frequency_penalty", "xtc_probability", "xtc_threshold", "log_probs"),
        *("locally_typical_sampling", "tail_free_sampling"),
        *("llama_k_cache_quantization_type", "llama_v_cache_quantization_type"),
        *("rope_frequency_base", "rope_frequency_scale"),
    }
)


def config_error(error: Exception, what: str) -> ConfigError:
    """msgspec's error as one that names the field in the user's words."""
    message, _, path = str(error).partition(" - at `$.")
    field = re.sub(r"`$", "", path)
    where = f"field {field!r}" if field else "value"
    return ConfigError(f"The {what}'s {where} is wrong", cause=message.replace("`", "'"))


def snake_case_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with every key, nested ones too, in snake_case."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = _snake_case(str(key))
        if isinstance(item, Mapping) and name not in _KEPT_AS_THEY_ARE:
            item = snake_case_keys(cast("Mapping[str, Any]", item))
        out[name] = item
    return out


_KEPT_AS_THEY_ARE = frozenset({"json_schema", "raw", "raw_tools", "input_config"})


def _snake_case(key: str) -> str:
    key = key.replace("KVCache", "KvCache")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).lower()
