"""Which models on disk have a chat template that cannot be used, found without a load."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..engines.chat_templates.process import LIMIT_CAUSE, TemplateProcesses, cannot_be_used
from ..errors import EngineError
from ..library.model import Model
from ..library.state import State

_KEY = "template_problem:1:"
"""Before the SHA-256 of a template. Raise the number when the examination finds something else."""


class TemplateProblems:
    """Examines each template once: what was found is in the state of the library. Empty text means no problem.

    Parameters:
        state: the state of the library.
        processes: they examine templates.
    """

    def __init__(self, state: State, processes: TemplateProcesses) -> None:
        self._state = state
        self._processes = processes

    async def notes(self, models: Iterable[Model]) -> dict[Path, str]:
        """Return what the user should know of those of ``models`` whose template cannot be used, by path."""
        templates = {
            model.path: model.metadata.chat_template
            for model in models
            if model.metadata is not None and model.domain == "llm" and model.metadata.chat_template
        }
        if not templates:
            return {}
        digests = {template: _digest(template) for template in set(templates.values())}
        known = await asyncio.to_thread(self._state.recall_all, _KEY)
        unknown = {template: digest for template, digest in digests.items() if digest not in known}
        found = await asyncio.gather(*(self._examine(template, digest) for template, digest in unknown.items()))
        known.update(zip(unknown.values(), found, strict=True))
        problems = {path: known[digests[template]] for path, template in templates.items()}
        return {path: cannot_be_used(problem) for path, problem in problems.items() if problem}

    async def _examine(self, template: str, digest: str) -> str:
        try:
            problem = (await self._processes.examine(template, "")).problem or ""
        except EngineError:  # no process can be started; a load will say so
            return ""
        if problem != LIMIT_CAUSE:  # which may be the machine's fault
            await asyncio.to_thread(self._state.remember, _KEY + digest, problem)
        return problem


def _digest(template: str) -> str:
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()
