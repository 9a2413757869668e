"""Chats with a real model: the same tests over an embedded host and over a served one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import async_namespaces

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

QUESTION = "What is the capital of France?"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 24}
PROMPT = (
    "<|im_start|>system\nYou are terse.<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def terse() -> lm.Chat:
    chat = lm.Chat("You are terse.")
    chat.add_user_message(QUESTION)
    return chat


def test_an_answer_is_what_the_model_makes_of_its_own_template(llm: lm.LLM) -> None:
    assert llm.apply_prompt_template(terse()) == PROMPT
    answer = llm.respond(terse(), config=GREEDY)
    assert answer.content == llm.complete(PROMPT, config=GREEDY).content != ""
    assert answer.stats.prompt_tokens_count == llm.count_tokens(PROMPT)


def test_text_dict_and_chat_are_one_history(llm: lm.LLM) -> None:
    chat = lm.Chat()
    chat.add_user_message(QUESTION)
    wire = {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]}
    short = {"messages": [{"role": "user", "content": QUESTION}]}
    answers = {llm.respond(history, config=GREEDY).content for history in (QUESTION, chat, wire, short)}
    assert len(answers) == 1


def test_a_conversation_goes_on(llm: lm.LLM) -> None:
    chat = terse()
    first = llm.respond(chat, config=GREEDY)
    chat.add_assistant_response(first)
    chat.add_user_message("And of Italy?")
    formatted = llm.apply_prompt_template(chat)
    assert formatted == (
        f"{PROMPT}{first.content}<|im_end|>\n<|im_start|>user\nAnd of Italy?<|im_end|>\n<|im_start|>assistant\n"
    )
    second = llm.respond(chat, config=GREEDY)
    assert second.content == llm.complete(formatted, config=GREEDY).content


def test_a_stream_of_an_answer(llm: lm.LLM) -> None:
    stream = llm.respond_stream(terse(), config=GREEDY)
    text = "".join(str(fragment) for fragment in stream)
    assert text == stream.result().content == llm.respond(terse(), config=GREEDY).content


def test_the_chat_is_taken_as_it_is_when_asked(llm: lm.LLM) -> None:
    chat = terse()
    stream = llm.respond_stream(chat, config=GREEDY)
    chat.add_user_message("Say nothing of France.")
    assert stream.wait_for_result().content == llm.respond(terse(), config=GREEDY).content


def test_callbacks_come_in_order_in_the_reading_thread(llm: lm.LLM) -> None:
    reported: list[tuple[str, Any]] = []
    threads: set[int] = set()

    def note(what: str) -> Any:
        def callback(*arguments: Any) -> None:
            threads.add(threading.get_ident())
            reported.append((what, arguments))

        return callback

    result = llm.respond(
        terse(),
        config={"temperature": 0, "max_tokens": 4},
        on_message=note("message"),
        on_first_token=note("first"),
        on_prediction_fragment=note("fragment"),
        on_prompt_processing_progress=note("progress"),
    )
    names = [what for what, _ in reported]
    assert names == sorted(names, key=["progress", "first", "fragment", "message"].index)
    progress = [arguments[0] for what, arguments in reported if what == "progress"]
    assert (progress[0], progress[-1]) == (0.0, 1.0) and progress == sorted(set(progress))
    assert names.count("first") == names.count("message") == 1 and ("first", ()) in reported
    assert "".join(arguments[0].content for what, arguments in reported if what == "fragment") == result.content
    message = reported[-1][1][0]
    assert isinstance(message, lm.AssistantResponse)
    assert message.to_dict() == {"role": "assistant", "content": [{"type": "text", "text": result.content}]}
    assert threads == {threading.get_ident()}


def test_a_failing_callback_ends_nothing(llm: lm.LLM, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("mine")

    result = llm.respond(terse(), config=GREEDY, on_message=fail, on_first_token=fail)
    assert result.content
    assert caplog.text.count("RuntimeError: mine") == 2


def test_a_jinja_template_of_ones_own(llm: lm.LLM) -> None:
    template = {
        "type": "jinja",
        "jinjaPromptTemplate": {
            "template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{{ eos_token }}Answer:"
        },
        "stopStrings": ["\n"],
    }
    result = llm.respond(terse(), config={**GREEDY, "promptTemplate": template})
    prompt = f"[system] You are terse.\n[user] {QUESTION}\n<|im_end|>Answer:"
    assert result.content == llm.complete(prompt, config={**GREEDY, "stopStrings": ["\n"]}).content
    assert result.prediction_config.prompt_template is not None
    assert result.prediction_config.prompt_template.stop_strings == ["\n"]


def test_a_manual_template(llm: lm.LLM) -> None:
    chat = terse()
    chat.add_assistant_response("Paris.")
    chat.add_user_message("Sure?")
    manual = {
        "before_system": "S:",
        "after_system": "\n",
        "before_user": "U:",
        "after_user": "\n",
        "before_assistant": "A:",
        "after_assistant": "\n",
    }
    config = {**GREEDY, "prompt_template": {"type": "manual", "manual_prompt_template": manual, "stop_strings": ["U:"]}}
    prompt = f"S:You are terse.\nU:{QUESTION}\nA:Paris.\nU:Sure?\nA:"
    assert (
        llm.respond(chat, config=config).content
        == llm.complete(prompt, config=GREEDY | {"stopStrings": ["U:"]}).content
    )


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('no tea') }}", "no tea"),
        ("{% for %}", "line 1"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ 'x' * 1000000000 }}", "memory"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ nothing.at.all }}", "nothing"),
    ],
)
def test_a_template_that_fails_is_a_clear_error(llm: lm.LLM, template: str, says: str) -> None:
    config = {"prompt_template": {"type": "jinja", "jinja_prompt_template": {"template": template}}}
    with pytest.raises(lm.ConfigError, match="prompt template") as caught:
        llm.respond("hi", config=config)
    assert says in str(caught.value)


@pytest.mark.served
@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% set s = 'x' * 50000 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    ],
)
def test_a_template_that_never_ends_is_a_clear_error(llm: lm.LLM, template: str) -> None:
    config = {"prompt_template": {"type": "jinja", "jinja_prompt_template": {"template": template}}}
    with pytest.raises(lm.ConfigError, match=r"prompt template.*processor time"):
        llm.respond("hi", config=config)


@pytest.mark.parametrize(
    "config",
    [
        {"prompt_template": {"type": "jinja"}},
        {"prompt_template": {"type": "cook", "jinja_prompt_template": {"template": ""}}},
        {"prompt_template": "x"},
        {"reasoning_parsing": {"enabled": True, "start_string": "", "end_string": "b"}},
        {"reasoning_parsing": True},
    ],
)
def test_settings_of_a_wrong_form_are_refused(llm: lm.LLM, config: dict[str, Any]) -> None:
    with pytest.raises(lm.ConfigError):
        llm.respond("hi", config=config)


@pytest.mark.parametrize(
    "history", [3, {}, {"messages": 3}, {"messages": [{"role": "cook", "content": "hi"}]}, [], None]
)
def test_what_is_no_history_is_refused(llm: lm.LLM, history: Any) -> None:
    with pytest.raises(lm.ConfigError):
        llm.respond(history)


def test_options_of_a_prompt_template(llm: lm.LLM) -> None:
    # The model's template has its tokens written out, so that there is nothing to leave out.
    assert llm.apply_prompt_template(terse(), {"omitBosToken": True, "omit_eos_token": True}) == PROMPT
    assert llm.apply_prompt_template(terse(), {"toolDefinitions": []}) == PROMPT
    for wrong in ({"omit": True}, {"omitBosToken": "yes"}):
        with pytest.raises(lm.ConfigError):
            llm.apply_prompt_template(terse(), wrong)


def test_tools_are_shown_as_the_model_gets_them(llm: lm.LLM) -> None:
    """This model's template does not support tools: they are in plain text, also in a template that is asked for."""
    definitions = [{"type": "function", "function": {"name": "look up", "description": "Find a word."}}]
    text = llm.apply_prompt_template(QUESTION, {"tool_definitions": definitions})
    assert '"look_up"' in text and "Find a word." in text
    config = {**GREEDY, "max_tokens": 1, "raw_tools": {"type": "toolArray", "tools": definitions}}
    assert llm.respond(QUESTION, config=config).stats.prompt_tokens_count == llm.count_tokens(text)


def test_an_answer_in_json_has_no_room_for_a_thought(llm: lm.LLM) -> None:
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}<think>\n"
    config = {**GREEDY, "prompt_template": {"type": "jinja", "jinja_prompt_template": {"template": template}}}
    schema = {"const": {"a": "<think>"}}
    for budget in (None, 0):
        result = llm.respond(QUESTION, response_format=schema, config={**config, "reasoning_budget": budget})
        assert result.parsed == {"a": "<think>"}
        assert (result.reasoning_content, result.non_reasoning_content) == ("", result.content)
    thoughtful = llm.respond(QUESTION, response_format=schema, config={**config, "reasoning_budget": 1})
    assert thoughtful.parsed == {"a": "<think>"}  # which is no second thought
    assert thoughtful.reasoning_content and json.loads(thoughtful.non_reasoning_content) == thoughtful.parsed
    free = llm.respond(QUESTION, config={**config, "max_tokens": 3})
    assert free.reasoning_content == free.content


def test_reasoning_is_separated_from_the_answer(llm: lm.LLM) -> None:
    # The tags are words that the model is sure to say.
    question = "Say exactly: one two three four five six"
    plain = llm.respond(question, config=GREEDY)
    words = list(dict.fromkeys(plain.content.split()))  # each where it first comes
    assert len(words) > 5, plain.content
    start, end = f"{words[1]} ", words[4]
    parsing = {"enabled": True, "startString": start, "endString": end}
    stream = llm.respond_stream(question, config={**GREEDY, "reasoning_parsing": parsing})
    by_type: dict[str, str] = {}
    tokens = 0
    for fragment in stream:
        by_type[fragment.reasoning_type] = by_type.get(fragment.reasoning_type, "") + fragment.content
        tokens += fragment.tokens_count
    result = stream.result()
    assert result.content == plain.content
    assert tokens == plain.stats.predicted_tokens_count or tokens == plain.stats.predicted_tokens_count - 1
    before, _, rest = plain.content.partition(start)
    thought, _, _ = rest.partition(end)
    assert by_type["reasoningStartTag"].startswith(start) and by_type["reasoningEndTag"].startswith(end)
    assert by_type["reasoning"].startswith(thought)
    assert by_type["none"].startswith(before)
    assert result.reasoning_content == by_type["reasoning"]
    assert result.non_reasoning_content == by_type["none"]
    assert (plain.reasoning_content, plain.non_reasoning_content) == ("", plain.content)
    off = list(llm.respond_stream(question, config={**GREEDY, "reasoning_parsing": {**parsing, "enabled": False}}))
    assert {fragment.reasoning_type for fragment in off} == {"none"}


COUNTING = "Say exactly: one two three four five six seven eight nine ten"


def test_a_prompt_that_begins_a_thought_is_cut_too(llm: lm.LLM) -> None:
    parsing = {"enabled": True, "start_string": "<think>", "end_string": "</think>"}
    config = {**GREEDY, "reasoning_parsing": parsing}
    prompt = llm.apply_prompt_template(COUNTING) + "<think>\n"
    free = llm.complete(prompt, config=config)
    assert free.reasoning_content == free.content
    cut = llm.complete(prompt, config={**config, "reasoning_budget": 4})
    assert free.content.startswith(cut.reasoning_content) and len(llm.tokenize(cut.reasoning_content)) == 4
    none = llm.complete(prompt, config={**config, "reasoning_budget": 0})
    assert none.content.startswith("</think>\n\n") and none.reasoning_content == ""
    assert none.stats.predicted_tokens_count is not None and none.stats.predicted_tokens_count > 1


def test_a_budget_needs_reasoning_that_is_separated(llm: lm.LLM) -> None:
    with pytest.raises(lm.ConfigError, match="reasoning_parsing is switched off"):
        llm.respond("hi", config={"reasoning_budget": 3, "reasoning_parsing": {"enabled": False}})
    with pytest.raises(lm.ConfigError, match="reasoning_budget"):
        llm.respond("hi", config={"reasoning_budget": -1})


def test_a_system_prompt_in_the_settings(llm: lm.LLM, settings: Path) -> None:
    answer = llm.respond(terse(), config=GREEDY).content
    assert llm.respond(QUESTION, config={**GREEDY, "system_prompt": "You are terse."}).content == answer
    assert llm.respond(terse(), config={**GREEDY, "system_prompt": "You are loud."}).content == answer
    settings.write_text('[presets.terse]\nsystem_prompt = "You are terse."\n')
    assert llm.respond(QUESTION, config=GREEDY, preset="terse").content == answer
    settings.write_text('[models.smollm2-135m-instruct.prediction]\nsystem_prompt = "You are terse."\n')
    assert llm.apply_prompt_template(QUESTION) == PROMPT


@pytest.fixture
def settings(place: tuple[str, int]) -> Iterator[Path]:
    """The host's settings file, which is removed after the test."""
    path = Home.default().settings
    yield path
    path.unlink(missing_ok=True)


def test_a_preset_says_what_the_request_leaves_open(llm: lm.LLM, settings: Path) -> None:
    settings.write_text("""
        [presets.Terse]
        temperature = 0
        max_tokens = 3
        [presets.shout.prompt_template]
        type = "manual"
        manual_prompt_template = { before_user = "U: ", before_assistant = " A:" }
    """)
    result = llm.respond("Say hi.", preset="Terse")
    assert (result.prediction_config.temperature, result.prediction_config.max_tokens) == (0, 3)
    assert result.stats.predicted_tokens_count == 3
    again = llm.respond_stream("Say hi.", preset="@local:terse", config={"max_tokens": 2}).wait_for_result()
    assert again.stats.predicted_tokens_count == 2
    assert again.prediction_config.temperature == 0
    assert llm.complete("Once", preset="terse").stats.predicted_tokens_count == 3
    shouted = llm.respond("Say hi.", preset="shout", config=GREEDY)
    assert shouted.content == llm.complete("U: Say hi. A:", config=GREEDY).content


def test_a_preset_that_is_not_there(llm: lm.LLM, settings: Path) -> None:
    with pytest.raises(lm.PresetNotFoundError, match=r"'nonesuch'.*There are none"):
        llm.respond("hi", preset="nonesuch")
    settings.write_text("[presets.precise]\ntemperature = 0\n")
    with pytest.raises(lm.LMStudioPresetNotFoundError, match="Did you mean 'precise'") as caught:
        llm.complete("hi", preset="precize")
    assert caught.value.data["availablePresetsSample"] == [{"identifier": "precise", "name": "precise"}]


def test_the_preset_of_a_model(llm: lm.LLM, settings: Path) -> None:
    settings.write_text("""
        [presets.short]
        max_tokens = 3
        temperature = 0
        [models.smollm2-135m-instruct]
        preset = "short"
        prediction = { max_tokens = 4 }
        [presets.shorter]
        max_tokens = 2
    """)
    assert llm.respond("Say hi.").stats.predicted_tokens_count == 4
    result = llm.respond("Say hi.", preset="shorter")
    assert (result.stats.predicted_tokens_count, result.prediction_config.temperature) == (2, 0)
    assert llm.respond("Say hi.", config={"max_tokens": 1}).stats.predicted_tokens_count == 1


async def test_the_async_client(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        assert await llm.apply_prompt_template(terse()) == PROMPT
        messages: list[lm.AssistantResponse] = []
        result = await llm.respond(terse(), config=GREEDY, on_message=messages.append)
        assert [part.text for part in messages[0].content if isinstance(part, lm.TextData)] == [result.content]
        # LM Studio's way: the stream is awaited.
        stream = await llm.respond_stream(terse(), config=GREEDY)
        assert "".join([fragment.content async for fragment in stream]) == result.content
        both = await asyncio.gather(llm.respond(terse(), config=GREEDY), llm.respond("hi", config=GREEDY))
        assert both[0].content


def test_a_chat_of_another_program_is_the_same_prompt(llm: lm.LLM) -> None:
    messages = [{"role": "developer", "content": "You are terse."}, {"role": "user", "content": [QUESTION]}]
    assert llm.apply_prompt_template(messages) == PROMPT
    assert llm.apply_prompt_template({"system": "You are terse.", "messages": messages[1:]}) == PROMPT
    assert llm.respond(messages, config=GREEDY).content == llm.respond(terse(), config=GREEDY).content


def test_an_identifier_that_nobody_can_read_is_refused_by_the_host_too(
    client: lm.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_namespaces, "check_identifier", lambda _: None)  # as other clients, which do not check
    for identifier in ("", "a\0b"):
        with pytest.raises(lm.LMStudioError, match="The identifier"):
            client.llm.load_new_instance("smollm2-135m-instruct", identifier)
    assert [each.identifier for each in client.llm.list_loaded()] in ([], ["smollm2-135m-instruct"])
