"""The engine's threads: how long they spin when they wait for each other, how many there are, and ``--poll``.

Run as ``python -m bench.threads``: four minutes at most. The wheel's server is started with each variant by its own
launcher. Each round runs all variants in turn, the next round in the opposite order, on an idle machine and beside a
program that keeps one core busy: a fresh prompt and an answer. Figures are ratios to the first variant in the same
round. The frontier is the variants that no other beats in both situations by their answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studiolo.engines.thread_waits import LONG_SPINS

from . import texts
from .measure import Ask, Spread, Stream, ratios, take
from .noise import Others, measure_noise
from .processes import busy, wheel_server
from .run import ensure_model
from .streams import llama_server

SPIN_COUNT = "300"
"""What is combined with other settings."""

MINUTES = 3.6
TOKENS = 32
PROMPT_TOKENS = 96
SITUATIONS = ("idle", "beside a load")
LEAST_FRONTIER_GAIN = 0.02
"""By how much a variant must be beaten in one situation, and not lose in the other, to be off the frontier."""


@dataclass(frozen=True)
class Variant:
    """Settings of the engine's threads.

    Parameters:
        spin: ``GOMP_SPINCOUNT``; ``None`` for libgomp's own.
        params: settings of the wheel's server.
    """

    name: str
    spin: str | None = SPIN_COUNT
    params: dict[str, Any] = field(default_factory=dict[str, Any])


def variants() -> list[Variant]:
    """Return what is compared, the wheel's defaults first."""
    cores = os.cpu_count() or 1
    counts = ("0", SPIN_COUNT, "1000", "3000", "10000", str(LONG_SPINS), "100000")
    spins = [Variant(f"spin {count}", count) for count in counts]
    threads = [
        Variant(f"{count} threads, spin {SPIN_COUNT}", SPIN_COUNT, _threads(count))
        for count in sorted({max(cores - 1, 1), cores + 1})
    ]
    one_less = Variant(f"{max(cores - 1, 1)} threads, libgomp's spin", None, _threads(max(cores - 1, 1)))
    both = ("cpuparams__poll", "cpuparams_batch__poll")
    polls = [Variant(f"poll {level}, spin {SPIN_COUNT}", SPIN_COUNT, dict.fromkeys(both, level)) for level in (0, 100)]
    return [Variant("the wheel's defaults", None), *spins, *threads, one_less, *polls]


def _threads(count: int) -> dict[str, Any]:
    return {"cpuparams__n_threads": count, "cpuparams_batch__n_threads": count}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.threads", description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"time of all rounds (default: {MINUTES:g})")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="variants with this in their name, and the first"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args(arguments)
    _, file = ensure_model(options.model)
    first, *rest = variants()
    chosen = [first, *(each for each in rest if not options.only or any(text in each.name for text in options.only))]
    end = time.perf_counter() + 60 * options.minutes
    noise = measure_noise(min(6, 6 * options.minutes))
    print(f"noise: {noise}", file=sys.stderr, flush=True)
    rows = measure(file, chosen, end)
    if options.json:
        options.json.write_text(json.dumps({"noise": noise.json(), "rows": rows}, indent=1) + "\n")
    print(table(rows))
    return 0 if noise.quiet else 3


def measure(file: Path, chosen: Sequence[Variant], end: float) -> list[dict[str, Any]]:
    """Run rounds until ``end``, one at least; return a row for each variant and situation."""
    answers: dict[tuple[str, str], list[float]] = {}
    prompts: dict[tuple[str, str], list[float]] = {}
    others: list[float] = []
    with contextlib.ExitStack() as stack:
        ways = {each.name: llama_server(stack.enter_context(_started(file, each)).connect) for each in chosen}
        for way in ways.values():
            _one(way, "warm")
        number, took = 0, 0.0
        while number == 0 or time.perf_counter() + took < end:
            began, watch = time.perf_counter(), Others()
            found = _round(ways, number, end if number else None)
            if found is None:
                break
            for each, (prompt, answer) in found.items():
                prompts.setdefault(each, []).append(prompt)
                answers.setdefault(each, []).append(answer)
            number, took = number + 1, time.perf_counter() - began
            others.append(watch.cores())
            print(f"round {number}: {took:.0f} s; others took {others[-1]:.2f} cores", file=sys.stderr, flush=True)
    return [
        {
            "situation": situation,
            "variant": each.name,
            "answer": Spread.of(answers[situation, each.name]).json(),
            "answer_ratio": ratios(answers[situation, each.name], answers[situation, chosen[0].name]).json(),
            "prompt": Spread.of(prompts[situation, each.name]).json(),
            "prompt_ratio": ratios(prompts[situation, each.name], prompts[situation, chosen[0].name]).json(),
            "others": Spread.of(others).median,
        }
        for situation in SITUATIONS
        for each in chosen
    ]


def _round(
    ways: dict[str, Stream], number: int, end: float | None
) -> dict[tuple[str, str], tuple[float, float]] | None:
    """Measure all variants in both situations; ``None`` if that takes longer than until ``end``."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for situation in SITUATIONS:
        with busy(1 if situation == SITUATIONS[1] else 0):
            for name in ways if number % 2 == 0 else reversed(ways):
                if end is not None and time.perf_counter() > end:
                    return None
                found[situation, name] = _one(ways[name], (number, situation))
    return found


def _started(file: Path, variant: Variant):
    environment = {"GOMP_SPINCOUNT": variant.spin} if variant.spin is not None else {}
    return wheel_server(file, environment=environment, n_ctx=512, **variant.params)


def _one(way: Stream, name: object) -> tuple[float, float]:
    """Return the tokens a second of a fresh prompt, and of an answer after its first."""
    sample = take(way, Ask(texts.fresh(PROMPT_TOKENS, name), TOKENS))
    return (sample.ended.prompt or PROMPT_TOKENS) / sample.first, sample.decode_rate


def frontier(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Return the variants that no other beats in one situation without losing in the other, by their answers."""
    found = {(row["situation"], row["variant"]): row["answer_ratio"]["median"] for row in rows}
    names = {name for _, name in found}
    idle, loaded = SITUATIONS

    def beats(other: str, name: str) -> bool:
        gains = [found[situation, other] / found[situation, name] - 1 for situation in (idle, loaded)]
        return min(gains) >= 0 and max(gains) > LEAST_FRONTIER_GAIN

    return {name for name in names if not any(beats(other, name) for other in names - {name})}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown: a line for each variant."""
    by = {(row["situation"], row["variant"]): row for row in rows}
    best = frontier(rows)
    lines = [
        "| threads | answer, idle: tokens/s | to the first | beside a load: tokens/s | to the first"
        " | prompt, idle, to the first | beside a load, to the first | frontier |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["variant"] for row in rows):
        idle, loaded = (by[situation, name] for situation in SITUATIONS)
        cells = [
            *(f"{row['answer']['median']:.1f} | {_shown(row['answer_ratio'])}" for row in (idle, loaded)),
            *(_shown(row["prompt_ratio"]) for row in (idle, loaded)),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {'yes' if name in best else ''} |")
    return "\n".join(lines)


def _shown(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.2f} ({spread['q1']:.2f}..{spread['q3']:.2f})"


if __name__ == "__main__":
    sys.exit(main())
