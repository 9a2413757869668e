"""Many short texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import studiolo

from .. import texts
from ..processes import wheel_server
from ..run import Part, Run, row
from ..streams import Connect, answer

TEXT_TOKENS = 12
BATCH = 64
TOGETHER = 2
"""Requests that are under way at once: while one is encoded or decoded, the engine works on another."""


@row(
    "embeddings",
    "embeddings of short texts / the wheel's server directly, batched as it should be",
    least=1.0,
    how=f"""Texts of {TEXT_TOKENS} tokens a second, 250 in a round, by one call of `embed()`, embedded;
    the reference is given requests of {BATCH} texts, {TOGETHER} at once. The catalog's embedding model.""",
)
def embeddings(run: Run) -> list[Part]:
    if run.embedding is None:
        raise RuntimeError("the library has no embedding model")
    key, file = run.embedding
    count = run.size.texts
    with (
        wheel_server(file, embedding=True) as wheel,
        studiolo.Client("embedded") as client,
    ):
        model = client.embedding.model(key)

        def given(number: int, side: str, amount: int = count) -> list[str]:
            return [texts.fresh(TEXT_TOKENS, ("embed", number, side, each)) for each in range(amount)]

        def own(number: int) -> float:
            return _rate(lambda each: model.embed(each), given(number, ""))

        def reference(number: int) -> float:
            return _rate(lambda each: _direct(wheel.connect, each), given(number, ""))

        model.embed(given(-1, "own", 4))
        _direct(wheel.connect, given(-1, "reference", 4))
        found = run.alternate({"own": own, "reference": reference}, 75, most=4)
        model.unload()
    return [Part.of_rounds("", found["own"], found["reference"], "texts/s", checks={"texts": count})]


def _rate(embed: Callable[[list[str]], Sequence[object]], given: list[str]) -> float:
    began = time.perf_counter()
    vectors = embed(given)
    took = time.perf_counter() - began
    if len(vectors) != len(given):
        raise RuntimeError(f"{len(given)} texts have {len(vectors)} vectors")
    return len(given) / took


def _direct(connect: Connect, given: list[str]) -> list[list[float]]:
    """Embed texts by the wheel's server."""

    def some(part: list[str]) -> list[list[float]]:
        return [each["embedding"] for each in answer(connect, "/v1/embeddings", {"input": part})["data"]]

    parts = [given[start : start + BATCH] for start in range(0, len(given), BATCH)]
    with ThreadPoolExecutor(TOGETHER) as threads:
        return [vector for vectors in threads.map(some, parts) for vector in vectors]
