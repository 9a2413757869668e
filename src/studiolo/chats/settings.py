"""The prediction settings of a conversation: one field at a time, by the names of the prediction config."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ..config import PredictionConfig, explicit_fields, prediction_config, snake_case_keys

OTHER_NAMES = frozenset({"top_k", "top_p", "min_p"})
"""Second names of fields."""


def with_setting(config: PredictionConfig, name: str, value: Any) -> PredictionConfig:
    """Return a config with a field changed; ``None`` leaves it to its default.

    Raises:
        ConfigError: there is no such field (the nearest name is suggested), or its value is wrong.
    """
    changed = prediction_config({name: value})
    (field,) = snake_case_keys({name: value})
    config = msgspec.structs.replace(config)
    setattr(config, field, getattr(changed, field))
    return prediction_config(config)


def with_preset(config: PredictionConfig, preset: PredictionConfig) -> PredictionConfig:
    """Return a config with all that a preset sets but its system prompt, which is the conversation's."""
    fields = {name: value for name, value in explicit_fields(preset).items() if name != "system_prompt"}
    return prediction_config(msgspec.structs.replace(config, **fields))


def setting(config: PredictionConfig, name: str) -> str | None:
    """Return the value of a field in JSON; ``None`` if it is not set. Raises as :func:`with_setting`."""
    (field,) = snake_case_keys({name: None})
    prediction_config({name: None})
    value = getattr(config, field)
    return None if value is None else _json(value)


def value_of(text: str) -> Any:
    """Return the value that ``text`` is in JSON; what is no JSON is text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def described(config: PredictionConfig) -> list[tuple[str, str]]:
    """Return the name and the value in JSON of each field that is set."""
    fields = {name: value for name, value in explicit_fields(config).items() if name not in OTHER_NAMES}
    return [(name, _json(value)) for name, value in fields.items()]


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
