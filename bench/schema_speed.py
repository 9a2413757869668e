"""The cost of structured output: preparing a schema, and stalls of other streams. ``python -m bench`` has decoding.

Run as ``python -m bench.schema_speed FILE``. Everything is compared within one run on one loaded model:

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import studiolo
from studiolo.engines.schemas.process import Schemas

from .noise import Say
from .run import ensure_model
from .schemas import read, say, spread
from .texts import SCHEMA

PROMPT = "Once upon a time"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.schema_speed", description="The cost of structured output.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a schema a line, as bench.schemas describes")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    found = measure(ensure_model(options.model)[0], options.file, say)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(model: str, file: Path, say: Say) -> dict[str, Any]:
    """Run all measurements."""
    with studiolo.Client("embedded") as client:
        llm = client.llm.model(model)
        stalls = _stalls(llm, say)
        llm.unload()
    say("preparing")
    return {"stalls_sec": stalls, "preparing_sec": asyncio.run(_preparing(read(file)))}


def table(found: dict[str, Any]) -> str:
    """Return the printed report."""
    preparing = found["preparing_sec"]
    lines = [
        f"preparing the first schema of a process: {preparing['cold'] * 1000:.0f} ms",
        f"preparing a schema, ms: {spread([1000 * each for each in preparing['first']])}",
        f"again, ms: {spread([1000 * each for each in preparing['again']])}",
    ]
    lines += [f"longest wait of another's stream, {name}: {gap:.2f} s" for name, gap in found["stalls_sec"].items()]
    return "\n".join(lines)


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
