"""A running engine: the process, and the calls to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from studiolo.domain.embeddings import Embeddings
from studiolo.domain.generation import Fragment, StopReason
from studiolo.domain.progress import PromptProgress
from studiolo.engines.base import Completed, CompletionRequest, EngineEvent, TemplateRequest, ToolChatRequest
from studiolo.engines.log_file import LogFile
from studiolo.engines.spec import Capabilities, EngineSpec, ProcessRef
from studiolo.errors import EngineDiedError, EngineError, EngineStartError, PromptTooLongError, UnsupportedError

NAME = "echo"
VERSION = "1.2.3"
CAPABILITIES = Capabilities(embeddings=True)


class EchoEngine:
    """See :class:`studiolo.engines.base.Engine`."""

    name = NAME
    version = VERSION
    capabilities = CAPABILITIES
    note: str | None = None
    gpu_layers: int | None = 0

    def __init__(self, process: Process, log: LogFile, spec: EngineSpec, node: str) -> None:
        self.process = ProcessRef(node, process.pid)
        self.exited = asyncio.Event()
        self._process = process
        self._log = log
        self._context = spec.config.context_length or 0
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[dict[str, Any]]] = {0: asyncio.Queue()}
        self._reason: str | None = None
        self._reader = asyncio.create_task(self._read())

    async def starting(self) -> AsyncGenerator[float]:
        """Yield how far the load is, until the process is ready."""
        while True:
            answer = await self._answer(0)
            if "progress" in answer:
                yield answer["progress"]
            if "ready" in answer:
                return

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        if request.constraint is not None:
            raise UnsupportedError("The engine echo holds to no form", feature="structured", engine=NAME)
        prompt = request.prompt if isinstance(request.prompt, str) else "".join(map(chr, request.prompt))
        config = request.config
        if len(prompt) >= self._context:
            raise PromptTooLongError(
                f"The prompt has {len(prompt)} tokens, and the model is loaded with a context of {self._context}"
            )
        room = self._context - len(prompt)
        limit = min(config.max_tokens or room, room)
        text, reason, stop = "", "context_full" if limit == room else "max_tokens", None
        async with self._call("complete", prompt=prompt, limit=limit) as number:
            yield PromptProgress(len(prompt), len(prompt))
            while (answer := await self._answer(number)) and "text" in answer:
                text += answer["text"]
                stop = next((each for each in config.stop_strings or () if text.endswith(each)), None)
                if stop is not None:
                    reason = "stop_string"
                    break
                yield Fragment(answer["text"])
        yield _completed(reason, stop, len(prompt), len(text))  # type: ignore[arg-type]

    async def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent, None]:
        raise UnsupportedError("The engine echo calls no tools", feature="tools", engine=NAME, engine_version=VERSION)
        yield  # makes it a generator

    async def knows_tools(self) -> bool:
        return False

    async def apply_template(self, chat: TemplateRequest) -> str:
        return "".join(f"{message.role}: {message.text}\n" for message in chat.messages) + "assistant: "

    async def tokenize(self, text: str) -> list[int]:
        await self.health()
        return [ord(letter) for letter in text]

    async def detokenize(self, tokens: Sequence[int]) -> str:
        await self.health()
        return "".join(map(chr, tokens))

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        for text in texts:
            if len(text) > self._context:
                raise PromptTooLongError(f"The text has {len(text)} tokens, and the context {self._context}")
        async with self._call("embed", texts=list(texts)) as number:
            answer = await self._answer(number)
        return Embeddings(answer["vectors"], [len(text) for text in texts])

    async def health(self) -> None:
        async with self._call("ping") as number:
            await self._answer(number)

    def abort(self, reason: str) -> None:
        if not self.exited.is_set():
            self._reason = f"was ended: {reason}"
            self._process.send_signal(signal.SIGKILL)

    def death(self) -> EngineError:
        return EngineDiedError(f"The process {self.process.pid} {self._how_it_ended()}", cause=self._log_tail())

    def start_error(self) -> EngineStartError:
        return EngineStartError(f"The engine did not load the model: it {self._how_it_ended()}", cause=self._log_tail())

    async def stop(self) -> None:
        if not self.exited.is_set():
            self._reason = self._reason or "was stopped"
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        await self._reader
        self._log.close()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if (queue := self._answers.get(answer["id"])) is not None:
                queue.put_nowait(answer)
        await self._process.wait()
        self.exited.set()

    @contextlib.asynccontextmanager
    async def _call(self, call: str, **parameters: Any) -> AsyncGenerator[int]:
        number = next(self._numbers)
        self._answers[number] = asyncio.Queue()
        try:
            self._send(id=number, call=call, **parameters)
            yield number
        finally:
            del self._answers[number]
            with contextlib.suppress(EngineError):
                self._send(id=number, call="cancel")

    def _send(self, **request: Any) -> None:
        if self.exited.is_set():
            raise self.death()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    async def _answer(self, number: int) -> dict[str, Any]:
        answer = asyncio.ensure_future(self._answers[number].get())
        death = asyncio.ensure_future(self.exited.wait())
        try:
            await asyncio.wait([answer, death], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise self.death()
            return answer.result()
        finally:
            answer.cancel()
            death.cancel()

    def _how_it_ended(self) -> str:
        if self._reason is not None:
            return self._reason
        status = self._process.returncode or 0
        return f"ended ({signal.Signals(-status).name if status < 0 else f'exit status {status}'})"

    def _log_tail(self) -> str:
        return "\n".join(self._log.tail(8))


def _completed(reason: StopReason, stop: str | None, prompt: int, predicted: int) -> Completed:
    return Completed(
        stop_reason=reason,
        stop_string=stop,
        prompt_tokens=prompt,
        predicted_tokens=predicted,
        tokens_per_second=None,
    )
