"""A server that nobody asks for anything."""

from __future__ import annotations

import http.client
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import psutil
import pytest

from studiolo.paths import Home
from tests.support.running import serving

pytestmark = pytest.mark.slow


def test_an_idle_server_sleeps_and_its_answers_have_the_time_of_day(empty_home: Home, tmp_path: Path) -> None:
    with serving(empty_home, tmp_path, "--no-load") as server:
        connection = http.client.HTTPConnection(server.address)
        process = psutil.Process(server.process.pid)
        fewest = 99
        for _ in range(5):  # the first of them have the end of the start
            asked = int(time.time())
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            assert asked <= date <= time.time() and answer.headers["Server"]
            before = process.num_ctx_switches().voluntary
            time.sleep(2)
            fewest = min(fewest, process.num_ctx_switches().voluntary - before)
        connection.close()
    assert fewest <= 2, "uvicorn's own loop has twenty"
