"""Settings on the wire: stacks of key-value layers, converted to and from the types of :mod:`studiolo.config`.

The keys are LM Studio's. Both directions read the tables in :mod:`.settings_keys`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct

from ..config import (
    LoadConfig,
    PredictionConfig,
    config_error,
    explicit_fields,
    load_config,
    prediction_config,
)
from ..errors import ConfigError, UnsupportedError
from ..struct_types import examined
from .settings_keys import (
    CPU_EXPERTS,
    GPU_SPLIT,
    IGNORED,
    LOAD_KEYS,
    LOAD_REFUSED,
    OFFLOAD_RATIO,
    PREDICTION_KEYS,
    PREDICTION_REFUSED,
    STRICT_VRAM,
    Key,
)
from .structs import WireStruct

_log = logging.getLogger("studiolo.settings")


class KvField(WireStruct, frozen=True):
    key: str
    value: Any = None


class KvConfig(WireStruct, frozen=True, omit_defaults=False):
    fields: list[KvField]


class KvLayer(WireStruct, frozen=True):
    layer_name: str
    config: KvConfig


class KvConfigStack(WireStruct, frozen=True, omit_defaults=False):
    """Layers of settings. If two layers set one key, the later wins."""

    layers: list[KvLayer]


_PREDICTION = "llm.prediction."
TOOLS_KEY = "llm.prediction.tools"
TOOL_CHOICE_KEY = "llm.prediction.toolChoice"


def flatten(stack: KvConfigStack) -> dict[str, Any]:
    """Return the value of each key of a stack; later layers override earlier ones."""
    return {field.key: field.value for layer in stack.layers for field in layer.config.fields}


def stack_of(config: KvConfig, layer: str = "apiOverride") -> KvConfigStack:
    """Return a stack of one layer."""
    return KvConfigStack(layers=[KvLayer(layer_name=layer, config=config)])


def encode_prediction_config(config: PredictionConfig) -> KvConfig:
    """Return the explicitly set fields of ``config``; those of ``config.raw`` come last and override the others."""
    fields = _encode(_PREDICTION, PREDICTION_KEYS, explicit_fields(config))
    if config.tool_choice is not None:
        fields.append(KvField(key=TOOL_CHOICE_KEY, value={"type": "generic", "mode": config.tool_choice}))
    if config.raw is not None:
        fields += _raw_fields(config.raw)
    return KvConfig(fields=fields)


def _raw_fields(raw: Mapping[str, Any]) -> list[KvField]:
    match raw:
        case {"fields": [*fields]}:
            try:
                return msgspec.convert(fields, examined(list[KvField]))
            except msgspec.ValidationError as error:
                raise config_error(error, "prediction config's raw") from None
        case _:
            raise ConfigError(
                "The prediction config's field 'raw' is wrong",
                suggestion='Write it as {"fields": [{"key": "llm.prediction.temperature", "value": 0.5}]}.',
            )


def decode_prediction_config(values: Mapping[str, Any]) -> PredictionConfig:
    """Return the prediction config in flattened key-value settings.

    Unknown keys are ignored, as in LM Studio; see :func:`log_ignored_keys`.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """
    fields = _decode(_PREDICTION, PREDICTION_KEYS, values)
    match values.get(TOOL_CHOICE_KEY):
        case None:
            pass
        case {"mode": mode}:
            fields["tool_choice"] = mode
        case mode:
            fields["tool_choice"] = mode
    return prediction_config(fields)


def refuse_prediction_keys(values: Mapping[str, Any]) -> None:
    """Raise :class:`UnsupportedError` if a key of LM Studio's asks for something that studiolo does not support."""
    for key, (why, instead) in PREDICTION_REFUSED.items():
        if values.get(_PREDICTION + key) not in (None, []):
            raise UnsupportedError(
                f"The prediction setting {_PREDICTION + key!r} is not supported",
                cause=why,
                suggestion=instead,
                feature=key,
            )


def encode_load_config(config: LoadConfig, domain: str = "llm") -> KvConfig:
    """Return the explicitly set fields of ``config``, with the keys of a model of ``domain``."""
    prefix = f"{domain}.load."
    fields = _encode(prefix, LOAD_KEYS, explicit_fields(config))
    if config.gpu_strict_vram_cap is not None:
        fields.append(KvField(key=STRICT_VRAM, value=config.gpu_strict_vram_cap))
    gpu = config.gpu
    if gpu is not None:
        if gpu.ratio is not None:
            fields.append(KvField(key=prefix + OFFLOAD_RATIO, value=gpu.ratio))
        if gpu.num_cpu_expert_layers_ratio is not None:
            fields.append(KvField(key=prefix + CPU_EXPERTS, value=gpu.num_cpu_expert_layers_ratio))
        if gpu.split_strategy is not None or gpu.main_gpu is not None or gpu.disabled_gpus:
            favour = gpu.split_strategy == "favorMainGpu"
            split = {
                "strategy": "priorityOrder" if favour else "evenly",
                "disabledGpus": gpu.disabled_gpus or [],
                "priority": [gpu.main_gpu] if favour and gpu.main_gpu is not None else [],
                "customRatio": [],
            }
            fields.append(KvField(key=GPU_SPLIT, value=split))
    return KvConfig(fields=fields)


def decode_load_config(values: Mapping[str, Any], domain: str = "llm") -> LoadConfig:
    """Return the load config in flattened key-value settings.

    Unknown keys and keys of other engines are ignored, as in LM Studio; see :func:`log_ignored_keys`.

    Raises:
        ConfigError: a value has the wrong type, is out of range, or contradicts another.
        UnsupportedError: a key of LM Studio's asks for something that studiolo does not support.
    """
    prefix = f"{domain}.load."
    for key, (name, why) in LOAD_REFUSED.items():
        value = values.get(key if key == "envVars" else prefix + key)
        if (
            key == "llama.argumentsOverride"
            and isinstance(value, dict)
            and not cast("dict[str, Any]", value).get("enabled", True)
        ):
            continue
        if value not in (None, False, "", [], {}):
            raise UnsupportedError(
                f"The load config's field {name!r} is not supported",
                cause=why,
                suggestion="Leave it out.",
                feature=name,
            )
    fields = _decode(prefix, LOAD_KEYS, values)
    if not fields.get("speculative_draft_model"):  # an empty name means none
        fields.pop("speculative_draft_model", None)
    if (strict := values.get(STRICT_VRAM)) is not None:
        fields["gpu_strict_vram_cap"] = strict
    gpu: dict[str, Any] = {}
    if (ratio := values.get(prefix + OFFLOAD_RATIO)) is not None:
        gpu["ratio"] = ratio
    if (ratio := values.get(prefix + CPU_EXPERTS)) is not None:
        gpu["num_cpu_expert_layers_ratio"] = ratio
    if (split := values.get(GPU_SPLIT)) is not None:
        if not isinstance(split, dict):
            raise ConfigError(f"The setting {GPU_SPLIT} is not an object")
        gpu |= _decode_split(cast("dict[str, Any]", split))
    if gpu:
        fields["gpu"] = gpu
    return load_config(fields)


_logged: set[str] = set()
_MAX_LOGGED_KEYS = 1000


def log_ignored_keys(values: Mapping[str, Any], scope: str) -> None:
    """Log each key of a request's flattened settings that has no effect, once per process.

    Parameters:
        scope: the kind of request: ``llm.prediction``, ``llm.load`` or ``embedding.load``.
    """
    for key in values.keys() - _KNOWN[scope] - _logged:
        why, is_logged = IGNORED.get(key, (f"It is not a setting of {scope}.", True))
        if len(_logged) < _MAX_LOGGED_KEYS:
            _logged.add(key)
            if is_logged:
                _log.warning("The setting %.200r has no effect: %s", key, why)


def _load_keys(domain: str) -> frozenset[str]:
    scoped = (*(entry.key for entry in LOAD_KEYS), *LOAD_REFUSED, OFFLOAD_RATIO, CPU_EXPERTS)
    return frozenset({*(f"{domain}.load.{key}" for key in scoped), GPU_SPLIT, STRICT_VRAM, "envVars"})


_KNOWN = {
    "llm.prediction": frozenset(
        {
            *(_PREDICTION + key for key in (*(entry.key for entry in PREDICTION_KEYS), *PREDICTION_REFUSED)),
            TOOL_CHOICE_KEY,
        }
    ),
    "llm.load": _load_keys("llm"),
    "embedding.load": _load_keys("embedding"),
}


def _decode_split(split: dict[str, Any]) -> dict[str, Any]:
    gpu: dict[str, Any] = {}
    if split.get("disabledGpus"):
        gpu["disabled_gpus"] = split["disabledGpus"]
    match split:
        case {"strategy": "priorityOrder", "priority": [main, *_]}:
            gpu |= {"split_strategy": "favorMainGpu", "main_gpu": main}
        case {"strategy": "custom"}:
            raise UnsupportedError(
                "Splitting a model over GPUs by custom ratios is not supported",
                feature="gpu.split_strategy",
            )
        case _:
            pass
    return gpu


def _encode(prefix: str, keys: Iterable[Key], fields: Mapping[str, Any]) -> list[KvField]:
    encoded: list[KvField] = []
    for entry in keys:
        value = fields.get(entry.field)
        if value is None:
            continue
        if entry.checkbox:
            value = {"checked": False, "value": entry.off} if value is False else {"checked": True, "value": value}
        elif isinstance(value, Struct):
            value = _camel_case_keys(value)
        elif isinstance(value, list):
            value = msgspec.to_builtins(value)
        encoded.append(KvField(key=prefix + entry.key, value=value))
    return encoded


def _camel_case_keys(value: Any) -> Any:
    """Return nested settings with camelCase keys."""
    if not isinstance(value, Struct):
        return value
    named = {name: _camel_case_keys(item) for name, item in explicit_fields(value).items()}
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name): item for name, item in named.items()}


def _decode(prefix: str, keys: Iterable[Key], values: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for entry in keys:
        value = values.get(prefix + entry.key)
        if value is None:
            continue
        if entry.checkbox:
            value = _uncheck(entry, value)
        if value is not None:
            fields[entry.field] = value
    return fields


def _uncheck(entry: Key, box: Any) -> Any:
    match box:
        case {"checked": True, "value": value}:
            return value
        case {"checked": False}:
            return None if entry.field == "seed" else False
        case _:
            raise ConfigError(
                f"The setting {entry.key!r} is not a checkbox",
                cause=f'Expected {{"checked": true, "value": ...}}, got {box!r}.',
            )
