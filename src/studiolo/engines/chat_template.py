"""Chats as the text that a model was trained on: Jinja templates, the model's own or a user's, and manual ones.

Jinja templates run as Hugging Face's transformers runs them, which is what their authors write for: the same
functions, the same handling of white space, and a sandbox, since models and clients come from anywhere.
"""

from __future__ import annotations

import functools
import itertools
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..config import ManualPromptTemplate, PromptTemplate
from ..domain.chat import File, Image, Message, Text, ToolCall, ToolResult
from ..errors import ConfigError, PredictionError, StudioloError, UnsupportedError
from .base import TemplateRequest

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of models that bring none."""

MAX_STEPS = 1_000_000
"""Rounds of loops and calls that one run of a template may take in all."""

MAX_CHARACTERS = 2**26
"""The longest prompt, and the longest text that a template may make on the way to it."""


@dataclass(frozen=True, kw_only=True)
class ModelTemplate:
    """What a model brings to turn chats into text.

    Parameters:
        template: its Jinja template; empty where it has none.
        bos_token, eos_token: the tokens that begin and end a text, as text.
        adds_bos: whether the tokenizer puts the first one before every text by itself.
        media_marker: what stands in the text where an image belongs.
        takes_system: whether the template knows system messages.
        takes_text: whether it takes a message's content as text; else as a list of parts.
        takes_tools: whether it knows tools and their calls.
    """

    template: str
    bos_token: str = ""
    eos_token: str = ""
    adds_bos: bool = False
    media_marker: str = ""
    takes_system: bool = True
    takes_text: bool = True
    takes_tools: bool = False


@dataclass
class _Setting:
    """How one template is run."""

    template: str
    bos_token: str
    eos_token: str
    as_parts: bool
    who: str
    variables: dict[str, Any] = field(default_factory=dict[str, Any])


def apply_template(chat: TemplateRequest, model: ModelTemplate) -> str:
    """The text of ``chat``, up to where the assistant's next words begin.

    Blocks for as long as the template runs.

    Raises:
        ConfigError: the template that the request brings is wrong.
        PredictionError: the model's own template refuses the chat; the cause is what it says.
    """
    custom = chat.template
    if custom is not None and custom.type == "manual":
        assert custom.manual_prompt_template is not None
        text = _manual(chat, custom.manual_prompt_template, model.media_marker)
    else:
        setting = _setting(custom, model)
        if chat.omit_bos_token:
            setting.bos_token = ""
        if chat.omit_eos_token:
            setting.eos_token = ""
        setting.variables = {"tools": [tool.definition for tool in chat.tools] or None, **chat.template_variables}
        try:
            text = _render(chat.messages, setting, model)
        except TemplateError as error:
            raise _refusal(error, custom is not None) from None
        except StudioloError:
            raise
        except Exception as error:  # a template can fail in any way that a program can
            raise _refusal(error, custom is not None) from None
    if chat.as_prompt and model.adds_bos and model.bos_token:
        text = text.removeprefix(model.bos_token)
    return text


def _setting(custom: PromptTemplate | None, model: ModelTemplate) -> _Setting:
    if custom is None:
        return _Setting(
            template=model.template or CHATML,
            bos_token=model.bos_token,
            eos_token=model.eos_token,
            as_parts=not model.takes_text,
            who="The model's chat template",
        )
    jinja = custom.jinja_prompt_template
    assert jinja is not None
    match jinja.input_config:
        case {"messagesConfig": {"contentConfig": {"type": "array"}}}:
            as_parts = True
        case _:
            as_parts = False
    return _Setting(
        template=jinja.template,
        bos_token=model.bos_token if jinja.bos_token is None else jinja.bos_token,
        eos_token=model.eos_token if jinja.eos_token is None else jinja.eos_token,
        as_parts=as_parts,
        who="The prompt template",
    )


def _render(messages: Sequence[Message], setting: _Setting, model: ModelTemplate) -> str:
    plain = template_messages(messages, model.media_marker, as_parts=setting.as_parts)
    if setting.who == "The model's chat template" and model.template and not model.takes_system:
        plain = _system_into_user(plain)
    variables = {
        "messages": plain,
        "bos_token": setting.bos_token,
        "eos_token": setting.eos_token,
        "add_generation_prompt": True,
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        **setting.variables,
    }
    _run.steps = 0
    pieces: list[str] = []
    length = 0
    for piece in _compiled(setting.template).generate(**variables):
        length += len(piece)
        if length > MAX_CHARACTERS:
            raise _TooMuch(f"It makes more than {MAX_CHARACTERS} characters.")
        pieces.append(piece)
    return "".join(pieces)


def template_messages(
    messages: Iterable[Message], media_marker: str, *, as_parts: bool = False
) -> list[dict[str, Any]]:
    """Return messages in the form that Jinja templates read: the one of OpenAI's API."""
    plain: list[dict[str, Any]] = []
    for message in messages:
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        for part in message.parts:
            match part:
                case Text():
                    texts.append(part.text)
                case Image() | File():
                    texts.append(_media(part, media_marker))
                case ToolCall():
                    function = {"name": part.name, "arguments": part.arguments or {}}
                    calls.append({"type": "function", "id": part.id or "", "function": function})
                case ToolResult():
                    plain.append(_result(part, as_parts))
        if message.role == "tool":
            continue
        entry: dict[str, Any] = {"role": message.role, "content": _content(texts, as_parts)}
        if calls and message.role == "assistant":
            entry["tool_calls"] = calls
        plain.append(entry)
    return plain


def _result(part: ToolResult, as_parts: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": "tool", "content": _content([part.content], as_parts)}
    if part.call_id is not None:
        entry["tool_call_id"] = part.call_id
    if part.name is not None:
        entry["name"] = part.name
    return entry


def _media(part: Image | File, marker: str) -> str:
    if not marker or (isinstance(part, File) and part.file_type != "image"):
        raise UnsupportedError(f"The model cannot read the file {part.name!r} in the chat", feature="files")
    return marker


def _content(texts: list[str], as_parts: bool) -> Any:
    return [{"type": "text", "text": text} for text in texts] if as_parts else "\n".join(texts)


def _system_into_user(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put what the system says before what the user says next, for templates that know no system messages."""
    out: list[dict[str, Any]] = []
    waiting: list[Any] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif waiting and message["role"] == "user":
            out.append({**message, "content": _joined([*waiting, message["content"]])})
            waiting = []
        else:
            out.append(message)
    if waiting:
        out.append({"role": "user", "content": _joined(waiting)})
    return out


def _joined(contents: list[Any]) -> Any:
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    return [part for content in contents for part in content]


def _manual(chat: TemplateRequest, template: ManualPromptTemplate, marker: str) -> str:
    around = {
        "system": (template.before_system, template.after_system),
        "user": (template.before_user, template.after_user),
        "tool": (template.before_user, template.after_user),
        "assistant": (template.before_assistant, template.after_assistant),
    }
    pieces: list[str] = []
    for message in template_messages(chat.messages, marker):
        before, after = around[message["role"]]
        pieces += (before, message["content"], after)
    return "".join([*pieces, template.before_assistant])


class _TooMuch(Exception):
    """A template wants more than it may have."""


_run = threading.local()  # a template runs in one thread from its beginning to its end


def _step(count: int = 1) -> None:
    _run.steps += count
    if _run.steps > MAX_STEPS:
        raise _TooMuch(f"Its loops and calls take more than {MAX_STEPS} steps.")


def _counted(items: Any) -> Any:
    """What a loop goes through, counted before it does."""
    counted = items if hasattr(items, "__len__") else list[Any](itertools.islice(items, MAX_STEPS + 1))
    _step(len(counted))
    return counted


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without a way out, and without work that never ends."""

    intercepted_binops = frozenset({"*", "**"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        return template

    def call(self, /, *arguments: Any, **named: Any) -> Any:
        _step()
        return super().call(*arguments, **named)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise _TooMuch("A template may not use powers (**).")
        for times, thing in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(thing, "__len__") and times * len(thing) > MAX_CHARACTERS:
                raise _TooMuch(f"It makes more than {MAX_CHARACTERS} characters.")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """``{% generation %}``: marks what the assistant says for those who train models; here it is just its content."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.lru_cache(maxsize=32)
def _compiled(template: str) -> Any:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])
    environment.filters |= {"tojson": _to_json, "counted": _counted}
    return environment.from_string(template)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _refusal(error: Exception, is_custom: bool) -> StudioloError:
    cause = str(error) or type(error).__name__
    line = getattr(error, "lineno", None)
    if line is not None:
        cause = f"line {line}: {cause}"
    if is_custom:
        return ConfigError("The prompt template of the prediction config cannot be applied", cause=cause)
    return PredictionError(
        "The model's chat template refuses the chat",
        cause=cause,
        suggestion="Change the order of the messages, or give a prompt_template in the prediction config.",
    )
