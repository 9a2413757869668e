"""What the work of a host has amounted to since it began, by model: for the server's metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Literal

from ..domain.generation import PredictionResult
from ..errors import CancelledError, StudioloError

MAX_MODELS = 1000
"""Models that are counted apart."""

OTHERS = "others"
"""The key under which further models are counted together."""


RequestKind = Literal["embedding", "reranking", "tokenizing", "decision", "transcription"]
"""What is asked of a model besides predictions. The model of a transcription predicts it."""


@dataclass
class RequestTotals:
    """The totals of one kind of requests.

    Parameters:
        ended: requests that ended with a result.
        errors: requests that ended with an error, by its code.
        tokens: tokens of the texts of those with a result, where their number is known.
        total_sec: seconds from those requests to their ends.
    """

    ended: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    tokens: int = 0
    total_sec: float = 0.0

    @contextlib.contextmanager
    def counted(self) -> Generator[None]:
        """Count the block as a request."""
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.errors[_code(error)] += 1
            raise
        self.ended += 1
        self.total_sec += time.monotonic() - began


@dataclass
class ModelTotals:
    """The totals of one model.

    Parameters:
        loads: loads of the model, without restarts of its engine.
        requests: by kind.
        ends: predictions that ended with a result, by their stop reason.
        errors: predictions that ended with an error, by its code.
        prompt_tokens: tokens of the prompts of those with a result.
        cached_tokens: those of them that the engine had read before.
        generated_tokens: tokens of the answers.
        total_sec: seconds from the requests to the ends.
        first_tokens: predictions that generated a token.
        first_token_sec: seconds from the requests to the first tokens.
        crashes: engines that ended unexpectedly.
    """

    loads: RequestTotals = field(default_factory=RequestTotals)
    requests: defaultdict[RequestKind, RequestTotals] = field(default_factory=lambda: defaultdict(RequestTotals))
    ends: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    total_sec: float = 0.0
    first_tokens: int = 0
    first_token_sec: float = 0.0
    crashes: int = 0

    def add(self, result: PredictionResult) -> None:
        """Count a prediction that has ended."""
        usage, timings = result.usage, result.timings
        self.ends[result.stop_reason] += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_prompt_tokens
        self.generated_tokens += usage.predicted_tokens
        self.total_sec += timings.total_sec
        if timings.first_token_sec is not None:
            self.first_tokens += 1
            self.first_token_sec += timings.first_token_sec

    def add_error(self, error: BaseException) -> None:
        """Count a prediction that has failed."""
        self.errors[_code(error)] += 1


class Totals:
    """The totals of every model, by its key."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTotals] = {}

    def of(self, key: str) -> ModelTotals:
        """Return the totals of the model with this key, to be added to."""
        if key not in self.models and len(self.models) >= MAX_MODELS:
            key = OTHERS
        return self.models.setdefault(key, ModelTotals())


def _code(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):  # nobody waits for it any more
        return CancelledError.code
    return error.code if isinstance(error, StudioloError) else type(error).__name__
