"""LoRA adapters: loaded with a model, and refused before a load if they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.errors import ConfigError
from studiolo.paths import Home
from tests.support.embedded_host import embedded_client
from tests.support.model_cache import DEFAULT_MODEL
from tests.support.model_files import write_gguf, write_lora

PROMPT = "The capital of France is"
FIXED: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
SMALL: dict[str, Any] = {"context_length": 256, "max_parallel_predictions": 1}
NOT_THERE = "not-there"


@pytest.fixture(scope="module")
def client(cache_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.Client]:
    folder = tmp_path_factory.mktemp("lora")
    with embedded_client(folder, next(cache_home.models.rglob("SmolLM2-135M-Instruct*.gguf"))) as client:
        models = folder / "home" / "models" / "me" / "adapters"
        write_lora(models / "tune.gguf")
        write_lora(models / "narrow.gguf", width=64, output=64)
        write_lora(models / "deep.gguf", layers=31)
        write_lora(models / "tall.gguf", output=192)
        write_lora(models / "other.gguf", architecture="qwen2")
        write_gguf(models / "whole.gguf")
        yield client


def text_with(client: lm.Client, lora: Any) -> str:
    llm = client.llm.load_new_instance(DEFAULT_MODEL, config={**SMALL, "lora": lora})
    try:
        return llm.complete(PROMPT, config=FIXED).content
    finally:
        llm.unload()


def test_an_adapter_changes_the_text_and_one_with_scale_0_does_not(client: lm.Client, tmp_path: Path) -> None:
    without = text_with(client, [])
    assert text_with(client, [("tune", 0)]) == without
    changed = text_with(client, ["tune"])
    assert changed != without
    outside = write_lora(tmp_path / "my adapter.gguf")
    assert text_with(client, [outside]) == changed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("narrow", "embedding length is 64, and this one's is 576"),
        ("deep", "changes blk.30.attn_q.weight, and the model has 30 layers"),
        ("tall", "shape 576 x 192, and the model's has 576 x 576"),
        ("other", "architecture 'qwen2'"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_before_the_load(client: lm.Client, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} does not fit .*{why}"):
        text_with(client, [name])
    assert not client.llm.list_loaded()


@pytest.mark.parametrize(
    ("name", "why"),
    [(NOT_THERE, "No model matches"), ("/none/x.gguf", "There is no file"), ("whole", "is not a LoRA adapter")],
)
def test_what_is_no_adapter_is_refused_by_name(client: lm.Client, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"'lora' names '{name}'.*{why}"):
        text_with(client, [name])


def test_one_adapter_under_two_names_is_refused(client: lm.Client) -> None:
    with pytest.raises(ConfigError, match="tune twice"):
        text_with(client, ["tune", "me/adapters/tune.gguf"])
