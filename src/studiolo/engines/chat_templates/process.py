"""The client of the processes that render chat templates. :mod:`.worker` describes the requests and the limits."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ...platform.worker_pool import WorkerEndedError, WorkerPool
from ...struct_types import examined
from .worker import CPU_LIMIT_SEC

AT_ONCE = 2
"""Templates that are rendered at a time, of models and of requests each."""

LIMIT_CAUSE = f"It takes more than {CPU_LIMIT_SEC:g} s of processor time, or more memory than allowed."


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's template supports.

    Parameters:
        takes_system: whether it takes system messages.
        takes_text: whether it takes a message's content as text; otherwise as a list of parts.
        takes_tools: whether it takes tools, their calls and results.
        for_engine: whether an engine can be given it: it takes tools, and all trials were short.
        problem: why it renders no chat; ``None`` where it does.
    """

    takes_system: bool = True
    takes_text: bool = True
    takes_tools: bool = False
    for_engine: bool = False
    problem: str | None = None


def cannot_be_used(problem: str) -> str:
    """Return what the user should know of a model whose template renders no chat, for a list of remarks."""
    return f"the model's chat template cannot be used: {problem.removesuffix('.')}"


class RefusedError(Exception):
    """A template failed.

    Parameters:
        cause: why, with the template's line.
    """


class _Fault(msgspec.Struct):
    cause: str = ""
    line: int | None = None


class TemplateProcesses:
    """Renders templates in processes, which are kept. Those of requests do not hold up those of models."""

    def __init__(self) -> None:
        module = "engines.chat_templates.worker"
        self._of_models = WorkerPool(module, size=AT_ONCE)
        self._of_requests = WorkerPool(module, size=AT_ONCE)

    async def render(
        self, template: str, variables: dict[str, Any], *, mark: str | None = None, of_request: bool = False
    ) -> str:
        """Return the text of a template. Raise :class:`RefusedError` where it fails or exceeds a limit."""
        fields = {"template": template, "variables": variables, "mark": mark}
        answer = await self._ask(self._of_requests if of_request else self._of_models, fields)
        return answer[1:].decode()

    async def examine(self, template: str, tool_template: str) -> TemplateFacts:
        """Return what a model's template supports."""
        if not template:
            return TemplateFacts()
        try:
            answer = await self._ask(self._of_models, {"examine": template, "tool_template": tool_template})
        except RefusedError as error:
            return TemplateFacts(problem=str(error))
        return msgspec.json.decode(answer[1:], type=examined(TemplateFacts))

    async def close(self) -> None:
        """End the processes."""
        await self._of_models.close()
        await self._of_requests.close()

    async def _ask(self, pool: WorkerPool, fields: dict[str, Any]) -> bytes:
        try:
            # Not msgspec: arguments of tools may have integers of any length.
            answer = await pool.ask(json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        except WorkerEndedError:
            raise RefusedError(LIMIT_CAUSE) from None
        if answer[:1] == b"M":
            raise RefusedError(LIMIT_CAUSE)
        if answer[:1] == b"E":
            fault = msgspec.json.decode(answer[1:], type=examined(_Fault))
            raise RefusedError(fault.cause if fault.line is None else f"line {fault.line}: {fault.cause}")
        return answer
