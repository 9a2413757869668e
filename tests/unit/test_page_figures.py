"""What the page of the server keeps and writes: figures of the last hour, plots, programs for a prompt."""

from __future__ import annotations

import json
import shlex

import pytest

pytest.importorskip("nicegui")

from studiolo.protocol.system import HostInfo, InstanceStatus
from studiolo.ui.history import INTERVAL_SEC, SPAN_SEC, History
from studiolo.ui.server.plots import WIDTH, drawing
from studiolo.ui.server.snippets import snippets


def info(**tokens: int) -> HostInfo:
    instances = [
        InstanceStatus(
            identifier=name,
            model_key=name,
            domain="llm",
            state="busy",
            size_bytes=1,
            context_length=1,
            parallel=4,
            running=1,
            queue=[],
            ttl_sec=None,
            idle_sec=0.0,
            pid=None,
            memory_bytes=10,
            generated_tokens=count,
        )
        for name, count in tokens.items()
    ]
    return HostInfo(home="", models_folder="", uptime_sec=0.0, instances=instances, crashes=[])


def test_rates_are_of_the_time_between_two_looks_and_samples_of_the_time_between_samples() -> None:
    now = 100.0
    history = History(lambda: now)
    history.add(info(a=50))
    now += 2
    history.add(info(a=70, b=5))
    assert (history.rate("a"), history.rate("b"), history.rate("none")) == (10.0, 2.5, 0.0)  # b was loaded meanwhile
    now += INTERVAL_SEC - 2
    history.add(info(a=4, b=25))  # a was unloaded, and loaded again
    assert [each.tokens_per_second for each in history.samples] == [0.0, (20 + 5 + 4 + 20) / INTERVAL_SEC]
    assert (history.samples[-1].running, history.samples[-1].memory_bytes) == (2, 20)
    for _ in range(1000):
        now += INTERVAL_SEC
        history.add(info(a=4))
    assert len(history.samples) == SPAN_SEC / INTERVAL_SEC


def test_a_plot_has_its_points_between_an_hour_ago_and_now() -> None:
    svg = drawing([(0.0, 0.0), (SPAN_SEC, 4.0)], 4.0, SPAN_SEC)
    assert f'points="0.0,78.0 {WIDTH}.0,2.0"' in svg
    assert 'points=""' in drawing([], 0.0, 5.0)


def test_programs_have_the_prompt_as_it_is() -> None:
    prompt = 'It\'s "so"\n<|im_end|> $HOME `x` \\ é'
    programs = snippets("http://127.0.0.1:1234", "m", prompt, needs_token=True)
    words = shlex.split(programs["curl"])
    assert json.loads(words[words.index("-d") + 1])["prompt"] == prompt
    assert "Authorization: Bearer $STUDIOLO_API_TOKEN" in words
    compile(programs["Python"], "snippet", "exec")
    assert json.dumps(prompt) in programs["TypeScript"] and "ws://127.0.0.1:1234" in programs["TypeScript"]
    assert "Authorization" not in snippets("http://h:1", "m", "p", needs_token=False)["curl"]
