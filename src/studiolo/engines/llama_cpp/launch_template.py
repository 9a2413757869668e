"""The chat template that a llama-server is started with.

The server runs its template when it starts, without limits. It is given the model's own only where it needs it to read
tool calls, and only after trials in a process with limits; otherwise a short one of its own.
"""

from __future__ import annotations

import asyncio
import re

from ..chat_templates.process import TemplateFacts, TemplateProcesses, cannot_be_used
from ..spec import EngineSpec

HARMLESS = "chatml"
"""A template by its name in llama.cpp."""

_MENTIONS_TOOLS = re.compile(r"\btools\b")


class LaunchTemplate:
    """The examination of a model's template, which goes along with the start of its engine where it can.

    Parameters:
        spec: what the engine is started with.
        processes: they examine it.
    """

    def __init__(self, spec: EngineSpec, processes: TemplateProcesses) -> None:
        vocabulary = spec.vocabulary
        self._may_be_given = spec.domain == "llm" and bool(
            _MENTIONS_TOOLS.search(vocabulary.chat_template + vocabulary.tool_template)
        )
        self._examination = asyncio.create_task(
            processes.examine(vocabulary.chat_template if spec.domain == "llm" else "", vocabulary.tool_template),
            name=f"examine the template of {spec.identifier}",
        )

    async def override(self) -> str | None:
        """Return the template to start the engine with; ``None`` for the model's own."""
        if not self._may_be_given:
            return HARMLESS
        return None if (await self.facts()).for_engine else HARMLESS

    async def facts(self) -> TemplateFacts:
        """Return what the model's template supports."""
        return await asyncio.shield(self._examination)

    @property
    def problem(self) -> str | None:
        """What the user should know of the template, once it has been examined."""
        if not self._examination.done() or self._examination.cancelled() or self._examination.exception():
            return None
        problem = self._examination.result().problem
        return None if problem is None else cannot_be_used(problem)

    def cancel(self) -> None:
        """End the examination, if it is still under way."""
        self._examination.cancel()
