"""The settings that are in force for a prediction, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import PREDICTION_DEFAULTS, LoadConfig, PredictionConfig, explicit_fields
from ..config.raw_tools import parse_raw_tools
from ..domain.chat import Message, Text
from ..errors import UnsupportedError


def settings_in_force(
    config: PredictionConfig, load: LoadConfig, model: PredictionConfig | None = None
) -> PredictionConfig:
    """Return ``config`` with the rest filled in from the ``model``'s own settings, then from the defaults."""
    settings = explicit_fields(PREDICTION_DEFAULTS)
    if load.seed is not None and load.seed is not False:
        settings["seed"] = load.seed
    if load.prompt_template is not None:
        settings["prompt_template"] = load.prompt_template
    own = explicit_fields(model) if model is not None else {}
    found = PredictionConfig(**{**settings, **own, **explicit_fields(config)})
    if found.reasoning_effort == "none":
        found.enable_thinking = False
    return found


def check_completion(config: PredictionConfig) -> None:
    """Raise :class:`UnsupportedError` for settings of a request that have an effect on chats alone.

    Presets and a model's own settings may have them all the same.

    Parameters:
        config: what the request itself says, for text that is continued exactly as it is.
    """
    tools, _ = parse_raw_tools(config.raw_tools)
    for_chats = {
        "raw_tools": bool(tools),
        "tool_choice": config.tool_choice == "required",
        "system_prompt": bool(config.system_prompt),
        "prompt_template": config.prompt_template is not None,
    }
    for field in (field for field, is_set in for_chats.items() if is_set):
        raise UnsupportedError(
            f"The prediction config's field {field!r} has no effect on text that is continued as it is",
            suggestion="Use respond(), which takes a chat, or leave the field out.",
            feature=field,
        )


def with_system_prompt(messages: Sequence[Message], config: PredictionConfig) -> Sequence[Message]:
    """Return ``messages`` with the config's system prompt first, unless they have a system message."""
    if not config.system_prompt or any(message.role == "system" for message in messages):
        return messages
    return [Message("system", [Text(config.system_prompt)]), *messages]
