"""What a load would take, and where each setting in force comes from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.fake_host import SETTINGS

OWN = '[models."alpha"]\nload = { context_length = 512, seed = 5 }\n'


@pytest.fixture
def client(fake_home: Home) -> Iterator[lm.Client]:
    fake_home.settings.write_text(SETTINGS + OWN)
    with lm.Client("embedded") as client:
        yield client
    background.run(close_hosts())


def origins(settings: list[lm.SettingInForce]) -> dict[str, tuple[object, str]]:
    return {each.name: (each.value, each.origin) for each in settings}


EXPECTED = {
    "context_length": (512, "modelSettings"),
    "seed": (7, "request"),
    "gpu": ({"ratio": "off"}, "request"),
    "max_parallel_predictions": (4, "default"),
    "try_mmap": (True, "default"),
}


def test_a_plan_has_the_origin_of_each_setting_and_loads_nothing(client: lm.Client) -> None:
    plan = client.llm.plan_load("alpha", {"seed": 7, "gpu": {"ratio": "off"}})
    found = origins(plan.settings)
    assert found | EXPECTED == found
    assert found["prompt_cache_mib"][1] == "host"
    assert "flash_attention" not in found  # the engine's own
    assert (plan.context_length, plan.fits, plan.guardrail) == (512, True, "off")
    assert 0 < plan.weights_bytes <= plan.total_bytes and plan.devices[0].needed_bytes == plan.total_bytes
    assert client.llm.list_loaded() == []
    assert client.llm.plan_load("alpha", {"context_length": 256}).context_length == 256


def test_a_loaded_model_has_them_too(client: lm.Client) -> None:
    llm = client.llm.load_new_instance("alpha", config={"seed": 7, "gpu": {"ratio": "off"}})
    found = origins(llm.get_load_settings())
    assert found | EXPECTED == found
    llm.unload()
    with pytest.raises(lm.ModelNotFoundError):
        llm.get_load_settings()


def test_what_cannot_be_loaded_is_an_error(client: lm.Client) -> None:
    with pytest.raises(lm.ModelNotFoundError):
        client.llm.plan_load("none")
    with pytest.raises(lm.ConfigError, match="eval_batch_size"):
        client.llm.plan_load("alpha", {"eval_batch_size": 1, "physical_batch_size": 2})
