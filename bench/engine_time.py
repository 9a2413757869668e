"""One run of an engine, with its times: by its own clock, and the processor time of its process."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed, CompletionRequest, Engine


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Parameters:
        processor_sec: processor time of the engine's process meanwhile, in all threads.
    """

    text: str
    end: Completed
    processor_sec: float

    @property
    def decode_rate(self) -> float:
        """Return the tokens a second, by the engine's clock."""
        return self.end.predicted_tokens / (self.end.decode_sec or 1)


async def run(engine: Engine, request: CompletionRequest) -> Run:
    """Run a completion."""
    began = processor_seconds(engine.process.pid)
    text = ""
    async for event in engine.complete(request):
        if isinstance(event, Completed):
            return Run(text, event, processor_seconds(engine.process.pid) - began)
        if isinstance(event, Fragment):
            text += event.text
    raise RuntimeError("the answer has no end")


def processor_seconds(*pids: int) -> float:
    """Return the processor time that processes have used so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)
