"""What llama.cpp takes for models whose headers are made up."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from studiolo.config import load_config
from studiolo.engines.llama_cpp.memory_estimate import estimate_memory, needed
from studiolo.engines.spec import Device
from studiolo.errors import ConfigError
from studiolo.library.gguf_file import Header, Tensor
from studiolo.library.model_shape import shape_of

MAIN = Device(name="main memory", free_bytes=8 << 30, total_bytes=8 << 30, gpu=False)


def header(architecture: str, layers: int, **fields: Any) -> Header:
    """The header of a made-up model: 8 heads of 32 values, 2 of them for keys and values."""
    own = {
        "block_count": layers,
        "embedding_length": 256,
        "feed_forward_length": 512,
        "attention.head_count": 8,
        "attention.head_count_kv": 2,
        **fields,
    }
    values = {f"{architecture}.{name}": value for name, value in own.items()}
    return Header({"general.architecture": architecture, **values}, [Tensor("token_embd.weight", (1000, 256), 0, 0)], 0)


def kv_cache(made: Header, **config: Any) -> int:
    settings = {"context_length": 4096, "max_parallel_predictions": 1, **config}
    return needed(shape_of(made, 1024000, "llm"), load_config(settings)).kv_cache


def test_layers_with_a_window_keep_less() -> None:
    whole = 4096 * 2 * 2 * 32 * 2  # tokens, K and V, heads, values, bytes
    assert kv_cache(header("llama", 6)) == 6 * whole
    # A window of 512 and a batch of 512 make 1024 tokens.
    assert kv_cache(header("gemma3", 6, **{"attention.sliding_window": 512})) == whole + 5 * whole // 4
    listed = {"attention.sliding_window": 512, "attention.sliding_window_pattern": [1, 0, 0, 0, 0, 0]}
    assert kv_cache(header("other", 6, **listed)) == 5 * whole + whole // 4
    assert kv_cache(header("other", 6, **{"attention.head_count_kv": [2, 0, 0, 0, 0, 2]})) == 2 * whole
    assert kv_cache(header("bert", 6, **{"attention.causal": False})) == 0


SHAPE = replace(shape_of(header("llama", 2), 1024000, "llm"), name="small")


def test_a_quantised_cache_that_the_heads_do_not_divide_into_is_refused() -> None:
    config = load_config({"context_length": 512, "llama_k_cache_quantization_type": "q8_0"})
    assert estimate_memory(SHAPE, config, [MAIN]).kv_cache
    with pytest.raises(ConfigError, match=r"'llama_k_cache_quantization_type' is q8_0, which small.*40"):
        estimate_memory(replace(SHAPE, head_size=40), config, [MAIN])


def test_a_draft_model_with_other_tokens_is_refused_and_one_that_suits_is_counted() -> None:
    config = load_config({"context_length": 512, "speculative_draft_model": "tiny"})
    alone = estimate_memory(SHAPE, config, [MAIN])
    both = estimate_memory(replace(SHAPE, draft=SHAPE), config, [MAIN])
    assert (both.weights, both.kv_cache) == (2 * alone.weights, 2 * alone.kv_cache)
    assert both.engine < 2 * alone.engine, "the draft model needs no process of its own"
    other = replace(SHAPE, name="tiny", vocabulary=SHAPE.vocabulary + 1000)
    with pytest.raises(ConfigError, match=r"is tiny, which cannot draft for small.*vocabular"):
        estimate_memory(replace(SHAPE, draft=other), config, [MAIN])


def test_a_gpu_is_filled_by_its_free_memory_unless_the_config_says_how_much_goes_there() -> None:
    half = Device(name="half", free_bytes=SHAPE.weight_bytes // 2, total_bytes=1 << 30)

    def on_gpu(**config: Any) -> int:
        need = estimate_memory(SHAPE, load_config({"context_length": 512, **config}), [MAIN, half])
        assert sum(need.on_devices) == need.total
        return need.on_devices[1]

    assert 0 <= on_gpu() <= half.free_bytes
    assert on_gpu(gpu={"ratio": "max"}) > half.free_bytes
    assert on_gpu(gpu={"ratio": "off"}) == 0
