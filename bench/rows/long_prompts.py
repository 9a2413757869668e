"""A long prompt beside a stream, and one that is cancelled."""

from __future__ import annotations

import itertools
import json
import statistics
import threading
import time
from dataclasses import dataclass

import studiolo

from .. import texts
from ..measure import Ask, Spread, differences, take
from ..processes import serving
from ..run import Part, Run, row
from ..streams import Connect, events, openai, openai_body, posted, tcp
from .streams import reading

SLOTS = 2
CONTEXT = 8192
WARM_FRAMES = 30
STREAM_TOKENS = 100_000
CANCEL_AFTER_SEC = 0.7
SHORT = 20

PROBE = 500
"""Tokens of the prompt by which the machine's speed is estimated."""

TWICE_AS_SLOW = 4_000
"""The length of a prompt whose tokens take about twice as long as those of a short one."""

MAX_READINGS_SEC = 150.0
"""What the three readings of the long prompt may take: on a slow machine, it is shorter."""


@dataclass(frozen=True)
class Beside:
    """A long prompt, read alone and beside a stream. Times are seconds.

    Parameters:
        alone: ``None`` where it was not read alone.
        usual, longest: the mean gap between two frames of the stream alone, and the longest beside the prompt.
        tokens: the tokens of the prompt.
    """

    alone: float | None
    beside: float
    usual: float
    longest: float
    tokens: int
    cached: int


class Frames:
    """A stream that a thread reads, over as many answers as needed, and when each of its frames came."""

    def __init__(self, connect: Connect, model: str, name: object) -> None:
        self.times: list[list[float]] = []
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._source = (connect, model, name)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Frames:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def wait(self, count: int, limit: float = 120) -> None:
        """Wait until ``count`` frames have come."""
        end = time.perf_counter() + limit
        while sum(map(len, self.times)) < count:
            if self._failure or time.perf_counter() > end:
                raise RuntimeError(f"the stream stands still: {self._failure}")
            time.sleep(0.02)

    def gaps(self, since: float, until: float) -> list[float]:
        """Return the times between two frames of one answer; those that end or begin in the interval count."""
        pairs = itertools.chain.from_iterable(itertools.pairwise(answer) for answer in list(self.times))
        return [b - a for a, b in pairs if b >= since and a <= until]

    def _read(self) -> None:
        connect, model, name = self._source
        try:
            for number in itertools.count():
                if self._over.is_set():
                    return
                self.times.append([])
                prompt = texts.story((name, number))
                with posted(connect, "/v1/completions", openai_body(model, prompt, STREAM_TOKENS)) as response:
                    for event in events(response):
                        if event.get("choices") and event["choices"][0].get("text"):
                            self.times[-1].append(time.perf_counter())
                        if self._over.is_set():
                            return
        except Exception as error:
            self._failure = error


def beside(connect: Connect, model: str, length: int, name: object, *, first_alone: bool) -> Beside:
    """Read a long prompt beside a stream, and alone before that where it is asked for."""
    stream = openai(connect, model)
    alone = reading(stream, length, (name, "alone")).first if first_alone else None
    with Frames(connect, model, name) as frames:
        frames.wait(WARM_FRAMES)
        began = time.perf_counter()
        usual = statistics.mean(frames.gaps(0, began))
        sample = reading(stream, length, (name, "beside"))
        frames.wait(sum(map(len, frames.times)) + 2)  # the gap that the prompt has caused is over
        longest = max(frames.gaps(began, began + sample.first))
    assert sample.ended.prompt is not None
    return Beside(alone, sample.first, usual, longest, sample.ended.prompt, sample.ended.cached or 0)


def affordable(length: int, rate: float) -> int:
    """Return ``length``, or what is left of it when it has been halved until three readings do not take too long.

    Parameters:
        rate: tokens of a short prompt that the machine reads in a second.
    """
    while length > PROBE and 3 * length / rate * (1 + length / TWICE_AS_SLOW) > MAX_READINGS_SEC:
        length //= 2
    return length


def both(run: Run) -> dict[str, Beside]:
    """Measure studiolo's server and the wheel's, the same context and slots for both.

    The prompt has 8,000 tokens where the machine reads those in time. The wheel's reads it beside its stream alone: a
    minute less on a slow machine.
    """
    config = {"context_length": CONTEXT, "max_parallel_predictions": SLOTS}
    with serving() as server, studiolo.Client(server.address) as client:
        llm = client.llm.load_new_instance(run.model, "bench", config=config)
        connect, name = tcp(server.address), llm.identifier
        probe = min(PROBE, run.size.long)
        length = affordable(run.size.long, probe / reading(openai(connect, name), probe, "probe").first)
        own = beside(connect, name, length, "own", first_alone=True)
    with run.direct(SLOTS, CONTEXT) as wheel:
        reference = beside(wheel.connect, "x", length, "reference", first_alone=False)
    return {"own": own, "reference": reference}


@row(
    "stream_gap",
    "a stream's longest gap between frames while another client's long prompt is read / its usual gap",
    most=5,
    how="""A stream of `/v1/completions`; 30 frames later, another client sends a fresh prompt of 8,000 tokens (fewer in
    the quick run, and on a machine that takes minutes for them). The usual gap is the mean before: some frames come
    together.""",
)
def stream_gap(run: Run) -> list[Part]:
    found = run.shared(both)
    own, reference = found["own"], found["reference"]
    return [
        Part(
            f"{own.tokens} tokens",
            Spread.of([own.longest / own.usual]),
            Spread.of([1000 * own.longest]),
            Spread.of([1000 * reference.longest]),
            "ms",
            checks={
                "usual_ms": round(1000 * own.usual, 1),
                "reference_usual_ms": round(1000 * reference.usual, 1),
                "cached": own.cached,
                "reference_cached": reference.cached,
            },
        )
    ]


@row(
    "prompt_beside",
    "that prompt's own time beside the stream / alone",
    most=1.3,
    how="The prompt of the row above, to its first token, before the stream and beside it.",
)
def prompt_beside(run: Run) -> list[Part]:
    found = run.shared(both)
    own, reference = found["own"], found["reference"]
    assert own.alone is not None
    return [
        Part(
            f"{own.tokens} tokens",
            Spread.of([own.beside / own.alone]),
            Spread.of([own.beside]),
            Spread.of([reference.beside]),
            "s",
            checks={"alone_sec": round(own.alone, 2)},
        )
    ]


@row(
    "cancelled",
    "after a cancelled long prompt, the next request's first token above an idle engine's",
    unit="ms",
    most=150,
    how=f"""Through the server's `/v1/completions`: a fresh prompt of 4,000 tokens (fewer in the quick run) whose client
    closes its connection after {CANCEL_AFTER_SEC} s; a short fresh prompt at once. The reference has one slot.""",
)
def cancelled(run: Run) -> list[Part]:
    sides = {
        "own": (run.served_http(), run.served.identifier),
        "reference": (run.wheel.connect, "x"),
    }

    def one(side: str, number: int) -> tuple[float, float]:
        connect, model = sides[side]
        idle = _short(connect, model, (number, "idle"))
        _cancel(connect, model, run.size.cancelled, (side, number))
        return _short(connect, model, (number, "after")), idle

    found = run.alternate({side: lambda number, side=side: one(side, number) for side in sides}, 30, most=5)
    after, idle = zip(*found["own"], strict=True)
    other_after, other_idle = zip(*found["reference"], strict=True)
    above = differences(after, idle)
    return [Part("", above, above, differences(other_after, other_idle), "ms")]


def _short(connect: Connect, model: str, name: object) -> float:
    return 1000 * take(openai(connect, model), Ask(texts.fresh(SHORT, name), 1)).first


def _cancel(connect: Connect, model: str, length: int, name: object) -> None:
    """Send a long prompt, and close the connection while it is read."""
    connection = connect()
    connection.connect()
    body = json.dumps(openai_body(model, texts.fresh(length, (name, "cancelled")), 4))
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    time.sleep(CANCEL_AFTER_SEC)
    connection.close()
