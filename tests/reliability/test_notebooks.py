"""Notebooks: cells of a real kernel of Jupyter that call the sync and the async API, and are interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from studiolo.paths import Home
from tests.support.running import environment, has_ended, wait_until, workers_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow, pytest.mark.quick_model]

PATIENCE_SEC = 60.0


@dataclass
class Cell:
    """What a cell has done.

    Parameters:
        text: what it has printed.
        error: the name of the exception that has ended it; empty for none.
    """

    text: str = ""
    error: str = ""
    traceback: list[str] = field(default_factory=list[str])


@dataclass
class Kernel:
    """A kernel and its client."""

    manager: KernelManager
    client: BlockingKernelClient

    @property
    def pid(self) -> int:
        (kernel,) = [each for each in psutil.Process().children() if "ipykernel_launcher" in each.cmdline()]
        return kernel.pid

    def run(self, code: str) -> Cell:
        """Run a cell that ends without an exception."""
        cell = self._run(code, interrupt=False)
        assert not cell.error, "\n".join(cell.traceback)
        return cell

    def interrupt(self, code: str) -> Cell:
        """Run a cell, and interrupt it as soon as it prints something."""
        return self._run(code, interrupt=True)

    def _run(self, code: str, *, interrupt: bool) -> Cell:
        cell = Cell()

        def note(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                if interrupt and not cell.text:
                    self.manager.interrupt_kernel()
                cell.text += content["text"]
            elif message["msg_type"] == "error":
                cell.error, cell.traceback = content["ename"], content["traceback"]

        self.client.execute_interactive(code, allow_stdin=False, timeout=PATIENCE_SEC, output_hook=note)
        return cell


@pytest.fixture
def kernel(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    folder = home.root.parent
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    manager = KernelManager()
    manager.start_kernel(env=environment(home, STUDIOLO_HOST="embedded"), cwd=str(folder))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(PATIENCE_SEC)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


BEGIN = """
import asyncio
import studiolo as lm

LOAD = {"context_length": 256, "max_parallel_predictions": 1}
CALM = {"max_tokens": 5, "temperature": 0}
ENDLESS = {"temperature": 0, "context_overflow_policy": "rollingWindow", "logit_bias": [(0, "-inf"), (2, "-inf")]}
llm = lm.llm("smollm2-135m-instruct", config=LOAD)
print(llm.complete("My name is", config=CALM).content)
"""

ASYNC = """
client = lm.AsyncClient("embedded")
other = await client.llm.model("smollm2-135m-instruct")
first, second = await asyncio.gather(*(other.complete("My name is", config=CALM) for _ in range(2)))
assert first.content == second.content
print(first.content)
"""

AGAIN = 'print(llm.complete("My name is", config=CALM).content)'
ASYNC_AGAIN = 'print((await other.complete("My name is", config=CALM)).content)'

INTERRUPTED = {
    "a sync stream": """
for fragment in llm.complete_stream("1 2 3", config=ENDLESS):
    print(fragment.content, end="", flush=True)
""",
    "a sync call": """
llm.complete("1 2 3", config=ENDLESS, on_first_token=lambda: print("begun", flush=True))
""",
    "an async stream": """
async for fragment in other.complete_stream("1 2 3", config=ENDLESS):
    print(fragment.content, end="", flush=True)
""",
    "an async call": """
await other.complete("1 2 3", config=ENDLESS, on_first_token=lambda: print("begun", flush=True))
""",
}


def test_cells_predict_and_an_interrupted_one_leaves_the_kernel_as_it_was(kernel: Kernel) -> None:
    expected = kernel.run(BEGIN).text
    assert expected.strip() and kernel.run(ASYNC).text == expected
    (engine,) = workers_of(kernel.pid)
    for kind, code in INTERRUPTED.items():
        cell = kernel.interrupt(code)
        assert cell.error in ("KeyboardInterrupt", "CancelledError"), (kind, cell)
        assert kernel.run(AGAIN).text == kernel.run(ASYNC_AGAIN).text == expected  # its only slot is free again
    assert [engine] == workers_of(kernel.pid)
    kernel.client.shutdown()
    wait_until(lambda: has_ended(engine), "the engine to end with its kernel")
