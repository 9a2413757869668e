"""The cost of the HTTP dialects: streamed chats through each, against the same model's worker reached directly.

Run as ``python -m bench.http_dialects``. All paths share one worker and one prompt, in turn, in an order that changes
from round to round. The direct path is llama-server's own ``/v1/chat/completions`` on the worker's socket.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import studiolo

from .measure import Ask, Ended, Piece, Spread, Stream, take
from .processes import serving, worker_socket
from .run import ensure_model
from .streams import SAMPLERS, Connect, tcp, unix

PROMPT = "Write a long story about a fox."
SETTINGS: dict[str, Any] = {"temperature": 0, "top_k": 40, "top_p": 0.95}
"""The others of ``SAMPLERS`` are the defaults of all dialects."""

ReadText = Callable[[dict[str, Any]], str | None]


def openai_text(event: dict[str, Any]) -> str | None:
    """Return the text of a frame of OpenAI's stream."""
    return event["choices"][0]["delta"].get("content") if event.get("choices") else None


def anthropic_text(event: dict[str, Any]) -> str | None:
    """Return the text of an event of Anthropic's stream."""
    return event["delta"]["text"] if event["type"] == "content_block_delta" else None


def ollama_text(event: dict[str, Any]) -> str | None:
    """Return the text of a line of Ollama's stream."""
    return event["message"]["content"]


def rest_text(event: dict[str, Any]) -> str | None:
    """Return the text of an event of LM Studio's REST stream."""
    return event["content"] if event["type"] == "message.delta" else None


def responses_text(event: dict[str, Any]) -> str | None:
    """Return the text of an event of OpenAI's responses."""
    return event["delta"] if event["type"] == "response.output_text.delta" else None


def streamed(
    connect: Connect,
    path: str,
    body: Callable[[int], dict[str, Any]],
    read: ReadText,
) -> Stream:
    """Return a path that reads a stream of events or lines with the standard library."""

    def stream(ask: Ask) -> Generator[Piece, None, Ended]:
        connection = connect()
        try:
            data = json.dumps(body(ask.tokens)).encode()
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"{path} answered {response.status}: {response.read()[:500]!r}")
            tokens = 0
            while line := response.readline():
                text = line.removeprefix(b"data: ").strip()
                if text.startswith(b"{") and (found := read(json.loads(text))):
                    tokens += 1
                    yield found, 1
            return Ended(tokens)
        finally:
            connection.close()

    return stream


def paths(address: str, model: str, socket: Path) -> dict[str, Stream]:
    """Return the direct path, then those through the dialects."""
    messages = [{"role": "user", "content": PROMPT}]
    connect = tcp(address)

    def chat(limit: int) -> dict[str, Any]:
        return {"model": model, "messages": messages, "stream": True, "max_tokens": limit, **SETTINGS}

    def ollama(limit: int) -> dict[str, Any]:
        return {"model": model, "messages": messages, "options": {**SETTINGS, "num_predict": limit}}

    def rest(limit: int) -> dict[str, Any]:
        own = {"stream": True, "store": False, "max_output_tokens": limit}
        return {"model": model, "input": PROMPT, **own, **SETTINGS}

    def responses(limit: int) -> dict[str, Any]:
        settings = {"temperature": 0, "top_p": 0.95, "store": False, "max_output_tokens": limit}
        return {"model": model, "input": PROMPT, "stream": True, **settings}

    def direct(limit: int) -> dict[str, Any]:
        return {**chat(limit), **SAMPLERS}

    found = {
        "direct": streamed(unix(socket), "/v1/chat/completions", direct, openai_text),
        "OpenAI chat": streamed(connect, "/v1/chat/completions", chat, openai_text),
        "Anthropic messages": streamed(connect, "/v1/messages", chat, anthropic_text),
        "LM Studio REST chat": streamed(connect, "/api/v1/chat", rest, rest_text),
        "Ollama chat": streamed(connect, "/api/chat", ollama, ollama_text),
        "OpenAI responses": streamed(connect, "/v1/responses", responses, responses_text),
    }
    return {name: stream for name, stream in found.items() if _is_there(stream)}


def _is_there(stream: Stream) -> bool:
    try:
        take(stream, Ask(PROMPT, 2))
    except RuntimeError as error:
        print(f"left out: {error}", file=sys.stderr)
        return False
    return True


def routes_per_second(address: str, path: str, seconds: float = 2.0) -> float:
    """Return how often a route without a model answers one client in a second."""
    connection = http.client.HTTPConnection(address)
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.request("GET", path)
        connection.getresponse().read()
        count += 1
    connection.close()
    return count / seconds


def main() -> int:
    """Measure, and print a table. Exit status: 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.http_dialects", description="Measure the HTTP dialects.")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each measurement (default: 12)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer (default: 128)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results to this file")
    options = parser.parse_args()
    model, _ = ensure_model(None)
    order = random.Random(0)
    rates: dict[str, list[float]] = {}
    firsts: dict[str, list[float]] = {}
    with serving() as server, studiolo.Client(server.address) as client:
        client.llm.model(model)
        ways = paths(server.address, model, worker_socket(server.process.pid))
        for _ in range(options.rounds):
            turns = list(ways)
            order.shuffle(turns)
            for name in turns:
                rates.setdefault(name, []).append(take(ways[name], Ask(PROMPT, options.tokens)).decode_rate)
                first = statistics.median(take(ways[name], Ask(PROMPT, 2)).first for _ in range(5))
                firsts.setdefault(name, []).append(first)
        calls = {path: routes_per_second(server.address, path) for path in ("/health", "/v1/models")}
    results: dict[str, Any] = {"model": model, "rounds": options.rounds, "tokens": options.tokens, "calls": calls}
    print(f"{model}, {options.rounds} rounds of {options.tokens} tokens; medians (quartiles)\n")
    for name in ways:
        if name == "direct":
            continue
        ratio = Spread.of([a / b for a, b in zip(rates[name], rates["direct"], strict=True)])
        delay = Spread.of([1000 * (a - b) for a, b in zip(firsts[name], firsts["direct"], strict=True)])
        results[name] = {"decode_ratio": ratio.json(), "first_token_delay_ms": delay.json()}
        print(
            f"{name:22} decode {ratio.median:.3f} ({ratio.q1:.3f} to {ratio.q3:.3f})   "
            f"first token {delay.median:+.1f} ms ({delay.q1:+.1f} to {delay.q3:+.1f})"
        )
    for path, rate in calls.items():
        print(f"{'GET ' + path:22} {rate:.0f} calls a second of one client")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
