"""Models with random weights, for measurements."""

from __future__ import annotations

from pathlib import Path

from bench.random_weights import Shape, write
from studiolo.engines.llama_cpp.kind import LlamaCppKind
from studiolo.library.gguf_file import read_metadata
from studiolo.paths import Home
from tests.support.engine_calls import request
from tests.support.engines import close_nodes, node_in, spec_of


async def test_a_model_of_a_shape_is_loaded_and_answers(quick_home: Home, tmp_path: Path) -> None:
    model = tmp_path / "random.gguf"
    shape = Shape(width=128, layers=2, inner=256, heads=4, kv_heads=2)
    write(model, shape, next(quick_home.models.rglob("*.gguf")))
    tokens = 8192
    weights = 2 * tokens * 128 + 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256) + 5 * 128
    assert read_metadata(model).parameter_count == weights
    engine = await LlamaCppKind(node_in(tmp_path)).start(spec_of(model, context_length=128))
    try:
        events = [event async for event in engine.complete(request("Hello", max_tokens=3))]
        assert events
    finally:
        await engine.stop()
        await close_nodes()
