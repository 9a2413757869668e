"""The cost of structured output: decoding with a schema, preparing one, and stalls of other streams.

Run as ``python -m bench.schema_speed FILE``. Everything is compared within one run on one loaded model:

- decoding: tokens a second after the first, with a schema and without, in turn, one pair a round.
- preparing: each schema of FILE, the first time and again, in the schema process.
- stalls: the longest gap between two fragments of an unconstrained answer, while another client of the same model sends
  schemas that are slow to compile.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import studiolo
from studiolo.engines.schemas.process import Schemas

from .layers import ensure_model
from .measure import Piece, Spread, Stream, take
from .noise import Say
from .schemas import read, say, spread

PAIRS = 7
PROMPT = "Once upon a time"
SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "kind": {"enum": ["person", "place", "thing"]},
            "year": {"type": "integer", "minimum": 1000, "maximum": 2100},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
        },
        "required": ["name", "kind", "year", "tags"],
        "additionalProperties": False,
    },
}
"""Its answers have many tokens, of all kinds."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.schema_speed", description="The cost of structured output.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a schema a line, as bench.schemas describes")
    parser.add_argument("--max-tokens", type=int, default=150, help="tokens of an answer (default: 150)")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    found = measure(ensure_model(options.model), options.file, options.max_tokens, say)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(model: str, file: Path, max_tokens: int, say: Say) -> dict[str, Any]:
    """Run all measurements."""
    with studiolo.Client("embedded") as client:
        llm = client.llm.model(model)
        decoding = _decoding(llm, max_tokens, say)
        stalls = _stalls(llm, say)
        llm.unload()
    say("preparing")
    return {"decoding": decoding, "stalls_sec": stalls, "preparing_sec": asyncio.run(_preparing(read(file)))}


def table(found: dict[str, Any]) -> str:
    """Return the printed report."""
    decoding, preparing = found["decoding"], found["preparing_sec"]
    share = decoding["share_of_free"]
    lines = [
        f"decoding under a schema, tok/s: {decoding['held']['median']:.1f}; free: {decoding['free']['median']:.1f}",
        f"share of free in {share['count']} pairs: median {share['median']:.3f} ({share['q1']:.3f}..{share['q3']:.3f})",
        f"preparing the first schema of a process: {preparing['cold'] * 1000:.0f} ms",
        f"preparing a schema, ms: {spread([1000 * each for each in preparing['first']])}",
        f"again, ms: {spread([1000 * each for each in preparing['again']])}",
    ]
    lines += [f"longest wait of another's stream, {name}: {gap:.2f} s" for name, gap in found["stalls_sec"].items()]
    return "\n".join(lines)


def _decoding(llm: Any, max_tokens: int, say: Say) -> dict[str, Any]:
    order = random.Random(0)
    ways = {"held": _stream(llm, SCHEMA), "free": _stream(llm, None)}

    def pair() -> dict[str, float]:
        turns = list(ways)
        order.shuffle(turns)
        return {name: take(ways[name], max_tokens).decode_rate for name in turns}

    pair()  # warms the caches
    results: list[dict[str, float]] = []
    for number in range(PAIRS):
        results.append(pair())
        say(f"pair {number + 1} of {PAIRS}: {results[-1]['held'] / results[-1]['free']:.3f} of free")
    return {
        **{name: Spread.of([result[name] for result in results]).json() for name in ways},
        "share_of_free": Spread.of([result["held"] / result["free"] for result in results]).json(),
    }


def _stream(llm: Any, schema: Any) -> Stream:
    def stream(max_tokens: int) -> Generator[Piece, None, int]:
        config = {"temperature": 0, "max_tokens": max_tokens}
        prediction = llm.complete_stream(PROMPT, config=config, response_format=schema)
        for fragment in prediction:
            yield fragment.content, fragment.tokens_count
        return prediction.result().stats.predicted_tokens_count

    return stream


async def _preparing(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    schemas = Schemas()
    times: dict[str, list[float]] = {"cold": [], "first": [], "again": []}

    async def prepare(schema: Any, kind: str) -> None:
        began = time.perf_counter()
        try:
            await schemas.prepare(schema)
        except studiolo.StudioloError:
            return
        times[kind].append(time.perf_counter() - began)

    await prepare(SCHEMA, "cold")
    for entry in entries:
        await prepare(entry["schema"], "first")
        await prepare(entry["schema"], "again")
    await schemas.close()
    return {**times, "cold": times["cold"][0]}


def _wide(count: int) -> dict[str, Any]:
    """Return a schema of ``count`` optional properties: the time to compile it grows with the square."""
    prefix = f"p{random.randrange(10**6)}_"  # in no cache
    return {"type": "object", "properties": {f"{prefix}{number}": {"type": "string"} for number in range(count)}}


def _stalls(llm: Any, say: Say) -> dict[str, float]:
    def held(schema: Callable[[], Any], tokens: int = 2) -> Callable[[], object]:
        config = {"temperature": 0, "max_tokens": tokens}
        return lambda: llm.complete(PROMPT, config=config, response_format=schema())

    patterns = {"type": "string", "pattern": "^(.*a.{200}b|[a-m ]*n(.|o){300}|(x|.){0,500}y)*$"}
    disturbers: dict[str, Callable[[], object]] = {
        "nothing sent": lambda: time.sleep(3),
        "free answers sent": lambda: llm.complete(PROMPT, config={"temperature": 0, "max_tokens": 2}),
        "schemas of 30 properties": held(lambda: _wide(30)),
        "schemas of 1000 properties, built in half the limit": held(lambda: _wide(1000)),
        "schemas of 3000 properties, refused": held(lambda: _wide(3000)),
        "patterns with many states": held(lambda: patterns, 60),
    }
    return {name: _longest_gap(llm, disturb, name, say) for name, disturb in disturbers.items()}


def _longest_gap(llm: Any, disturb: Callable[[], object], name: str, say: Say) -> float:
    """Return the longest time between two fragments of a stream while ``disturb`` runs three times."""
    times: list[float] = []
    over = threading.Event()

    def read_on() -> None:
        while not over.is_set():
            stream = llm.complete_stream("A list of words: ", config={"temperature": 1, "seed": 1, "max_tokens": 1500})
            for _ in stream:
                times.append(time.perf_counter())
                if over.is_set():
                    stream.cancel()
            times.append(0.0)  # the time between two answers is no gap

    thread = threading.Thread(target=read_on)
    thread.start()
    while len(times) < 10:
        time.sleep(0.05)
    began = time.perf_counter()
    for _ in range(3):
        try:
            disturb()
        except studiolo.StudioloError as error:
            say(f"{name}: {type(error).__name__} {error}")
    over.set()
    thread.join()
    inside = [(a, b) for a, b in itertools.pairwise(times) if a and b >= began]
    gap = max(b - a for a, b in inside)
    say(f"{name}: longest gap {gap:.2f} s of {len(inside)}")
    return gap


if __name__ == "__main__":
    main()
