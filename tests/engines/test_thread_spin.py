"""How long the engine's threads spin before they sleep."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from studiolo.engines.llama_cpp.worker import spin_count


@pytest.mark.parametrize("threads, count", [(1, 300), (2, 300), (8, 1200), (16, 2400), (128, 3000)])
def test_more_threads_spin_longer(threads: int, count: int) -> None:
    assert spin_count(threads) == count


@pytest.mark.parametrize("own", [None, "77"])
def test_a_program_is_started_with_the_count_or_with_that_of_the_user(own: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if own is not None:
        environment["GOMP_SPINCOUNT"] = own
    launch = [sys.executable, "-P", "-m", "studiolo.engines.llama_server.launch"]
    spec = {"parent_pid": os.getpid(), "environment": {}, "command": [shutil.which("env")]}
    done = subprocess.run(
        launch, input=json.dumps(spec) + "\n", env=environment, capture_output=True, text=True, timeout=30
    )
    assert f"GOMP_SPINCOUNT={own or spin_count()}" in (done.stdout + done.stderr).splitlines()
