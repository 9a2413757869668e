from __future__ import annotations

from collections.abc import Iterator

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.faults import MODEL, SMALL, harmed
from tests.support.running import Server


@pytest.fixture(scope="module")
def server(quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with harmed(quick_home, tmp_path_factory.mktemp("harmed")) as server:
        with lm.Client(server.address) as client:  # what a server opens once is open from here on
            client.llm.load_new_instance(MODEL, config=SMALL).unload()
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[lm.Client]:
    with lm.Client(server.address) as client:
        client.system.info()
        client.llm.list_loaded()
        yield client
