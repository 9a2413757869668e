"""Models with several variants, as clients see and load them: embedded and served."""

from __future__ import annotations

from pathlib import Path

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.homes import link_model

pytestmark = pytest.mark.served


@pytest.fixture(scope="module", autouse=True)
def variants(place: tuple[str, int], vision_model: Path) -> None:
    """A model in two variants in the host's library."""
    home = Home.default()
    file = home.models / link_model(vision_model, home)
    file.with_name("tiny-vision.Q8_0.gguf").symlink_to(vision_model)


def test_a_model_is_listed_once_with_the_keys_of_its_variants(client: lm.Client) -> None:
    models = {model.model_key: model.info for model in client.list_downloaded_models()}
    assert sorted(models) == ["smollm2-135m-instruct", "tiny-vision"]
    tiny, smol = models["tiny-vision"], models["smollm2-135m-instruct"]
    assert tiny.variants == ["tiny-vision@f16", "tiny-vision@q8_0"] and tiny.selected_variant in tiny.variants
    assert tiny.publisher == "tests" and tiny.vision  # type: ignore[union-attr]
    assert smol.variants is None and smol.selected_variant is None and smol.publisher == "HuggingFaceTB"
    each = client.system.list_downloaded_model_variants("tiny-vision")
    assert [model.model_key for model in each] == tiny.variants
    assert client.system.list_downloaded_model_variants("tiny-vision@f16") == each
    with pytest.raises(lm.LMStudioModelNotFoundError, match=r"'smollm2-135m-instruct' is not a model with variants"):
        client.system.list_downloaded_model_variants("smollm2-135m-instruct")


def test_the_variant_that_was_loaded_last_is_the_one_that_the_key_means(client: lm.Client) -> None:
    for key in ("tiny-vision@f16", "tiny-vision@q8_0"):
        client.llm.model(key).unload()
        (tiny,) = [model.info for model in client.list_downloaded_models() if model.model_key == "tiny-vision"]
        assert tiny.selected_variant == key
        handle = client.llm.model("tiny-vision")
        assert handle.identifier == "tiny-vision" and handle.get_info().model_key == key
        assert client.llm.model("TESTS/tiny-vision") == handle
        handle.unload()
