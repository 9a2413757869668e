"""Format chats as prompts with chat templates: Jinja templates, a model's or a client's, and manual ones.

Jinja templates run as in Hugging Face's transformers, for which their authors write them: with the same functions and
the same handling of white space. They run in a sandbox, because models and clients are untrusted.
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
"""The template of models without one."""

MAX_STEPS = 1_000_000
"""Loop iterations and calls per run of a template at most."""

MAX_CHARACTERS = 2**26
"""The longest prompt, and the longest string that a template may create, in characters."""


@dataclass(frozen=True, kw_only=True)
class ModelTemplate:
    """A model's chat template, and the properties of the model that formatting depends on.

    Parameters:
        template: the model's Jinja template; empty if it has none.
        bos_token, eos_token: the tokens that begin and end a text, as text.
        adds_bos: whether the tokenizer adds ``bos_token`` to every text by itself.
        media_marker: the text that marks the place of an image.
        takes_system: whether the template supports system messages.
        takes_text: whether the template takes a message's content as text; otherwise as a list of parts.
        takes_tools: whether the template supports tools and tool calls.
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
class _TemplateRun:
    """One run of a template: its text, special tokens and variables."""

    template: str
    bos_token: str
    eos_token: str
    as_parts: bool
    is_model_template: bool
    variables: dict[str, Any] = field(default_factory=dict[str, Any])


def apply_template(chat: TemplateRequest, model: ModelTemplate) -> str:
    """Return ``chat`` as a prompt, up to the beginning of the assistant's next message.

    Blocks while the template runs.

    Raises:
        ConfigError: the request's template is faulty.
        PredictionError: the model's template rejects the chat; the cause is the template's message.
    """
    custom = chat.template
    if custom is not None and custom.type == "manual":
        assert custom.manual_prompt_template is not None
        text = _manual(chat, custom.manual_prompt_template, model.media_marker)
    else:
        setting = _template_run(custom, model)
        if chat.omit_bos_token:
            setting.bos_token = ""
        if chat.omit_eos_token:
            setting.eos_token = ""
        setting.variables = {"tools": [tool.definition for tool in chat.tools] or None, **chat.template_variables}
        try:
            text = _render(chat.messages, setting, model)
        except TemplateError as error:
            raise _template_error(error, custom is not None) from None
        except StudioloError:
            raise
        except Exception as error:  # a template is a program: it can raise anything
            raise _template_error(error, custom is not None) from None
    if chat.as_prompt and model.adds_bos and model.bos_token:
        text = text.removeprefix(model.bos_token)
    return text


def _template_run(custom: PromptTemplate | None, model: ModelTemplate) -> _TemplateRun:
    if custom is None:
        return _TemplateRun(
            template=model.template or CHATML,
            bos_token=model.bos_token,
            eos_token=model.eos_token,
            as_parts=not model.takes_text,
            is_model_template=True,
        )
    jinja = custom.jinja_prompt_template
    assert jinja is not None
    match jinja.input_config:
        case {"messagesConfig": {"contentConfig": {"type": "array"}}}:
            as_parts = True
        case _:
            as_parts = False
    return _TemplateRun(
        template=jinja.template,
        bos_token=model.bos_token if jinja.bos_token is None else jinja.bos_token,
        eos_token=model.eos_token if jinja.eos_token is None else jinja.eos_token,
        as_parts=as_parts,
        is_model_template=False,
    )


def _render(messages: Sequence[Message], setting: _TemplateRun, model: ModelTemplate) -> str:
    plain = template_messages(messages, model.media_marker, as_parts=setting.as_parts)
    if setting.is_model_template and model.template and not model.takes_system:
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
            raise _LimitError(f"It produces more than {MAX_CHARACTERS} characters.")
        pieces.append(piece)
    return "".join(pieces)


def template_messages(
    messages: Iterable[Message], media_marker: str, *, as_parts: bool = False
) -> list[dict[str, Any]]:
    """Return messages in the form that Jinja templates read: OpenAI's API's."""
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
    """Prepend system messages to the next user message, for templates without support for system messages."""
    out: list[dict[str, Any]] = []
    pending: list[Any] = []
    for message in messages:
        if message["role"] == "system":
            pending.append(message["content"])
        elif pending and message["role"] == "user":
            out.append({**message, "content": _joined([*pending, message["content"]])})
            pending = []
        else:
            out.append(message)
    if pending:
        out.append({"role": "user", "content": _joined(pending)})
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


class _LimitError(Exception):
    """A template exceeded a limit."""


_run = threading.local()  # a template runs in one thread from start to end


def _step(count: int = 1) -> None:
    _run.steps += count
    if _run.steps > MAX_STEPS:
        raise _LimitError(f"It takes more than {MAX_STEPS} loop iterations and calls.")


def _counted(items: Any) -> Any:
    """Return the items of a loop, and count them before it runs."""
    counted = items if hasattr(items, "__len__") else list[Any](itertools.islice(items, MAX_STEPS + 1))
    _step(len(counted))
    return counted


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with limits on loops, calls and the length of strings."""

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
            raise _LimitError("The operator ** is not allowed in a template.")
        for times, thing in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(thing, "__len__") and times * len(thing) > MAX_CHARACTERS:
                raise _LimitError(f"It produces more than {MAX_CHARACTERS} characters.")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's text for training; its content is kept, and the mark has no effect."""

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


def _template_error(error: Exception, is_custom: bool) -> StudioloError:
    cause = str(error) or type(error).__name__
    line = getattr(error, "lineno", None)
    if line is not None:
        cause = f"line {line}: {cause}"
    if is_custom:
        return ConfigError("The prompt template of the prediction config cannot be applied", cause=cause)
    return PredictionError(
        "The model's chat template rejects the chat",
        cause=cause,
        suggestion="Change the order of the messages, or set prompt_template in the prediction config.",
    )
