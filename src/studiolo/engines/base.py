"""The contract between the host and an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..config import LoadConfig, PredictionConfig, PromptTemplate
from ..domain.chat import Message, Tool
from ..domain.generation import Fragment, StopReason, ToolCallEvent
from ..domain.models import Domain
from ..domain.progress import PromptProgress
from ..errors import EngineError


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """What an engine is started with.

    Parameters:
        model_path: the GGUF file.
        domain: ``llm`` or ``embedding``.
        config: the load config with every default filled in.
        log_path: the file that takes everything the engine prints.
        socket_path: where it listens; nothing exists there yet.
        mmproj_path: the file that lets the model see images, where it has one.
        draft_path: the file of the model that drafts, where the config names one.
        on_progress: told how much of the model's file is read, 0 to 1, some ten times a second.
        binary: the program of the user's own that the settings name, for engines that run one.
        architecture: the model's, such as ``llama``; empty where it is not known.
        layers: how many the model has, to turn an offload ratio into a number; 0 where that is not known.
        start_limit_sec: seconds that loading the model may take.
    """

    model_path: Path
    domain: Domain
    config: LoadConfig
    log_path: Path
    socket_path: Path
    mmproj_path: Path | None = None
    draft_path: Path | None = None
    on_progress: Callable[[float], None] | None = None
    binary: str | None = None
    architecture: str = ""
    layers: int = 0
    start_limit_sec: float = 900.0


@dataclass(frozen=True, kw_only=True)
class ReasoningBudget:
    """How long the engine lets the model reason.

    Parameters:
        tokens: at most so many; the end tag is then forced.
        start, end: the tags around reasoning, each a token of its own.
        message: text that is forced before the end tag.
    """

    tokens: int
    start: str
    end: str
    message: str = ""

    @property
    def closing(self) -> str:
        """What ends a thought that is cut short."""
        return f"{self.end}\n\n"


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """The text that an engine may generate; one of the two is set.

    Parameters:
        grammar: in llama.cpp's GBNF, with the start ``root``; or in llguidance's language, beginning with
            ``%llguidance``, for engines whose ``llguidance`` is true.
        json_schema: a JSON schema, for engines without llguidance, which hold to it as far as they can.
    """

    grammar: str | None = None
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """Text to continue, exactly as it stands, and the settings with every default filled in.

    Parameters:
        prompt: the text, or its tokens.
        keep: tokens of the prompt that stay when the context is full and its oldest part is dropped to go on.
        images: the images of the prompt, in the order of their places in it: JPEG or PNG.
        budget: a limit of the reasoning, where the engine has one.
        constraint: what the text is held to, in place of the config's ``structured``.
    """

    prompt: str | list[int]
    config: PredictionConfig
    keep: int = 0
    images: Sequence[bytes] = ()
    budget: ReasoningBudget | None = None
    constraint: Constraint | None = None


@dataclass(frozen=True, kw_only=True)
class TemplateRequest:
    """A chat to be turned into text.

    Parameters:
        messages: what was said so far.
        template: how; by default as the model's own template says.
        tools: what the model may call, under names that it can write.
        template_variables: further variables for a Jinja template, such as ``enable_thinking``.
        omit_bos_token, omit_eos_token: leave the tokens that begin and end a text out.
        as_prompt: leave out the token at the beginning that the engine's tokenizer adds by itself.
    """

    messages: Sequence[Message]
    template: PromptTemplate | None = None
    tools: Sequence[Tool] = ()
    template_variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    omit_bos_token: bool = False
    omit_eos_token: bool = False
    as_prompt: bool = False


@dataclass(frozen=True, kw_only=True)
class ToolChatRequest:
    """A chat with tools, for a model whose own template knows them.

    Parameters:
        messages: what was said so far; images are JPEG or PNG.
        tools: what the model may call, under names that it can write.
        config: the settings with every default filled in.
        parallel_tool_calls: whether it may call several tools at once.
        template_variables: further variables for the template, such as ``enable_thinking``.
        budget: a limit of the reasoning, where the engine has one.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool]
    config: PredictionConfig
    parallel_tool_calls: bool = True
    template_variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget: ReasoningBudget | None = None


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The end of a run: why, and the engine's own figures."""

    stop_reason: StopReason
    stop_string: str | None
    prompt_tokens: int
    predicted_tokens: int
    tokens_per_second: float | None
    draft_tokens: int | None = None
    accepted_draft_tokens: int | None = None


EngineEvent = Fragment | PromptProgress | Completed


class Engine(Protocol):
    """One running engine with one model in it.

    An engine may die at any time; ``exited`` is set when it has. Methods then raise
    :class:`~studiolo.errors.EngineDiedError` with the last lines of its log.
    """

    exited: asyncio.Event

    name: str
    """What it is registered as."""

    version: str | None
    """The version of a program of the user's own."""

    limits_reasoning: bool
    """Whether it takes a :class:`ReasoningBudget`."""

    llguidance: bool
    """Whether it takes grammars in llguidance's language. One that does not may end its process on such a grammar."""

    note: str | None
    """What the user should know of how it was started; ``None`` for nothing."""

    @property
    def pid(self) -> int: ...

    @property
    def gpu_layers(self) -> int | None:
        """Layers of the model on GPUs; ``None`` where the engine does not tell."""
        ...

    @classmethod
    async def start(cls, spec: EngineSpec) -> Engine:
        """Start a process, load the model, and return when it answers.

        Cancelling ends the process.

        Raises:
            EngineStartError: it did not come up; with the last lines of its log.
        """
        ...

    def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """Run a completion. The last event is a :class:`Completed`.

        Closing the iterator stops the engine's work and frees its slot.

        Raises:
            PromptTooLongError: the prompt does not fit into the context.
            PredictionError: the engine refused or failed the request.
            EngineDiedError: the process ended.
        """
        ...

    async def apply_template(self, chat: TemplateRequest) -> str:
        """The text of a chat, up to where the assistant's next words begin.

        Raises:
            ConfigError: the template that the request brings is wrong.
            PredictionError: the model's own template refuses the chat.
            EngineDiedError: the process ended.
        """
        ...

    async def knows_tools(self) -> bool:
        """Whether the model's own chat template knows tools and their calls."""
        ...

    def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """Answer a chat in the model's own tool format; its calls come as events. Otherwise as :meth:`complete`."""
        ...

    async def tokenize(self, text: str) -> list[int]:
        """The tokens that ``text`` is made of, special ones included."""
        ...

    async def embed(self, text: str) -> list[float]:
        """The vector of ``text``, of length 1 where the model's pooling makes one vector of many.

        Raises:
            PromptTooLongError: the text does not fit into the context.
            PredictionError: the engine refused or failed the request.
            EngineDiedError: the process ended.
        """
        ...

    async def health(self) -> None:
        """Return when the engine has answered a health check. How long that may take is the caller's business.

        Raises:
            EngineError: it answers that it is not well, or not at all.
        """
        ...

    def abort(self, reason: str) -> None:
        """End the process at once; :meth:`death` then tells ``reason``."""
        ...

    def death(self) -> EngineError:
        """The error that tells how the process ended; its cause is the end of the log."""
        ...

    async def stop(self) -> None:
        """End the process and everything that belongs to it. Safe to call twice."""
        ...
