"""Predictions on the bare wire, as clients of LM Studio's SDK 1.5.0 and 2.0.0 read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import studiolo as lm
from studiolo.dialects.lmstudio.predictions import fragment_message
from studiolo.domain.generation import Fragment as DomainFragment
from studiolo.domain.generation import LogProb, TokenLogProbs
from studiolo.domain.progress import PromptProgress
from studiolo.host.prompt_progress import PromptReports
from studiolo.merging_queue import SLACK
from studiolo.protocol.llm import Fragment, FragmentMessage, FragmentToken, received_fragment
from studiolo.sdk.transports.base import merge_messages
from tests.support.homes import DEFAULT_MODEL
from tests.support.running import Server, wait_until
from tests.support.wire_socket import Socket, messages, query

pytestmark = [
    pytest.mark.quick_model,
    pytest.mark.server(
        settings=f'[models."{DEFAULT_MODEL}".load]\ncontext_length = 1024\n[presets.short]\nmax_tokens = 2\n', load=True
    ),
]


def layers(**settings: Any) -> dict[str, Any]:
    values = {"temperature": 0, "maxPredictedTokens": {"checked": True, "value": 3}, **settings}
    fields = [{"key": f"llm.prediction.{key}", "value": value} for key, value in values.items()]
    return {"layers": [{"layerName": "apiOverride", "config": {"fields": fields}}]}


def complete(socket: Socket, prompt: str, settings: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    parameter = {"modelSpecifier": query(), "rawPrompt": prompt, "predictionConfigStack": settings, **more}
    return messages(socket, "completeRawText", parameter)


def chat(socket: Socket, *said: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    parameter = {"modelSpecifier": query(), "history": {"messages": said}, "predictionConfigStack": layers(**settings)}
    return messages(socket, "predict", parameter)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def check_progress(received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check the progress of a prediction; returns the details of its reports."""
    kinds = [message["type"] for message in received]
    first = kinds.index("promptProcessingProgress")
    last = len(kinds) - kinds[::-1].index("promptProcessingProgress") - 1
    reports = received[first : last + 1]
    assert {report["type"] for report in reports} == {"promptProcessingProgress"}  # before the first token
    progress = [report["progress"] for report in reports]
    assert (progress[0], progress[-1]) == (0, 1) and progress == sorted(progress)
    for report in reports:
        details = report["details"]
        assert details["totalPromptTokenCount"] == received[-1]["stats"]["promptTokensCount"]
        assert details["totalPromptTokenCount"] == sum(
            details[name] for name in ("cachedTokenCount", "processedPromptTokenCount", "unprocessedPromptTokenCount")
        )
    assert reports[-1]["details"]["unprocessedPromptTokenCount"] == 0
    return [report["details"] for report in reports]


def test_text_is_continued_as_it_stands(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        received = complete(socket, "The sea is", layers(stopStrings=[]), ignoreServerSessionConfig=True)
        assert received[-1]["type"] == "success"
        assert received[-1]["stats"]["predictedTokensCount"] == 3
        tokens = socket.call("tokenize", {"specifier": query(), "inputString": "The sea is"})["result"]["tokens"]
        assert received[-1]["stats"]["promptTokensCount"] == len(tokens)
        assert (received[-1]["modelInfo"]["ttlMs"], received[-1]["modelInfo"]["lastUsedTime"]) == (None, None)
        short = complete(socket, "The sea is", {"layers": []}, fuzzyPresetIdentifier="short")
        assert short[-1]["stats"]["predictedTokensCount"] == 2
        assert (
            "rawPrompt"
            in messages(
                socket, "completeRawText", {"modelSpecifier": query(), "prompt": "x", "predictionConfigStack": layers()}
            )[-1]["cause"]
        )


def test_progress_goes_from_0_to_1_for_cached_prompts_too(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        prompt = "A long prompt: " + "it never ends, " * 60
        fresh = check_progress(complete(socket, prompt, layers()))
        assert fresh[0]["cachedTokenCount"] < 20
        cached = check_progress(complete(socket, prompt, layers()))
        assert cached[0]["cachedTokenCount"] > 200 and cached[0]["processedPromptTokenCount"] == 0
        check_progress(chat(socket, user("Hi")))
        check_progress(chat(socket, user("Hi"), maxPredictedTokens={"checked": True, "value": 1}))


def test_reports_of_an_engine_without_figures() -> None:
    reports = PromptReports()
    assert [report.ratio for report in reports.finish()] == [0, 1]
    assert [*reports.finish(), *reports.take(PromptProgress(5, 5))] == []


def test_reports_of_an_engine_that_stops_short_of_the_end() -> None:
    reports = PromptReports()
    received = [
        *reports.take(PromptProgress(10, 100, 10)),
        *reports.take(PromptProgress(55, 100, 10)),
        *reports.finish(),
    ]
    assert [report.ratio for report in received] == [0, 0.5, 1]
    assert [report.tokens.processed for report in received] == [10, 55, 100]
    whole = [*PromptReports().take(PromptProgress(7, 7, 7)), *PromptReports().take(PromptProgress(7, 7, 0))]
    assert [report.ratio for report in whole] == [0, 0, 1]


def test_log_probabilities_come_in_both_forms(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        received = chat(socket, user("Count to five."), logProbs={"checked": True, "value": 3})
        fragments = [message for message in received if message["type"] == "fragment"]
        assert fragments
        for message in fragments:
            tokens, beside = message["fragment"]["tokens"], message["logprobs"]
            assert len(tokens) == len(beside) == message["fragment"]["tokensCount"]
            assert "logprobs" not in message["fragment"]
            for token, (chosen, *others) in zip(tokens, beside, strict=True):
                assert isinstance(token["id"], int) and token["id"] >= 0
                assert (token["text"], token["logProb"]) == (chosen["text"], chosen["logprob"])
                assert 2 <= len(token["candidates"]) <= 3
                assert all(isinstance(each["id"], int) and each["id"] != token["id"] for each in token["candidates"])
                assert [(each["text"], each["logProb"]) for each in token["candidates"]] == [
                    (each["text"], each["logprob"]) for each in others
                ]
        received = chat(socket, user("Count to five."))
        (first, *_) = [message for message in received if message["type"] == "fragment"]
        assert "tokens" not in first["fragment"] and "logprobs" not in first


def test_our_own_client_reads_either_form(server: Server) -> None:
    token = FragmentToken(text="a", id=7, log_prob=-1.0)
    new = FragmentMessage(fragment=Fragment("a", tokens=[token]))
    assert received_fragment(new).logprobs == [[lm.LogProb("a", -1.0, 7)]]
    old = FragmentMessage(fragment=Fragment("a"), logprobs=[[lm.LogProb("a", -1.0)]])
    assert received_fragment(old).logprobs == [[lm.LogProb("a", -1.0)]]
    bare = FragmentMessage(fragment=Fragment("a", tokens=[FragmentToken(text="a", id=7)]))
    assert received_fragment(bare).logprobs is None
    for first in (old, fragment_message(DomainFragment("a", logprobs=[TokenLogProbs(LogProb("a", -1.0, 7))]))):
        both = received_fragment(merge_messages(first, first))  # for a client that lags
        assert both.content == "aa" and both.logprobs == received_fragment(first).logprobs * 2
    with lm.Client(server.address) as client:
        model = client.llm.model()
        (first, *_) = model.complete("1 2 3", config={"max_tokens": 2, "temperature": 0, "log_probs": 2}).logprobs or []
        assert len(first) >= 2
        for entry in first:
            assert entry.id is not None and entry.id >= 0 and entry.logprob <= 0
        if first[0].text.isascii():
            assert model.tokenize(first[0].text)[-1] == first[0].id


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["a"],
        },
    },
}


@pytest.mark.parametrize("additional", [True, False, {}, {"type": "string"}])
def test_the_parameters_of_a_tool_may_say_anything_of_others(server: Server, additional: Any) -> None:
    tool = json.loads(json.dumps(ADD))
    tool["function"]["parameters"]["additionalProperties"] = additional
    with Socket(server.address, "llm") as socket:
        received = chat(socket, user("2 + 2?"), tools={"type": "toolArray", "tools": [tool]})
        assert received[-1]["type"] == "success", received[-1]


def test_an_answer_of_a_tool_call_ends_with_eos_found_and_full_progress(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        received = chat(
            socket,
            user("2 + 2?"),
            tools={"type": "toolArray", "tools": [ADD], "force": True},
            maxPredictedTokens={"checked": True, "value": 60},
        )
        check_progress(received)
        kinds = [message["type"] for message in received]
        assert "toolCallGenerationEnd" in kinds
        assert received[-1]["stats"]["stopReason"] == "eosFound"


def test_a_tools_result_may_have_its_name(server: Server) -> None:
    call = {"type": "function", "id": "1", "name": "add", "arguments": {"a": 2}}
    result = {"type": "toolCallResult", "toolCallId": "1", "content": "4", "name": "add"}
    history = [
        user("2 + 2?"),
        {"role": "assistant", "content": [{"type": "toolCallRequest", "toolCallRequest": call}]},
        {"role": "tool", "content": [result]},
    ]
    with Socket(server.address, "llm") as socket:
        assert chat(socket, *history)[-1]["type"] == "success"
    data = lm.ToolCallResultData.from_dict({key: value for key, value in result.items() if key != "type"})
    assert data.name == "add" and data.to_dict() == result


def watched(server: Server, client: str) -> list[dict[str, Any]]:
    """What a client of this name is sent of two predictions, of a notice, and of a load."""
    handshake = {"authVersion": 1, "clientIdentifier": client, "clientPasskey": "x"}
    with (
        Socket(server.address, "diagnostics", handshake) as logs,
        Socket(server.address, "llm") as llm,
        Socket(server.address, "system") as system,
    ):
        logs.send({"type": "channelCreate", "endpoint": "streamLogs", "channelId": 1})
        logs.send({"type": "keepAlive"})
        assert logs.receive()["type"] == "keepAliveAck"  # the channel is open
        logs.send({"type": "communicationWarning", "warning": "x", "kind": "channelMessageTypeError"})
        logs.send({"type": "communicationWarning", "warning": "x"})
        complete(llm, "The sea is", layers())
        chat(llm, user("2 + 2?"), tools={"type": "toolArray", "tools": [ADD], "force": True})
        system.call("notify", {"title": "Dinner is ready"})
        load = {"modelKey": DEFAULT_MODEL, "identifier": f"for {client}", "loadConfigStack": layers()}
        messages(llm, "loadModel", {**load, "loadConfigStack": {"layers": []}})
        llm.call("unloadModel", {"identifier": f"for {client}"})
        complete(llm, "The end.", layers())
        events: list[dict[str, Any]] = []
        while not events or events[-1].get("input") != "The end.":
            events.append(logs.receive()["message"]["log"]["data"])
        logs.send({"type": "channelSend", "channelId": 1, "message": {"type": "stop"}})
        while logs.receive()["type"] != "channelClose":
            pass
        return events


def test_a_later_client_is_sent_every_kind_of_log_event(server: Server) -> None:
    events = watched(server, "guest:new")
    inputs = [event for event in events if event["type"] == "llm.prediction.input"]
    outputs = [event for event in events if event["type"] == "llm.prediction.output"]
    assert [event["input"] for event in inputs if event["input"].startswith("The")] == ["The sea is", "The end."]
    assert len(outputs) >= 2 and outputs[0]["output"] and outputs[0]["stats"]["predictedTokensCount"] == 3
    assert outputs[1]["output"].startswith('{"name') and outputs[1]["modelIdentifier"] == inputs[1]["modelIdentifier"]
    lines = [event for event in events if event["type"] == "server.log"]
    assert [(line["level"], "Dinner is ready" in line["content"]) for line in lines] == [("warn", True)]
    engines = [event for event in events if event["type"] == "runtime.log"]
    assert [(event["level"], event["modelIdentifier"]) for event in engines] == [("info", "for guest:new")] * 2
    assert all(event["engineName"] and event["engineVersion"] and event["pid"] > 0 for event in engines)


def test_an_old_client_is_sent_what_it_knows(server: Server) -> None:
    kinds = {event["type"] for event in watched(server, "mJx8kQ0h5V2b9Zt7Lr4cYw+/")}
    assert kinds == {"llm.prediction.input"}


def test_nothing_is_sent_over_the_channel_that_stays_open(server: Server) -> None:
    with Socket(server.address, "system") as socket:
        socket.send({"type": "channelCreate", "endpoint": "alive", "channelId": 1})
        socket.send({"type": "keepAlive"})
        assert socket.receive()["type"] == "keepAliveAck"


def test_the_hardware_is_surveyed_in_the_words_of_the_protocol(server: Server) -> None:
    with Socket(server.address, "runtime") as socket:
        survey = socket.call("surveyHardware")["result"]
        assert survey["status"] == "ok"
        (engine,) = survey["engines"]
        assert engine["compatibility"]["status"] == "compatible"
        found = engine["hardwareSurvey"]
        assert found["gpuSurveyResult"]["result"]["code"] in ("success", "noDevicesFound")
        assert found["cpuSurveyResult"]["result"] == {"code": "success", "message": ""}
        assert found["cpuSurveyResult"]["cpuInfo"]["architecture"] in ("x86_64", "ARM64", "unknown")
        none = socket.call("surveyHardware", {"type": "custom", "engines": []})["result"]
        assert none == {"status": "noCompatibleBackends", "engines": []}


def test_plugins_are_refused_at_once_and_their_reports_taken(server: Server) -> None:
    with Socket(server.address, "plugins") as socket:
        report = {"type": "unauthorized", "pluginRunId": "1", "serverUrl": "x", "message": "no"}
        assert socket.call("reportError", report) == {"type": "rpcResult", "callId": 1}
        for error in (
            socket.call("setConfigSchematics", {"schematics": {}})["error"],
            messages(socket, "registerDevelopmentPlugin", {"manifest": {"type": "plugin", "runner": "deno"}})[-1],
        ):
            assert "runs no plugins" in error["title"]
            assert error["displayData"]["code"] == "generic.engineDoesNotSupportFeature"


def test_a_client_that_lags_loses_no_log_probabilities(server: Server) -> None:
    endless = [(token, "-inf") for token in (0, 2)]
    config = {"max_tokens": 4 * SLACK, "temperature": 0, "log_probs": 1, "logit_bias": endless}
    with lm.Client(server.address) as client, Socket(server.address, "llm") as socket:
        stream = client.llm.model().complete_stream("One, two, three,", config=config)
        fragments = iter(stream)
        next(fragments)
        state = {"specifier": query(), "throwIfNotFound": True}
        wait_until(
            lambda: socket.call("getInstanceProcessingState", state)["result"]["status"] == "idle",
            "the end of the prediction",
        )
        read = list(fragments)
        result = stream.result()
    assert len(read) < 3 * SLACK  # fragments were merged
    assert len(result.logprobs or []) == result.stats.predicted_tokens_count == 4 * SLACK
