"""Reads long prompts in steps, so that other predictions of the engine have their turns.

An engine computes a prompt in batches, and every other prediction waits for the end of a batch, or, if its own prompt
is still to be read, for the end of all. The size of a batch is fixed at the engine's start: small ones read a prompt up
to 40 % slower, and large ones hold up everybody else. So a long prompt is read by requests that generate nothing, each
of which continues where the last one has ended: of a whole batch where nobody else is there, of a few tokens where
somebody is. An engine that reads a batch in less time than such a step may take, as on a GPU, gives the others their
turns itself, after each batch: its steps are of many.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import TypeVar, cast

import msgspec

from ...domain.chat import Text, ToolCall, ToolResult
from ...domain.generation import Fragment, ToolCallEvent
from ...domain.progress import PromptProgress
from ..base import Completed, CompletionRequest, EngineEvent, ToolChatRequest
from ..chat_templates.control_tokens import ControlTokens
from ..prompt import Prompt
from .client import LlamaServerClient
from .noted_prompts import NotedPrompts, Prefix
from .prompt_keeper import PromptKeeper

STEP_TOKENS = 64
STEP_SEC = 0.25
"""A step beside others has this many tokens, or as many as the engine has lately read in this time."""

QUICK_STEP_BATCHES = 8
"""The batches of a step of an engine that reads one in ``STEP_SEC``."""

TOKEN_CHARS = 2
"""Characters of a token where many are short: texts that may be long are tokenized, to know."""

E = TypeVar("E", bound=EngineEvent | ToolCallEvent)


class PromptReader:
    """The prompts of one engine.

    Parameters:
        client: speaks with the engine.
        slots: how many predictions the engine runs at once.
        batch_tokens: the tokens of one of its batches.
        noted: receives the prompts.
        keeper: has prompts on disk; ``None`` for none.
    """

    def __init__(
        self,
        client: LlamaServerClient,
        slots: int,
        batch_tokens: int,
        noted: NotedPrompts,
        keeper: PromptKeeper | None = None,
    ) -> None:
        self._client = client
        self._slots = slots
        self._batch_tokens = batch_tokens
        self._noted = noted
        self._keeper = keeper
        self._waiting = 0
        """Predictions that wait for the end of a batch: all but those that read a long prompt themselves."""
        self._rate = 0.0
        """Tokens of prompts that were lately read in a second."""

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream a completion; see :meth:`studiolo.engines.base.Engine.complete`."""
        await self._client.check_bias(request.config)
        if isinstance(request.prompt, Prompt) and not request.media:
            request = replace(request, prompt=await self._client.tokenize(request.prompt))
        # What the engine keeps of a text is its state with the adapters' scales of the load.
        prompt = request.prompt
        if isinstance(prompt, Prompt) or request.media or request.config.lora is not None:
            prompt = None
        async with contextlib.aclosing(self._answer(prompt, lambda: self._client.complete(request))) as events:
            async for event in events:
                yield event

    async def chat_with_tools(
        self, request: ToolChatRequest, tokens: ControlTokens
    ) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """Stream an answer to a chat; see :meth:`studiolo.engines.base.Engine.chat_with_tools`."""
        await self._client.check_bias(request.config)
        parts = [part for message in request.messages for part in message.parts]
        length = sum(len(part.text) for part in parts if isinstance(part, Text))
        length += sum(len(part.content) for part in parts if isinstance(part, ToolResult))
        is_plain = all(isinstance(part, Text | ToolCall | ToolResult) for part in parts) and request.config.lora is None
        prompt = await self._client.rendered(request, tokens) if is_plain and self._is_long(length) else None
        async with contextlib.aclosing(
            self._answer(prompt, lambda: self._client.chat_with_tools(request, tokens))
        ) as events:
            async for event in events:
                yield event

    async def close(self, *, write: bool) -> None:
        """End what runs by itself.

        Parameters:
            write: whether prompts that are not on disk are written there.
        """
        if self._keeper is not None:
            await self._keeper.close(write=write)

    async def _answer(
        self, prompt: Prefix | None, answer: Callable[[], AsyncGenerator[E, None]]
    ) -> AsyncGenerator[E | PromptProgress, None]:
        """Yield the events of an answer.

        Parameters:
            prompt: what has to be read; ``None`` where it is not known, or may not be read in steps.
            answer: begins the answer, with the whole prompt.
        """
        said: list[str] = []
        tokens = 0
        waits = False
        began, read_sec = time.monotonic(), None
        cached: int | None = None
        try:
            if self._keeper is not None:
                await self._keeper.begin(prompt)
            known = 0 if prompt is None else self._noted.known(prompt)
            waits = prompt is None or not self._is_long(_chars(prompt) - _chars(prompt[:known]))
            self._waiting += waits
            if prompt is not None and not waits:
                async with contextlib.aclosing(self._steps(prompt, prompt[:known])) as steps:
                    async for progress in steps:
                        cached = progress.cached
                        yield progress
            async with contextlib.aclosing(answer()) as events:
                async for event in events:
                    if isinstance(event, PromptProgress):
                        tokens = event.total
                        yield event if cached is None else msgspec.structs.replace(event, cached=cached)
                        continue
                    if read_sec is None:
                        read_sec = time.monotonic() - began
                        self._waiting += not waits
                        waits = True
                    if isinstance(event, Fragment):
                        said.append(event.text)
                        tokens += event.tokens
                    elif isinstance(event, Completed):
                        tokens = event.prompt_tokens + event.predicted_tokens
                        if cached is None:
                            self._note_rate(event)
                        else:
                            event = cast("E", replace(event, cached_tokens=cached, prompt_sec=read_sec))
                    yield event
        finally:
            self._waiting -= waits
            if prompt is not None and read_sec is not None:
                self._noted.add(prompt, "".join(said), tokens)
            if self._keeper is not None:
                self._keeper.end()

    def _is_long(self, length: int) -> bool:
        """Return whether a prompt of ``length`` characters is read in steps, where anybody may come meanwhile."""
        least = self._step_tokens() if self._is_quick() or not self._waiting else 2 * STEP_TOKENS
        return self._slots > 1 and length > TOKEN_CHARS * least

    async def _steps(self, prompt: Prefix, known: Prefix) -> AsyncGenerator[PromptProgress, None]:
        """Have all of a prompt read but for the last step.

        Parameters:
            known: the beginning of it that the engine has read.
        """
        position = len(await self._client.tokenize(known) if isinstance(known, str) else known)
        ids = await self._client.tokenize(prompt) if isinstance(prompt, str) else prompt
        if self._client.context_length is not None and len(ids) >= self._client.context_length:
            return  # the engine refuses it
        cached: int | None = None
        while (end := position + self._step_tokens()) < len(ids):
            began = time.monotonic()
            found = await self._client.read(ids[:end])
            self._rate = (end - max(found, position)) / max(time.monotonic() - began, 1e-3)
            cached = found if cached is None else cached
            yield PromptProgress(end, len(ids), cached)
            position = end

    def _step_tokens(self) -> int:
        if self._is_quick():
            return QUICK_STEP_BATCHES * self._batch_tokens
        return max(STEP_TOKENS, int(STEP_SEC * self._rate)) if self._waiting else self._batch_tokens

    def _is_quick(self) -> bool:
        """Return whether the engine has lately read a batch in the time of a step beside others."""
        return STEP_SEC * self._rate >= self._batch_tokens

    def _note_rate(self, end: Completed) -> None:
        """Note how fast a prompt was read that was not read in steps; a short one shows nothing."""
        read = end.prompt_tokens - (end.cached_tokens or 0)
        if read >= self._batch_tokens and end.prompt_sec:
            self._rate = read / end.prompt_sec


def _chars(text: Prefix) -> int:
    """Return the length of a text in characters; of tokens, about."""
    return len(text) * (1 if isinstance(text, str) else TOKEN_CHARS)
