"""The text of a prediction while it runs, and the message that is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec.structs import asdict

from ..domain.chat import Text, ToolCall
from ..sdk.prediction import PredictionResult
from ..store.conversation import ConversationMessage, ConversationPart

MAX_ROUNDS = 25
"""Predictions at most for one answer with tools; the last one has none."""

REFUSED = "The user did not allow this call."
"""What the model gets in place of the result of a call that the user refuses."""


class PartialAnswer:
    """The text so far of the prediction that runs. An answer with tools has one prediction after the other."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []

    @property
    def content(self) -> str:
        """The text of the answer."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """The reasoning before it."""
        return "".join(self._reasoning)

    def take(self, fragment: Any) -> Literal["none", "reasoning"] | None:
        """Add a fragment. Return what it is: of the answer, of reasoning, or a tag around it, which is left out."""
        kind = fragment.reasoning_type
        if kind == "none":
            self._content.append(fragment.content)
        elif kind == "reasoning":
            self._reasoning.append(fragment.content)
        else:
            return None
        return kind

    def completed(self, result: PredictionResult[Any], calls: Sequence[ToolCall] = ()) -> ConversationMessage:
        """Return the message of a prediction that has ended."""
        self._content, self._reasoning = [], []
        parts: list[ConversationPart] = [Text(result.non_reasoning_content), *calls]
        return ConversationMessage(
            role="assistant",
            parts=parts,
            reasoning=result.reasoning_content,
            model=result.model_info.model_key,
            stop_reason=result.stats.stop_reason,
            stats={name: value for name, value in asdict(result.stats).items() if value is not None},
        )

    def cut(self, stop_reason: str) -> ConversationMessage | None:
        """Return the message of what there is of a prediction that has not ended; ``None`` if there is no text."""
        content, reasoning = self.content, self.reasoning
        self._content, self._reasoning = [], []
        if not content.strip():
            return None
        parts: list[ConversationPart] = [Text(content)]
        return ConversationMessage(role="assistant", parts=parts, reasoning=reasoning, stop_reason=stop_reason)
