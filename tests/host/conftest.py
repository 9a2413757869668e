"""A host with made-up models and the fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import studiolo_fake_engine as fake

from studiolo.host.host import Host
from studiolo.paths import Home
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model


@pytest.fixture
def fake_home(empty_home: Home) -> Iterator[Home]:
    """A home with the LLMs ``alpha``, ``beta`` and ``gamma``, and the embedding model ``vectors``."""
    for name in ("alpha", "beta", "gamma"):
        add_model(empty_home, name)
    add_model(empty_home, "vectors", architecture="bert")
    empty_home.settings.write_text(SETTINGS)
    fake.reset()
    yield empty_home
    fake.reset()


@pytest.fixture
async def fake_host(fake_home: Home) -> AsyncIterator[Host]:
    """A host on the fake engine. No engine may be left when it has stopped."""
    host = Host(fake_home)
    yield host
    await host.stop()
    assert fake.running() == []
