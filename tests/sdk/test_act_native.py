"""``act()`` with a model whose chat template knows tools: the engine reads the calls in the model's own form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.protocol.kv import KvConfig, KvField, stack_of
from studiolo.protocol.llm import PREDICT, FragmentMessage, PredictParameter, PredictSuccess, PromptProcessingProgress
from studiolo.protocol.models import specify
from studiolo.protocol.tools import (
    Tool,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallName,
    ToolCallStart,
    encode_tool_use,
)
from studiolo.sdk.tools import bind_tools
from studiolo.sdk.transports import embedded
from tests.support.embedded_host import embedded_client
from tests.support.models.built import built
from tests.support.models.tool_template import write_with_tools

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 45}
CONTEXT = 640
NAME = "add up!"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def look() -> str:
    """Look."""
    return "It rains."


ADD = lm.ToolFunctionDef.from_callable(add, name=NAME)

Digit = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9]


def add_digits(a: Digit, b: Digit) -> int:
    """Add two numbers."""
    return a + b


ADD_DIGITS = lm.ToolFunctionDef.from_callable(add_digits, name=NAME)
"""A call of it ends, whatever the model says."""


@pytest.fixture(scope="module")
def client(cache_home: Home, quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.Client]:
    models = [
        built(cache_home.root, f"{name}-tools.Q4_1.gguf", write_with_tools, next(home.models.rglob("SmolLM2*.gguf")))
        for name, home in (("smol", cache_home), ("quick", quick_home))
    ]
    with embedded_client(tmp_path_factory.mktemp("native"), *models) as client:
        yield client


@pytest.fixture(scope="module")
def llm(client: lm.Client) -> lm.LLM:
    return client.llm.load_new_instance("smol-tools", "tools", config={"context_length": CONTEXT})


@pytest.fixture(scope="module")
def quick(client: lm.Client) -> lm.LLM:
    """For tests where the model may say anything."""
    return client.llm.load_new_instance("quick-tools", "quick", config={"context_length": CONTEXT})


def examples(count: int = 3, calls: int = 1) -> lm.Chat:
    """A chat that shows how; then even the smallest model calls by itself."""
    chat = lm.Chat()
    for number in range(count):
        pairs = [(number + extra, number + 1) for extra in range(calls)]
        chat.add_user_message("What is " + " and ".join(f"{a} plus {b}" for a, b in pairs) + "?")
        chat.add_assistant_response(
            "",
            [
                {"type": "function", "name": NAME, "id": f"{number}-{a}", "arguments": {"a": a, "b": b}}
                for a, b in pairs
            ],
        )
        chat.add_tool_results(
            [{"type": "toolCallResult", "content": str(a + b), "toolCallId": f"{number}-{a}"} for a, b in pairs]
        )
        chat.add_assistant_response("It is " + " and ".join(str(a + b) for a, b in pairs) + ".")
    return chat


def test_the_log_of_prompts_has_the_tools(quick: lm.LLM) -> None:
    (host,) = embedded._hosts.values()
    with host.logs.subscribe() as events:
        quick.act("What is 5 plus 6?", [ADD], config={"max_tokens": 1})
    prompt, _ = [event.entry for event in events._waiting]
    assert "What is 5 plus 6?" in prompt.text and "Add two numbers." in prompt.text


def test_the_model_calls_by_itself(llm: lm.LLM) -> None:
    chat = examples()
    chat.add_user_message("What is 5 plus 6?")
    messages: list[Any] = []
    rounds: list[lm.PredictionRoundResult] = []
    result = llm.act(chat, [ADD], config=GREEDY, on_message=messages.append, on_prediction_completed=rounds.append)
    assert result.rounds == 2
    request = messages[0].content[-1].tool_call_request
    assert (request.name, request.arguments) == (NAME, {"a": 5, "b": 6}) and request.id
    assert messages[1].content[0].content == "11"
    assert rounds[1].content == "It is 11."
    first = rounds[0].stats
    assert (first.stop_reason, rounds[1].stats.stop_reason) == ("eosFound", "eosFound")
    assert first.predicted_tokens_count and first.prompt_tokens_count and first.tokens_per_second
    assert first.time_to_first_token_sec is not None


async def test_its_events_come_while_it_writes(llm: lm.LLM) -> None:
    chat = examples()
    chat.add_user_message("What is 5 plus 6?")
    fields = encode_tool_use([tool.definition for tool in bind_tools([ADD], allow_async=False).values()])
    parameter = PredictParameter(
        model_specifier=specify(llm.identifier),
        history=chat.history_data(),
        prediction_config_stack=stack_of(
            KvConfig(fields=[*fields, KvField(key="llm.prediction.temperature", value=0)])
        ),
    )
    async with lm.AsyncClient("embedded") as client, client._session.messages("llm", PREDICT, parameter) as stream:
        events = [message async for message in stream]
    assert isinstance(events[0], PromptProcessingProgress)
    reported = [event for event in events if not isinstance(event, PromptProcessingProgress | FragmentMessage)]
    start, name, *pieces, end, success = reported
    assert isinstance(start, ToolCallStart) and isinstance(name, ToolCallName) and isinstance(end, ToolCallEnd)
    assert len(pieces) > 1 and "".join(piece.content for piece in pieces if isinstance(piece, ToolCallArguments))
    assert name.name == end.tool_call_request.name == NAME
    assert start.tool_call_id == end.tool_call_request.id
    assert success.stats.stop_reason == "eosFound"


def test_several_calls_in_one_answer(llm: lm.LLM) -> None:
    chat = examples(3, calls=2)
    chat.add_user_message("What is 5 plus 6 and 6 plus 6?")
    messages: list[Any] = []
    llm.act(
        chat,
        [ADD],
        config={**GREEDY, "max_tokens": 70},
        on_message=messages.append,
        max_prediction_rounds=2,
        max_parallel_tool_calls=2,
    )
    calls = [part.tool_call_request for part in messages[0].content if hasattr(part, "tool_call_request")]
    assert len(calls) == 2  # which numbers a model of this size takes is not the point
    sums = [str(call.arguments["a"] + call.arguments["b"]) for call in calls]
    assert [result.content for result in messages[1].content] == sums
    assert [result.tool_call_id for result in messages[1].content] == [call.id for call in calls]


def test_a_call_that_must_be_made_is_made(quick: lm.LLM) -> None:
    messages: list[Any] = []
    options: Any = {"max_prediction_rounds": 2, "on_message": messages.append}
    quick.act("Hello.", [ADD_DIGITS], tool_choice="required", config=GREEDY, **options)
    assert messages[0].content[-1].tool_call_request.name == NAME


def test_an_answer_without_calls_streams_and_can_be_left(quick: lm.LLM) -> None:
    seen: list[str] = []
    rounds: list[lm.PredictionRoundResult] = []
    quick.act(
        "Say hello.",
        [ADD],
        config={**GREEDY, "max_tokens": 5},
        on_prediction_fragment=lambda fragment, _: seen.append(fragment.content),
        on_prediction_completed=rounds.append,
    )
    assert rounds[0].content == "".join(seen) != "" and len(seen) > 1
    assert rounds[0].stats.stop_reason == "maxPredictedTokensReached"
    assert rounds[0].stats.predicted_tokens_count == 5


def test_text_has_log_probabilities(quick: lm.LLM) -> None:
    fragments: list[lm.Fragment] = []
    rounds: list[lm.PredictionRoundResult] = []
    quick.act(
        "Say hello.",
        [ADD],
        config={**GREEDY, "max_tokens": 5, "log_probs": 2, "repeat_penalty": False},  # else a rival may be likelier
        on_prediction_fragment=lambda fragment, _: fragments.append(fragment),
        on_prediction_completed=rounds.append,
    )
    reported = rounds[0].logprobs
    assert reported is not None and len(reported) == 5
    assert [entry for fragment in fragments for entry in fragment.logprobs or []] == reported
    assert "".join(entry[0].text for entry in reported).strip() == rounds[0].content.strip()
    assert all(len(entry) == 2 and 0 >= entry[0].logprob >= entry[1].logprob for entry in reported)
    assert sum(fragment.tokens_count for fragment in fragments) == 5


@pytest.mark.parametrize(("naming", "written"), [(None, "add_up"), ("camelCase", "addUp"), ("passThrough", NAME)])
async def test_the_model_writes_the_name_that_the_naming_gives(quick: lm.LLM, naming: Any, written: str) -> None:
    fields = encode_tool_use(
        [tool.definition for tool in bind_tools([ADD_DIGITS], allow_async=False).values()], choice="required"
    )
    settings = {"temperature": 0, "toolNaming": naming}
    parameter = PredictParameter(
        model_specifier=specify(quick.identifier),
        history=lm.Chat.from_history("What is 5 plus 6?").history_data(),
        prediction_config_stack=stack_of(
            KvConfig(fields=[*fields, *(KvField(key=f"llm.prediction.{k}", value=v) for k, v in settings.items())])
        ),
    )
    async with lm.AsyncClient("embedded") as client, client._session.messages("llm", PREDICT, parameter) as stream:
        (end,) = [message async for message in stream if isinstance(message, ToolCallEnd)]
    assert end.tool_call_request.name == NAME
    assert f'"{written}"' in (end.raw_content or "")


def test_stop_strings_and_a_full_context_are_reported(quick: lm.LLM) -> None:
    rounds: list[lm.PredictionRoundResult] = []
    options: Any = {"on_prediction_completed": rounds.append}
    chat = lm.Chat()
    chat.add_user_message("Count: 1 2 3 4 5 6 7 8 9 10 11 12. Continue.")
    (nine,) = quick.tokenize("9")
    quick.act(chat, [ADD], config={"temperature": 0, "stop_strings": ["9"], "logit_bias": [(nine, 100)]}, **options)
    assert (rounds[0].stats.stop_reason, rounds[0].stats.stop_string) == ("stopStringFound", "9")
    endless = {"temperature": 0, "repeat_penalty": False, "logit_bias": [(2, "-inf"), (0, "-inf")]}
    chat.add_user_message("word " * 420)  # which is faster than to generate as much
    quick.act(chat, [ADD], config=endless, **options)
    last = rounds[-1].stats
    assert last.stop_reason == "contextLengthReached" and last.total_tokens_count == CONTEXT


def test_a_prompt_template_of_the_users_own_gets_the_tools_as_text(quick: lm.LLM) -> None:
    message = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    template = f"{{% for m in messages %}}{message}{{% endfor %}}<|im_start|>assistant\n"
    config = {**GREEDY, "prompt_template": {"type": "jinja", "jinja_prompt_template": {"template": template}}}
    messages: list[Any] = []
    options: Any = {"max_prediction_rounds": 2, "on_message": messages.append}
    quick.act("Hello.", [ADD_DIGITS], config=config, tool_choice="required", **options)
    assert messages[0].content[-1].tool_call_request.name == NAME


def test_a_prompt_that_is_too_long_is_refused(quick: lm.LLM) -> None:
    with pytest.raises(lm.PromptTooLongError):
        quick.act("word " * 2000, [ADD], config=GREEDY)


@pytest.mark.parametrize(("choice", "policy"), [("auto", "truncateMiddle"), ("required", "rollingWindow")])
def test_a_chat_that_is_too_long_is_cut_where_the_policy_says_so(quick: lm.LLM, policy: str, choice: Any) -> None:
    chat = lm.Chat("Be brief.")
    for number in range(12):
        chat.add_user_message(f"{number} " + "word " * 60)
        chat.add_assistant_response("Yes.")
    chat.add_user_message("What is 5 plus 6?")
    rounds: list[lm.PredictionRoundResult] = []
    config = {**GREEDY, "context_overflow_policy": policy}
    quick.act(
        chat, [look], config=config, tool_choice=choice, max_prediction_rounds=2, on_prediction_completed=rounds.append
    )
    assert 200 < (rounds[0].stats.prompt_tokens_count or 0) < CONTEXT
    assert (len(rounds) > 1) == (choice == "required")  # a call has a round after it


def test_the_template_of_the_model_itself_shows_the_tools(quick: lm.LLM) -> None:
    definitions = [{"type": "function", "function": {"name": "add", "description": "Add."}}]
    text = quick.apply_prompt_template("hi", {"tool_definitions": definitions})
    assert "Call a tool where it helps" in text and '"name": "add"' in text


KILLERS = {
    "circular under allOf": {
        "properties": {"x": {"$ref": "#/definitions/Foo"}},
        "definitions": {"Foo": {"type": "object", "properties": {"child": {"allOf": [{"$ref": "#/definitions/Foo"}]}}}},
    },
    "contradicting lengths": {"properties": {"x": {"type": "string", "minLength": 5, "maxLength": 1}}},
    "circular by itself": {"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "a pattern with a NUL": {"properties": {"x": {"type": "string", "pattern": "^/[^\x00]+$"}}},
    "a boolean as a schema": {"properties": {"x": True, "y": False}},
}


@pytest.mark.parametrize("parameters", KILLERS.values(), ids=KILLERS)
async def test_parameters_that_the_engine_cannot_convert_do_no_harm(quick: lm.LLM, parameters: dict[str, Any]) -> None:
    tool = Tool("f", None, {"type": "object", **parameters})
    limit = KvField(key="llm.prediction.maxPredictedTokens", value={"checked": True, "value": 1})
    parameter = PredictParameter(
        model_specifier=specify(quick.identifier),
        history=lm.Chat.from_history("Hi").history_data(),
        prediction_config_stack=stack_of(KvConfig(fields=[*encode_tool_use([tool]), limit])),
    )
    async with lm.AsyncClient("embedded") as client, client._session.messages("llm", PREDICT, parameter) as stream:
        last = [message async for message in stream][-1]
    assert isinstance(last, PredictSuccess) and last.stats.predicted_tokens_count == 1
