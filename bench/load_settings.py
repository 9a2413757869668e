"""The defaults of load settings against other values: ``python -m bench.load_settings``.

The default model is loaded with each value of a setting, side by side. Each round runs all of them in turn, the next
round in the opposite order: a prompt of some 512 tokens that is in no cache, with one token of an answer, and an answer
of 96 tokens. Figures are ratios to the default in the same round, by the engine's clock and by its processor time,
which other programs disturb less; above 1 is faster. With another number of threads, only the clock says something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from studiolo.config import PredictionConfig, load_config
from studiolo.engines.base import CompletionRequest, Engine
from studiolo.host.host import Host
from studiolo.host.prediction_settings import settings_in_force

from .engine_time import run
from .layers import ensure_model
from .measure import Spread

BASE = "default"
VALUES: dict[str, dict[str, Any]] = {
    "once more": {},
    "flash attention off": {"flash_attention": False},
    "physical batch 128": {"physical_batch_size": 128},
    "physical batch 256": {"physical_batch_size": 256},
    "KV cache q8_0": {"llama_k_cache_quantization_type": "q8_0", "llama_v_cache_quantization_type": "q8_0"},
    "KV cache f32": {"use_fp16_for_kv_cache": False},
    "unified KV cache": {"use_unified_kv_cache": True},
    "one thread": {"cpu_thread_pool_size": 1},
    "three threads": {"cpu_thread_pool_size": 3},
}
"""What is compared with the defaults; ``once more`` are the defaults again: what they differ by is noise."""

FIGURES = ("prompt", "prompt, processor", "answer", "answer, processor")


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.load_settings", description="Defaults of load settings.")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds (default: 8)")
    parser.add_argument("--value", action="append", choices=list(VALUES), help="measure these alone")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    rows = asyncio.run(_measure(ensure_model(options.model), options.value or list(VALUES), options.rounds))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"| to the default | {' | '.join(FIGURES)} |")
    print("|---" * (len(FIGURES) + 1) + "|")
    for row in rows:
        cells = [f"{row[name]['median']:.2f} ({row[name]['q1']:.2f}..{row[name]['q3']:.2f})" for name in FIGURES]
        print(f"| {row['value']} | {' | '.join(cells)} |")
    return 0


async def _measure(model: str, values: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    host = Host()
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    names = [BASE, *values]
    try:
        resolved = await host.find_model(model)
        engines: dict[str, Engine] = {}
        for name in names:
            config = load_config({"context_length": 1024, "prompt_cache_mib": 0, **VALUES.get(name, {})})
            engines[name] = await (await host.load(resolved, config, identifier=name)).running_engine()
        settings = settings_in_force(PredictionConfig(temperature=0, max_tokens=96), load_config({}))
        for turn in range(rounds):
            chance = random.Random(turn)
            prompt = " ".join(chance.choice(("house", "river", "seven", "green", "slowly", "it")) for _ in range(500))
            for name in names if turn % 2 == 0 else reversed(names):
                found[name].append(await _one(engines[name], f"{turn} {prompt}", settings))
            print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        await host.stop()
    return [_row(name, found[name], found[BASE]) for name in values]


async def _one(engine: Engine, prompt: str, settings: PredictionConfig) -> dict[str, float]:
    """Return the seconds of each figure."""
    read = await run(engine, CompletionRequest(prompt=prompt, config=msgspec.structs.replace(settings, max_tokens=1)))
    said = await run(engine, CompletionRequest(prompt=prompt, config=settings))
    tokens = said.end.predicted_tokens
    return {
        "prompt": read.end.prompt_sec or 0,
        "prompt, processor": read.processor_sec,
        "answer": 1 / said.decode_rate,
        "answer, processor": said.processor_sec / tokens,
    }


def _row(name: str, own: Sequence[dict[str, float]], base: Sequence[dict[str, float]]) -> dict[str, Any]:
    ratios = {
        figure: Spread.of([other[figure] / one[figure] for one, other in zip(own, base, strict=True)]).json()
        for figure in FIGURES
    }
    return {"value": name, **ratios}


if __name__ == "__main__":
    sys.exit(main())
