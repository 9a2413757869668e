"""What a load may take: the settings in force, checked against the model and the machine."""

from __future__ import annotations

import os
from typing import Any

from ..config import (
    DEFAULT_CONTEXT_LENGTH,
    DEFAULT_PARALLEL_PREDICTIONS,
    LoadConfig,
    check_load_config,
    explicit_fields,
)
from ..errors import ConfigError
from ..library.model import Model


def load_settings_in_force(config: LoadConfig, model: Model) -> LoadConfig:
    """``config`` with every default filled in for ``model``. Raises :class:`ConfigError` for what it cannot do."""
    check_load_config(config)
    limit = model.metadata.max_context_length if model.metadata else None
    asked = config.context_length
    if (
        asked is not None
        and limit
        and asked > limit
        and not (config.rope_frequency_base or config.rope_frequency_scale)
    ):
        raise ConfigError(
            f"The load config's field 'context_length' is {asked}, and {model.key} was made for at most {limit} tokens",
            suggestion="Ask for less, or stretch the model with rope_frequency_scale or rope_frequency_base.",
        )
    processors = os.cpu_count() or 1
    for name in ("cpu_thread_pool_size", "batch_threads"):
        threads: int | None = getattr(config, name)
        if threads is not None and threads > processors:
            raise ConfigError(
                f"The load config's field {name!r} is {threads}, and this machine has {processors} logical processors",
                suggestion="Threads beyond that wait for each other. Leave the field out for the best number.",
            )
    context = asked or min(DEFAULT_CONTEXT_LENGTH, limit or DEFAULT_CONTEXT_LENGTH)
    parallel = config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS
    filled: dict[str, Any] = {"context_length": context, "max_parallel_predictions": parallel}
    return LoadConfig(**{**explicit_fields(config), **filled})
