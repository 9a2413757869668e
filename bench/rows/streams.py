"""One stream: decode, the first token, and prompts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import lmstudio

from .. import texts
from ..measure import Ask, Sample, Stream, differences, take
from ..processes import busy
from ..run import Part, Run, row
from ..streams import llama_server, lmstudio_sdk

REFERENCE = "reference"
BUSY_TOKENS = 24
FILL_TOKENS = 24
LONG = 2048
FIRST_TOKEN_RUNS = 4
"""First tokens of a round and side; the value of the round is their median."""


@row(
    "decode",
    "decode, one stream / the wheel's default server",
    least=0.99,
    how="""Tokens a second after the first text, at the caller, of an answer to a fresh short prompt at temperature 0.
    Both sides are given the same prompt in each round.""",
)
def decode(run: Run) -> list[Part]:
    ways = _all_ways(run)
    taken = _stories(run, ways, run.size.tokens, "decode", 36)
    return _decode_parts(taken)


@row(
    "decode_busy",
    "the same beside a load on one core",
    least=2.5,
    how=f"""As the row above, {BUSY_TOKENS} tokens, while a program that only counts keeps one core busy.""",
)
def decode_busy(run: Run) -> list[Part]:
    ways = run.ways()
    with busy():
        taken = _stories(run, ways, min(BUSY_TOKENS, run.size.tokens), "busy", 40)
    return _decode_parts(taken)


def _all_ways(run: Run) -> dict[str, Stream]:
    """Return the ways of the table, and those that are reported beside it."""
    official = run.shared(_official)
    return {
        **run.ways(),
        "the server's worker, reached directly": llama_server(run.worker),
        "the official SDK, through the server": official,
        **run.other_streams,
    }


def _official(run: Run) -> Stream:
    client = run.stack.enter_context(lmstudio.Client(run.server.address))
    return lmstudio_sdk(client.llm.model(run.served.identifier))


JUDGED = ("SDK, embedded", "SDK, through the server")


def _stories(
    run: Run, ways: dict[str, Stream], tokens: int, name: str, seconds: float
) -> dict[str, list[tuple[Sample, float]]]:
    """Take an answer of each way in each round; return them with the processor time of this process."""

    def one(way: str, number: int) -> tuple[Sample, float]:
        # The worker answers the server, too: what both are given must differ. Each of the others has its own engine.
        own = "" if way in (REFERENCE, *JUDGED) else way
        began = time.process_time()
        sample = take(ways[way], Ask(texts.story((name, number, own)), tokens))
        return sample, time.process_time() - began

    for way in ways:
        one(way, -1)  # warms pages, sockets and imports
    return run.alternate({way: lambda number, way=way: one(way, number) for way in ways}, seconds)


def _decode_parts(taken: dict[str, list[tuple[Sample, float]]]) -> list[Part]:
    rates = {way: [sample.decode_rate for sample, _ in samples] for way, samples in taken.items()}
    return [
        Part.of_rounds(
            way,
            rates[way],
            rates[REFERENCE],
            "tokens/s",
            judged=way in JUDGED,
            checks={
                **_work(taken[way], taken[REFERENCE]),
                "caller_cpu_us_per_token": round(
                    statistics.median(1e6 * cpu / sample.tokens for sample, cpu in taken[way]), 1
                ),
            },
        )
        for way in taken
        if way != REFERENCE
    ]


def _work(own: Sequence[tuple[Sample, float]], other: Sequence[tuple[Sample, float]]) -> dict[str, object]:
    """Return what shows that two sides did the same work."""
    return {
        "tokens": sum(sample.tokens for sample, _ in own),
        "reference_tokens": sum(sample.tokens for sample, _ in other),
        "cached": _cached(sample for sample, _ in own),
        "reference_cached": _cached(sample for sample, _ in other),
        "same_texts": sum(a.text == b.text for (a, _), (b, _) in zip(own, other, strict=True)),
    }


def _cached(samples) -> int | None:
    """Return the most tokens of a prompt that were in a cache, where the path says so."""
    return max((sample.ended.cached for sample in samples if sample.ended.cached is not None), default=None)


@row(
    "first_token",
    "time to first token, short fresh prompt, above that server",
    unit="ms",
    most=2,
    how=f"""From the call to the first text, prompt of some 20 tokens that is in no cache; a round is the median of
    {FIRST_TOKEN_RUNS} calls, with one prompt each that both sides are given.""",
)
def first_token(run: Run) -> list[Part]:
    ways = _all_ways(run)
    parts = _first_tokens(run, ways, "first", 25)
    with busy():
        parts += _first_tokens(run, run.ways(), "first, busy", 12, ", beside a load")
    return parts


def _first_tokens(run: Run, ways: dict[str, Stream], name: str, seconds: float, also: str = "") -> list[Part]:
    def one(way: str, number: int) -> tuple[float, int | None]:
        own = "" if way in (REFERENCE, *JUDGED) else way
        samples = [
            take(ways[way], Ask(texts.fresh(20, (name, number, turn, own)), 2)) for turn in range(FIRST_TOKEN_RUNS)
        ]
        return 1000 * statistics.median(sample.first for sample in samples), _cached(samples)

    found = run.alternate({way: lambda number, way=way: one(way, number) for way in ways}, seconds)
    times = {way: [value for value, _ in values] for way, values in found.items()}
    return [
        Part.of_rounds(
            way + also,
            times[way],
            times[REFERENCE],
            "ms",
            compare=differences,
            judged=way in JUDGED and not also,
            checks={"cached": max((cached or 0 for side in (way, REFERENCE) for _, cached in found[side]), default=0)},
        )
        for way in ways
        if way != REFERENCE
    ]


@row(
    "prompt",
    "prompt processing / that server",
    least=0.99,
    how="""Prompt tokens a second, from the call to the first token, of prompts that are in no
    cache; so everything on the way counts.""",
)
def prompt(run: Run) -> list[Part]:
    parts: list[Part] = []
    for length, found in run.shared(prompts).items():
        rates = {way: [sample.ended.prompt / sample.first for sample in samples] for way, samples in found.items()}
        parts += [
            Part.of_rounds(
                f"{length} tokens, {way}",
                rates[way],
                rates[REFERENCE],
                "tokens/s",
                judged=way in JUDGED,
                checks={
                    "prompt_tokens": found[way][0].ended.prompt,
                    "reference_prompt_tokens": found[REFERENCE][0].ended.prompt,
                    "reference_cached": _cached(found[REFERENCE]),
                },
            )
            for way in found
            if way != REFERENCE
        ]
    return parts


def prompts(run: Run) -> dict[int, dict[str, list[Sample]]]:
    """Have prompts of each length read on each way; :mod:`bench.growth` uses the answers, too."""
    return {
        length: run.alternate(
            {
                way: lambda number, stream=stream, n=length: reading(stream, n, ("prompt", number), FILL_TOKENS)
                for way, stream in {**run.ways(), **run.other_streams}.items()
                if length < LONG or way != JUDGED[0]  # one of studiolo's ways is enough: minutes go by
            },
            80 if length >= LONG else 36,
            most=3 if length >= LONG else 8,
        )
        for length in run.size.prompts
    }


def reading(stream: Stream, length: int, name: object, tokens: int = 1) -> Sample:
    """Have a fresh prompt of ``length`` tokens read."""
    return take(stream, Ask(texts.fresh(length, (name, length)), tokens))
