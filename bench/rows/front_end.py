"""The server alone, on an engine that costs next to nothing."""

from __future__ import annotations

from .. import front_end as front
from ..measure import Spread
from ..run import Part, Run, row


def loads(run: Run) -> dict[str, dict[str, list[front.Load]]]:
    """Measure each way, paced and as fast as it takes tokens."""
    found: dict[str, dict[str, list[front.Load]]] = {}
    with front.server() as (address, process):
        for model, tokens in (("paced", run.size.frames), ("free", 2 * run.size.frames)):
            for way in front.WAYS:
                front.load(way, address, process, model, 2)  # loads the model
            found[model] = run.alternate(
                {
                    way: lambda _, way=way, model=model, tokens=tokens: front.load(way, address, process, model, tokens)
                    for way in front.WAYS
                },
                20,
                most=4,
            )
    return found


@row(
    "front_end",
    "front end alone, no merging: tokens a second per core of the host",
    unit="tokens/s",
    least=50_000,
    how=f"""{front.STREAMS} streams of an engine that does nothing but count, in the server's process; a token of each
    at every tick of a clock. Tokens for each second of the server's processor time.""",
)
def front_end(run: Run) -> list[Part]:
    return [_part(way, taken) for way, taken in run.shared(loads)["paced"].items()]


@row(
    "front_end_merging",
    "front end alone, merging under load: tokens a second per core of the host",
    unit="tokens/s",
    least=300_000,
    how="As the row above, tokens as fast as they are taken: what has not been sent is merged.",
)
def front_end_merging(run: Run) -> list[Part]:
    return [_part(way, taken) for way, taken in run.shared(loads)["free"].items()]


def _part(way: str, taken: list[front.Load]) -> Part:
    size = Spread.of(each.tokens / each.frames for each in taken)
    return Part(way, Spread.of(each.per_core for each in taken), checks={"tokens_a_frame": round(size.median, 2)})
