"""The server alone: what a streamed token costs it, idle streams, and routes without a model.

Run as ``python -m bench.front_end``. The engine is one of the benchmark's own in the server's process, which costs next
to nothing: it gives all streams a token at each tick of a clock (``paced``), tokens as fast as they are taken
(``free``), or none (``silent``). The figures are of the server's processor time, so that the clients on the same
machine do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import studiolo as lm

from .measure import Spread
from .processes import PYTHON, running

MODELS = ("paced", "free", "silent")
TICK_SEC = 0.02
STREAMS = 256
PACED_TOKENS = 150
FREE_TOKENS = 400
IDLE_SEC = 10.0
SOCKETS = 16
"""Connections over which the streams of the WebSocket are spread."""

PATHS = (".", "tests/support/fake_engine")
"""What the server imports from: the checkout, and the engine's package."""
ROUTES = ("/health", "/v1/models", "/api/tags", "/api/v1/models")


@dataclass(frozen=True)
class Load:
    """What streams cost the server.

    Parameters:
        tokens: that were generated.
        frames: in which they arrived.
        cpu_sec: processor time of the server meanwhile.
    """

    tokens: int
    frames: int
    cpu_sec: float

    @property
    def per_core(self) -> float:
        """Tokens for each second of processor time."""
        return self.tokens / self.cpu_sec


@contextlib.contextmanager
def server() -> Generator[tuple[str, psutil.Process]]:
    """Yield the address of a server on the benchmark's engine, and its process."""
    with tempfile.TemporaryDirectory(prefix="studiolo-bench-") as folder:
        home = {"STUDIOLO_HOME": str(Path(folder, "home"))}
        with running(
            [*PYTHON, "-m", "bench.free_engine"], environment={**home, "PYTHONPATH": os.pathsep.join(PATHS)}
        ) as process:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"the server did not start:\n{process.stderr and process.stderr.read()}")
            yield address, psutil.Process(process.pid)


def cpu(process: psutil.Process) -> float:
    """Return the processor time that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


async def open_sse(address: str, model: str, tokens: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a streamed chat by OpenAI's API; return the connection once its head has arrived."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": tokens}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return reader, writer


async def sse(address: str, model: str, tokens: int) -> int:
    """Read a streamed chat by OpenAI's API to its end. Return the number of its frames with text."""
    reader, writer = await open_sse(address, model, tokens)
    frames, rest = 0, b""
    while b"[DONE]" not in rest:
        data = await reader.read(1 << 16)
        if not data:
            raise RuntimeError(f"the stream ended early: {rest!r}")
        rest = rest[-16:] + data
        frames += data.count(b'"content":"t')
    writer.close()
    return frames


async def over_sockets(address: str, model: str, tokens: int) -> int:
    """Read the streams over WebSockets. Return the number of their frames with text."""

    async def read(llm: lm.AsyncLLM) -> int:
        stream = llm.complete_stream("x", config={"max_tokens": tokens})
        return sum([1 async for _ in stream])

    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(lm.AsyncClient(address)) for _ in range(SOCKETS)]
        llms = [await client.llm.model(model) for client in clients]
        return sum(await asyncio.gather(*(read(llms[number % SOCKETS]) for number in range(STREAMS))))


async def over_sse(address: str, model: str, tokens: int) -> int:
    """Read the streams by OpenAI's API. Return the number of their frames with text."""
    return sum(await asyncio.gather(*(sse(address, model, tokens) for _ in range(STREAMS))))


WAYS: dict[str, Callable[[str, str, int], Awaitable[int]]] = {"WebSocket": over_sockets, "SSE": over_sse}


def load(way: str, address: str, process: psutil.Process, model: str, tokens: int) -> Load:
    """Run the streams of one way, each with ``tokens`` tokens."""
    before = cpu(process)
    frames = asyncio.run(_awaited(WAYS[way](address, model, tokens)))
    return Load(STREAMS * tokens, frames, cpu(process) - before)


async def _awaited(work: Awaitable[int]) -> int:
    return await work


async def idle(address: str, process: psutil.Process, seconds: float) -> dict[str, float]:
    """Hold streams open on which nothing comes. Return what they cost the server."""
    memory = process.memory_info().rss
    connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(STREAMS):
        connections.append(await open_sse(address, "silent", 10))
    await asyncio.sleep(2)
    before, began = cpu(process), time.perf_counter()
    await asyncio.sleep(seconds)
    cores = (cpu(process) - before) / (time.perf_counter() - began)
    held = (process.memory_info().rss - memory) / STREAMS
    async with _answered(address) as took:
        delay = took
    for _, writer in connections:
        writer.close()
    return {"cores": cores, "bytes_each": held, "other_route_ms": 1000 * delay}


@contextlib.asynccontextmanager
async def _answered(address: str) -> AsyncGenerator[float]:
    host, _, port = address.partition(":")
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /v1/models HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n")
    yield time.perf_counter() - began
    writer.close()


async def calls_per_core(address: str, process: psutil.Process, path: str, count: int = 400) -> float:
    """Return how often a route answers for each second of the server's processor time."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    before = cpu(process)
    for _ in range(count):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()
    return count / max(cpu(process) - before, 0.01)


def main() -> int:
    """Measure, and print the figures. Exit status: 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.front_end", description="Measure the server alone.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default: 5)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results to this file")
    options = parser.parse_args()
    results: dict[str, Any] = {"streams": STREAMS, "rounds": options.rounds, "tick_sec": TICK_SEC}
    with server() as (address, process):
        for model, tokens in (("paced", PACED_TOKENS), ("free", FREE_TOKENS)):
            assert model in MODELS
            for way in WAYS:
                load(way, address, process, model, 2)  # loads the model
                taken = [load(way, address, process, model, tokens) for _ in range(options.rounds)]
                results[f"{way}, {model}"] = _row(taken)
                print(_line(f"{way}, {model}", taken), flush=True)
        results["idle"] = asyncio.run(idle(address, process, IDLE_SEC))
        print(
            f"{STREAMS} idle streams: {results['idle']['cores']:.4f} cores, "
            f"{results['idle']['bytes_each'] / 1024:.0f} KiB each; GET /v1/models beside them "
            f"{results['idle']['other_route_ms']:.1f} ms"
        )
        results["calls_per_core"] = {}
        for path in ROUTES:
            rates = [asyncio.run(calls_per_core(address, process, path)) for _ in range(options.rounds)]
            results["calls_per_core"][path] = Spread.of(rates).json()
            print(f"GET {path}: {Spread.of(rates).median:,.0f} answers for a second of processor time")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _row(taken: Sequence[Load]) -> dict[str, Any]:
    return {
        "tokens_per_core": Spread.of([each.per_core for each in taken]).json(),
        "tokens_a_frame": Spread.of([each.tokens / each.frames for each in taken]).json(),
    }


def _line(name: str, taken: Sequence[Load]) -> str:
    rate, size = (
        Spread.of([each.per_core for each in taken]),
        Spread.of([each.tokens / each.frames for each in taken]),
    )
    return (
        f"{name:18} {rate.median:>9,.0f} tokens for a second of the server's processor time "
        f"({rate.q1:,.0f} to {rate.q3:,.0f}), {size.median:.2f} tokens a frame"
    )


if __name__ == "__main__":
    sys.exit(main())
