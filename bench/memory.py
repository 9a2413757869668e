"""The estimate of a load against the measured memory of the engine, over several settings.

Run as ``python -m bench.memory [--model KEY ...] [--json PATH]``. Every slot gets a prompt that fills
most of its context. The estimate is compared with the worker's proportional set size, or its resident memory on systems
without that figure. Exit status 1 if one differs by more than 15 %. The table also includes the estimator of xllamacpp.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import psutil
from xllamacpp.memory import estimate_gpu_layers

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.engines.base import CompletionRequest
from studiolo.host.host import Host
from studiolo.host.prediction_settings import settings_in_force
from studiolo.library.model import Model

TOLERANCE = 0.15
MODELS = ("smollm2-135m-instruct", "gemma-3-270m")
FILLED = 0.8
"""The fraction of its context that each slot is filled to."""

CONFIGS: list[tuple[str, LoadConfig]] = [
    ("context of 4096, four slots", LoadConfig(context_length=4096, max_parallel_predictions=4, prompt_cache_mib=0)),
    ("one slot", LoadConfig(context_length=2048, max_parallel_predictions=1, prompt_cache_mib=0)),
    (
        "KV cache q8_0",
        LoadConfig(
            context_length=4096,
            max_parallel_predictions=2,
            llama_k_cache_quantization_type="q8_0",
            llama_v_cache_quantization_type="q8_0",
            prompt_cache_mib=0,
        ),
    ),
    (
        "KV cache f32",
        LoadConfig(context_length=2048, max_parallel_predictions=2, use_fp16_for_kv_cache=False, prompt_cache_mib=0),
    ),
    (
        "no flash attention",
        LoadConfig(context_length=4096, max_parallel_predictions=1, flash_attention=False, prompt_cache_mib=0),
    ),
    (
        "unified KV cache",
        LoadConfig(context_length=4096, max_parallel_predictions=4, use_unified_kv_cache=True, prompt_cache_mib=0),
    ),
    (
        "batches of 128, no mmap",
        LoadConfig(
            context_length=4096,
            max_parallel_predictions=2,
            eval_batch_size=128,
            try_mmap=False,
            prompt_cache_mib=0,
        ),
    ),
    ("all defaults but the prompt cache", LoadConfig(max_parallel_predictions=4, prompt_cache_mib=0)),
    ("context of 8192, one slot", LoadConfig(context_length=8192, max_parallel_predictions=1, prompt_cache_mib=0)),
]


def main() -> int:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--model", action="append", help=f"a model of the library (default: {', '.join(MODELS)})")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    rows = asyncio.run(_measure(options.model or list(MODELS)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print("| model | settings | estimate, MiB | measured, MiB | estimate / measured | xllamacpp's / measured |")
    print("|---|---|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['model']} | {row['settings']} | {row['estimate_bytes'] / 2**20:.0f}"
            f" | {row['measured_bytes'] / 2**20:.0f} | {row['ratio']:.3f} | {row['xllamacpp_ratio']:.3f} |"
        )
    return int(any(abs(row["ratio"] - 1) > TOLERANCE for row in rows))


async def _measure(names: list[str]) -> list[dict[str, Any]]:
    host = Host()
    try:
        models = [await host.find_model(name) for name in names]
        return [await _one(host, model, what, config) for model in models for what, config in CONFIGS]
    finally:
        await host.stop()


async def _one(host: Host, model: Model, what: str, config: LoadConfig) -> dict[str, Any]:
    estimate = await host.estimate(model, config)
    instance = await host.load(model, config)
    try:
        engine = await instance.running_engine()
        slots = instance.config.max_parallel_predictions or 1
        room = instance.context_length // (slots if config.use_unified_kv_cache else 1)
        settings = settings_in_force(PredictionConfig(temperature=0, max_tokens=1), instance.config)
        tokens = len(await engine.tokenize("word " * 100)) / 100

        async def fill(slot: int) -> None:
            prompt = f"{slot} " + "word " * int(room * FILLED / tokens)
            async for _ in engine.complete(CompletionRequest(prompt=prompt, config=settings)):
                pass

        await asyncio.gather(*(fill(slot) for slot in range(slots)))
        memory = psutil.Process(engine.process.pid).memory_full_info()
        measured = getattr(memory, "pss", 0) or memory.rss
    finally:
        await host.unload(instance.identifier)
    print(f"{model.key}, {what}: {estimate.total_bytes / measured:.3f}", file=sys.stderr, flush=True)
    return {
        "model": model.key,
        "settings": what,
        "estimate_bytes": estimate.total_bytes,
        "measured_bytes": measured,
        "ratio": estimate.total_bytes / measured,
        "xllamacpp_ratio": _by_xllamacpp(model, instance.config) / measured,
    }


def _by_xllamacpp(model: Model, config: LoadConfig) -> int:
    """Return the bytes of xllamacpp's estimator, without a reserve for the machine."""
    slots = 1 if config.use_unified_kv_cache else config.max_parallel_predictions or 1
    context = (config.context_length or 0) * slots
    kind = "f32" if config.use_fp16_for_kv_cache is False else config.llama_k_cache_quantization_type or "f16"
    everything = [{"name": "CPU", "memory_free": 1 << 50, "memory_min": 0}]
    return estimate_gpu_layers(everything, str(model.path), [], context, 512, slots, str(kind)).total_size


if __name__ == "__main__":
    sys.exit(main())
