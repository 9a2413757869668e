from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.engines import close_nodes


@pytest.fixture(autouse=True)
async def _nodes_end_with_their_test() -> AsyncIterator[None]:
    yield
    await close_nodes()
