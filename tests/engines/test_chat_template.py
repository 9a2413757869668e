"""Chats as text: what templates of all kinds are given, and what a real engine makes of their special tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.config import JinjaPromptTemplate, PromptTemplate
from studiolo.dialects.lmstudio.chats import messages
from studiolo.domain.chat import Tool
from studiolo.engines.base import TemplateRequest
from studiolo.engines.chat_templates.formatting import ModelTemplate, apply_template
from studiolo.engines.chat_templates.process import TemplateFacts, TemplateProcesses
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.chat import Chat
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.homes import link_model
from tests.support.models.templated import BOS, EOS

# In the manner of templates in the field: Llama 3's, with tools; Mistral's, which is strict about the order.
LLAMA = """{{- bos_token }}
{%- if tools is not none %}
    {{- "tools: " }}
    {%- for t in tools %}
        {{- t | tojson(indent=2) }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {{- "<tool " + message.tool_call_id + ">" + message.content | tojson }}
    {%- elif "tool_calls" in message %}
        {{- "<call>" + message.tool_calls[0].function.name + message.tool_calls[0].function.arguments | tojson }}
    {%- else %}
        {{- "<" + message["role"] + ">" + message["content"] | trim + "<eot>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<assistant>" }}
{%- endif %}
"""
STRICT = """{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant') }}
{%- endif %}
{%- if loop.index0 > 5 %}{% break %}{% endif %}
{%- generation %}[{{ message.content }}]{% endgeneration %}
{%- endfor %}"""
PARTS = "{% for m in messages %}{% for p in m.content %}{{ p.type }}={{ p.text }};{% endfor %}{% endfor %}"


def render(chat: Chat, source: str, /, **more: Any) -> str:
    model = {"bos_token": "<s>", "eos_token": "</s>", **more.pop("model", {})}
    request = TemplateRequest(messages=messages(chat.history_data().messages), **more)

    async def run() -> str:
        processes = TemplateProcesses()
        try:
            return (await apply_template(request, ModelTemplate(template=source, **model), processes)).text
        finally:
            await processes.close()

    return asyncio.run(run())


def conversation() -> Chat:
    chat = Chat()
    chat.add_user_message(" Weather? ")
    call = {"type": "function", "id": "7", "name": "weather", "arguments": {"where": "Köln"}}
    chat.add_assistant_response("", [lm.ToolCallRequest.from_dict(call)])
    chat.add_tool_result({"content": "rain", "toolCallId": "7"})
    return chat


def test_tools_and_their_calls() -> None:
    tools = [Tool("weather")]
    assert render(conversation(), LLAMA, tools=tools) == (
        '<s>tools: {\n  "type": "function",\n  "function": {\n    "name": "weather"\n  }\n}'
        '<user>Weather?<eot><call>weather{"where": "Köln"}<tool 7>"rain"<assistant>'
    )


def test_without_tools_the_variable_is_none() -> None:
    assert render(Chat.from_history("hi"), LLAMA) == "<s><user>hi<eot><assistant>"


def test_several_texts_of_a_message_are_lines() -> None:
    chat = Chat()
    chat.add_user_message("a")
    chat.add_user_message("b")
    assert render(chat, LLAMA) == "<s><user>a\nb<eot><assistant>"


def test_a_template_that_wants_parts_gets_parts() -> None:
    assert render(Chat.from_history("hi"), PARTS, model={"facts": TemplateFacts(takes_text=False)}) == "text=hi;"
    config = {"messagesConfig": {"contentConfig": {"type": "array"}}}
    custom = PromptTemplate(
        type="jinja", jinja_prompt_template=JinjaPromptTemplate(template=PARTS, input_config=config)
    )
    assert render(Chat.from_history("hi"), "", template=custom) == "text=hi;"


def test_tokens_can_be_left_out_and_a_template_may_name_its_own() -> None:
    both = "{{ bos_token }}x{{ eos_token }}"
    chat = Chat.from_history("hi")
    assert render(chat, both) == "<s>x</s>"
    assert render(chat, both, omit_bos_token=True) == "x</s>"
    assert render(chat, both, omit_eos_token=True) == "<s>x"
    jinja = JinjaPromptTemplate(template=both, bos_token="[", eos_token="]")
    assert render(chat, "", template=PromptTemplate(type="jinja", jinja_prompt_template=jinja)) == "[x]"
    assert render(chat, both, as_prompt=True, model={"adds_bos": True}) == "x</s>"
    assert render(chat, both, as_prompt=True, model={"adds_bos": False}) == "<s>x</s>"


def test_a_template_that_refuses_says_why() -> None:
    chat = Chat("Be kind.")
    chat.add_user_message("hi")
    with pytest.raises(lm.ChatRejectedError, match="must alternate"):
        render(chat, STRICT)
    assert render(Chat.from_history("hi"), STRICT) == "[hi]"


def test_a_system_prompt_reaches_models_without_a_place_for_it() -> None:
    chat = Chat("Be kind.")
    chat.add_user_message("hi")
    assert render(chat, STRICT, model={"facts": TemplateFacts(takes_system=False)}) == "[Be kind.\n\nhi]"
    assert render(Chat("Be kind."), STRICT, model={"facts": TemplateFacts(takes_system=False)}) == "[Be kind.]"


def test_a_model_without_a_template_gets_a_common_one() -> None:
    assert render(Chat.from_history("hi"), "") == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_further_variables_reach_the_template() -> None:
    template = "{{ enable_thinking is defined and enable_thinking }}"
    assert render(Chat.from_history("hi"), template, template_variables={"enable_thinking": True}) == "True"


def test_today() -> None:
    assert render(Chat.from_history("hi"), "{{ strftime_now('%Y') }}").isdigit()


@pytest.fixture(scope="module")
def strict_llm(templated_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.LLM]:
    """A real engine with a model whose tokenizer begins every text."""
    home = Home(tmp_path_factory.mktemp("templated") / "home")
    link_model(templated_model, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_HOME", str(home.root))
        with lm.Client("embedded") as client:
            yield client.llm.model("tiny-templated")
        background.run(close_hosts())


def test_the_first_token_is_neither_doubled_nor_lost(strict_llm: lm.LLM) -> None:
    text = f"<user>hi{EOS}<assistant>"
    assert strict_llm.apply_prompt_template("hi") == BOS + text
    assert strict_llm.apply_prompt_template("hi", {"omitBosToken": True}) == text
    assert strict_llm.apply_prompt_template("hi", {"omitBosToken": True, "omitEosToken": True}) == "<user>hi<assistant>"
    tokens = strict_llm.tokenize(text)
    assert tokens[0] == 0 != tokens[1], "the tokenizer begins every text"
    assert strict_llm.respond("hi", config={"max_tokens": 1}).stats.prompt_tokens_count == len(tokens)


def test_a_real_template_without_a_system_role(strict_llm: lm.LLM) -> None:
    chat = Chat("Be kind.")
    chat.add_user_message("hi")
    assert strict_llm.apply_prompt_template(chat) == f"{BOS}<user>Be kind.\n\nhi{EOS}<assistant>"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for a in [1, 2] %}{{ a }}{{ loop.length }}{{ loop.last }};{% endfor %}", "12False;22True;"),
        ("{% for a in range(3) if a != 1 %}{{ a }}{{ loop.index }};{% else %}none{% endfor %}", "01;22;"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% for a in [{'c': [{'c': []}]}] recursive %}[{{ loop(a.c) }}]{% endfor %}", "[[]]"),
        ("{% for a in nothing %}x{% else %}empty{% endfor %}", "empty"),
        ("{% for a in messages | map(attribute='role') %}{{ a }}{% endfor %}", "user"),
        ("{% set n = namespace(x=0) %}{% for m in messages[::-1] %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}", "1"),
        ("{{ '%02d' % 3 }}{{ 'a' * 3 }}{{ messages[0].content.upper() }}", "03aaaHI"),
    ],
)
def test_what_is_counted_works_as_ever(template: str, text: str) -> None:
    assert render(Chat.from_history("hi"), template) == text
