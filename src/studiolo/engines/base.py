"""The contract between the host and an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..config import LoadConfig, PredictionConfig, PromptTemplate
from ..domain.chat import Message, Tool
from ..domain.decisions import Question
from ..domain.embeddings import Embeddings, Relevance
from ..domain.generation import Fragment, StopReason, TokenLogProbs, ToolCallEvent
from ..domain.model_shape import ModelShape
from ..domain.progress import PromptProgress
from ..errors import EngineError
from .prompt import Prompt
from .spec import Capabilities, Device, EngineSpec, Finding, LoadProgress, MemoryNeed, ProcessRef


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
        """The text that ends a thought that is cut short."""
        return f"{self.end}\n\n"


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """The text that an engine may generate; one of the two is set.

    Parameters:
        grammar: in GBNF, with the start ``root``; or in llguidance's language, beginning with ``%llguidance``.
        json_schema: a JSON schema, for engines without llguidance, which hold to it as far as they can.
    """

    grammar: str | None = None
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """Text to continue, exactly as it stands, and the settings with every default filled in.

    Parameters:
        prompt: the text, or its tokens. A :class:`~studiolo.engines.prompt.Prompt` only where text of others in it
            spells control tokens, which must stay text.
        keep: tokens of the prompt that stay when the context is full and its oldest part is removed.
        media: the images (JPEG or PNG) and the audio (WAV, MP3 or FLAC) of the prompt, in the order of their places.
        budget: a limit of the reasoning, where the engine has one.
        constraint: what the text is held to, in place of the config's ``structured``.
    """

    prompt: str | Prompt | list[int]
    config: PredictionConfig
    keep: int = 0
    media: Sequence[bytes] = ()
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
        reasoning_tags: tags that stay tokens in the assistant's messages, which are the model's own.
        omit_bos_token, omit_eos_token: leave the tokens that begin and end a text out.
        as_prompt: leave out the token at the beginning that the engine's tokenizer adds by itself.
    """

    messages: Sequence[Message]
    template: PromptTemplate | None = None
    tools: Sequence[Tool] = ()
    template_variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reasoning_tags: Sequence[str] = ()
    omit_bos_token: bool = False
    omit_eos_token: bool = False
    as_prompt: bool = False


@dataclass(frozen=True, kw_only=True)
class ToolChatRequest:
    """A chat with tools, for a model whose own template knows them.

    Parameters:
        messages: what was said so far; images are JPEG or PNG, audio WAV, MP3 or FLAC.
        tools: what the model may call, under names that it can write.
        config: the settings with every default filled in.
        parallel_tool_calls: whether it may call several tools at once.
        template_variables: further variables for the template, such as ``enable_thinking``.
        reasoning_tags: tags that stay tokens in the assistant's messages.
        budget: a limit of the reasoning, where the engine has one.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool]
    config: PredictionConfig
    parallel_tool_calls: bool = True
    template_variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reasoning_tags: Sequence[str] = ()
    budget: ReasoningBudget | None = None


@dataclass(frozen=True, kw_only=True)
class DecisionRequest:
    """Questions for a decision model.

    Parameters:
        messages: the chat that they are about; it may be empty. Images are JPEG or PNG, audio is WAV, FLAC or MP3.
        questions: each with its text.
    """

    messages: Sequence[Message]
    questions: Sequence[Question]


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The end of a run: why, and the engine's own figures.

    Parameters:
        stop_reason: why it ended.
        stop_string: the stop string that ended it, where one did.
        prompt_tokens: all tokens of the prompt.
        predicted_tokens: tokens generated.
        tokens_per_second: the rate of generation; ``None`` where the engine does not say.
        cached_tokens: tokens of the prompt that were in the engine's cache; ``None`` where the engine does not say.
        prompt_sec, decode_sec: seconds of processing the prompt and of generating, as the engine counts them.
        draft_tokens, accepted_draft_tokens: tokens that a draft model proposed, and those that the model took.
        end_token: the token without text that ended the answer; only where log-probabilities were asked for.
    """

    stop_reason: StopReason
    stop_string: str | None
    prompt_tokens: int
    predicted_tokens: int
    tokens_per_second: float | None
    cached_tokens: int | None = None
    prompt_sec: float | None = None
    decode_sec: float | None = None
    draft_tokens: int | None = None
    accepted_draft_tokens: int | None = None
    end_token: TokenLogProbs | None = None


EngineEvent = Fragment | PromptProgress | Completed


@runtime_checkable
class NamesInstructionSets(Protocol):
    """An engine kind that can say which instruction sets of the processor its engines use. A kind need not."""

    async def instruction_sets(self) -> Sequence[str]:
        """Return them in the program's words, such as ``AVX2``; none where they are not known."""
        ...


class EngineKind(Protocol):
    """Starts engines of one kind on one machine.

    Registered in the entry point group ``studiolo.engines`` as something that is called with a
    :class:`~studiolo.engines.spec.Node` and returns the kind.
    """

    @property
    def name(self) -> str:
        """What the kind is registered as."""
        ...

    async def version(self) -> str | None:
        """Return the version of the program behind it; ``None`` where there is none that can be used."""
        ...

    async def capabilities(self) -> Capabilities:
        """Return what its engines can do."""
        ...

    async def devices(self) -> Sequence[Device]:
        """Return the GPUs that its engines can use, in their order, with the memory that is free now.

        Raises:
            EngineError: they cannot be listed.
        """
        ...

    def estimate(self, model: ModelShape, config: LoadConfig, devices: Sequence[Device]) -> MemoryNeed:
        """Return the memory that loading ``model`` takes. Computes for milliseconds, and looks nothing up.

        Parameters:
            config: the load config with every default filled in.
            devices: main memory, then the GPUs to use.

        Raises:
            ConfigError: its engines cannot load the model with this config.
        """
        ...

    async def start(self, spec: EngineSpec, emit: Callable[[LoadProgress], None] | None = None) -> Engine:
        """Start an engine process, connect to it, and return the engine when it answers.

        Cancelling ends the process.

        Parameters:
            emit: called with each progress, about ten times a second, where the engine says how far it is.

        Raises:
            EngineStartError: it did not start; with the last lines of its log.
            UnsupportedError: it cannot do what the load config asks for.
        """
        ...

    async def diagnose(self) -> Sequence[Finding]:
        """Examine whether its engines can run on this machine. May take seconds."""
        ...


class Engine(Protocol):
    """One running engine with one model in it.

    An engine may die at any time; ``exited`` is set when it has. Methods then raise
    :class:`~studiolo.errors.EngineDiedError` with the last lines of its log.
    """

    @property
    def exited(self) -> asyncio.Event: ...

    @property
    def name(self) -> str:
        """The name of the kind that it is of."""
        ...

    @property
    def version(self) -> str:
        """The version of the program behind it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; one that stands in for another may do less than its kind."""
        ...

    @property
    def note(self) -> str | None:
        """What the user should know of how it was started; ``None`` for nothing."""
        ...

    @property
    def process(self) -> ProcessRef: ...

    @property
    def gpu_layers(self) -> int | None:
        """Layers of the model on GPUs; ``None`` where the engine does not say."""
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

    async def apply_template(self, chat: TemplateRequest) -> Prompt | str:
        """Return the text of a chat, up to where the assistant's next words begin.

        A :class:`~studiolo.engines.prompt.Prompt` has breaks where the chat spells control tokens.

        Raises:
            ConfigError: the template that the request brings is wrong.
            PredictionError: the model's own template refuses the chat.
            EngineDiedError: the process ended.
        """
        ...

    async def knows_tools(self) -> bool:
        """Return whether the model's own chat template renders tools and their calls."""
        ...

    def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """Answer a chat in the model's own tool format; its calls come as events. Otherwise as :meth:`complete`."""
        ...

    async def tokenize(self, text: str | Prompt) -> list[int]:
        """Return the tokens of ``text``: control tokens where it spells them, but for those that a prompt breaks."""
        ...

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text that ``tokens`` are made of, special ones included."""
        ...

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return the vectors of ``texts`` and their token counts; the engine makes batches of them.

        Raises:
            PromptTooLongError: a text does not fit into the context.
            PredictionError: the engine refused or failed the request.
            EngineDiedError: the process ended.
        """
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> Relevance:
        """Return how well each of ``texts``, of which there is at least one, answers ``query``.

        Raises:
            PromptTooLongError: the query and a text do not fit into the context together.
            PredictionError: the engine refused or failed the request.
            EngineDiedError: the process ended.
        """
        ...

    async def decide(self, request: DecisionRequest) -> list[list[float]]:
        """Return the probability of each choice of each question; the model is a decision model.

        Raises:
            PromptTooLongError: a question does not fit into the context with what it is about.
            UnsupportedError: the engine does not decide with this model.
            PredictionError: the engine refused or failed the request: a question has more choices than the model.
            EngineDiedError: the process ended.
        """
        ...

    async def health(self) -> None:
        """Return when the engine has answered a health check. The caller limits how long that may take.

        Raises:
            EngineError: it answers that it is not well, or the connection breaks.
        """
        ...

    def abort(self, reason: str) -> None:
        """End the process at once; the error of :meth:`death` then includes ``reason``."""
        ...

    def death(self) -> EngineError:
        """Return the error that says how the process ended; its cause is the end of the log."""
        ...

    async def stop(self) -> None:
        """End the process and remove what belongs to it. Calling it again does nothing."""
        ...
