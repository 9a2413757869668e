"""Continue an answer whose engine died in the middle of it, on the engine that replaces it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import msgspec

from ..domain.generation import Fragment, ToolCallEvent
from ..domain.vocabulary import Vocabulary
from ..engines.base import Completed, Engine, EngineEvent
from ..errors import UnsupportedError
from .engine_run import EngineRun, PredictionRequest
from .overflow import fit_text
from .reasoning import continued, think_within

MAX_RESTARTS = 2
"""How often one answer is continued. A prompt that kills engines must not put its model in quarantine alone."""


def can_resume(request: PredictionRequest) -> bool:
    """Return whether an answer to ``request`` is continued: free text is, unless the request says otherwise.

    A grammar begins at its start again, and calls of tools are parsed by the engine that died.

    Raises:
        UnsupportedError: the request asks for it, and has tools or a form.
    """
    config = request.config
    if config.on_engine_failure == "error":
        return False
    bound = request.tools is not None or (config.structured is not None and config.structured.type != "none")
    if bound and config.on_engine_failure == "resume":
        raise UnsupportedError(
            "The prediction config's field 'on_engine_failure' is 'resume', and the answer has tools or a form",
            cause="Only free text can be continued where an engine died: a grammar begins at its start again.",
            suggestion="Leave the field out, or set it to 'error'.",
            feature="on_engine_failure",
        )
    return not bound


async def resumed(
    engine: Engine,
    run: EngineRun,
    said: Sequence[Fragment],
    tokens: int,
    context_length: int,
    vocabulary: Vocabulary,
) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
    """Return the events of the rest of an answer, whose counts are those of the rest alone.

    Parameters:
        engine: the engine that continues.
        run: the run that was cut off.
        said: the text that was emitted, as far back as the context reaches.
        tokens: the tokens of all of it.
        context_length: tokens that prompt and answer may have together.
        vocabulary: the model's.
    """
    request = run.request
    assert request is not None
    config = request.config
    if config.max_tokens:
        left = config.max_tokens - tokens
        if left <= 0:
            return _end_at_limit()
        config = msgspec.structs.replace(config, max_tokens=left)
    prompt = await continued(engine, request.prompt, "".join(part.text for part in said))
    request = await fit_text(engine, replace(request, prompt=prompt, config=config), context_length, vocabulary)
    return await think_within(engine, request, run.prompt, run.budget_message, said=said)


async def _end_at_limit() -> AsyncGenerator[EngineEvent, None]:
    """Yield the end of an answer whose last token came before its engine died."""
    yield Completed(
        stop_reason="max_tokens", stop_string=None, prompt_tokens=0, predicted_tokens=0, tokens_per_second=None
    )
