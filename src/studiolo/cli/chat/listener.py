"""What an answer is shown by while it comes."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Is called while an answer comes, in the thread that waits for it."""

    def waiting(self, processed: float) -> None:
        """Called before the first fragment, with the fraction of the prompt that is processed, 0 to 1."""

    def fragment(self, text: str, *, is_reasoning: bool) -> None:
        """Called with each piece of the answer, or of the reasoning before it."""

    def round_ended(self) -> None:
        """Called when the model has said all that it says before its tools are called, or at the end."""

    def tool_returned(self, name: str, content: str) -> None:
        """Called with the result of a call."""
