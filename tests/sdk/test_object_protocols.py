"""Equality, hashes, copies, pickles and formats of the SDK's objects."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import typing
from typing import Any

import pytest

import studiolo as lm
from studiolo.protocol.models import LlmInfo
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.async_namespaces import AsyncDownloadedLlm
from studiolo.sdk.tool_rounds import PredictionRoundResult
from tests.support.stub_session import ASYNC_OBJECTS, SESSION, SYNC_OBJECTS


def result(content: str = "Hello") -> lm.PredictionResult[str]:
    stats = lm.PredictionStats(stop_reason="eosFound")
    nothing: Any = None
    return lm.PredictionResult(
        content=content,
        parsed=content,
        stats=stats,
        model_info=nothing,
        load_config=lm.LoadConfig(),
        prediction_config=lm.PredictionConfig(stop_strings=["a"]),
        logprobs=[[]],
    )


def info(**changes: Any) -> LlmInfo:
    fields = {"model_key": "m", "format": "gguf", "display_name": "M", "path": "a/b/m.gguf", "size_bytes": 1}
    return LlmInfo(
        **{**fields, "variants": ["m@q4"], **changes}, vision=False, trained_for_tool_use=False, max_context_length=1
    )


def test_equal_handles_have_one_hash() -> None:
    for make in (lambda name: AsyncLLM(name, SESSION, "llm"), lambda name: lm.LLM(AsyncLLM(name, SESSION, "llm"))):
        assert make("m") == make("m") != make("other")
        assert len({make("m"), make("m"), make("other")}) == 2


def test_two_listings_of_one_library_are_equal() -> None:
    def sync(of: LlmInfo) -> lm.DownloadedLlm:
        return lm.DownloadedLlm(AsyncDownloadedLlm(of, typing.cast("Any", None)))

    assert sync(info()) == sync(info()) != sync(info(size_bytes=2))
    assert len({sync(info()), sync(info())}) == 1
    assert sync(info()) != sync(info()).asynchronous


@pytest.mark.parametrize(
    "bound", [*ASYNC_OBJECTS[:2], *SYNC_OBJECTS[:-1], lm.AsyncClient("embedded"), ASYNC_OBJECTS[7]]
)
def test_what_belongs_to_a_process_is_copied_as_itself_and_not_pickled(bound: Any) -> None:
    assert copy.copy(bound) is copy.deepcopy(bound) is bound
    assert copy.deepcopy([bound]) == [bound]
    with pytest.raises(TypeError, match=r"cannot be pickled.*identifier") as caught:
        pickle.dumps(bound)
    assert isinstance(caught.value, lm.NotPicklableError)


def test_a_stream_is_not_pickled() -> None:
    for llm in (ASYNC_OBJECTS[0], SYNC_OBJECTS[0]):
        with pytest.raises(lm.NotPicklableError, match="PredictionStream"):
            pickle.dumps(llm.complete_stream("a"))


@pytest.mark.parametrize("spec", ["", ">30", "^9.3", "s"])
def test_a_result_is_formatted_as_its_text(spec: str) -> None:
    assert format(result(), spec) == format("Hello", spec)
    assert format(lm.Fragment(content="Hello"), spec) == format("Hello", spec)


def test_results_are_values() -> None:
    for one in (result(), PredictionRoundResult.from_result(result(), 3)):
        other = dataclasses.replace(one)
        assert one == other and hash(one) == hash(other)
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert result() != result("other")
    assert bool(result("")) is True
