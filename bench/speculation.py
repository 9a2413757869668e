"""Drafting without a model against none: ``python -m bench.speculation``.

Variants of one model are loaded side by side, and answer the same prompts in turn, each round in the opposite order.
The prompt is read before, so that only the answer is measured: tokens a second, and tokens a second of the engine's
processor time, which other programs disturb less. Each round has prompts of its own: some kinds remember answers.

The work: ``copy`` repeats a text, ``edit`` repeats a program with one name changed, ``extract`` repeats some lines of a
table; a grammar holds the answer to that, so that a small model copies as well as a large one. ``records`` writes JSON
of a schema at temperature 0.8, ``free`` a story at 0.8, ``free, greedy`` one at 0. Answers at 0 are compared with those
without drafting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed, CompletionRequest, Constraint, Engine
from studiolo.host.host import Host
from studiolo.host.instance import Instance
from studiolo.host.prediction_settings import settings_in_force

from .measure import Spread
from .processes import processor_seconds
from .run import ensure_model
from .texts import REPEATING, SCHEMA, Work, free, sentence

BASE = "off"
AGAIN = "off, once more"
"""The same as the base: what it differs by is noise."""

VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    AGAIN: {},
    "ngram-simple, 48": {"speculative_ngram": "ngram-simple"},
    "ngram-simple, 8": {"speculative_ngram": "ngram-simple", "speculative_draft_max_tokens": 8},
    "ngram-simple, 16": {"speculative_ngram": "ngram-simple", "speculative_draft_max_tokens": 16},
    "ngram-map-k, 8": {"speculative_ngram": "ngram-map-k", "speculative_draft_max_tokens": 8},
    "ngram-mod, 64": {"speculative_ngram": "ngram-mod"},
}
"""The load settings of each variant."""


def _records(chance: random.Random) -> Work:
    form = f"%llguidance {{}}\nstart: %json {json.dumps(SCHEMA)}\n"
    return Work(f"{sentence(chance)} Twenty records of it, as JSON:\n", form, 0.8)


WORK: dict[str, Callable[[random.Random], Work]] = {
    **REPEATING,
    "records": _records,
    "free": lambda chance: free(chance, 0.8),
    "free, greedy": lambda chance: free(chance, 0),
}


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Parameters:
        processor_sec: processor time of the engine's process meanwhile, in all threads.
    """

    text: str
    end: Completed
    processor_sec: float

    @property
    def decode_rate(self) -> float:
        """Return the tokens a second, by the engine's clock."""
        return self.end.predicted_tokens / (self.end.decode_sec or 1)


async def run(engine: Engine, request: CompletionRequest) -> Run:
    """Run a completion."""
    began = processor_seconds(engine.process.pid)
    text = ""
    async for event in engine.complete(request):
        if isinstance(event, Completed):
            return Run(text, event, processor_seconds(engine.process.pid) - began)
        if isinstance(event, Fragment):
            text += event.text
    raise RuntimeError("the answer has no end")


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.speculation", description="Drafting without a model.")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--rounds", type=int, default=8, help="prompts of each kind of work (default: 8)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer (default: 128)")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="measure these alone")
    parser.add_argument("--work", action="append", choices=list(WORK), help="measure this alone")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    names = list(dict.fromkeys([BASE, *(options.variant or VARIANTS)]))
    kinds = options.work or list(WORK)
    rows = asyncio.run(_measure(ensure_model(options.model)[0], kinds, names, options.rounds, options.tokens))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print("| work | drafting | tokens a second, to off | by processor time | accepted | same answers |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['work']} | {row['variant']} | {_shown(row['rate'])} | {_shown(row['processor'])}"
            f" | {row['accepted']} of {row['drafted']} | {row['same']} |"
        )
    return 0


async def _measure(
    model: str, kinds: Sequence[str], names: Sequence[str], rounds: int, tokens: int
) -> list[dict[str, Any]]:
    host = Host()
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    try:
        resolved = await host.find_model(model)
        instances: dict[str, Instance] = {}
        for name in names:
            config = LoadConfig(context_length=2048, prompt_cache_mib=0, **VARIANTS[name])
            instances[name] = await host.load(resolved, config, identifier=name)
        for turn in range(rounds):
            for kind in kinds:
                work = WORK[kind](random.Random(f"{kind} {turn}"))
                asked = PredictionConfig(temperature=work.temperature, max_tokens=tokens, seed=turn)
                for name in names if turn % 2 == 0 else reversed(names):
                    settings = settings_in_force(asked, instances[name].config)
                    found[kind, name].append(await _one(await instances[name].running_engine(), work, settings))
            print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        await host.stop()
    return [_row(kind, name, found[kind, name], found[kind, BASE]) for kind in kinds for name in names if name != BASE]


async def _one(engine: Engine, work: Work, settings: PredictionConfig) -> dict[str, Any]:
    form = Constraint(grammar=work.grammar) if work.grammar else None
    warm, asked = (
        CompletionRequest(prompt=work.prompt, config=config, constraint=form)
        for config in (msgspec.structs.replace(settings, max_tokens=1), settings)
    )
    await run(engine, warm)
    done = await run(engine, asked)
    return {
        "text": done.text if work.temperature == 0 else None,
        "rate": done.decode_rate,
        "processor": done.end.predicted_tokens / done.processor_sec,
        "drafted": done.end.draft_tokens or 0,
        "accepted": done.end.accepted_draft_tokens or 0,
    }


def _row(work: str, name: str, own: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> dict[str, Any]:
    pairs = list(zip(own, base, strict=True))
    greedy = [(one["text"], other["text"]) for one, other in pairs if one["text"] is not None]
    return {
        "work": work,
        "variant": name,
        "rate": Spread.of([one["rate"] / other["rate"] for one, other in pairs]).json(),
        "processor": Spread.of([one["processor"] / other["processor"] for one, other in pairs]).json(),
        "drafted": sum(one["drafted"] for one in own),
        "accepted": sum(one["accepted"] for one in own),
        "same": f"{sum(one == other for one, other in greedy)} of {len(greedy)}" if greedy else "",
    }


def _shown(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.2f} ({spread['q1']:.2f}..{spread['q3']:.2f})"


if __name__ == "__main__":
    sys.exit(main())
