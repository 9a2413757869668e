"""The settings of reasoning, on a model whose tags are tokens and whose template begins a thought."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import studiolo as lm
from studiolo.host import reasoning
from studiolo.paths import Home
from tests.support.embedded_host import embedded_client
from tests.support.models.built import built
from tests.support.models.thinking import write_thinking

QUESTION = "Say exactly: one two three four five six seven eight nine ten"
ENOUGH = " Enough."
THINK = 4
"""The token ``<think>``."""

# The model would end at once, or begin another turn: its weights do not know the tags.
GREEDY: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 14,
    "logit_bias": [(token, "-inf") for token in range(17) if token not in (4, 6)],
}
TOOLS = {
    "type": "toolArray",
    "tools": [
        {
            "type": "function",
            "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}},
        }
    ],
}
OTHER_TAGS = {"enabled": True, "start_string": "[think]", "end_string": "[/think]"}
BLIND = {  # a template that does not know enable_thinking
    "type": "jinja",
    "jinja_prompt_template": {"template": "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ '<think>\n' }}"},
}


@pytest.fixture(scope="module")
def client(cache_home: Home, quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.Client]:
    source = next(quick_home.models.rglob("SmolLM2*.gguf"))
    model = built(cache_home.root, "quick-thinking.Q4_1.gguf", write_thinking, source)
    with embedded_client(tmp_path_factory.mktemp("thinking"), model) as client:
        yield client


@pytest.fixture(scope="module")
def llm(client: lm.Client) -> lm.LLM:
    return client.llm.load_new_instance("quick-thinking", "plain", config={"context_length": 512})


@pytest.fixture(scope="module")
def blind(client: lm.Client) -> lm.LLM:
    config = {"context_length": 512, "reasoning_budget_message": ENOUGH, "prompt_template": BLIND}
    return client.llm.load_new_instance("quick-thinking", "blind", config=config)


@pytest.fixture
def engines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the engine can count reasoning."""
    monkeypatch.setattr(reasoning, "_cut_short", None)


@pytest.mark.usefixtures("engines_own")
def test_the_engine_ends_a_thought_that_the_model_begins(llm: lm.LLM) -> None:
    config = {**GREEDY, "logit_bias": [(THINK, 100)], "reasoning_budget": 3}
    cut = llm.complete("Hm", config={**config, "max_tokens": 6})
    assert cut.content == "<think>" * 4 + "</think>\n\n"
    assert cut.reasoning_content == "<think>" * 3 and cut.stats.predicted_tokens_count == 6
    twice = llm.complete("Hm", config={**config, "max_tokens": 12})
    assert twice.content == cut.content * 2, "each thought has its own budget"
    for off in (False, None, 100):
        free = llm.complete("Hm", config={**config, "max_tokens": 6, "reasoning_budget": off})
        assert free.content == "<think>" * 6
    none = llm.complete("Hm", config={**config, "max_tokens": 6, "reasoning_budget": 0})
    assert none.content == "<think></think>\n\n" * 2
    off = llm.complete("Hm", config={**config, "max_tokens": 3, "reasoning_budget": 9, "enable_thinking": False})
    assert off.content == "<think></think>\n\n", "a switch that is off goes before the budget"


@pytest.mark.usefixtures("engines_own")
def test_the_message_of_the_load_ends_a_thought(blind: lm.LLM) -> None:
    config = {**GREEDY, "logit_bias": [(THINK, 100)], "reasoning_budget": 1, "max_tokens": 12}
    assert blind.complete("Hm", config=config).content.startswith(f"<think><think>{ENOUGH}</think>\n\n")


def test_a_thought_that_the_template_begins_is_cut(llm: lm.LLM, blind: lm.LLM) -> None:
    free = llm.respond(QUESTION, config=GREEDY)
    assert free.reasoning_content == free.content != ""
    for model, message in ((llm, ""), (blind, ENOUGH)):
        cut = model.respond(QUESTION, config={**GREEDY, "reasoning_budget": 3})
        thought = cut.reasoning_content.removesuffix(message)
        assert len(llm.tokenize(thought)) == 3
        assert cut.content.startswith(f"{thought}{message}</think>\n\n") and cut.non_reasoning_content.strip()


def test_a_thought_after_a_prompt_that_was_cut(llm: lm.LLM) -> None:
    config = {**GREEDY, "reasoning_budget": 3, "context_overflow_policy": "truncateMiddle"}
    cut = llm.complete("one two three " * 400 + "<think>\n", config=config)
    assert len(llm.tokenize(cut.reasoning_content)) == 3
    assert cut.content.startswith(f"{cut.reasoning_content}</think>\n\n") and cut.non_reasoning_content.strip()


@pytest.mark.usefixtures("engines_own")
@pytest.mark.parametrize("budget", [0, 1, 3])
def test_a_chat_with_tools_in_the_models_own_format(client: lm.Client, llm: lm.LLM, budget: int) -> None:
    free = llm.respond(QUESTION, config={**GREEDY, "raw_tools": TOOLS})
    assert free.reasoning_content == free.content != ""
    cut = llm.respond(
        QUESTION, config={**GREEDY, "raw_tools": TOOLS, "reasoning_budget": budget, "enable_thinking": True}
    )
    if budget == 0:  # the template then writes an empty thought itself
        assert cut.reasoning_content == "" and "<think>" not in cut.content
    else:
        assert len(llm.tokenize(cut.reasoning_content)) == budget
        assert cut.content.startswith(f"{cut.reasoning_content}</think>\n\n") and cut.non_reasoning_content.strip()
    off = llm.respond(QUESTION, config={**GREEDY, "raw_tools": TOOLS, "enable_thinking": False})
    assert off.reasoning_content == "" and off.content == off.non_reasoning_content != ""


def test_what_the_engine_cannot_count_is_refused_with_tools(llm: lm.LLM) -> None:
    config = {**GREEDY, "raw_tools": TOOLS, "reasoning_parsing": OTHER_TAGS, "max_tokens": 2}
    with pytest.raises(lm.UnsupportedError, match="'reasoning_budget' cannot be combined with tools"):
        llm.respond(QUESTION, config={**config, "reasoning_budget": 3})
    assert llm.respond(QUESTION, config={**config, "enable_thinking": False}).content
    with pytest.raises(lm.UnsupportedError, match="reasoning_budget cannot be combined with a grammar"):
        grammar = {"type": "gbnf", "gbnf_grammar": 'root ::= "a"'}
        llm.respond(QUESTION, config={"structured": grammar, "reasoning_budget": 3})
    off = llm.respond(QUESTION, config={"structured": grammar, "enable_thinking": False, "max_tokens": 4})
    assert off.content == "a"


def test_thinking_is_switched_off(llm: lm.LLM, blind: lm.LLM) -> None:
    begun, empty = "<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert llm.apply_prompt_template(QUESTION).endswith(begun)
    on = llm.respond(QUESTION, config={**GREEDY, "max_tokens": 1})
    assert on.prediction_config.enable_thinking is True
    assert on.stats.prompt_tokens_count == llm.count_tokens(llm.apply_prompt_template(QUESTION))
    for config in ({"enable_thinking": False}, {"enableThinking": False, "reasoningBudget": 9}):
        off = llm.respond(QUESTION, config={**GREEDY, **config})
        prompt = llm.apply_prompt_template(QUESTION).removesuffix(begun) + empty
        assert off.stats.prompt_tokens_count == llm.count_tokens(prompt)
        assert off.reasoning_content == "" and off.content == llm.complete(prompt, config=GREEDY).content
        assert off.prediction_config.enable_thinking is False
    # The template of this one does not know the variable: its thought is closed.
    off = blind.respond(QUESTION, config={**GREEDY, "enable_thinking": False})
    prompt = f"{QUESTION}\n<think>\n\n</think>\n\n"
    assert off.stats.prompt_tokens_count == llm.count_tokens(prompt)
    assert off.reasoning_content == "" and off.content == llm.complete(prompt, config=GREEDY).content != ""


def test_a_load_has_a_template_of_its_own(blind: lm.LLM) -> None:
    assert blind.apply_prompt_template(QUESTION) == f"{QUESTION}\n<think>\n"
    result = blind.respond(QUESTION, config={**GREEDY, "max_tokens": 1})
    assert result.stats.prompt_tokens_count == blind.count_tokens(f"{QUESTION}\n<think>\n")
    in_force = blind.get_load_config()
    assert in_force.prompt_template is not None and in_force.reasoning_budget_message == ENOUGH
    assert result.prediction_config.prompt_template == in_force.prompt_template
    own = {"type": "jinja", "jinja_prompt_template": {"template": "{{ messages[0].content }}"}}
    other = blind.respond(QUESTION, config={**GREEDY, "max_tokens": 1, "prompt_template": own})
    assert other.stats.prompt_tokens_count == blind.count_tokens(QUESTION)
    assert blind.complete("a b", config={"max_tokens": 1}).stats.prompt_tokens_count == blind.count_tokens("a b")
