"""The compared paths to one model. Each is a :data:`~bench.measure.Stream`."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.engines.llama_cpp.params import completion_body
from studiolo.host.prediction_settings import settings_in_force

from .measure import Piece, Stream

PROMPT = "Once upon a time"


def direct(socket_path: Path) -> Stream:
    """Return a path that reads the worker's HTTP stream with the standard library, without code of studiolo.

    The body is the one that studiolo sends for the same request, so that the worker does the same work.
    """

    def stream(max_tokens: int) -> Generator[Piece, None, int]:
        config = settings_in_force(PredictionConfig(temperature=0, max_tokens=max_tokens), LoadConfig())
        body = json.dumps(completion_body(PROMPT, config)).encode()
        connection = unix_connection(socket_path)
        try:
            connection.request("POST", "/completion", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"the worker answered {response.status}: {response.read()[:500]!r}")
            seen = 0
            while line := response.readline():
                if line.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(line[6:])
                    if event.get("content"):
                        yield event["content"], event["tokens_predicted"] - seen
                        seen = event["tokens_predicted"]
                    if event.get("stop_type"):
                        return event["tokens_predicted"]
            raise RuntimeError("the worker ended its answer early")
        finally:
            connection.close()

    return stream


def unix_connection(socket_path: Path) -> http.client.HTTPConnection:
    """Return a connection to the HTTP server at a Unix socket."""
    return _UnixConnection(socket_path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("worker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def through_studiolo(llm: Any) -> Stream:
    """Return a path through studiolo's SDK, embedded or connected to a server.

    Parameters:
        llm: a handle of :class:`studiolo.Client`.
    """

    def stream(max_tokens: int) -> Generator[Piece, None, int]:
        prediction = llm.complete_stream(PROMPT, config={"temperature": 0, "max_tokens": max_tokens})
        for fragment in prediction:
            yield fragment.content, fragment.tokens_count
        return prediction.result().stats.predicted_tokens_count

    return stream


def through_lmstudio(llm: Any) -> Stream:
    """Return a path through the official SDK, connected to studiolo's server.

    Parameters:
        llm: a handle of :class:`lmstudio.Client`.
    """

    def stream(max_tokens: int) -> Generator[Piece, None, int]:
        prediction = llm.complete_stream(PROMPT, config={"temperature": 0, "maxTokens": max_tokens})
        for fragment in prediction:
            yield fragment.content, fragment.tokens_count
        return prediction.result().stats.predicted_tokens_count

    return stream
