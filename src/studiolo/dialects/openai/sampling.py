"""The settings of a generation that chat completions, completions and responses have in common."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from ...config import PredictionConfig
from ...host.on_demand import LoadRequest
from ..http.fields import Field, honoured, ignored, refused, wrong

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Limit = Annotated[int, Meta(ge=-1, le=2**31 - 1)]

SEEDS = 2**32
"""Seeds are taken modulo this."""

FORBIDDEN_BIAS = -100
"""The lowest bias of a token, by which it is never generated."""


class CommonSampling(Struct, kw_only=True):
    """What all have in common; ``None`` for what the model's own settings decide."""

    model: Annotated[str, Meta(min_length=1)]
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    seed: int | None = None
    stop: str | list[Annotated[str, Meta(min_length=1)]] | None = None
    stream: bool = False
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=1e30)] | None = None
    ttl: Annotated[float, Meta(gt=0)] | None = None
    draft_model: str | None = None

    def prediction_config(self) -> PredictionConfig:
        """Return the settings as the host has them. Raise :class:`InvalidRequestError` for a wrong one."""
        config = PredictionConfig(
            temperature=self.temperature,
            top_p_sampling=self.top_p,
            top_k_sampling=self.top_k,
            min_p_sampling=self.min_p,
            repeat_penalty=self.repeat_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=None if self.seed is None else self.seed % SEEDS,
            stop_strings=stop_strings(self.stop),
            draft_model=self.draft_model or None,
        )
        if self.logit_bias:
            config.logit_bias = [_bias(token, bias) for token, bias in self.logit_bias.items()]
        return config

    def load_request(self) -> LoadRequest:
        """Return how the model is loaded where that is needed."""
        return LoadRequest(ttl_sec=self.ttl)


class Sampling(CommonSampling, kw_only=True):
    """What chat completions and completions have in common."""

    max_tokens: Limit | None = None
    n: Annotated[int, Meta(ge=1, le=128)] = 1

    def prediction_config(self) -> PredictionConfig:
        """See :meth:`CommonSampling.prediction_config`."""
        config = super().prediction_config()
        config.max_tokens = checked_limit(self.max_tokens, "max_tokens")
        return config


def checked_limit(limit: int | None, name: str) -> int | None:
    """Return a limit of generated tokens; -1 for none. Raise :class:`InvalidRequestError` for 0."""
    if limit == 0:
        raise wrong(name, "expected at least 1, or -1 for no limit")
    return limit


def stop_strings(stop: str | list[str] | None) -> list[str] | None:
    """Return the stop strings of the field ``stop``; an empty text is none."""
    if stop is None or stop == "":
        return None
    return [stop] if isinstance(stop, str) else stop


def _bias(token: str, bias: float) -> Any:
    if not (token.isascii() and token.isdigit()):
        raise wrong(f"logit_bias.{token}", "expected the number of a token as the key")
    return int(token), "-inf" if bias <= FORBIDDEN_BIAS else bias


FIELDS: dict[str, Field] = {
    "model": honoured("The key or identifier of a model, or an alias of the server's. An unknown one is an error."),
    "frequency_penalty": honoured("Subtracted from the logit of a token for each recent occurrence."),
    "presence_penalty": honoured("Subtracted once from the logit of every recent token."),
    "logit_bias": honoured("Added to the logits of tokens, by number; -100 forbids a token.", whole=True),
    "max_tokens": honoured("Generated tokens at most; -1 for no limit but the context."),
    "n": honoured("Answers to the prompt, generated side by side; each has a seed of its own."),
    "seed": honoured("The same seed gives the same text; taken modulo 2^32."),
    "stop": honoured("Text that ends the answer; any number of them."),
    "stream": honoured("The answer in pieces, as server-sent events."),
    "stream_options": honoured("Settings of a stream."),
    "stream_options.include_usage": honoured("A last frame with the usage."),
    "stream_options.include_obfuscation": ignored("Pads frames against listeners on the network; here there is none."),
    "temperature": honoured("0 for the likeliest token; higher for more variety."),
    "top_p": honoured("Sample among the likeliest tokens whose probabilities add up to this."),
    "top_k": honoured("LM Studio's addition: sample among this many likeliest tokens; 0 for all."),
    "min_p": honoured("An addition: drop tokens less likely than this fraction of the likeliest."),
    "repeat_penalty": honoured("LM Studio's addition: divides the logit of recent tokens."),
    "ttl": honoured("LM Studio's addition: seconds of idleness after which a model loaded for this is unloaded."),
    "draft_model": honoured("LM Studio's addition: a model that drafts for this one."),
    "num_ctx": refused(
        "The context length is set when a model is loaded: studiolo load --context-length, or config.toml."
    ),
    "user": ignored("Names the end user to the service, which has an account for it; no effect on the answer."),
}
