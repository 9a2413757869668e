"""How long the engine's threads spin when they wait for each other: ``python -m bench.threads``.

Two engines with each spin count are loaded. Each round measures the tokens a second of all spin counts in turn, in the
opposite order each other round, in three situations: one engine alone; two at once; one beside a busy process for each
core. Every figure is a ratio to the first spin count in the same round and situation.

The figures for one engine alone are worth something on an idle machine only. ``cores`` says how many cores other
programs took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from studiolo.config import PredictionConfig, load_config
from studiolo.engines.base import CompletionRequest, Engine
from studiolo.engines.llama_cpp.worker import SPIN_COUNT
from studiolo.host.host import Host
from studiolo.host.prediction_settings import settings_in_force

from .engine_time import processor_seconds, run
from .layers import ensure_model
from .measure import Spread

SPIN_COUNTS = (SPIN_COUNT, "1000", "10000", "100000", "300000")
"""What is in force, and up to libgomp's own: some three milliseconds."""

SITUATIONS = ("alone", "two at once", "beside busy processes")
PROMPT = "Once upon a time"


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.threads", description="Spin counts of the engine's threads.")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--rounds", type=int, default=12, help="rounds (default: 12)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer (default: 64)")
    parser.add_argument("--spin-count", action="append", help="measure these alone; the first is the base")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    counts = options.spin_count or SPIN_COUNTS
    rows = asyncio.run(_measure(ensure_model(options.model), counts, options.rounds, options.tokens))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print("| situation | spin count | tokens a second | to the first | cores |")
    print("|---|---|---|---|---|")
    for row in rows:
        rate, ratio = row["rate"], row["ratio"]
        print(
            f"| {row['situation']} | {row['spin_count']} | {rate['median']:.1f}"
            f" | {ratio['median']:.2f} ({ratio['q1']:.2f}..{ratio['q3']:.2f}) | {row['cores']:.2f} |"
        )
    return 0


async def _measure(model: str, names: Sequence[str], rounds: int, tokens: int) -> list[dict[str, Any]]:
    host = Host()
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    try:
        resolved = await host.find_model(model)
        engines: dict[str, list[Engine]] = {}
        for name in names:
            os.environ["GOMP_SPINCOUNT"] = name  # its workers inherit it
            load = load_config({"context_length": 512, "max_parallel_predictions": 1, "prompt_cache_mib": 0})
            instances = [await host.load(resolved, load, identifier=f"{name} {number}") for number in range(2)]
            engines[name] = [await instance.running_engine() for instance in instances]
        asked = PredictionConfig(temperature=0, max_tokens=tokens)
        settings = settings_in_force(asked, load_config({}))
        for turn in range(rounds):
            for situation in SITUATIONS:
                for name in names if turn % 2 == 0 else reversed(names):
                    found[situation, name].append(await _one(situation, engines[name], settings))
            print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        await host.stop()
    return [_row(situation, name, found, names[0]) for situation in SITUATIONS for name in names]


async def _one(situation: str, engines: Sequence[Engine], settings: PredictionConfig) -> tuple[float, float]:
    """Return the tokens a second of each engine, on average, and the cores that other programs took."""
    used = engines if situation == "two at once" else engines[:1]
    warm, asked = (
        CompletionRequest(prompt=PROMPT, config=config)
        for config in (msgspec.structs.replace(settings, max_tokens=1), settings)
    )
    await asyncio.gather(*(run(engine, warm) for engine in used))
    with _busy_processes(os.cpu_count() or 1 if situation == "beside busy processes" else 0) as pids:
        pids += [os.getpid(), *(engine.process.pid for engine in used)]
        before, own, began = _all_seconds(), processor_seconds(*pids), time.perf_counter()
        runs = await asyncio.gather(*(run(engine, asked) for engine in used))
        passed = time.perf_counter() - began
        others = (_all_seconds() - before) - (processor_seconds(*pids) - own)
    return sum(each.decode_rate for each in runs) / len(runs), max(0.0, others / passed)


@contextlib.contextmanager
def _busy_processes(count: int) -> Iterator[list[int]]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _all_seconds() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _row(
    situation: str, name: str, found: dict[tuple[str, str], list[tuple[float, float]]], base: str
) -> dict[str, Any]:
    own, other = found[situation, name], found[situation, base]
    return {
        "situation": situation,
        "spin_count": name,
        "rate": Spread.of([rate for rate, _ in own]).json(),
        "ratio": Spread.of([rate / to for (rate, _), (to, _) in zip(own, other, strict=True)]).json(),
        "cores": Spread.of([cores for _, cores in own]).median,
    }


if __name__ == "__main__":
    sys.exit(main())
