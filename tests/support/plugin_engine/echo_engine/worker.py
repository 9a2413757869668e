"""The engine's process: ``python -m echo_engine.worker MODEL``. Requests are lines of JSON on standard input.

A token is a character. A completion repeats its prompt again and again. Answers are lines of JSON, too, each with the
``id`` of its request. The process ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
from typing import Any

TOKEN_SEC = 0.002


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def vector(text: str) -> list[float]:
    values = [1.0 + sum(ord(letter) for letter in text[start::4]) % 97 for start in range(4)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


async def complete(request: dict[str, Any]) -> None:
    prompt: str = request["prompt"] or " "
    for index in range(request["limit"]):
        await asyncio.sleep(TOKEN_SEC)
        say(id=request["id"], text=prompt[index % len(prompt)])
    say(id=request["id"], done=True)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running: dict[int, asyncio.Task[None]] = {}
    while line := await reader.readline():
        request: dict[str, Any] = json.loads(line)
        number, call = request["id"], request["call"]
        print(f"request {number}: {call}", file=sys.stderr, flush=True)
        if call == "complete":
            running[number] = asyncio.create_task(complete(request))
        elif call == "cancel" and number in running:
            running.pop(number).cancel()
        elif call == "embed":
            say(id=number, vectors=[vector(text) for text in request["texts"]])
        elif call == "ping":
            say(id=number)


def main() -> None:
    with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - as small as can be
        for done in (0.0, 0.5, 1.0):
            say(id=0, progress=done)
        if file.read(4) != b"GGUF":
            sys.exit("this is not a GGUF file: invalid magic")
    say(id=0, ready=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
