"""What requests to ``/api/generate`` and ``/api/chat`` have in common."""

from __future__ import annotations

from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from ...config import LoadConfig, PredictionConfig
from ...config.prediction import StructuredSetting
from ...errors import InvalidRequestError
from ...host.on_demand import LoadRequest
from ...library.model import Model
from ..http.fields import Field, honoured, wrong
from .keep_alive import KeepAliveValue, seconds
from .options import LoadOptions, Options, option_fields

THINK_LEVELS = ("low", "medium", "high", "max")

ANSWERS_OF_CONTEXT = 10
"""An answer without a limit ends after so many times the tokens of the context, as in Ollama."""


class Asking(Struct, kw_only=True):
    """The common fields."""

    model: str = ""
    stream: bool = True
    options: Options | None = None
    format: Any = None
    keep_alive: KeepAliveValue = None
    think: bool | str | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncate: bool | None = None
    shift: bool | None = None

    @property
    def keep_sec(self) -> float | None:
        """How long the model stays loaded: see :func:`.keep_alive.seconds`."""
        return seconds(self.keep_alive)

    @property
    def top(self) -> int:
        """How many of the likeliest tokens are listed for each."""
        return self.top_logprobs or 0

    def load_request(self, model: Model, *, explicit: bool = False) -> LoadRequest:
        """Return how ``model`` is loaded where that is needed."""
        return load_request(self.options, model, explicit=explicit)

    def prediction_config(self, model: Model) -> PredictionConfig:
        """Return the settings of the prediction. Raise :class:`InvalidRequestError` for a wrong one."""
        config = (self.options or Options()).prediction_config()
        cuts = self.truncate is not False
        if self.shift is not None and self.shift != cuts:
            other = "true" if self.shift else "false"
            raise wrong("shift", f"{other} needs truncate to be {other}, too")
        config.context_overflow_policy = "rollingWindow" if cuts else "stopAtLimit"
        if self.top_logprobs and not self.logprobs:
            raise wrong("top_logprobs", "needs logprobs to be true")
        if self.logprobs:
            config.log_probs = self.top
        config.structured = _structured(self.format)
        self._set_thinking(config, model)
        return config

    def _set_thinking(self, config: PredictionConfig, model: Model) -> None:
        if isinstance(self.think, str) and self.think not in THINK_LEVELS:
            raise wrong("think", f"{self.think[:40]!r} is none of true, false, {', '.join(THINK_LEVELS)}")
        if self.think is None:
            return
        if self.think is False:
            config.enable_thinking = False
            return
        if not (model.metadata and model.metadata.reasons):
            raise InvalidRequestError(f'"{self.model}" does not support thinking', data={"param": "think"})
        config.enable_thinking = True
        if isinstance(self.think, str):
            config.reasoning_effort = self.think


def load_request(options: LoadOptions | None, model: Model, *, explicit: bool = False) -> LoadRequest:
    """Return how ``model`` is loaded with ``options``; one that is loaded otherwise is loaded again."""
    config = LoadConfig() if options is None else options.load_config(model)
    return LoadRequest(config=config, explicit=explicit, on_mismatch="reload")


def _structured(form: Any) -> StructuredSetting | None:
    if form in (None, ""):
        return None
    if form == "json":
        return StructuredSetting.any_object()
    if isinstance(form, dict):
        return StructuredSetting(type="json", json_schema=cast("dict[str, Any]", form))
    raise wrong("format", 'expected "json" or a JSON schema')


FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model, also with the tag latest, or an alias. An unknown one is an error."),
    "stream": honoured("true, the default: the answer in pieces, a line of JSON each."),
    "options": honoured("Settings of the load and of the generation."),
    **option_fields("options"),
    "format": honoured('"json", or a JSON schema that the answer is held to; "" for text.', whole=True),
    "keep_alive": honoured(
        "How long the model stays loaded: a duration with a unit or seconds; negative for ever, 0 unloads it. By "
        "default as the setting loading.jit_ttl_sec says."
    ),
    "think": honoured("Whether the model reasons, or how much: true, false, low, medium, high, max."),
    "logprobs": honoured("The log-probability of each token of the answer."),
    "top_logprobs": honoured("The likeliest tokens in the place of each, 0 to 20; needs logprobs."),
    "truncate": honoured(
        "true, the default: a prompt that is too long loses its oldest turns, not its system message; false: it is "
        "refused."
    ),
    "shift": honoured(
        "true: an answer that fills the context continues without the oldest text; false: it ends. As truncate, which "
        "must not say otherwise."
    ),
}
