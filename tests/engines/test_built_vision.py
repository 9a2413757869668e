"""The vision model that the tests use really sees."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import aiohttp

from tests.support.engines import kind_in, socket_in, spec_of


def _png(red: int, green: int, blue: int, width: int = 100, height: int = 60) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def test_a_real_engine_sees_with_it(vision_model: Path, tmp_path: Path) -> None:
    mmproj = vision_model.with_name(f"mmproj-{vision_model.name}")
    spec = spec_of(vision_model, projector=mmproj, context_length=1024, max_parallel_predictions=1)
    engine = await kind_in(tmp_path).start(spec)
    try:
        connector = aiohttp.UnixConnector(str(socket_in(tmp_path)), force_close=True)
        async with aiohttp.ClientSession("http://engine", connector=connector) as session:

            async def ask(image: bytes | None) -> tuple[str, int]:
                content = [{"type": "text", "text": "What is this?"}]
                if image is not None:
                    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
                    content.append({"type": "image_url", "image_url": {"url": url}})  # type: ignore[dict-item]
                body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}
                async with session.post("/v1/chat/completions", json=body) as response:
                    answer = await response.json()
                    return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]

            red, red_tokens = await ask(_png(255, 0, 0))
            blue, _ = await ask(_png(0, 0, 255))
            again, _ = await ask(_png(255, 0, 0))
            _, bare_tokens = await ask(None)
    finally:
        await engine.stop()
    assert red == again != blue
    assert red_tokens - bare_tokens == 16, "the image's own tokens"
