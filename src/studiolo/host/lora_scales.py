"""The LoRA adapters of a prediction: those of the load, each with a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..config import LoadConfig, LoraSetting, PredictionConfig
from ..config.lora import lora_settings
from ..errors import ConfigError
from ..library.adapters import Adapter


def with_names_of_load(
    config: PredictionConfig, load: LoadConfig, adapters: Sequence[Adapter], models: Path
) -> PredictionConfig:
    """Return ``config`` with the LoRA adapters under the names that the load config has for them.

    Parameters:
        load: the load config of the instance.
        adapters: its adapters, in the order of the load config.
        models: the models folder, which a name may be relative to.

    Raises:
        ConfigError: the model is loaded without one of them, or with a prompt cache, or one is named twice.
    """
    if config.lora is None:
        return config
    known = {setting.adapter.casefold(): setting.adapter for setting in load.adapters}
    for setting, adapter in zip(load.adapters, adapters, strict=False):
        relative = adapter.path.relative_to(models).as_posix() if adapter.path.is_relative_to(models) else ""
        for name in (adapter.key, relative, str(adapter.path)):
            known[name.casefold()] = setting.adapter
    named: list[LoraSetting] = []
    for setting in lora_settings(config.lora):
        name = known.get(setting.adapter.casefold())
        if name is None:
            raise ConfigError(
                f"The prediction config's field 'lora' names {setting.adapter!r}, and the model is loaded without it",
                cause=f"It is loaded with {', '.join(each.key for each in adapters) or 'no LoRA adapter'}.",
                suggestion="Name it in the load setting 'lora', with the scale 0 if other predictions are to do "
                "without it.",
            )
        named.append(LoraSetting(name, setting.scale))
    if load.prompt_cache_mib and named != load.adapters:
        raise ConfigError(
            "The prediction config's field 'lora' differs from the load's, and the model is loaded with a prompt cache",
            cause="The engine's prompt cache would mix what was computed with different scales.",
            suggestion="Load it without prompt_cache_mib, whose default is 0 with LoRA adapters.",
        )
    return msgspec.structs.replace(config, lora=[*lora_settings([*named])])
