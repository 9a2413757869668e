"""Projectors that the engine refuses, on the fake engine."""

from __future__ import annotations

import logging

import pytest
import studiolo_fake_engine as fake

from studiolo.errors import EngineStartError
from studiolo.host.host import Host
from tests.support.fake_host import load, predict
from tests.support.fake_models import add_model


async def test_an_engine_that_refuses_the_projector_is_started_once_more_without(
    fake_host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    add_model(fake_host.home, "seer", vision=True)
    fake.models["seer"] = fake.FakeModel(refuses_projector=True)
    with caplog.at_level(logging.WARNING, "studiolo.instances"):
        instance = await load(fake_host, "seer")
    assert not instance.model.vision and instance.model.mmproj is None
    assert "mmproj-seer.gguf is not used" in caplog.text
    assert (await predict(fake_host, "seer")).stop_reason == "end_of_text"
    assert len(fake.engines) == 2


async def test_a_model_that_fails_without_its_projector_too_is_an_error(fake_host: Host) -> None:
    add_model(fake_host.home, "seer", vision=True)
    fake.models["seer"] = fake.FakeModel(load_fails=True)
    with pytest.raises(EngineStartError):
        await load(fake_host, "seer")
    assert len(fake.engines) == 2
