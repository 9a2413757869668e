"""The chat by which a model with audio input is asked for the text of audio."""

from __future__ import annotations

from ..domain.chat import Audio, ChatRequest, Message, Text

_LFM2 = ("<|tool_list_start|>", "<|tool_list_end|>")
"""What the chat templates of LFM2 have: its audio models are trained with an instruction of their own."""


def transcription_chat(template: str, audio: Audio, prompt: str = "", language: str = "") -> ChatRequest:
    """Return the chat that asks a model for the text of ``audio``.

    Parameters:
        template: the model's chat template; empty where it has none.
        prompt: stands in place of the instruction.
        language: the language of the audio.
    """
    is_lfm2 = all(mark in template for mark in _LFM2)
    text = prompt or ("" if is_lfm2 else "Transcribe audio to text")
    if language:
        text = f"{text} (language: {language})".lstrip()
    system = [Message("system", [Text("Perform ASR.")])] if is_lfm2 else []
    return ChatRequest(messages=[*system, Message("user", [*([Text(text)] if text else []), audio])])
