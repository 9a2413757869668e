"""The client of the process that checks schemas and answers. :mod:`.worker` describes the protocol and the limits."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import ConfigError, StudioloError, UnsupportedError
from ...platform.worker_pool import WorkerEndedError, WorkerPool
from ...struct_types import examined
from .matching import GrammarMatcher, MatcherCache
from .worker import CPU_LIMIT_SEC

MAX_CACHED = 64
MAX_CACHED_CHARS = 2**18
"""Cached schemas and grammars, and the length of each, at most."""


class _Answer(msgspec.Struct):
    grammar_json: str = ""
    warnings: list[str] = msgspec.field(default_factory=list[str])
    problem: str | None = None
    refused: str | None = None
    path: str = ""
    why: str = ""
    hint: str = ""


@dataclass(frozen=True)
class PreparedSchema:
    """A checked schema, in the form for a grammar.

    Parameters:
        text: the schema as JSON, as the client sent it.
        grammar_json: the schema as it is written after ``%json`` in a grammar.
        warnings: likely mistakes in the schema, each with its path.
    """

    text: str
    grammar_json: str
    warnings: tuple[str, ...]


class Schemas:
    """Checks schemas and answers, with caches. The process is started on demand, and again if it has ended."""

    def __init__(self) -> None:
        self._worker = WorkerPool("engines.schemas.worker")
        self._prepared: OrderedDict[tuple[str, bool], PreparedSchema] = OrderedDict()
        self._grammars: OrderedDict[str, None] = OrderedDict()
        self._matchers = MatcherCache()

    async def prepare(self, schema: Any, *, spaced: bool = False, subject: str = "The JSON schema") -> PreparedSchema:
        """Check a schema and prepare it for a grammar.

        Parameters:
            schema: the schema as decoded JSON.
            spaced: put a space after each comma and colon of the answer.
            subject: the subject of error messages.

        Raises:
            ConfigError: the schema is invalid or unsatisfiable; the error includes the path.
            UnsupportedError: the schema cannot be enforced; the error includes the path.
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
        """Check that a grammar in llguidance's language can be built.

        Raises:
            ConfigError: the grammar is faulty or unsatisfiable.
            UnsupportedError: the grammar takes too long to build.
        """
        if grammar not in self._grammars:
            await self._checked({"grammar": grammar}, "The grammar")
            if len(grammar) <= MAX_CACHED_CHARS:
                _remember(self._grammars, grammar, None)

    async def check(self, schema: PreparedSchema, answer: str) -> str | None:
        """Return the violation of ``schema`` by a finished answer; ``None`` if it is valid."""
        try:
            return (await self._ask({"schema": schema.text, "check": answer})).problem
        except WorkerEndedError:
            return f"it took more than {CPU_LIMIT_SEC:g} s of processor time to validate"

    async def matcher(self, grammar: str) -> GrammarMatcher:
        """Return a matcher for one answer under a checked grammar."""
        return await self._matchers.matcher(grammar)

    async def close(self) -> None:
        """End the process."""
        await self._worker.close()

    async def _checked(self, request: dict[str, Any], subject: str) -> _Answer:
        try:
            answer = await self._ask(request)
        except WorkerEndedError:
            raise UnsupportedError(
                f"{subject} is too complex",
                cause=f"Checking it took more than {CPU_LIMIT_SEC:g} s of processor time, or more memory than allowed.",
                suggestion="Simplify it.",
                feature=_feature(subject),
                data={"path": "$"},
            ) from None
        if answer.refused is not None:
            raise _refusal(answer, subject)
        return answer

    async def _ask(self, request: dict[str, Any]) -> _Answer:
        return msgspec.json.decode(await self._worker.ask(msgspec.json.encode(request)), type=examined(_Answer))


def _remember(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    if len(cache) > MAX_CACHED:
        cache.popitem(last=False)


def _feature(subject: str) -> str:
    """Return the setting that the schema called ``subject`` belongs to."""
    return "raw_tools" if "tool" in subject else "structured"


def _refusal(answer: _Answer, subject: str) -> StudioloError:
    place = f" at {answer.path}" if answer.path else ""
    cause = f"{answer.why[:1].upper()}{answer.why[1:]}"
    data = {"path": answer.path, "feature": _feature(subject)}
    if answer.refused == "unsupported":
        return UnsupportedError(
            f"{subject} is not supported{place}",
            cause=cause,
            suggestion=answer.hint,
            feature=_feature(subject),
            data=data,
        )
    wrong = "cannot be satisfied" if answer.refused == "unsatisfiable" else "is wrong"
    return ConfigError(f"{subject} {wrong}{place}", cause=cause, suggestion=answer.hint, data=data)
