"""What `studiolo tune` gains on this machine."""

from __future__ import annotations

import asyncio

import studiolo
from studiolo.benchmark import Figures, described, measure
from studiolo.cli.tune import search

from ..measure import Spread
from ..run import Part, Run, row

PROMPT_TOKENS = 96


@row(
    "tuned",
    "prompt and answer together with the settings that `studiolo tune` finds / with the defaults",
    least=1.0,
    how=f"""The search as the command does it, with prompts of {PROMPT_TOKENS} tokens and two rounds; then what it has
    found against the defaults, in rounds of their own. 1 where no other setting is faster.""",
)
def tuned(run: Run) -> list[Part]:
    found, (defaults, best) = asyncio.run(_tune(run))
    if not found:
        return [Part("the defaults", Spread.of([1.0]))]
    gains = [before / after for before, after in zip(defaults.seconds(), best.seconds(), strict=True)]
    own, reference = (Spread.of(1000 * each for each in figures.seconds()) for figures in (best, defaults))
    return [Part(described(found), Spread.of(gains), own, reference, "ms")]


async def _tune(run: Run) -> tuple[dict[str, object], list[Figures]]:
    size = {"prompt_tokens": PROMPT_TOKENS, "tokens": max(run.size.tokens // 3, 8)}

    def rounds(number: int) -> dict[str, int]:
        return {**size, "rounds": number}

    async with studiolo.AsyncClient("embedded") as client:
        _, found = await search(client, run.model, rounds(2), lambda _: None)
        pair = await measure(client, run.model, [{}, found], report=lambda _: None, **rounds(6))
        return found, pair
