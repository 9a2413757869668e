"""Several clients at once: total throughput, the worst of them, and what the host costs beside its engine."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import studiolo

from .. import texts
from ..measure import Spread
from ..processes import engine_processes, processor_seconds, serving
from ..run import Part, Run, row
from ..streams import openai_body

SLOT_CONTEXT = 256
"""Tokens that each of the slots has, on both sides: what the wheel's server gives each of 32."""

PROMPT_TOKENS = 20


@dataclass(frozen=True)
class Together:
    """What clients at once have received.

    Parameters:
        tokens: of each client.
        seconds: of each client, from the start of all to its end.
        host_cpu, engine_cpu: processor time of the host and of the engine; 0 where not known.
    """

    tokens: list[int]
    seconds: list[float]
    cached: int
    host_cpu: float = 0.0
    engine_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second of all clients."""
        return sum(self.tokens) / max(self.seconds)

    @property
    def fairness(self) -> float:
        """The tokens a second of the worst client, of those of the median one."""
        each = [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]
        return min(each) / statistics.median(each)


async def completion(address: str, body: dict[str, Any]) -> tuple[int, int, float]:
    """Read a streamed completion to its end. Return its tokens, those of its prompt in a cache, and when it ended."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"the server answered {status!r} {await reader.read(2000)!r}")
        usage: dict[str, Any] = {}
        while line := await reader.readline():
            if b'"usage":{' in line:
                usage = json.loads(line.partition(b"data: ")[2])["usage"]
            if b"[DONE]" in line:
                break
        ended = time.perf_counter()
    finally:
        writer.close()
    if not usage:
        raise RuntimeError("the stream ended without its usage")
    details = usage.get("prompt_tokens_details") or {}
    return usage["completion_tokens"], details.get("cached_tokens", 0), ended


def together(address: str, model: str, clients: int, tokens: int, name: object) -> Together:
    """Run ``clients`` streams at once, each with a fresh prompt of its own."""

    async def all_of_them() -> Together:
        bodies = [openai_body(model, texts.fresh(PROMPT_TOKENS, (name, number)), tokens) for number in range(clients)]
        began = time.perf_counter()
        ends = await asyncio.gather(*(completion(address, body) for body in bodies))
        return Together(
            [tokens for tokens, _, _ in ends],
            [ended - began for _, _, ended in ends],
            max(cached for _, cached, _ in ends),
        )

    return asyncio.run(asyncio.wait_for(all_of_them(), 300))


@contextmanager
def both_sides(run: Run, slots: int) -> Generator[tuple[str, str, str, int]]:
    """Yield the wheel's address, studiolo's, its model's name and its process; both with ``slots`` slots."""
    config = {"max_parallel_predictions": slots, "context_length": SLOT_CONTEXT}
    with (
        run.direct(slots, SLOT_CONTEXT) as wheel,
        serving() as server,
        studiolo.Client(server.address) as client,
    ):
        llm = client.llm.load_new_instance(run.model, "bench", config=config)
        yield wheel.address, server.address, llm.identifier, server.process.pid


def throughput(run: Run) -> dict[int, dict[str, list[Together]]]:
    """Measure each number of clients on both sides."""
    found: dict[int, dict[str, list[Together]]] = {}
    slots = max(run.size.clients)
    with both_sides(run, slots) as (wheel, address, model, pid):
        (engine,) = engine_processes(pid)

        def reference(number: int, clients: int) -> Together:
            return together(wheel, "x", clients, run.size.tokens // 2, ("clients", clients, number))

        def own(number: int, clients: int) -> Together:
            host, worker = processor_seconds(pid), processor_seconds(engine.pid)
            taken = together(address, model, clients, run.size.tokens // 2, ("clients", clients, number))
            return Together(
                taken.tokens,
                taken.seconds,
                taken.cached,
                processor_seconds(pid) - host,
                processor_seconds(engine.pid) - worker,
            )

        for side in (reference, own):
            side(-1, 2)  # warms pages
        for clients in run.size.clients:
            found[clients] = run.alternate(
                {
                    "reference": lambda number, n=clients: reference(number, n),
                    "own": lambda number, n=clients: own(number, n),
                },
                8 + 0.8 * clients,
                most=6,
            )
    return found


@row(
    "clients",
    "total throughput with several clients / that server at the same slots",
    least=1.0,
    how="""All tokens divided by the time until the last, of as many streams of `/v1/completions` at once, fresh prompts
    of 20 tokens. Both sides have as many slots as the most clients, and are read by the same program.""",
)
def clients(run: Run) -> list[Part]:
    return [
        Part.of_rounds(
            f"{count} clients",
            [each.rate for each in found["own"]],
            [each.rate for each in found["reference"]],
            "tokens/s",
            checks={
                "tokens": sum(sum(each.tokens) for each in found["own"]),
                "reference_tokens": sum(sum(each.tokens) for each in found["reference"]),
                "cached": max(each.cached for each in found["own"]),
                "reference_cached": max(each.cached for each in found["reference"]),
            },
        )
        for count, found in run.shared(throughput).items()
    ]


@row(
    "worst_client",
    "worst client / median client, with the most clients",
    least=0.8,
    how="Tokens a second of each client, from the start of all to its own end, in the row above.",
)
def worst_client(run: Run) -> list[Part]:
    count, found = max(run.shared(throughput).items())
    own, reference = ([each.fairness for each in found[side]] for side in ("own", "reference"))
    return [Part(f"{count} clients", Spread.of(own), Spread.of(own), Spread.of(reference), "ratio")]


@row(
    "host_cpu",
    "CPU time of the host / CPU time of the engine, while it streams to several clients",
    most=0.05,
    how="Processor time of the server's process and of its engine's, with 16 clients or more of the row of clients.",
)
def host_cpu(run: Run) -> list[Part]:
    measured = run.shared(throughput)
    count = next((each for each in sorted(measured) if each >= 16), max(measured))
    own = measured[count]["own"]
    # The system's clock counts hundredths of a second: one round is too short.
    host, engine = sum(each.host_cpu for each in own), sum(each.engine_cpu for each in own)
    tokens = sum(sum(each.tokens) for each in own)
    return [
        Part(
            f"{count} clients",
            Spread.of([host / max(engine, 0.01)]),
            Spread.of([1e6 * host / tokens]),
            Spread.of([1e6 * engine / tokens]),
            "µs/token",
        )
    ]
