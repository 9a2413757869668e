"""What a llama-server says of itself and its model. Source of the format: llama.cpp, tools/server/README.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What a server says of its model.

    Parameters:
        bos_token, eos_token: the tokens that begin and end a text, as text.
        adds_bos: whether the tokenizer adds ``bos_token`` to every text by itself.
        media_marker: the text that marks the place of an image or audio.
        takes_tools: whether the template that it has been given supports tools and tool calls.
    """

    bos_token: str
    eos_token: str
    adds_bos: bool
    media_marker: str
    takes_tools: bool
