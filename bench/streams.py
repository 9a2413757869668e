"""The compared paths to one model. Each is a :data:`~bench.measure.Stream`."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from .measure import Ask, Ended, Piece, Stream

LIMIT_SEC = 300.0
"""The longest wait for the next byte."""

SAMPLERS = {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.1}
"""studiolo's defaults, given to the other servers, too, so that all do the same work."""

Connect = Callable[[], http.client.HTTPConnection]


def tcp(address: str) -> Connect:
    """Return a function that connects to ``HOST:PORT``."""
    return lambda: http.client.HTTPConnection(address, timeout=LIMIT_SEC)


def unix(path: Path) -> Connect:
    """Return a function that connects to the HTTP server at a Unix socket."""
    return lambda: _UnixConnection(path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=LIMIT_SEC)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(LIMIT_SEC)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def posted(connect: Connect, path: str, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    """Yield the response to a request; raise if it is an error."""
    connection = connect()
    try:
        connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}: {response.read()[:500]!r}")
        yield response
    finally:
        connection.close()


def answer(connect: Connect, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of an answer that comes in one piece."""
    with posted(connect, path, body) as response:
        return json.loads(response.read())


def events(response: http.client.HTTPResponse) -> Generator[dict[str, Any]]:
    """Yield the events of a stream."""
    while line := response.readline():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])
        elif line.startswith((b"error: ", b"data: error")):
            raise RuntimeError(f"the stream failed: {line[:500]!r}")


def llama_server(connect: Connect) -> Stream:
    """Return the path to a llama-server's own ``/completion``, by the standard library alone."""

    def stream(ask: Ask) -> Generator[Piece, None, Ended]:
        body: dict[str, Any] = {"prompt": ask.prompt, "n_predict": ask.tokens, "stream": True}
        body |= {"temperature": ask.temperature, **SAMPLERS}
        if ask.grammar is not None:
            body["grammar"] = ask.grammar
        if ask.schema is not None:
            body["json_schema"] = ask.schema
        with posted(connect, "/completion", body) as response:
            seen = 0
            for event in events(response):
                if event.get("content"):
                    # With speculation, several tokens come in one event, or in several with the same count.
                    now = max(event.get("tokens_predicted", seen + 1), seen)
                    yield event["content"], now - seen
                    seen = now
                if event.get("stop"):
                    timings = event["timings"]
                    return Ended(event["tokens_predicted"], event["tokens_evaluated"], timings.get("cache_n"))
        raise RuntimeError("the server ended its answer early")

    return stream


def openai(connect: Connect, model: str) -> Stream:
    """Return the path by OpenAI's ``/v1/completions``, by the standard library alone."""

    def stream(ask: Ask) -> Generator[Piece, None, Ended]:
        with posted(connect, "/v1/completions", openai_body(model, ask.prompt, ask.tokens)) as response:
            usage: dict[str, Any] | None = None
            count = 0
            for event in events(response):
                usage = event.get("usage") or usage
                if event.get("choices") and event["choices"][0].get("text"):
                    count += 1
                    yield event["choices"][0]["text"], 1
        if usage is None:
            return Ended(count)
        details = usage.get("prompt_tokens_details") or {}
        return Ended(usage["completion_tokens"], usage["prompt_tokens"], details.get("cached_tokens"))

    return stream


def openai_body(model: str, prompt: str, tokens: int) -> dict[str, Any]:
    """Return the body of a streamed completion by OpenAI's API."""
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, **SAMPLERS}
    return {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **options}


def studiolo_sdk(llm: Any) -> Stream:
    """Return the path through studiolo's SDK.

    Parameters:
        llm: a handle of :class:`studiolo.Client`, embedded or connected to a server.
    """

    def stream(ask: Ask) -> Generator[Piece, None, Ended]:
        form = ask.schema
        if ask.grammar is not None:
            form = {"type": "gbnf", "gbnf_grammar": ask.grammar}
        config = {"temperature": ask.temperature, "max_tokens": ask.tokens}
        prediction = llm.complete_stream(ask.prompt, config=config, response_format=form)
        for fragment in prediction:
            yield fragment.content, fragment.tokens_count
        stats = prediction.result().stats
        return Ended(stats.predicted_tokens_count, stats.prompt_tokens_count)

    return stream


def lmstudio_sdk(llm: Any) -> Stream:
    """Return the path through the official SDK, connected to studiolo's server.

    Parameters:
        llm: a handle of :class:`lmstudio.Client`.
    """

    def stream(ask: Ask) -> Generator[Piece, None, Ended]:
        prediction = llm.complete_stream(ask.prompt, config={"temperature": 0, "maxTokens": ask.tokens})
        for fragment in prediction:
            yield fragment.content, fragment.tokens_count
        stats = prediction.result().stats
        return Ended(stats.predicted_tokens_count, stats.prompt_tokens_count)

    return stream
