"""What the predictions of a host have amounted to since it began, by model: for the server's metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..domain.generation import PredictionResult
from ..errors import StudioloError

MAX_MODELS = 1000
"""Models that are counted apart."""

OTHERS = "others"
"""The key under which further models are counted together."""


@dataclass
class ModelTotals:
    """The totals of one model.

    Parameters:
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
        self.errors[error.code if isinstance(error, StudioloError) else type(error).__name__] += 1


class Totals:
    """The totals of every model, by its key."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTotals] = {}

    def of(self, key: str) -> ModelTotals:
        """Return the totals of the model with this key, to be added to."""
        if key not in self.models and len(self.models) >= MAX_MODELS:
            key = OTHERS
        return self.models.setdefault(key, ModelTotals())
