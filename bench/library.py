"""The time to list a library of 500 models, and to find one by name: ``python -m bench.library [COUNT]``.

The files are real headers (a vocabulary, a chat template) with almost no weights. Measured: the first listing,
which reads every header; the listing of a new process, which finds them in the database; the next one in the same
process; and look-ups of a name that a model has, and of one that none has.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from studiolo.errors import ModelNotFoundError
from studiolo.library import Library
from studiolo.paths import Home

TOKENS = 32_000
ROUNDS = 7
SETTLE_SEC = 3
"""Longer than the age below which the library reads a file again."""


def write_models(home: Home, count: int, vocabulary: int = TOKENS) -> None:
    """Write ``count`` models in folders named as on the hub, four variants each."""
    import gguf
    import numpy

    template = home.root / "template.gguf"
    writer = gguf.GGUFWriter(template, "llama")
    writer.add_context_length(8192)
    writer.add_token_list([f"token{number}" for number in range(vocabulary)])
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}" * 60)
    writer.add_tensor("token_embd.weight", numpy.zeros((4, 64), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    content = template.read_bytes()
    template.unlink()
    kinds = ("Q4_K_M", "Q5_K_M", "Q8_0", "F16")
    for number in range(count):
        name = f"Model{number // len(kinds)}-7B"
        path = home.models / f"publisher{number % 20}" / f"{name}-GGUF" / f"{name}.{kinds[number % len(kinds)]}.gguf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def measure(home: Home, count: int) -> dict[str, float]:
    """Return the seconds of each measurement; the median of several if it can be repeated."""
    first = await _listing(home, count)
    cached = [await _listing(home, count) for _ in range(ROUNDS)]
    library = Library(home)
    await asyncio.sleep(SETTLE_SEC)
    key = (await library.models())[count // 2].key
    again = await _median(library.models)
    found = await _median(lambda: library.resolve(key))
    missing = await _median(lambda: _miss(library))
    await library.close()
    cached_listing = statistics.median(cached)
    return {"first": first, "cached": cached_listing, "again": again, "found": found, "missing": missing}


async def _median(action: Callable[[], Awaitable[object]]) -> float:
    took: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await action()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def _miss(library: Library) -> None:
    with contextlib.suppress(ModelNotFoundError):
        await library.resolve("no-model-of-this-name")


async def _listing(home: Home, count: int) -> float:
    began = time.perf_counter()
    library = Library(home)
    models = await library.models()
    took = time.perf_counter() - began
    await library.close()
    assert len(models) == count
    return took


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.settings.write_text("[library]\nprograms = []\n")
        write_models(home, count)
        for name, seconds in asyncio.run(measure(home, count)).items():
            print(f"{count} models, {name}: {seconds * 1000:.0f} ms")


if __name__ == "__main__":
    main()
