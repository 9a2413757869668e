"""Work whose answer repeats its prompt, and free text: studiolo's defaults against the engine's."""

from __future__ import annotations

import random
from collections.abc import Callable

from .. import texts
from ..measure import Ask, Sample, take
from ..run import Part, Run, row
from ..texts import Work

SIDES = ("reference", "SDK, embedded")


@row(
    "repeating",
    "copy-, edit- and extract-like work with studiolo's defaults / the engine's defaults",
    least=1.3,
    how="""Tokens a second from the call to the last, short prompt included; a grammar holds the answer to what is
    asked, so that a small model copies as a large one does. Each round has a prompt of its own, the same for both.""",
)
def repeating(run: Run) -> list[Part]:
    return [_compared(run, name, make, 14) for name, make in texts.REPEATING.items()]


@row(
    "free_text",
    "free text with studiolo's defaults / the engine's defaults",
    least=0.98,
    how="As the row above, stories without a grammar.",
)
def free_text(run: Run) -> list[Part]:
    return [
        _compared(run, f"temperature {heat:g}", lambda chance, heat=heat: texts.free(chance, heat), 30)
        for heat in (0, 0.8)
    ]


def _compared(run: Run, name: str, make: Callable[[random.Random], Work], seconds: float) -> Part:
    ways = run.ways()

    def one(way: str, number: int) -> Sample:
        work = make(texts.chance_of((name, number)))
        ask = Ask(work.prompt, run.size.tokens, work.temperature, grammar=work.grammar or None)
        return take(ways[way], ask)

    found = run.alternate({way: lambda number, way=way: one(way, number) for way in SIDES}, seconds)
    own, reference = (found[way] for way in reversed(SIDES))
    rates = ([each.tokens / each.last for each in samples] for samples in (own, reference))
    return Part.of_rounds(
        name,
        *rates,
        "tokens/s",
        checks={
            "tokens": sum(each.tokens for each in own),
            "reference_tokens": sum(each.tokens for each in reference),
            "reference_cached": max(each.ended.cached or 0 for each in reference),
            "same_texts": sum(a.text == b.text for a, b in zip(own, reference, strict=True)),
        },
    )
