"""An engine without a process and without a model: a test scripts what it does and when.

A host uses it with the setting ``engine.name = "fake"``. What a model does is scripted by its key (the stem of its
file) in :data:`models`; every engine that was started is in :data:`engines`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.embeddings import Embeddings, Relevance
from studiolo.domain.generation import Fragment, LogProb, StopReason, TokenLogProbs
from studiolo.domain.model_shape import ModelShape
from studiolo.domain.progress import PromptProgress
from studiolo.engines.base import (
    Completed,
    CompletionRequest,
    DecisionRequest,
    EngineEvent,
    TemplateRequest,
    ToolChatRequest,
)
from studiolo.engines.spec import (
    Capabilities,
    Device,
    EngineSpec,
    Finding,
    LoadProgress,
    MemoryNeed,
    Node,
    ProcessRef,
)
from studiolo.errors import (
    EngineDiedError,
    EngineError,
    EngineStartError,
    InvalidRequestError,
    PromptTooLongError,
    UnsupportedError,
)

T = TypeVar("T")


@dataclass
class Step:
    """A piece of an engine's work: how long it takes, and what it waits for besides.

    Parameters:
        sec: how long it takes.
        gate: where set, the work waits for it besides; one of threads where the test runs in another thread.
    """

    sec: float = 0.0
    gate: asyncio.Event | threading.Event | None = None

    async def take(self) -> None:
        await asyncio.sleep(self.sec)
        if isinstance(self.gate, threading.Event):
            while not self.gate.is_set():  # noqa: ASYNC110 - it is set in another thread
                await asyncio.sleep(0.01)
        elif self.gate is not None:
            await self.gate.wait()


@dataclass
class FakeModel:
    """How the engines of one model behave.

    Parameters:
        load: how a start goes.
        load_fails: a start ends with an error after its time.
        refuses_projector: a start with a projector fails.
        tokens: what a completion generates, once.
        answers: what the first completions generate instead, one entry each.
        endless: generate the tokens again and again, until ``max_tokens`` or the end.
        token: how long a token takes.
        stalls_after: no token comes after so many of a completion.
        dies_after: the engine ends unexpectedly after so many tokens of a completion; 0 with its prompt.
        deaths: how many engines end so; ``None`` for all of them.
        continues: a completion whose prompt ends with the first tokens generates the rest.
        embed: how long an embedding takes.
        tokenize: how long tokenizing and templates take.
        stop: how long the end of an engine takes.
        memory_bytes: what a load takes; a draft model's is added.
        hangs: health checks are never answered.
        scores: grammars of tokens are followed, and every token is as likely as any other.
    """

    load: Step = field(default_factory=Step)
    load_fails: bool = False
    refuses_projector: bool = False
    tokens: Sequence[str] = ("One ", "two ", "three.")
    answers: list[Sequence[str]] = field(default_factory=list)
    endless: bool = False
    token: Step = field(default_factory=Step)
    stalls_after: int | None = None
    dies_after: int | None = None
    deaths: int | None = None
    continues: bool = False
    embed: Step = field(default_factory=Step)
    tokenize: Step = field(default_factory=Step)
    stop: Step = field(default_factory=Step)
    memory_bytes: int = 1_000_000
    hangs: bool = False
    scores: bool = False


models: defaultdict[str, FakeModel] = defaultdict(FakeModel)
engines: list[FakeEngine] = []
gpus: list[Device] = []
"""The GPUs there are; a model goes to the first one whole."""

_words: list[str] = []
"""The vocabulary: a token is a word with the spaces before it."""

_pids = itertools.count(1_000_000_000)  # beyond those of real processes


def reset() -> None:
    """Forget all scripts, engines and GPUs."""
    models.clear()
    engines.clear()
    gpus.clear()


def token(word: str) -> int:
    """Return the number of a word in the vocabulary."""
    if word not in _words:
        _words.append(word)
    return _words.index(word)


def running(key: str | None = None) -> list[FakeEngine]:
    """Return the engines that have a process, those that start or stop included; of the model ``key`` alone."""
    return [engine for engine in engines if engine.alive and key in (None, engine.key)]


CAPABILITIES = Capabilities(embeddings=True, rerank=True, drafts=True, audio=True)


class FakeKind:
    """Starts scripted engines; see :class:`studiolo.engines.base.EngineKind`."""

    name = "fake"

    def __init__(self, node: Node) -> None:
        self._node = node

    async def version(self) -> str | None:
        return "1.0"

    async def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def devices(self) -> Sequence[Device]:
        return list(gpus)

    def estimate(self, model: ModelShape, config: LoadConfig, devices: Sequence[Device]) -> MemoryNeed:
        drafts = models[model.draft.name].memory_bytes if model.draft is not None else 0
        need = models[model.name].memory_bytes + drafts
        on_devices = [0, need, *(0 for _ in devices[2:])] if len(devices) > 1 else [need]
        return MemoryNeed(weights=need, kv_cache=0, on_devices=on_devices)

    async def start(self, spec: EngineSpec, emit: Callable[[LoadProgress], None] | None = None) -> FakeEngine:
        engine = FakeEngine(spec, self._node)
        engines.append(engine)
        await engine.load(emit)
        return engine

    async def diagnose(self) -> Sequence[Finding]:
        return ()


class FakeEngine:
    """One running engine; see :class:`studiolo.engines.base.Engine`.

    ``active`` counts the requests that it works on. ``in_slots`` counts the completions and embeddings among them, of
    which there may be ``slots``; ``most_in_slots`` is the most there ever were.
    """

    name = "fake"
    version = "1.0"
    note: str | None = None
    gpu_layers: int | None = None

    def __init__(self, spec: EngineSpec, node: Node) -> None:
        self.spec = spec
        self.key = Path(spec.files.model.path).stem
        self.draft = Path(spec.files.draft.path).stem if spec.files.draft else None
        self.script = models[self.key]
        self.process = ProcessRef(node.name, next(_pids))
        self.exited = asyncio.Event()
        self.alive = True
        self.stopping = False
        self.active = 0
        self.slots = spec.config.max_parallel_predictions or 1
        self.in_slots = 0
        self.most_in_slots = 0
        self.requests: list[CompletionRequest] = []
        self._reason = "signal SIGKILL"

    @property
    def capabilities(self) -> Capabilities:
        return replace(CAPABILITIES, grammars=frozenset({"llguidance"})) if self.script.scores else CAPABILITIES

    async def load(self, emit: Callable[[LoadProgress], None] | None) -> None:
        """Load the model, as the script says."""
        try:
            if emit is not None:
                emit(LoadProgress(0.0))
            await self._unless_dead(self.script.load.take())
            if self.script.load_fails or (self.script.refuses_projector and self.spec.files.projector is not None):
                raise self.death()
        except asyncio.CancelledError:
            await asyncio.shield(self.stop())  # as the real engines do: a second cancellation cuts this wait short
            raise
        except BaseException as error:
            self._exit()
            if isinstance(error, EngineDiedError):
                raise EngineStartError(f"The engine did not start: {error.title}", cause=error.cause) from None
            raise

    def kill(self, reason: str = "signal SIGKILL") -> None:
        """End the process, as a crash does."""
        self._reason = reason
        self._exit()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        prompt = request.prompt if isinstance(request.prompt, list) else self._tokens(request.prompt)
        self.requests.append(request)
        text = request.prompt if isinstance(request.prompt, str) else await self.detokenize(request.prompt)
        done = self._generated_in(text) if self.script.continues else 0
        if self.script.scores and request.constraint is not None:
            async for event in self._score(re.findall(r"<\[(\d+)\]>", request.constraint.grammar or "")):
                yield event
            return
        async with contextlib.aclosing(self._generate(len(prompt), request.config, done)) as events:
            async for event in events:
                yield event

    async def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent, None]:
        raise UnsupportedError("The fake engine calls no tools", feature="tools", engine=self.name)
        yield  # makes it a generator

    async def apply_template(self, chat: TemplateRequest) -> str:
        with self._work():
            await self._unless_dead(self.script.tokenize.take())
            return "\n".join(message.text for message in chat.messages)

    async def knows_tools(self) -> bool:
        return False

    async def tokenize(self, text: str) -> list[int]:
        with self._work():
            await self._unless_dead(self.script.tokenize.take())
            return self._tokens(text)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        with self._work():
            await self._unless_dead(self.script.tokenize.take())
            if wrong := [token for token in tokens if not 0 <= token < len(_words)]:
                raise InvalidRequestError(f"The token {wrong[0]} is none of the model's", data={"feature": "tokens"})
            return "".join(_words[token] for token in tokens)

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        with self._work(in_slot=True):
            await self._unless_dead(self.script.embed.take())
            counts = [len(self._tokens(text)) for text in texts]
            if max(counts, default=0) > self._context:
                raise PromptTooLongError(f"A text has {max(counts)} tokens, and the context is {self._context}")
            return Embeddings([[float(len(text)), 1.0] for text in texts], counts)

    async def rerank(self, query: str, texts: Sequence[str]) -> Relevance:
        """Score a text by the words that it shares with the query."""
        with self._work(in_slot=True):
            await self._unless_dead(self.script.embed.take())
            words = set(query.split())
            tokens = sum(len(self._tokens(text)) + len(words) for text in texts)
            return Relevance([float(len(words & set(text.split()))) for text in texts], tokens)

    async def decide(self, request: DecisionRequest) -> list[list[float]]:
        raise UnsupportedError("The fake engine has no decision models", feature="decisions", engine=self.name)

    async def health(self) -> None:
        if self.script.hangs:
            await asyncio.get_running_loop().create_future()
        if not self.alive:
            raise self.death()

    def abort(self, reason: str) -> None:
        self.kill(reason)

    def death(self) -> EngineError:
        return EngineDiedError(f"The engine process {self.process.pid} ended unexpectedly ({self._reason})")

    async def stop(self) -> None:
        self.stopping = True
        if self.alive:
            await self.script.stop.take()
        self._exit()

    def _exit(self) -> None:
        self.alive = False
        self.exited.set()

    @property
    def _context(self) -> int:
        return self.spec.config.context_length or 1 << 30

    def _tokens(self, text: str) -> list[int]:
        words = re.findall(r"\s*\S+|\s+$", text)
        _words.extend([word for word in dict.fromkeys(words) if word not in _words])
        return [_words.index(word) for word in words]

    def _generated_in(self, prompt: str) -> int:
        """Return how many of the script's tokens ``prompt`` ends with."""
        counts = range(len(self.script.tokens), 0, -1)
        return next((count for count in counts if prompt.endswith("".join(self.script.tokens[:count]))), 0)

    def _die(self) -> None:
        if self.script.deaths is not None:
            if self.script.deaths == 0:
                return
            self.script.deaths -= 1
        self.kill("signal SIGSEGV")
        raise self.death()

    async def _generate(
        self, prompt: int, config: PredictionConfig, done: int = 0
    ) -> AsyncGenerator[EngineEvent, None]:
        room = self._context - prompt
        if room <= 0:
            raise PromptTooLongError(f"The prompt has {prompt} tokens, and the context is {self._context}")
        limit = min(config.max_tokens or room, room)
        script = self.script.answers.pop(0) if self.script.answers else self.script.tokens
        tokens = itertools.cycle(script) if self.script.endless else iter(script)
        tokens = itertools.islice(tokens, done, None)
        with self._work(in_slot=True):
            yield PromptProgress(0, prompt)
            if self.script.dies_after == 0:
                self._die()
            count, stop, text = 0, None, ""
            for count, token in enumerate(itertools.islice(tokens, limit), 1):
                await self._unless_dead(self.script.token.take())
                text += token
                stop = next((each for each in config.stop_strings or () if each in text), None)
                if stop is not None:
                    break
                yield Fragment(token)
                if count == self.script.stalls_after:
                    await self._unless_dead(asyncio.Event().wait())
                if count == self.script.dies_after:
                    self._die()
            reason: StopReason = "stop_string" if stop is not None else "end_of_text"
            if stop is None and count == limit:
                reason = "max_tokens" if count == config.max_tokens else "context_full"
            yield Completed(
                stop_reason=reason,
                stop_string=stop,
                prompt_tokens=prompt,
                predicted_tokens=count,
                tokens_per_second=None,
                draft_tokens=0 if self.draft else None,
            )

    async def _score(self, tokens: Sequence[str]) -> AsyncGenerator[EngineEvent, None]:
        """Generate the tokens of a grammar that allows nothing else."""
        with self._work(in_slot=True):
            for number in map(int, tokens):
                await self._unless_dead(self.script.token.take())
                text = _words[number]
                yield Fragment(text, logprobs=[TokenLogProbs(LogProb(text, -1.0, number))])
            yield Completed(
                stop_reason="end_of_text",
                stop_string=None,
                prompt_tokens=1,
                predicted_tokens=len(tokens),
                tokens_per_second=None,
            )

    @contextlib.contextmanager
    def _work(self, *, in_slot: bool = False) -> Generator[None]:
        if not self.alive:
            raise self.death()
        self.active += 1
        self.in_slots += in_slot
        self.most_in_slots = max(self.most_in_slots, self.in_slots)
        try:
            yield
        finally:
            self.active -= 1
            self.in_slots -= in_slot

    async def _unless_dead(self, step: Coroutine[Any, Any, T]) -> T:
        """Do a piece of work; raise EngineDiedError if the engine ends meanwhile."""
        work = asyncio.ensure_future(step)
        end = asyncio.ensure_future(self.exited.wait())
        try:
            await asyncio.wait([work, end], return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                raise self.death()
            return work.result()
        finally:
            work.cancel()
            end.cancel()
