"""Hosts embedded in the process of the tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.homes import bare_home, link_model


@contextlib.contextmanager
def embedded_client(folder: Path, *models: Path) -> Iterator[lm.Client]:
    """A client of a host with a home of its own in ``folder`` that has ``models``; both end with the block."""
    home = bare_home(folder)
    for model in models:
        link_model(model, home)
    with client_of(home) as client:
        yield client


@contextlib.contextmanager
def client_of(home: Home, place: str = "embedded") -> Iterator[lm.Client]:
    """A client of a host with this home: embedded, or the server at an address. Embedded hosts end with the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.delenv("STUDIOLO_HOST", raising=False)
        with lm.Client(place) as client:
            yield client
        background.run(close_hosts())
