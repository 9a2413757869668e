"""The GPUs of a llama-server are those that it lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.engines.llama_server.binary import gpus, inspect
from tests.support.running import script


@pytest.fixture
def stub_binary(tmp_path: Path) -> Iterator[Path]:
    """A stub of a llama-server with two GPUs."""
    yield script(
        tmp_path / "stub",
        """#!/bin/sh
case "$1" in
--version) echo "version: 7 (stub)" ;;
--help) echo "--model --host --ctx-size --parallel --list-devices" ;;
*) echo "Available devices:"; echo "  CUDA0: RTX (A) (24000 MiB, 23000 MiB free)"
   echo "  CUDA1: T4 (15000 MiB, 0 MiB free)" ;;
esac
""",
    )


async def test_a_stub_lists_its_gpus_with_their_memory(stub_binary: Path) -> None:
    found = await gpus(await inspect(str(stub_binary)))
    assert [(gpu.name, gpu.free_bytes >> 20, gpu.total_bytes >> 20) for gpu in found] == [
        ("CUDA0 (RTX (A))", 23000, 24000),
        ("CUDA1 (T4)", 0, 15000),
    ]
