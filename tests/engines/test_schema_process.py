"""The process that handles schemas: its limits, its end, and what is remembered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from studiolo.engines.schemas.grammar import answer_grammar, call_grammar, thoughtful_grammar
from studiolo.engines.schemas.process import MAX_CACHED, Schemas
from studiolo.errors import ConfigError, PredictionError, UnsupportedError
from tests.support.running import command_of

pytestmark = pytest.mark.slow

ANY: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SLOW_PATTERN = {"type": "string", "pattern": "^(a+)+$"}
"""A regular expression of Python's takes for ever on the text below."""
SLOW_ANSWER = json.dumps("a" * 60 + "b")
ENDLESS = {"prefixItems": [{"type": "array", "minItems": 9999, "items": {"const": each}} for each in range(900)]}
"""It takes many seconds to build its grammar."""


@pytest.fixture
async def schemas() -> AsyncIterator[Schemas]:
    schemas = Schemas()
    yield schemas
    await schemas.close()


def workers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "studiolo.engines.schemas.worker" in command_of(each)]


async def test_errors_name_the_path_and_what_to_do(schemas: Schemas) -> None:
    with pytest.raises(ConfigError, match=r"The JSON schema is wrong at \$\.items\.type") as wrong:
        await schemas.prepare({"items": {"type": "text"}})
    assert wrong.value.data["path"] == "$.items.type" and wrong.value.suggestion
    with pytest.raises(ConfigError, match=r"The plan cannot be satisfied at \$\.enum"):
        await schemas.prepare({"enum": []}, subject="The plan")
    with pytest.raises(UnsupportedError, match=r"\$\.pattern") as unsupported:
        await schemas.prepare({"type": "string", "pattern": "("})
    assert unsupported.value.data["feature"] == "structured"


async def test_a_schema_is_prepared_once_and_an_answer_checked(schemas: Schemas) -> None:
    prepared = await schemas.prepare(ANY)
    assert await schemas.prepare(json.loads(json.dumps(ANY))) is prepared
    assert (await schemas.prepare(ANY, spaced=True)).grammar_json != prepared.grammar_json
    assert await schemas.check(prepared, '{"a":1}') is None
    assert "$.a breaks $.properties.a.type" in str(await schemas.check(prepared, '{"a":"x"}'))
    for number in range(MAX_CACHED + 5):
        await schemas.prepare({"const": number})
    assert len(schemas._prepared) <= MAX_CACHED


async def test_what_takes_too_long_ends_the_process_alone(schemas: Schemas) -> None:
    slow = await schemas.prepare(SLOW_PATTERN)
    (first,) = workers()
    assert "processor time" in str(await schemas.check(slow, SLOW_ANSWER))
    assert not first.is_running()
    assert await schemas.check(slow, '"aa"') is None  # in a new process
    with pytest.raises(UnsupportedError, match="too complex") as caught:
        await schemas.prepare(ENDLESS)
    assert caught.value.data["path"] == "$"
    assert (await schemas.prepare(ANY)).grammar_json


async def test_a_killed_process_is_started_again(schemas: Schemas) -> None:
    await schemas.prepare(ANY)
    (worker,) = workers()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)
    with pytest.raises(UnsupportedError, match="too complex"):
        await schemas.prepare({"type": "string"})
    assert (await schemas.prepare({"type": "string"})).grammar_json


async def test_a_request_that_is_cancelled_does_not_disturb_the_next(schemas: Schemas) -> None:
    await schemas.prepare(ANY)
    request = asyncio.create_task(schemas.prepare({"const": "first"}))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert '"const":"second"' in (await schemas.prepare({"const": "second"})).grammar_json


async def test_many_requests_at_once_get_their_own_answers(schemas: Schemas) -> None:
    prepared = await asyncio.gather(*(schemas.prepare({"const": number}) for number in range(20)))
    assert [f'"const":{number},' in each.grammar_json for number, each in enumerate(prepared)] == [True] * 20
    assert len(workers()) == 1


async def test_closing_ends_the_process_and_what_waits_for_it() -> None:
    schemas = Schemas()
    slow = await schemas.prepare(SLOW_PATTERN)
    (worker,) = workers()
    waiting = asyncio.create_task(schemas.check(slow, SLOW_ANSWER))
    await asyncio.sleep(0.1)
    await schemas.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not worker.is_running() and workers() == []


async def test_grammars_of_ones_own_are_built_first(schemas: Schemas) -> None:
    await schemas.check_grammar('%llguidance {}\nstart: "yes" | "no"')
    for wrong in ("%llguidance {}\nstart: nothing", "%llguidance {", '%llguidance {}\nstart: %json {"type": 1}'):
        with pytest.raises(ConfigError, match="The grammar is wrong"):
            await schemas.check_grammar(wrong)


async def test_a_follower_takes_what_the_grammar_allows_and_no_more(schemas: Schemas) -> None:
    grammar = answer_grammar((await schemas.prepare({"enum": ["naïve", 1.5]})).grammar_json)
    one, two = await schemas.matcher(grammar), await schemas.matcher(grammar)
    for part in ('"na', "ï", 've"'):
        assert not one.complete
        one.feed(part)
    assert one.complete and not two.complete
    two.feed("1.")
    with pytest.raises(PredictionError, match="after 2 bytes: b'7'"):
        two.feed("7")
    with pytest.raises(PredictionError):
        one.feed(" ")


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_thought_may_stand_before_an_answer(schemas: Schemas, is_open: bool) -> None:
    grammar_json = (await schemas.prepare({"const": 1})).grammar_json
    grammar = thoughtful_grammar(grammar_json, "<think>", "</think>", is_open=is_open)
    await schemas.check_grammar(grammar)
    begin = "" if is_open else "<think>"
    matcher = await schemas.matcher(grammar)
    matcher.feed(f"{begin}a < b\n</th</think>\n\n1")
    assert matcher.complete
    plain = await schemas.matcher(grammar)
    if is_open:
        plain.feed("1")
        assert not plain.complete
    else:
        plain.feed("1")
        assert plain.complete
    second = await schemas.matcher(grammar)
    with pytest.raises(PredictionError):
        second.feed(f"{begin}x</think>y</think>1")


async def test_a_call_has_the_form_of_one_of_the_tools(schemas: Schemas) -> None:
    number = (await schemas.prepare(ANY, spaced=True)).grammar_json
    nothing = (await schemas.prepare({"type": "object", "additionalProperties": False}, spaced=True)).grammar_json
    grammar = call_grammar([('a"b', number), ("ü", nothing)])
    await schemas.check_grammar(grammar)
    for right in ('{"name": "a\\"b", "arguments": {"a": 1}}', '{"name": "ü", "arguments": {}}'):
        matcher = await schemas.matcher(grammar)
        matcher.feed(right)
        assert matcher.complete
    with pytest.raises(PredictionError):
        (await schemas.matcher(grammar)).feed('{"name": "ü", "arguments": {"a": 1}}')
