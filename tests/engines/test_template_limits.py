"""Templates of strangers: each ends within its limits, with its line, and holds up nobody else."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from studiolo.engines.chat_templates.examination import MAX_ENGINE_CHARS
from studiolo.engines.chat_templates.formatting import CHATML
from studiolo.engines.chat_templates.process import CPU_LIMIT_SEC, RefusedError, TemplateProcesses
from tests.support.running import processor_sec

pytestmark = pytest.mark.slow

HELLO = {"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": True}
PLAIN = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
DOUBLES = (
    "{% set n = namespace(s='x'*16) %}{% for i in range(40) %}{% set n.s = n.s OP n.s %}{% endfor %}{{ n.s|length }}"
)
TOOLS = (
    "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}"
)


@pytest.fixture
async def processes() -> AsyncIterator[TemplateProcesses]:
    processes = TemplateProcesses()
    yield processes
    await processes.close()


@pytest.mark.parametrize(
    "template",
    [
        LOOPS,
        DOUBLES.replace("OP", "+"),
        DOUBLES.replace("OP", "~"),
        "{{ '%6000000000d'|format(1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ 'x' * 10**10 }}",
        "{{ 'x'|center(10**10) }}",
        "{{ ('x\n' * 10**5)|indent(10**6) }}",
        "{{ (['x'] * 10**6)|join('y' * 10**4) }}",
        "{{ ('x' * 10**5)|replace('x', 'y' * 10**6) }}",
        "{% for a in range(999) %}{% set x = range(99999)|sort|list %}{% endfor %}x",
        "{% set c = cycler('a', 'b') %}{% for a in range(99999) %}{% for b in range(99999) %}{{ c.next() }}"
        "{% endfor %}{% endfor %}",
        "{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ again(1) }}",
        "{{" + "(" * 5000 + ")" * 5000 + "}}",
    ],
    ids=lambda template: template[:40],
)
async def test_what_takes_too_much_is_refused(processes: TemplateProcesses, template: str) -> None:
    began = processor_sec(os.getpid())
    with pytest.raises(RefusedError):
        await processes.render(template, HELLO)
    spent = processor_sec(os.getpid()) - began
    assert spent < CPU_LIMIT_SEC + 1, "the limit, and the start of a process"
    assert await processes.render(PLAIN, HELLO) == "[hi]"


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("a\n{% for m in messages %}{{ m.content }", "line 2: "),
        ("a\n\n{{ raise_exception('only tools here') }}", "line 3: only tools here"),
        ("{{ ''.__class__.__mro__ }}", "line 1: access to attribute '__class__'"),
        ("\n{{ nothing.at.all }}", "line 2: 'nothing' is undefined"),
    ],
)
async def test_errors_have_the_template_s_line(processes: TemplateProcesses, template: str, cause: str) -> None:
    with pytest.raises(RefusedError, match=cause):
        await processes.render(template, HELLO)
    facts = await processes.examine(template, "")
    assert facts.problem is not None and cause in facts.problem and not facts.for_engine


async def test_a_hundred_slow_templates_of_requests_hold_up_no_template_of_a_model(
    processes: TemplateProcesses,
) -> None:
    slow = [asyncio.create_task(processes.render(LOOPS, HELLO, of_request=True)) for _ in range(100)]
    began = time.process_time()
    for _ in range(20):
        assert await processes.render(PLAIN, HELLO) == "[hi]"
        await asyncio.sleep(0.02)
    assert time.process_time() - began < 0.5, "the event loop is free"
    assert sum(each.done() for each in slow) < 20, "models' templates do not wait for those of requests"
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_chat_of_20_MB_is_regular_work(processes: TemplateProcesses) -> None:
    text = "hellö world, " * 1_400_000
    rendered = await processes.render(CHATML, {"messages": [{"role": "user", "content": text}]})
    assert text in rendered


async def test_what_a_template_supports(processes: TemplateProcesses) -> None:
    facts = await processes.examine(TOOLS, "")
    assert facts.takes_tools and facts.for_engine and facts.takes_system and facts.takes_text
    facts = await processes.examine(PLAIN, TOOLS)
    assert facts.takes_tools and facts.for_engine
    facts = await processes.examine(PLAIN, "")
    assert not facts.takes_tools and not facts.for_engine
    parts = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    assert not (await processes.examine(parts, "")).takes_text
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + PLAIN
    assert not (await processes.examine(no_system, "")).takes_system
    assert (await processes.examine("", "")).problem is None


@pytest.mark.parametrize(
    "template",
    [
        "{% if tools %}" + LOOPS + "{% endif %}" + TOOLS,
        "{% for a in range(9999) %}{% for b in range(99) %}{% endfor %}{% endfor %}" + TOOLS,
        "{% if enable_thinking is defined and not enable_thinking %}" + LOOPS + "{% endif %}" + TOOLS,
        "{{ ('x' * 99999) }}" + TOOLS,
        "{# " + "x" * MAX_ENGINE_CHARS + " #}" + TOOLS,
    ],
    ids=["tools", "slow", "without thinking", "long output", "long"],
)
async def test_an_engine_is_not_given_what_takes_much(processes: TemplateProcesses, template: str) -> None:
    assert not (await processes.examine(template, "")).for_engine
