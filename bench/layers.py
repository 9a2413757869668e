"""The cost of the layers between the engine and the caller: the same prediction over several paths in turn."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import lmstudio
import psutil

import studiolo
from studiolo.library.catalog import Catalog

from .measure import Spread, Stream, take, take_together
from .noise import Say, others_of, rounds
from .processes import serving, worker_socket
from .ways import direct, through_lmstudio, through_studiolo

CLIENTS = 4
FIRST_TOKEN_RUNS = 10
"""Short predictions a round and path, for the time to first token; the value of a round is their median."""

T = TypeVar("T")


@dataclass
class Way:
    """One path to a worker, and its measurements; the lists have a value a round.

    Parameters:
        baseline: the direct path to the same worker; ``None`` for the direct path.
        server_pid: the process of the server on the path, if any.
    """

    name: str
    stream: Stream
    baseline: Way | None = None
    server_pid: int | None = None
    decode: list[Decode] = field(default_factory=list["Decode"])
    first: list[float] = field(default_factory=list[float])
    together: list[float] = field(default_factory=list[float])

    @property
    def rates(self) -> list[float]:
        """Return the tokens a second after the first, by round."""
        return [decode.rate for decode in self.decode]

    def ratios(self) -> Spread:
        """Return its decode speed as a fraction of the direct path's in the same round."""
        assert self.baseline is not None
        return Spread.of([a / b for a, b in zip(self.rates, self.baseline.rates, strict=True)])

    def delays(self) -> Spread:
        """Return the seconds from the direct path's first token to its own in the same round."""
        assert self.baseline is not None
        return Spread.of([a - b for a, b in zip(self.first, self.baseline.first, strict=True)])

    def together_ratios(self) -> Spread:
        """Return its speed with several clients as a fraction of the direct path's in the same round."""
        assert self.baseline is not None
        return Spread.of([a / b for a, b in zip(self.together, self.baseline.together, strict=True)])


@dataclass(frozen=True)
class Decode:
    """One prediction of full length: its speed, its text, and the CPU seconds a token outside the worker."""

    rate: float
    tokens: int
    text: str
    client_cpu: float
    server_cpu: float


def ensure_model(name: str | None) -> str:
    """Return the key of the model, by default the catalog's; download it if the library lacks it."""
    default = Catalog.load().default()
    key = name or (default.name if default else "")
    with studiolo.Client("embedded") as client:
        if all(key not in (model.model_key, model.path) for model in client.list_downloaded_models("llm")):
            key = client.repository.download(key)
    return key


@contextlib.contextmanager
def ways(model: str) -> Generator[list[Way]]:
    """Yield all paths to ``model``, over two workers: an embedded host's and a server's."""
    with contextlib.ExitStack() as stack:
        embedded = stack.enter_context(studiolo.Client("embedded")).llm.model(model)
        stack.callback(embedded.unload)
        server = stack.enter_context(serving())
        ours = stack.enter_context(studiolo.Client(server.address)).llm.model(model)
        official = stack.enter_context(lmstudio.Client(server.address)).llm.model(ours.identifier)
        pid = server.process.pid
        straight = Way("direct, the server's worker", direct(worker_socket(pid)))
        straight_embedded = Way("direct, the embedded host's worker", direct(worker_socket(os.getpid())))
        yield [
            straight,
            Way("studiolo's SDK, server", through_studiolo(ours), straight, pid),
            Way("the official SDK, server", through_lmstudio(official), straight, pid),
            straight_embedded,
            Way("studiolo's SDK, embedded", through_studiolo(embedded), straight_embedded),
        ]


def compare(all_ways: Sequence[Way], count: int, max_tokens: int, say: Say) -> dict[str, Spread]:
    """Measure every path ``count`` times, in an order that changes from round to round.

    Return the cores that other programs used in the rounds of each of the three measurements.
    """
    order = random.Random(0)

    def in_turn(measure: Callable[[Way], T]) -> dict[str, T]:
        turns = list(all_ways)
        order.shuffle(turns)
        return {way.name: measure(way) for way in turns}

    def first_tokens() -> dict[str, float]:
        runs = [in_turn(lambda way: take(way.stream, 2).first) for _ in range(FIRST_TOKEN_RUNS)]
        return {way.name: Spread.of([run[way.name] for run in runs]).median for way in all_ways}

    in_turn(lambda way: take(way.stream, max_tokens))  # warms model pages, prompt cache and sockets
    say("decode speed")
    decodes = rounds(count, lambda: in_turn(lambda way: _decode(way, max_tokens)), say)
    say("time to first token")
    firsts = rounds(count, first_tokens, say)
    say(f"{CLIENTS} clients at once")
    together = rounds(count, lambda: in_turn(lambda way: take_together(way.stream, max_tokens // 2, CLIENTS)), say)
    for way in all_ways:
        way.decode = [round.result[way.name] for round in decodes]
        way.first = [round.result[way.name] for round in firsts]
        way.together = [round.result[way.name] for round in together]
    return {
        "decode": others_of(decodes),
        "first token": others_of(firsts),
        f"{CLIENTS} clients": others_of(together),
    }


def _decode(way: Way, max_tokens: int) -> Decode:
    server_before, client_before = _cpu(way.server_pid), time.process_time()
    sample = take(way.stream, max_tokens)
    return Decode(
        rate=sample.decode_rate,
        tokens=sample.tokens,
        text=sample.text,
        client_cpu=(time.process_time() - client_before) / sample.tokens,
        server_cpu=(_cpu(way.server_pid) - server_before) / sample.tokens,
    )


def _cpu(pid: int | None) -> float:
    """Return the CPU seconds of a process, without its workers."""
    if pid is None:
        return 0.0
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
