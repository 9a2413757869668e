"""Try out a model's template: what it supports, and whether an engine can be given it. Runs in the worker process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from .rendering import RenderError, render

MAX_ENGINE_CHARS = 2**18
MAX_ENGINE_SEC = 0.2
MAX_ENGINE_OUTPUT = 2**16
"""What a template may be and take, for all trials together, that is given to an engine."""

_TEXT, _NAME, _RESULT = "needle-text", "needle_name", "needle-result"
_USER: dict[str, Any] = {"role": "user", "content": _TEXT}
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Search.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    },
}
_CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "id": "123456789", "function": {"name": _NAME, "arguments": {"what": "hay"}}},
    ],
}
_ANSWER: dict[str, Any] = {"role": "tool", "content": _RESULT, "tool_call_id": "123456789", "name": _NAME}


class _Trials:
    """Renders of one template, and what they have taken."""

    def __init__(self, template: str, as_parts: bool = False) -> None:
        self.error: RenderError | None = None
        self.chars = 0
        self._template = template
        self._as_parts = as_parts

    def text(self, *messages: dict[str, Any], **variables: Any) -> str:
        """Return what the template makes of ``messages``; nothing where it fails."""
        sent = [self._message(message) for message in messages]
        fields = {"messages": sent, "tools": None, "bos_token": "", "eos_token": "", "add_generation_prompt": True}
        try:
            text = render(self._template, {**fields, **variables})
        except RenderError as error:
            self.error = self.error or error
            return ""
        self.chars += len(text)
        return text

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        if not self._as_parts or not message["content"]:
            return message
        return {**message, "content": [{"type": "text", "text": message["content"]}]}


def examine(template: str, tool_template: str) -> dict[str, Any]:
    """Return what a template supports, as the fields of :class:`.process.TemplateFacts`."""
    began = time.process_time()
    trials = _Trials(template)
    takes_text = _TEXT in trials.text(_USER)
    if not takes_text:
        parts = _Trials(template, as_parts=True)
        if _TEXT in parts.text(_USER):
            trials = parts
        else:
            return {"takes_text": True, **_problem(trials.error)}
    system = {"role": "system", "content": "needle-system"}
    for_tools = tool_template or template
    tried = _Trials(for_tools, as_parts=not takes_text)
    with_tools = tried.text(_USER, tools=[_TOOL])
    with_call = tried.text(_USER, _CALL, _ANSWER, tools=[_TOOL])
    takes_tools = _NAME in with_tools and _NAME in with_call and _RESULT in with_call
    facts = {
        "takes_system": "needle-system" in trials.text(system, _USER),
        "takes_text": takes_text,
        "takes_tools": takes_tools,
    }
    for variables in _variants() if takes_tools else ():
        tried.text(_USER, {"role": "assistant", "content": "yes"}, _USER, **variables)
        trials.text(_USER, {"role": "assistant", "content": "yes"}, _USER, **variables)
    spent = time.process_time() - began
    short = len(template) + len(tool_template) <= MAX_ENGINE_CHARS
    cheap = spent <= MAX_ENGINE_SEC and trials.chars + tried.chars <= MAX_ENGINE_OUTPUT
    return {**facts, "for_engine": takes_tools and short and cheap}


def _variants() -> Iterator[dict[str, Any]]:
    for tools in (None, [_TOOL], [_TOOL, _TOOL]):
        for thinking in (True, False):
            for opens in (True, False):
                yield {"tools": tools, "enable_thinking": thinking, "add_generation_prompt": opens}


def _problem(error: RenderError | None) -> dict[str, Any]:
    if error is None:
        return {"problem": "It leaves the messages out."}
    where = f"line {error.line}: " if error.line is not None else ""
    return {"problem": f"{where}{error.cause}"[:500]}
