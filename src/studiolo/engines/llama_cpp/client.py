"""llama-server's HTTP, spoken over a Unix socket. Source of the formats: llama.cpp, tools/server/README.md."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from ...config import PredictionConfig
from ...domain.embeddings import Embeddings
from ...domain.generation import Fragment, TokenLogProbs, ToolCallEvent
from ...errors import ConfigError, EngineError, PredictionError, PromptTooLongError
from ..base import Completed, CompletionRequest, EngineEvent, ToolChatRequest
from ..chat_template import ModelTemplate
from .chat_stream import ChatReader, chat_body, decode_chunk
from .endpoint import Endpoint
from .params import completion_body
from .stream_events import DraftedTokens, End, Progress, Token, completed, context_full, wanted_candidates

CALL_LIMIT_SEC = 60.0
"""How long a call that does not stream may take."""

EMBEDDING_BATCH = 64
"""Texts in one request for embeddings. The server computes as many at once as it has slots."""

PACE_SEC = 1 / 30
PACE_PER_TOKEN_SEC = 0.002
"""Tokens that come faster than thirty a second are read together, thirty times a second: every wake-up of this process
takes a core from the engine's threads, which wait for each other. A stream gets there by two milliseconds a token, so
that a short answer is not held up. Slower tokens are passed on as they come."""


class _Fault(msgspec.Struct):
    message: str = "no reason given"
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Event(End):
    """One event of a streamed completion; the last one has ``stop_type``."""

    content: str = ""
    prompt_progress: Progress | None = None
    completion_probabilities: list[Token] | None = None
    error: _Fault | None = None


class _Slot(msgspec.Struct):
    speculative: bool = True  # servers that do not report it are trusted


class _ModelMeta(msgspec.Struct):
    n_vocab: int | None = None


class _Model(msgspec.Struct):
    meta: _ModelMeta = msgspec.field(default_factory=_ModelMeta)


class _Models(msgspec.Struct):
    data: list[_Model] = msgspec.field(default_factory=list[_Model])


class _Failure(msgspec.Struct):
    error: _Fault


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Text(msgspec.Struct):
    content: str


class _Embedding(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage = msgspec.field(default_factory=_Usage)


# An embedding model takes a text in one batch, which is made as long as its context.
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large.*batch size: (\d+)")


class _TemplateFacts(msgspec.Struct):
    """``chat_template_caps``; servers without it get the defaults, which fit most templates."""

    supports_system_role: bool = True
    supports_string_content: bool = True
    supports_tools: bool = False
    supports_tool_calls: bool = False


class _Props(msgspec.Struct):
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    media_marker: str = "<__media__>"
    chat_template_caps: _TemplateFacts = msgspec.field(default_factory=_TemplateFacts)


_decode_event = msgspec.json.Decoder(_Event).decode


class LlamaServerClient:
    """The calls of one llama-server. A broken or refused connection comes out as :class:`ConnectionError`."""

    def __init__(self, endpoint: Endpoint, context_length: int | None = None) -> None:
        # The server closes its connection after a streamed answer, so that none is kept.
        connector = (
            aiohttp.TCPConnector(force_close=True, limit=0)
            if endpoint.url
            else aiohttp.UnixConnector(str(endpoint.socket_path), force_close=True, limit=0)
        )
        self._session = aiohttp.ClientSession(
            endpoint.url or "http://engine",
            connector=connector,
            headers={"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else None,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        self._context_length = context_length
        self._vocabulary: int | None = None

    async def close(self) -> None:
        await self._session.close()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream a completion; see :meth:`studiolo.engines.base.Engine.complete`."""
        await self._check_bias(request.config)
        body = msgspec.json.encode(
            completion_body(
                request.prompt, request.config, request.keep, request.images, request.budget, request.constraint
            )
        )
        # The engine would continue without end, by shifting its context. Closing the request stops it.
        limit = self._context_length if request.config.context_overflow_policy in (None, "stopAtLimit") else None
        async with _broken_connections_reported(), self._session.post("/completion", data=body) as response:
            if response.status != 200:
                raise _refusal(await response.read())
            counted = 0  # tokens of the fragments so far
            drafted = DraftedTokens()
            candidates = wanted_candidates(request.config)
            logprobs: list[TokenLogProbs] = []
            async for event in _events(response, _decode_event):
                if event.error is not None:
                    raise _prediction_error(event.error)
                if candidates is not None:
                    logprobs += [token.with_alternatives(candidates) for token in event.completion_probabilities or ()]
                if event.prompt_progress is not None:
                    yield event.prompt_progress.counted()
                elif event.content:
                    # A token may bring no text of its own (half a character, a space to come): the next one's does.
                    count = max(event.tokens_predicted - counted, 0)
                    yield Fragment(
                        event.content,
                        count,
                        drafted=drafted.are_among(count, event.timings),
                        logprobs=logprobs or None,
                    )
                    counted, logprobs = event.tokens_predicted, []
                if event.stop_type is not None:
                    yield completed(event, request.config)
                    return
                if limit is not None and event.tokens_evaluated + event.tokens_predicted >= limit:
                    predicted = min(event.tokens_predicted, limit - event.tokens_evaluated)
                    yield context_full(event.tokens_evaluated, predicted, event.timings)
                    return
        raise PredictionError("The engine ended its answer without saying why")

    async def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """Stream an answer to a chat; see :meth:`studiolo.engines.base.Engine.chat_with_tools`."""
        await self._check_bias(request.config)
        body = msgspec.json.encode(chat_body(request))
        limit = self._context_length if request.config.context_overflow_policy in (None, "stopAtLimit") else None
        reader = ChatReader(request.config, limit)
        async with _broken_connections_reported(), self._session.post("/v1/chat/completions", data=body) as response:
            if response.status != 200:
                raise _refusal(await response.read())
            async for chunk in _events(response, decode_chunk):
                if chunk.error is not None:
                    raise _prediction_error(msgspec.convert(chunk.error, _Fault))
                for event in reader.feed(chunk):
                    yield event
                    if isinstance(event, Completed):
                        return
        raise PredictionError("The engine ended its answer without saying why")

    async def model_template(self) -> ModelTemplate:
        """Return the model's chat template, its special tokens and what it supports."""
        limit = aiohttp.ClientTimeout(total=CALL_LIMIT_SEC)
        async with _broken_connections_reported(), self._session.get("/props", timeout=limit) as response:
            answer = await response.read()
            if response.status != 200:
                raise _refusal(answer)
        props = msgspec.json.decode(answer, type=_Props)
        added = await self.tokenize("")
        return ModelTemplate(
            template=props.chat_template,
            bos_token=props.bos_token,
            eos_token=props.eos_token,
            adds_bos=added[:1] == (await self.tokenize(props.bos_token, add_special=False))[:1] != [],
            media_marker=props.media_marker,
            takes_system=props.chat_template_caps.supports_system_role,
            takes_text=props.chat_template_caps.supports_string_content,
            takes_tools=props.chat_template_caps.supports_tools and props.chat_template_caps.supports_tool_calls,
        )

    async def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        answer = await self._post("/tokenize", {"content": text, "add_special": add_special, "parse_special": True})
        return msgspec.json.decode(answer, type=_Tokens).tokens

    async def detokenize(self, tokens: Sequence[int]) -> str:
        answer = await self._post("/detokenize", {"tokens": tokens})
        return msgspec.json.decode(answer, type=_Text).content

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return the vectors of ``texts``, computed in batches; see :meth:`studiolo.engines.base.Engine.embed`."""
        vectors: list[list[float]] = []
        counts: list[int] = []
        for start in range(0, len(texts), EMBEDDING_BATCH):
            batch = texts[start : start + EMBEDDING_BATCH]
            if len(batch) == 1:  # the server counts its tokens
                answer = await self._embed(batch[0])
                counts.append(answer.usage.prompt_tokens)
            else:
                tokens = await asyncio.gather(*(self.tokenize(text) for text in batch))
                answer = await self._embed(tokens)
                counts += [len(each) for each in tokens]
            vectors += [each.embedding for each in sorted(answer.data, key=lambda each: each.index)]
        return Embeddings(vectors, counts)

    async def _embed(self, prompts: str | list[list[int]]) -> _Embeddings:
        body = {"input": prompts, "encoding_format": "float"}
        try:
            answer = await self._post("/v1/embeddings", body, limit_sec=None)
        except PredictionError as error:
            if (sizes := _TOO_LARGE.search(error.cause or "")) is not None:
                raise _too_long(int(sizes[1]), int(sizes[2])) from None
            raise
        return msgspec.json.decode(answer, type=_Embeddings)

    async def health(self) -> None:
        """Return when the server has said that it is well. Waits as long as it says nothing."""
        async with _broken_connections_reported(), self._session.get("/health") as response:
            if response.status != 200:
                raise EngineError("The engine is not well", cause=f"It answered {response.status} to a health check")

    async def drafts(self) -> bool:
        """Return whether its slots draft tokens."""
        limit = aiohttp.ClientTimeout(total=CALL_LIMIT_SEC)
        async with _broken_connections_reported(), self._session.get("/slots", timeout=limit) as response:
            slots = msgspec.json.decode(await response.read(), type=list[_Slot])
            return all(slot.speculative for slot in slots)

    async def _check_bias(self, config: PredictionConfig) -> None:
        """Refuse a ``logit_bias`` that is outside the model's vocabulary: the engine would ignore it."""
        if not config.logit_bias:
            return
        size = await self._vocabulary_size()
        if size is None:
            return
        for index, (token, _) in enumerate(config.logit_bias):
            if token >= size:
                raise ConfigError(
                    f"The prediction config's field 'logit_bias[{index}]' is a token that the model does not have",
                    cause=f"It is {token}, and the model's tokens go from 0 to {size - 1}.",
                )
        if len({token for token, bias in config.logit_bias if bias == "-inf"}) >= size:
            raise ConfigError("The prediction config's field 'logit_bias' forbids every token of the model")

    async def _vocabulary_size(self) -> int | None:
        if self._vocabulary is None:
            limit = aiohttp.ClientTimeout(total=CALL_LIMIT_SEC)
            async with _broken_connections_reported(), self._session.get("/v1/models", timeout=limit) as response:
                models = msgspec.json.decode(await response.read(), type=_Models).data
            self._vocabulary = models[0].meta.n_vocab if models else None
        return self._vocabulary

    async def _post(self, path: str, body: dict[str, Any], limit_sec: float | None = CALL_LIMIT_SEC) -> bytes:
        limit = aiohttp.ClientTimeout(total=limit_sec)
        data = msgspec.json.encode(body)
        async with _broken_connections_reported(), self._session.post(path, data=data, timeout=limit) as response:
            answer = await response.read()
            if response.status != 200:
                raise _refusal(answer)
            return answer


@contextlib.asynccontextmanager
async def _broken_connections_reported() -> AsyncGenerator[None, None]:
    try:
        yield
    except aiohttp.ClientError as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from None


class _Counted(Protocol):
    """An event with the number of tokens so far."""

    @property
    def tokens_predicted(self) -> int: ...


E = TypeVar("E", bound=_Counted)


async def _events(response: aiohttp.ClientResponse, decode: Callable[[bytes], E]) -> AsyncIterator[E]:
    """Yield the server-sent events of a response, each decoded once."""
    rest = b""
    clock = asyncio.get_running_loop().time
    while chunk := await _read(response.content):
        began = clock()
        *events, rest = (rest + chunk).split(b"\n\n")
        tokens = 0
        for text in events:
            if text.startswith(b"data: ") and text != b"data: [DONE]":
                event = decode(text[6:])
                tokens = event.tokens_predicted
                yield event
        pause = min(PACE_SEC, tokens * PACE_PER_TOKEN_SEC) - (clock() - began)
        transport = response.connection.transport if response.connection else None
        if pause > 0 and transport is not None:
            transport.pause_reading()  # what comes meanwhile waits in the kernel
            try:
                await asyncio.sleep(pause)
            finally:
                transport.resume_reading()


async def _read(content: aiohttp.StreamReader) -> bytes:
    try:
        return await content.readany()
    except RuntimeError as error:  # aiohttp's word for a connection that went while nobody was reading
        raise ConnectionError(str(error)) from None


def _refusal(body: bytes) -> PredictionError:
    try:
        fault = msgspec.json.decode(body, type=_Failure).error
    except msgspec.DecodeError:
        fault = _Fault(message=body[:500].decode(errors="replace"))
    return _prediction_error(fault)


def _prediction_error(fault: _Fault) -> PredictionError:
    if fault.type == "exceed_context_size_error":
        return _too_long(fault.n_prompt_tokens, fault.n_ctx)
    return PredictionError("The engine refused the request", cause=fault.message)


def _too_long(tokens: int | None, context: int | None) -> PromptTooLongError:
    return PromptTooLongError(
        f"The prompt has {tokens} tokens, and the model is loaded with a context of {context}",
        suggestion="Shorten the prompt, or load the model with a longer context_length.",
        data={"promptTokensCount": tokens, "contextLength": context},
    )
