"""Schemas and answers, handled in a process of their own. See :mod:`.worker` for the protocol and its limits."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import ConfigError, EngineError, StudioloError, UnsupportedError
from ...platform.processes import kill, start_child
from .matching import GrammarMatcher, MatcherCache
from .worker import CPU_LIMIT_SEC, LENGTH

ANSWER_LIMIT_SEC = 60.0
"""How long a request may take by the clock, on a machine that is busy; the processor time has a limit of its own."""

MAX_CACHED = 64
MAX_CACHED_CHARS = 2**18
"""Schemas and grammars that are remembered, and the length of the longest."""


class _Answer(msgspec.Struct):
    grammar_json: str = ""
    warnings: list[str] = msgspec.field(default_factory=list[str])
    problem: str | None = None
    refused: str | None = None
    path: str = ""
    why: str = ""
    hint: str = ""


class _WorkerEndedError(Exception):
    """The worker has ended before it answered."""


@dataclass(frozen=True)
class PreparedSchema:
    """A schema that an answer can be held to.

    Parameters:
        text: the schema as JSON, as it came.
        grammar_json: the form of it that stands behind ``%json`` in a grammar.
        warnings: what its author should look at, each with its path.
    """

    text: str
    grammar_json: str
    warnings: tuple[str, ...]


class Schemas:
    """What a host knows of schemas. The process is started when it is first needed, and again when it has ended."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._requests: set[asyncio.Task[_Answer]] = set()
        self._prepared: OrderedDict[tuple[str, bool], PreparedSchema] = OrderedDict()
        self._grammars: OrderedDict[str, None] = OrderedDict()
        self._matchers = MatcherCache()

    async def prepare(self, schema: Any, *, spaced: bool = False, subject: str = "The JSON schema") -> PreparedSchema:
        """Make a schema ready for the engine.

        Parameters:
            schema: what JSON decodes to.
            spaced: put a space behind each comma and colon of the answer.
            subject: what an error calls it.

        Raises:
            ConfigError: it is no schema, or nothing satisfies it; with the path.
            UnsupportedError: an answer cannot be held to it; with the path.
        """
        text = msgspec.json.encode(schema).decode()
        key = (text, spaced)
        known = self._prepared.get(key)
        if known is None:
            answer = await self._checked({"schema": text, "spaced": spaced}, subject)
            known = PreparedSchema(text, answer.grammar_json, tuple(answer.warnings))
            if len(text) <= MAX_CACHED_CHARS:
                _remember(self._prepared, key, known)
        else:
            self._prepared.move_to_end(key)
        return known

    async def check_grammar(self, grammar: str) -> None:
        """Build a grammar in llguidance's language, to see whether the engine can.

        Raises:
            ConfigError: it is faulty, or nothing satisfies it.
            UnsupportedError: it takes too long to build.
        """
        if grammar not in self._grammars:
            await self._checked({"grammar": grammar}, "The grammar")
            if len(grammar) <= MAX_CACHED_CHARS:
                _remember(self._grammars, grammar, None)

    async def check(self, schema: PreparedSchema, answer: str) -> str | None:
        """What is wrong with a finished answer, or ``None``."""
        try:
            return (await self._ask({"schema": schema.text, "check": answer})).problem
        except _WorkerEndedError:
            return f"it took more than {CPU_LIMIT_SEC:g} s of processor time to validate"

    async def matcher(self, grammar: str) -> GrammarMatcher:
        """A follower for one answer under a grammar that has been checked."""
        return await self._matchers.matcher(grammar)

    async def close(self) -> None:
        """End the process."""
        for request in list(self._requests):
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        await self._end()

    async def _checked(self, request: dict[str, Any], subject: str) -> _Answer:
        try:
            answer = await self._ask(request)
        except _WorkerEndedError:
            raise UnsupportedError(
                f"{subject} is too complex to hold an answer to",
                cause=f"It took more than {CPU_LIMIT_SEC:g} s of processor time, or more memory than is allowed.",
                suggestion="Simplify it.",
                feature="structured",
                data={"path": "$"},
            ) from None
        if answer.refused is not None:
            raise _refusal(answer, subject)
        return answer

    async def _ask(self, request: dict[str, Any]) -> _Answer:
        # A request that nobody waits for any more is read to its end all the same, so that the next one's answer is its
        # own.
        task = asyncio.create_task(self._serve(request), name="schema request")
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        return await asyncio.shield(task)

    async def _serve(self, request: dict[str, Any]) -> _Answer:
        async with self._turn:
            process = self._process or await self._start()
            try:
                async with asyncio.timeout(ANSWER_LIMIT_SEC):
                    return await _exchange(process, request)
            except BaseException as error:
                await self._end()
                if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError):
                    raise _WorkerEndedError from None
                raise

    async def _start(self) -> Process:
        process = await start_child(
            *(sys.executable, "-P", "-m", "studiolo.engines.schemas.worker"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        self._process = process
        try:
            async with asyncio.timeout(ANSWER_LIMIT_SEC):
                await _exchange(process, None)
        except BaseException as error:
            await self._end()
            if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError):
                raise EngineError(
                    "The process that checks schemas did not start",
                    cause=f"{sys.executable} -m studiolo.engines.schemas.worker gave no answer.",
                    suggestion="Run that command: it says why.",
                ) from None
            raise
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            kill(process)
            await process.wait()


async def _exchange(process: Process, request: dict[str, Any] | None) -> _Answer:
    assert process.stdin is not None and process.stdout is not None
    if request is not None:
        body = msgspec.json.encode(request)
        process.stdin.write(LENGTH.pack(len(body)) + body)
        await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return msgspec.json.decode(await process.stdout.readexactly(length), type=_Answer)


def _remember(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    if len(cache) > MAX_CACHED:
        cache.popitem(last=False)


def _refusal(answer: _Answer, subject: str) -> StudioloError:
    place = f" at {answer.path}" if answer.path else ""
    cause = f"{answer.why[:1].upper()}{answer.why[1:]}"
    data = {"path": answer.path}
    if answer.refused == "unsupported":
        return UnsupportedError(
            f"{subject} has{place} what an answer cannot be held to",
            cause=cause,
            suggestion=answer.hint,
            feature="structured",
            data=data,
        )
    wrong = "cannot be satisfied" if answer.refused == "unsatisfiable" else "is wrong"
    return ConfigError(f"{subject} {wrong}{place}", cause=cause, suggestion=answer.hint, data=data)
