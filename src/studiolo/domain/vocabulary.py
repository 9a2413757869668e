"""The properties of a model's tokenizer that its prompts depend on."""

from __future__ import annotations

from msgspec import Struct

TOKENS_AT_THE_ENDS = 8
"""More than any tokenizer puts before and after a text of its own accord."""

_REASONING_WORDS = ("<think>", "</think>", "enable_thinking", "reasoning_effort", "reasoning_content", "thinking")


def template_reasons(template: str) -> bool:
    """Return whether a chat template has a place for reasoning."""
    return any(word in template for word in _REASONING_WORDS)


class InfillTokens(Struct, frozen=True):
    """The tokens around the parts of a text with a gap: before its prefix, before its suffix, before what fills it."""

    prefix: int
    suffix: int
    middle: int


class Vocabulary(Struct, frozen=True, kw_only=True):
    """The properties of a model's tokenizer that its prompts depend on.

    Parameters:
        control_tokens: the spellings that the tokenizer reads as tokens with a meaning, such as ``<|im_end|>``.
        longest_token_bytes: the most text that one token stands for; 0 where a tokenizer may drop text.
        chat_template: the Jinja template of the chat format; empty where there is none.
        tool_template: another one, for chats with tools; empty where there is none.
        infill: the tokens for texts with a gap; ``None`` where the model was not made for them.
    """

    control_tokens: list[str] = []
    longest_token_bytes: int = 0
    chat_template: str = ""
    tool_template: str = ""
    infill: InfillTokens | None = None

    @property
    def reasons(self) -> bool:
        """Whether the chat template has a place for reasoning."""
        return template_reasons(self.chat_template)

    def fewest_tokens(self, text: str) -> int:
        """Return a lower bound of the tokens of ``text``: white space left out, its bytes by the longest token."""
        if not self.longest_token_bytes:
            return 0
        spaces = sum(text.count(space) for space in " \t\r\n")
        return -(-(len(text) - spaces) // self.longest_token_bytes)

    def most_tokens(self, text: str) -> int | None:
        """Return an upper bound of the tokens of ``text``: its bytes, and some at either end. ``None`` for none."""
        return len(text.encode()) + TOKENS_AT_THE_ENDS if self.longest_token_bytes else None
