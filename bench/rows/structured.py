"""Structured output against free text."""

from __future__ import annotations

from .. import texts
from ..measure import Ask, Stream, ratios, take
from ..run import Part, Run, row

SIDES = ("SDK, embedded", "reference")


@row(
    "structured",
    "structured output / free text, tokens a second",
    least=0.97,
    how="""Tokens a second after the first of an answer that a JSON schema holds, and of a free one, to fresh short
    prompts in turns. The reference's figure is the same ratio of the wheel's server with its `json_schema`.""",
)
def structured(run: Run) -> list[Part]:
    ways = run.ways()
    tokens = max(run.size.tokens, 24)

    def pair(way: str, number: int) -> tuple[float, float]:
        order = (texts.SCHEMA, None) if number % 2 else (None, texts.SCHEMA)
        rates = {schema is None: _rate(ways[way], schema, tokens, (way, number)) for schema in order}
        return rates[False], rates[True]

    for way in SIDES:
        pair(way, -1)  # prepares the schema
    found = run.alternate({way: lambda number, way=way: pair(way, number) for way in SIDES}, 25)
    shares = {way: ratios(*zip(*found[way], strict=True)) for way in SIDES}
    return [Part("", shares[SIDES[0]], shares[SIDES[0]], shares[SIDES[1]], "ratio")]


def _rate(stream: Stream, schema: object, tokens: int, name: object) -> float:
    return take(stream, Ask(texts.story((name, schema is None)), tokens, schema=schema)).decode_rate
