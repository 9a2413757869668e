"""A wrong argument of any public function is an error of studiolo's that names it, before anything is sent."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import studiolo as lm
from studiolo.sdk import default_client
from tests.support.stub_session import ASYNC_OBJECTS, FILE, SYNC_OBJECTS, Sent, finish

FUNCTIONS: list[Any] = [
    lm.configure_default_client,
    lm.set_sync_api_timeout,
    lm.Client,
    lm.AsyncClient,
    lm.Client.is_valid_api_host,
    lm.AsyncClient.is_valid_api_host,
    lm.Chat,
    lm.Chat.from_history,
    lm.ChatHistoryData.from_dict,
    lm.FileHandle.from_dict,
    lm.LoadConfig.from_dict,
    lm.ModelQuery.from_dict,
    lm.PredictionConfig.from_dict,
    lm.ToolFunctionDef.from_callable,
]

WRONG: list[Any] = [None, 5, b"x", [], object()]


def tool() -> None:
    """Do nothing."""


RIGHT: dict[str, Any] = {
    "input": "a",
    "prompt": "a",
    "history": "a",
    "chat": "a",
    "model_key": "m",
    "model_identifier": "m",
    "model_specifier": "m",
    "name": "a",
    "title": "a",
    "src": b"x",
    "file": FILE,
    "query": "a",
    "files": [FILE],
    "api_host": "embedded",
    "content": "a",
    "response": "a",
    "results": [],
    "result": {"content": "a"},
    "role": "user",
    "entries": [],
    "message": {"role": "user", "content": "a"},
    "prompt_": "a",
    "data": {},
    "f": tool,
    "timeout": 3,
    "prefix": "a",
    "suffix": "a",
    "model": "m",
    "documents": ["a"],
    "question": "a",
    "questions": ["a"],
    "examples": [("a", True), ("b", False)] * 4,
}
"""A value for each parameter that must be given."""

ACCEPTED: dict[str, list[Any]] = {
    "on_mismatch": [],
    "ttl": [5, None],
    "limit": [5, None],
    "chunk_size": [5, None],
    "chunk_overlap": [5, None],
    "max_prediction_rounds": [5, None],
    "max_parallel_tool_calls": [5, None],
    "timeout": [5, None],
    "src": [b"x"],
    "mcp": [[]],
    "compatibility_types": [None, []],
    "files": [[]],
    "tool_definitions": [None, []],
    "images": [[]],
    "audio": [[]],
    "questions": [[]],
    "tool_call_requests": [[]],
    "results": [[]],
    "entries": [[]],
    "input": [[]],
    "documents": [[]],
    "top_n": [5, None],
}
"""What of ``WRONG`` is right for a parameter; without an entry, only ``None`` for one that defaults to it."""


def public_methods(of: Any) -> Iterator[tuple[str, Any]]:
    for name, member in inspect.getmembers(of, callable):
        if not name.startswith("_") and not isinstance(member, type) and name != "asynchronous":
            yield name, member


def options(function: Any) -> dict[str, Any]:
    """The keyword arguments that a function takes as ``**options``."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            module = inspect.getmodule(inspect.unwrap(function))
            hints = typing.get_type_hints(inspect.unwrap(function), vars(module))
            (known,) = typing.get_args(hints[parameter.name])
            return dict.fromkeys(known.__annotations__, None)
    return {}


def cases() -> Iterator[Any]:
    named: list[tuple[str, Callable[..., Any]]] = [(getattr(f, "__qualname__", repr(f)), f) for f in FUNCTIONS]
    for each in [*ASYNC_OBJECTS, *SYNC_OBJECTS]:
        named += [(f"{type(each).__name__}.{name}", method) for name, method in public_methods(each)]
    named += [(f"Chat.{name}", name) for name, _ in public_methods(lm.Chat()) if name != "from_history"]  # type: ignore[misc]
    for label, function in named:
        signature = inspect.signature(getattr(lm.Chat(), function) if isinstance(function, str) else function)
        for name, parameter in signature.parameters.items():
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and not name.startswith("_"):
                yield pytest.param(function, name, id=f"{label}-{name}")
        if not isinstance(function, str):
            for name in options(function):
                yield pytest.param(function, name, id=f"{label}-{name}")


@pytest.mark.parametrize(("function", "name"), list(cases()))
def test_a_wrong_argument_of_any_public_function_is_refused_by_name(
    function: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_client, "_default_client", None)
    monkeypatch.setattr(default_client, "_default_host", None)
    monkeypatch.setattr(default_client, "_default_token", None)
    limit = lm.get_sync_api_timeout()
    try:
        for value in WRONG:
            _check_one(getattr(lm.Chat(), function) if isinstance(function, str) else function, name, value)
    finally:
        lm.set_sync_api_timeout(limit)


def _check_one(function: Any, name: str, value: Any) -> None:
    parameters = inspect.signature(function).parameters
    default = parameters[name].default if name in parameters else None
    accepted = ACCEPTED.get(name, [None] if default is None else [])
    if name == "data" and inspect.ismethod(function) and function.__self__ in (lm.LoadConfig, lm.PredictionConfig):
        accepted = [None]  # no config is an empty one
    arguments = {
        each.name: RIGHT[each.name]
        for each in parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    arguments[name] = value
    if "tools" in parameters:
        arguments.setdefault("tools", [tool])
    on_demand = [each.name for each in parameters.values() if each.kind is each.POSITIONAL_ONLY]
    positional = [arguments.pop(each) for each in on_demand if each in arguments]
    try:
        finish(function(*positional, **arguments))
    except Sent:
        refused = None
    except lm.ConfigError as error:
        refused = error
    else:
        refused = None
    if any(value is each or (value == [] and each == []) or (value == 5 and each == 5) for each in accepted):
        return
    if value == b"x" and b"x" in accepted:
        return
    assert refused is not None, f"{name}={value!r} was accepted"
    assert name.rstrip("_") in str(refused) or any(word in str(refused) for word in ("config", "chat")), str(refused)
