"""Answers to a prompt: ``POST /api/generate``."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ...config import PredictionConfig
from ...config.prediction import JinjaPromptTemplate, PromptTemplate
from ...domain.chat import ChatRequest
from ...domain.infill import Infill
from ..http.answers import Answer
from ..http.chats import read_chat
from ..http.endpoint import Call
from ..http.fields import Field, honoured, refused, wrong
from ..http.generation import Prompt
from ..http.models import known_model
from . import asking
from .answering import Asked, answer
from .asking import Asking
from .chat import AnswerHead, image_parts
from .loading import load_or_unload
from .names import known
from .template import is_jinja, rendered


class GenerateBody(Asking, kw_only=True):
    """The body of a request for an answer to a prompt."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    raw: bool = False
    control_tokens: Literal["read", "text"] | None = None
    images: list[Any] = msgspec.field(default_factory=list[Any])

    def to_answer(self, config: PredictionConfig) -> Prompt:
        """Return what is to be answered, continued or filled.

        Parameters:
            config: takes the template, where the request has one in Jinja, and ``control_tokens``.

        Raises:
            InvalidRequestError: fields contradict each other, or one is malformed.
        """
        if self.control_tokens is not None:
            if not self.raw:
                raise wrong("control_tokens", "has an effect on a raw prompt alone", "Send raw, or leave it out.")
            config.control_tokens = self.control_tokens
        if self.suffix:
            for name in ("system", "template", "images", "raw", "think"):
                if getattr(self, name):
                    raise wrong(name, "has no effect beside a suffix")
            return Infill(self.prompt, self.suffix)
        if self.raw:
            for name in ("system", "template", "images"):
                if getattr(self, name):
                    raise wrong(name, "has no effect on a raw prompt")
            return self.prompt
        if self.template and not is_jinja(self.template):
            if self.images:
                raise wrong("images", "have no place in this template", "Leave template out.")
            return rendered(self.template, self.prompt, self.system)
        if self.template:
            config.prompt_template = PromptTemplate(
                type="jinja", jinja_prompt_template=JinjaPromptTemplate(template=self.template)
            )
        content = [*([self.prompt] if self.prompt else []), *image_parts(self.images, "images")]
        messages: list[Any] = [{"role": "system", "content": self.system}] if self.system else []
        return ChatRequest(messages=read_chat([*messages, {"role": "user", "content": content}], ("system", "user")))


class GenerateAnswer(AnswerHead, kw_only=True):
    """The whole answer, or a line of a stream."""

    response: str
    thinking: str | UnsetType = UNSET


_NO_PICTURES = "No model here paints."

FIELDS: dict[str, Field] = {
    **asking.FIELDS,
    "prompt": honoured("What the model answers. None: it is loaded, or with keep_alive 0 unloaded."),
    "system": honoured("The system message."),
    "template": honoured(
        "A chat template for this request: in Jinja, or of Ollama's simple kind, with .System, .Prompt, .Response and "
        "if, else, end."
    ),
    "raw": honoured("The prompt is continued exactly as it is, without a template."),
    "control_tokens": honoured(
        'For raw prompts: "read" (default): the spelling of a control token is the token; "text": it is text.'
    ),
    "images": honoured("Images in base64, for models that see.", whole=True),
    "suffix": honoured("The text after the gap that the answer fills, for models with tokens for it."),
    "context": refused("Deprecated by Ollama: send the whole chat to /api/chat.", []),
    "width": refused(_NO_PICTURES, 0),
    "height": refused(_NO_PICTURES, 0),
    "steps": refused(_NO_PICTURES, 0),
}


async def generate(call: Call[GenerateBody]) -> Answer:
    """Answer a prompt, or load or unload the model."""
    body = call.body
    name = await known(call, body.model)
    if not (body.prompt or body.images or body.suffix):
        return await load_or_unload(call, body, name, generate_form)
    model = await known_model(call, name)
    config, load = body.prediction_config(model), body.load_request(model)
    return await answer(Asked(call, body, name, body.to_answer(config), config, load, generate_form, "prompt"))


def generate_form(text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the members of an answer to a prompt."""
    return {"response": text, "thinking": thinking} if thinking else {"response": text}
