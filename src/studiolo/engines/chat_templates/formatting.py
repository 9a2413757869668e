"""Format chats as prompts with chat templates: Jinja templates, a model's or a client's, and manual ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...config import ManualPromptTemplate, PromptTemplate
from ...domain.chat import Text, ToolCall, ToolResult
from ...errors import ChatRejectedError, ConfigError, PredictionError, StudioloError
from ..base import TemplateRequest
from ..prompt import Prompt
from .control_tokens import NO_TOKENS, ControlTokens, choose_mark, needs_marks, without_marks
from .messages import MessageWriter, system_into_user
from .process import RefusedError, TemplateFacts, TemplateProcesses

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of models without one."""

LARGE_CHARS = 2**18
"""Chats of more characters are prepared in a thread."""


@dataclass(frozen=True, kw_only=True)
class ModelTemplate:
    """A model's chat template, and the properties of the model that formatting depends on.

    Parameters:
        template: the model's Jinja template; empty if it has none.
        tool_template: another one, for chats with tools; empty if it has none.
        facts: what they support.
        control_tokens: what text of others must not become.
        bos_token, eos_token: the tokens that begin and end a text, as text.
        adds_bos: whether the tokenizer adds ``bos_token`` to every text by itself.
        media_marker: the text that marks the place of an image or audio.
    """

    template: str
    tool_template: str = ""
    facts: TemplateFacts = field(default_factory=TemplateFacts)
    control_tokens: ControlTokens = NO_TOKENS
    bos_token: str = ""
    eos_token: str = ""
    adds_bos: bool = False
    media_marker: str = ""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A template, its special tokens, and the form of its messages."""

    template: str
    bos_token: str
    eos_token: str
    as_parts: bool
    system_into_user: bool = False


async def apply_template(chat: TemplateRequest, model: ModelTemplate, processes: TemplateProcesses) -> Prompt:
    """Return ``chat`` as a prompt, up to the beginning of the assistant's next message.

    Raises:
        ConfigError: the request's template is faulty.
        PredictionError: the model's template is faulty.
        ChatRejectedError: it rejects the chat; the cause is the template's message.
    """
    custom = chat.template
    size = sum(len(message.text) for message in chat.messages)
    written = await asyncio.to_thread(_write, chat, model) if size > LARGE_CHARS else _write(chat, model)
    if isinstance(written, _Jinja):
        try:
            text = await processes.render(
                written.template, written.variables, mark=written.mark, of_request=custom is not None
            )
        except RefusedError as error:
            raise _template_error(error, model, is_custom=custom is not None) from None
        prompt = without_marks(text, written.mark)
    else:
        prompt = written
    bos = model.bos_token
    if chat.as_prompt and model.adds_bos and bos and prompt.text.startswith(bos):
        prompt = Prompt(prompt.text[len(bos) :], tuple(each - len(bos) for each in prompt.breaks))
    return prompt


@dataclass(frozen=True)
class _Jinja:
    """A Jinja template with its variables, and the mark in them."""

    template: str
    variables: dict[str, Any]
    mark: str | None


def _write(chat: TemplateRequest, model: ModelTemplate) -> _Jinja | Prompt:
    custom = chat.template
    mark = _mark(chat, model)
    if custom is not None and custom.type == "manual":
        assert custom.manual_prompt_template is not None
        return without_marks(_manual(chat, custom.manual_prompt_template, _writer(chat, model, mark)), mark)
    source = _source(chat, custom, model)
    messages = _writer(chat, model, mark, as_parts=source.as_parts).write(chat.messages)
    if source.system_into_user:
        messages = system_into_user(messages)

    def marked(value: Any) -> Any:
        return value if mark is None else model.control_tokens.marked_value(value, mark)

    variables = {
        "messages": messages,
        "bos_token": "" if chat.omit_bos_token else source.bos_token,
        "eos_token": "" if chat.omit_eos_token else source.eos_token,
        "add_generation_prompt": True,
        "tools": marked([tool.definition for tool in chat.tools]) or None,
        **marked(dict(chat.template_variables)),
    }
    return _Jinja(source.template, variables, mark)


def _mark(chat: TemplateRequest, model: ModelTemplate) -> str | None:
    """Return the character that marks control tokens that the chat spells; ``None`` where it spells none."""
    given = list(_given(chat))
    # The parts of a message may spell a token together.
    together = ["".join(part.text for part in message.parts if isinstance(part, Text)) for message in chat.messages]
    if not needs_marks(model.control_tokens, [given, together]):
        return None
    custom = chat.template
    templates: list[str] = [model.template or CHATML, model.tool_template]
    if custom is not None and custom.jinja_prompt_template is not None:
        templates.append(custom.jinja_prompt_template.template)
    if custom is not None and (manual := custom.manual_prompt_template) is not None:
        templates += [manual.before_system, manual.after_system, manual.before_user, manual.after_user]
        templates += [manual.before_assistant, manual.after_assistant]
    return choose_mark(given, templates, model.bos_token, model.eos_token, model.media_marker)


def _given(chat: TemplateRequest) -> Iterator[Any]:
    """Yield everything in a chat that others have written."""
    for message in chat.messages:
        for part in message.parts:
            match part:
                case Text():
                    yield part.text
                case ToolResult():
                    yield [part.content, part.call_id, part.name]
                case ToolCall():
                    yield [part.name, part.id, part.arguments]
                case _:
                    pass
    yield [tool.definition for tool in chat.tools]
    yield dict(chat.template_variables)


def _writer(chat: TemplateRequest, model: ModelTemplate, mark: str | None, *, as_parts: bool = False) -> MessageWriter:
    if mark is None:
        return MessageWriter(model.media_marker, as_parts=as_parts)
    tokens = model.control_tokens
    return MessageWriter(
        model.media_marker,
        as_parts=as_parts,
        mark_parts=lambda parts, keep: tokens.marked_parts(parts, mark, keep),
        mark_value=lambda value: tokens.marked_value(value, mark),
        reasoning_tags=chat.reasoning_tags,
    )


def _source(chat: TemplateRequest, custom: PromptTemplate | None, model: ModelTemplate) -> _Source:
    if custom is None:
        template = (model.tool_template if chat.tools else "") or model.template
        return _Source(
            template=template or CHATML,
            bos_token=model.bos_token,
            eos_token=model.eos_token,
            as_parts=not model.facts.takes_text,
            system_into_user=bool(template) and not model.facts.takes_system,
        )
    jinja = custom.jinja_prompt_template
    assert jinja is not None
    match jinja.input_config:
        case {"messagesConfig": {"contentConfig": {"type": "array"}}}:
            as_parts = True
        case _:
            as_parts = False
    return _Source(
        template=jinja.template,
        bos_token=model.bos_token if jinja.bos_token is None else jinja.bos_token,
        eos_token=model.eos_token if jinja.eos_token is None else jinja.eos_token,
        as_parts=as_parts,
    )


def _manual(chat: TemplateRequest, template: ManualPromptTemplate, writer: MessageWriter) -> str:
    around = {
        "system": (template.before_system, template.after_system),
        "user": (template.before_user, template.after_user),
        "tool": (template.before_user, template.after_user),
        "assistant": (template.before_assistant, template.after_assistant),
    }
    pieces: list[str] = []
    for message in writer.write(chat.messages):
        before, after = around[message["role"]]
        pieces += (before, message["content"], after)
    return "".join([*pieces, template.before_assistant])


def _template_error(error: RefusedError, model: ModelTemplate, *, is_custom: bool) -> StudioloError:
    cause = str(error)
    if is_custom:
        return ConfigError("The prompt template of the prediction config cannot be applied", cause=cause)
    if model.facts.problem is not None:
        return PredictionError(
            "The model's chat template cannot be used",
            cause=cause,
            suggestion="Set prompt_template in the prediction config, or use complete().",
        )
    return ChatRejectedError(
        "The model's chat template rejects the chat",
        cause=cause,
        suggestion="Change the order of the messages, or set prompt_template in the prediction config.",
    )
