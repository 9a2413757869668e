"""LoRA adapters: loaded with a model, and refused before a load if they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.config import LoadConfig, LoraSetting, PredictionConfig
from studiolo.engines.base import ToolChatRequest
from studiolo.engines.llama_cpp.chat_stream import chat_body
from studiolo.errors import ConfigError
from studiolo.host.lora_scales import with_names_of_load
from studiolo.paths import Home
from tests.support.embedded_host import embedded_client
from tests.support.model_cache import DEFAULT_MODEL
from tests.support.model_files import write_gguf, write_lora
from tests.support.models.quick import LAYERS

PROMPT = "The capital of France is"
FIXED: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
SMALL: dict[str, Any] = {"context_length": 256, "max_parallel_predictions": 1}
NOT_THERE = "not-there"


@pytest.fixture(scope="module")
def client(quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.Client]:
    folder = tmp_path_factory.mktemp("lora")
    with embedded_client(folder, next(quick_home.models.rglob("*.gguf"))) as client:
        models = folder / "home" / "models" / "me" / "adapters"
        write_lora(models / "tune.gguf", layers=LAYERS)
        write_lora(models / "narrow.gguf", layers=LAYERS, width=64, output=64)
        write_lora(models / "deep.gguf", layers=LAYERS + 1)
        write_lora(models / "tall.gguf", layers=LAYERS, output=192)
        write_lora(models / "other.gguf", layers=LAYERS, architecture="qwen2")
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
    outside = write_lora(tmp_path / "my adapter.gguf", layers=LAYERS)
    assert text_with(client, [outside]) == changed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("narrow", "embedding length is 64, and this one's is 576"),
        ("deep", "changes blk.2.attn_q.weight, and the model has 2 layers"),
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


LONG = "The quick brown fox jumps over the lazy dog. " * 12
OTHER = "Once there was a king who had three daughters and a horse. " * 12


@pytest.fixture
def tuned(client: lm.Client) -> Iterator[lm.LLM]:
    """The model with an adapter that has no effect but where a prediction names it."""
    llm = client.llm.load_new_instance(DEFAULT_MODEL, config={**SMALL, "lora": [("tune", 0)]})
    yield llm
    llm.unload()


def test_a_prediction_sets_the_scales_of_the_adapters(client: lm.Client, tuned: lm.LLM) -> None:
    def text(prompt: str = PROMPT, **config: Any) -> str:
        return tuned.complete(prompt, config={**FIXED, **config}).content

    plain, changed = text(), text(lora=["tune"])
    assert len({plain, changed, text(lora=[("tune", 0.5)])}) == 3
    path = client.system.show_model("tune").model.files[0]
    for name in ("me/adapters/tune.gguf", "TUNE", path):
        assert text(lora=[name]) == changed
    assert text() == text(lora=[]) == text(lora=[("tune", 0.0)]) == plain
    answer = tuned.respond("Hi", config={"max_tokens": 2, "lora": ["tune"]})
    assert answer.prediction_config.lora == [LoraSetting("tune")]
    for wrong, match in (
        ([NOT_THERE], "names 'not-there', and the model is loaded without it. It is loaded with tune"),
        (["tune", path], "'tune' twice"),
        ([("tune", float("nan"))], "'lora"),
    ):
        with pytest.raises(ConfigError, match=match):
            text(lora=wrong)
    # What the engine keeps of one prompt must not serve the same prompt with other scales.
    first = text(LONG)
    for lora in ([], ["tune"], []):
        text(OTHER, lora=lora)
        text(LONG, lora=["tune"])
        text(OTHER, lora=lora)
        assert text(LONG) == first


def test_the_settings_of_a_model_may_name_adapters(client: lm.Client) -> None:
    home = Path(client.system.info().studiolo.models_folder).parent  # type: ignore[union-attr]
    settings = home / "config.toml"
    before = settings.read_text()
    settings.write_text(
        f'{before}[models."{DEFAULT_MODEL}"]\nload = {{ lora = ["tune"] }}\nprediction = {{ lora = [["tune", 0]] }}\n'
    )
    try:
        llm = client.llm.load_new_instance(DEFAULT_MODEL, config=SMALL)
        assert llm.get_load_config().lora == [LoraSetting("tune")]
        without, with_it = (llm.complete(PROMPT, config={**FIXED, **more}).content for more in ({}, {"lora": ["tune"]}))
        assert without != with_it
        llm.unload()
    finally:
        settings.write_text(before)


def test_an_adapter_is_listed_with_the_models_that_it_fits(client: lm.Client) -> None:
    models = {each.model_key: each for each in client.system.list_library()}
    assert models["tune"].fits == [DEFAULT_MODEL]
    assert models[DEFAULT_MODEL].adapters == ["tune"]
    assert not models["narrow"].fits and models["narrow"].error


def test_a_chat_with_tools_has_the_scales_of_all_adapters_of_the_load() -> None:
    request = ToolChatRequest(messages=[], tools=[], config=PredictionConfig(lora=[("b", 0.5)]))
    adapters = [LoraSetting("a"), LoraSetting("b")]
    assert chat_body(request, adapters=adapters)["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.5}]
    plain = ToolChatRequest(messages=[], tools=[], config=PredictionConfig())
    assert "lora" not in chat_body(plain, adapters=adapters)


def test_with_a_prompt_cache_of_its_own_a_model_keeps_the_scales_of_its_load() -> None:
    load = LoadConfig(lora=["a"], prompt_cache_mib=100)
    same = PredictionConfig(lora=[("a", 1.0)])
    assert with_names_of_load(same, load, [], Path("/models")) == same
    with pytest.raises(ConfigError, match=r"loaded with a prompt cache.*Load it without prompt_cache_mib"):
        with_names_of_load(PredictionConfig(lora=[]), load, [], Path("/models"))
