"""llama-server's HTTP, spoken over a Unix socket. Source of the formats: llama.cpp, tools/server/README.md."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import aiohttp
import msgspec

from ...config import LoraSetting, PredictionConfig
from ...domain.embeddings import Embeddings, Relevance
from ...domain.generation import Fragment, TokenLogProbs, ToolCallEvent
from ...errors import ConfigError, EngineError, InvalidRequestError, PredictionError, UnsupportedError
from ...struct_types import examined
from ..base import Completed, CompletionRequest, DecisionRequest, EngineEvent, ToolChatRequest
from ..chat_templates.control_tokens import ControlTokens
from ..prompt import WORD_JOINER, Prompt
from .answers import (
    Content,
    EmbeddingList,
    Fault,
    Models,
    Props,
    Rendered,
    Slot,
    Tokens,
    checked,
    decode,
    embeddings,
    fault_error,
    position_of,
    refusal,
    relevance,
    too_long,
)
from .chat_stream import ChatReader, chat_body, decode_chunk
from .endpoint import Endpoint
from .params import completion_body
from .responses import Reader, body_of, broken_connections_reported, events_of, limited, reading
from .server_facts import ServerFacts
from .stream_events import DraftedTokens, End, Progress, Token, completed, context_full
from .system_one import system_one_body, system_one_probabilities

CALL_LIMIT_SEC = 60.0
"""How long a call that does not stream may take."""

EMBEDDING_BATCH = 64
"""Texts in one request for embeddings. The server computes as many at once as it has slots."""

NOT_THERE = (404, 501)
"""The statuses by which a server says that it does not have a call."""


class _Event(End):
    """One event of a streamed completion; the last one has ``stop_type``."""

    content: str = ""
    prompt_progress: Progress | None = None
    completion_probabilities: list[Token] | None = None
    error: Fault | None = None


# An embedding model takes a text in one batch, which is made as long as its context.
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large.*batch size: (\d+)")


_decode_event = msgspec.json.Decoder(examined(_Event)).decode


class LlamaServerClient:
    """The calls of one llama-server. A broken or refused connection comes out as :class:`ConnectionError`.

    Parameters:
        endpoint: where it listens.
        context_length: tokens that a prompt and its answer may have together.
        adapters: the LoRA adapters that it was started with.
    """

    def __init__(
        self, endpoint: Endpoint, context_length: int | None = None, adapters: Sequence[LoraSetting] = ()
    ) -> None:
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
        self.context_length = context_length
        self._adapters = adapters
        self._vocabulary: int | None = None
        self._vector_length: int | None = None
        self._line_break: list[int] | None = None

    async def close(self) -> None:
        await self._session.close()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream a completion; see :meth:`studiolo.engines.base.Engine.complete`."""
        prompt = request.prompt
        if isinstance(prompt, Prompt):
            prompt = WORD_JOINER.join(prompt.pieces) if request.media else await self.tokenize(prompt)
        body = msgspec.json.encode(
            completion_body(
                prompt,
                request.config,
                request.keep,
                request.media,
                request.budget,
                request.constraint,
                self._adapters,
            )
        )
        # The engine would continue without end, by shifting its context. Closing the request stops it.
        limit = self.context_length if request.config.context_overflow_policy in (None, "stopAtLimit") else None
        async with self._stream("/completion", body) as reader:
            counted = 0  # tokens of the fragments so far
            drafted = DraftedTokens()
            candidates = request.config.log_prob_candidates
            logprobs: list[TokenLogProbs] = []
            async for event in events_of(reader, _decode_event, request.config.max_tokens or None):
                if event.error is not None:
                    raise fault_error(event.error)
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
                    yield completed(event, request.config, logprobs)
                    return
                if limit is not None and event.tokens_evaluated + event.tokens_predicted >= limit:
                    predicted = min(event.tokens_predicted, limit - event.tokens_evaluated)
                    yield context_full(event.tokens_evaluated, predicted, event.timings)
                    return
        raise PredictionError("The engine ended its answer without saying why")

    async def chat_with_tools(
        self, request: ToolChatRequest, tokens: ControlTokens
    ) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """Stream an answer to a chat; see :meth:`studiolo.engines.base.Engine.chat_with_tools`."""
        body = msgspec.json.encode(chat_body(request, tokens, self._adapters))
        limit = self.context_length if request.config.context_overflow_policy in (None, "stopAtLimit") else None
        chat = ChatReader(request.config, limit)
        async with self._stream("/v1/chat/completions", body) as reader:
            async for chunk in events_of(reader, decode_chunk, request.config.max_tokens or None):
                if chunk.error is not None:
                    raise fault_error(chunk.error)
                for event in chat.feed(chunk):
                    yield event
                    if isinstance(event, Completed):
                        return
        raise PredictionError("The engine ended its answer without saying why")

    async def read(self, tokens: Sequence[int]) -> int:
        """Have the beginning of a prompt read, and return how many of its tokens were in the cache."""
        body = {"prompt": tokens, "n_predict": 0, "cache_prompt": True, "response_fields": ["timings"]}
        end = decode("/completion", await self._post("/completion", body, limit_sec=None), End)
        return end.timings.cache_n if end.timings else 0

    async def rendered(self, request: ToolChatRequest, tokens: ControlTokens) -> str:
        """Return the prompt that the server makes of a chat with tools."""
        body = chat_body(request, tokens, self._adapters)
        return decode("/apply-template", await self._post("/apply-template", body), Rendered).prompt

    async def facts(self) -> ServerFacts:
        """Return the model's special tokens, and what the server supports."""
        props = decode("/props", checked("/props", *await self._request("GET", "/props")), Props)
        added = await self.tokenize("")
        return ServerFacts(
            bos_token=props.bos_token,
            eos_token=props.eos_token,
            adds_bos=added[:1] == (await self.tokenize(props.bos_token, add_special=False))[:1] != [],
            media_marker=props.media_marker,
            takes_tools=props.chat_template_caps.supports_tools and props.chat_template_caps.supports_tool_calls,
        )

    async def tokenize(self, text: str | Prompt, *, add_special: bool = True) -> list[int]:
        if isinstance(text, Prompt):
            first, *others = text.pieces
            tokens = await self.tokenize(first, add_special=add_special)
            known: dict[str, list[int]] = {}
            for piece in others:
                if piece not in known:
                    known[piece] = await self._tokenize_rest(piece)
                tokens += known[piece]
            return tokens
        answer = await self._post("/tokenize", {"content": text, "add_special": add_special, "parse_special": True})
        return decode("/tokenize", answer, Tokens).tokens

    async def _tokenize_rest(self, text: str) -> list[int]:
        """Return the tokens of a piece of a text; many tokenizers put a space before what begins one."""
        if self._line_break is None:
            self._line_break = await self.tokenize("\n", add_special=False)
        begin = self._line_break
        tokens = await self.tokenize("\n" + text, add_special=False)
        if tokens[: len(begin)] == begin:
            return tokens[len(begin) :]
        return await self.tokenize(text, add_special=False)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        try:
            answer = await self._post("/detokenize", {"tokens": tokens})
        except PredictionError:
            with contextlib.suppress(PredictionError, EngineError):
                await self._check_tokens(tokens)
            raise
        return decode("/detokenize", answer, Content).content

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return the vectors of ``texts``, computed in batches; see :meth:`studiolo.engines.base.Engine.embed`."""
        vectors: list[list[float]] = []
        counts: list[int] = []
        for start in range(0, len(texts), EMBEDDING_BATCH):
            batch = texts[start : start + EMBEDDING_BATCH]
            if len(batch) == 1:  # the server counts its tokens
                answer = await self._embed(batch, batch[0], start, len(texts))
                counts.append(answer.usage.prompt_tokens)
            else:
                tokens = await asyncio.gather(*(self.tokenize(text) for text in batch))
                answer = await self._embed(batch, tokens, start, len(texts))
                counts += map(len, tokens)
            vectors += [each.embedding for each in answer.data]
        return Embeddings(vectors, counts)

    async def _embed(
        self, texts: Sequence[str], prompts: str | list[list[int]], first: int, total: int
    ) -> EmbeddingList:
        """Return the vectors of a batch. Its parameters are those of :meth:`_post_batch`, and what it sends of them."""
        body = {"input": prompts, "encoding_format": "float"}
        answer = await self._post_batch("/v1/embeddings", body, texts, first, total)
        vectors = embeddings(answer, len(texts), first, total, self._vector_length)
        self._vector_length = len(vectors.data[0].embedding)
        return vectors

    async def rerank(self, query: str, texts: Sequence[str]) -> Relevance:
        """Return how well texts answer a question, in batches; see :meth:`studiolo.engines.base.Engine.rerank`."""
        scores: list[float] = []
        tokens = 0
        for start in range(0, len(texts), EMBEDDING_BATCH):
            batch = texts[start : start + EMBEDDING_BATCH]
            body = {"query": query, "documents": batch}
            answer = await self._post_batch("/v1/rerank", body, batch, start, len(texts))
            found = relevance(answer, len(batch))
            scores += found.scores
            tokens += found.prompt_tokens
        return Relevance(scores, tokens)

    async def decide(self, request: DecisionRequest) -> list[list[float]]:
        """Return the probabilities of choices; see :meth:`studiolo.engines.base.Engine.decide`."""
        data = msgspec.json.encode(system_one_body(request))
        status, answer = await self._request("POST", "/v1/systemone", data, limit_sec=None)
        if status in NOT_THERE:
            raise UnsupportedError("The engine does not decide with this model", feature="decisions")
        return system_one_probabilities(checked("/v1/systemone", status, answer), request.questions)

    async def _post_batch(self, path: str, body: dict[str, Any], texts: Sequence[str], first: int, total: int) -> bytes:
        """Return the answer to a batch of texts. Raise an error with the position of a text that is too long.

        Parameters:
            first, total: the position of its first text among all of the call, and how many those are.
        """
        try:
            return await self._post(path, body, limit_sec=None)
        except PredictionError as error:
            if (sizes := _TOO_LARGE.search(error.cause or "")) is None:
                raise
        tokens, limit = int(sizes[1]), int(sizes[2])
        lengths = [len(each) for each in await asyncio.gather(*(self.tokenize(text) for text in texts))]
        place = lengths.index(tokens if tokens in lengths else max(lengths))  # rerank counts the query as well
        raise too_long(tokens, limit, position_of(first + place, total))

    async def health(self) -> None:
        """Return when the server has said that it is well. Waits as long as it says nothing."""
        async with broken_connections_reported(), self._session.get("/health") as response:
            if response.status != 200:
                raise EngineError("The engine is not well", cause=f"It answered {response.status} to a health check")

    async def drafts(self) -> bool:
        """Return whether its slots draft tokens. A server that does not list its slots is trusted."""
        status, answer = await self._request("GET", "/slots")
        return status in NOT_THERE or all(
            slot.speculative for slot in decode("/slots", checked("/slots", status, answer), list[Slot])
        )

    async def check_bias(self, config: PredictionConfig) -> None:
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
                    data={"feature": "logit_bias", "token": token},
                )
        if len({token for token, bias in config.logit_bias if bias == "-inf"}) >= size:
            raise ConfigError("The prediction config's field 'logit_bias' forbids every token of the model")

    async def _check_tokens(self, tokens: Sequence[int]) -> None:
        """Refuse tokens outside the model's vocabulary."""
        size = await self._vocabulary_size() if tokens else None
        wrong = None if size is None else next((token for token in tokens if not 0 <= token < size), None)
        if size is not None and wrong is not None:
            raise InvalidRequestError(
                f"The token {wrong} is none of the model's",
                cause=f"They go from 0 to {size - 1}.",
                data={"feature": "tokens"},
            )

    async def _vocabulary_size(self) -> int | None:
        if self._vocabulary is None:
            status, answer = await self._request("GET", "/v1/models")
            if status in NOT_THERE:
                return None
            self._vocabulary = decode("/v1/models", checked("/v1/models", status, answer), Models).vocabulary_size
        return self._vocabulary

    @contextlib.asynccontextmanager
    async def _stream(self, path: str, body: bytes) -> AsyncGenerator[Reader]:
        """Request a streamed answer, and return it when its status says that it is one."""
        async with (
            broken_connections_reported(),
            self._session.post(path, data=io.BytesIO(body), allow_redirects=False) as response,
        ):
            with reading(response) as reader:
                if response.status != 200:
                    async with limited(path, CALL_LIMIT_SEC):
                        body = await body_of(path, reader)
                    raise refusal(path, response.status, body)
                yield reader

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Return the answer to a call that has no method here."""
        data = None if body is None else msgspec.json.encode(body)
        return checked(path, *await self._request(method, path, data))

    async def _post(self, path: str, body: dict[str, Any], limit_sec: float | None = CALL_LIMIT_SEC) -> bytes:
        data = msgspec.json.encode(body)
        return checked(path, *await self._request("POST", path, data, limit_sec=limit_sec))

    async def _request(
        self, method: str, path: str, data: bytes | None = None, *, limit_sec: float | None = CALL_LIMIT_SEC
    ) -> tuple[int, bytes]:
        """Return the HTTP status and the body of the answer to a call that does not stream."""
        body = None if data is None else io.BytesIO(data)  # it is sent in pieces: bytes of over 1 MiB hold up the loop
        async with (
            broken_connections_reported(),
            limited(path, limit_sec),
            self._session.request(method, path, data=body, allow_redirects=False) as response,
        ):
            with reading(response) as reader:
                return response.status, await body_of(path, reader)
