"""The process that renders chat templates: ``python -m studiolo.engines.chat_templates.worker``.

A request is JSON. An answer is a letter and what follows it: ``T`` and the text, ``E`` and an error, ``F`` and facts,
both as JSON; ``M`` where memory ran out. See :mod:`studiolo.platform.worker_loop`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ...platform.limits import limit_process
from ...platform.worker_loop import serve

CPU_LIMIT_SEC = 2.0
MEMORY_LIMIT_BYTES = 2**30
REQUEST_MEMORY_BYTES = 64 * 2**20
MEMORY_PER_BYTE = 12
"""What a request may take: so much, and so much for each of its bytes."""


def main() -> None:
    serve(_prepare, cpu_sec=CPU_LIMIT_SEC, memory_bytes=REQUEST_MEMORY_BYTES, memory_per_byte=MEMORY_PER_BYTE)


def _prepare() -> Callable[[bytes], bytes]:
    limit_process(memory_bytes=MEMORY_LIMIT_BYTES, writes=False)
    from .examination import examine

    examine("{{ messages[0].content | trim | tojson }}", "")  # import lazily loaded modules now
    return _answer


def _answer(request: bytes) -> bytes:
    from .examination import examine
    from .rendering import RenderError, render

    try:
        fields: dict[str, Any] = json.loads(request)
        if "examine" in fields:
            return b"F" + json.dumps(examine(fields["examine"], fields["tool_template"])).encode()
        return b"T" + render(**fields).encode("utf-8", "replace")
    except RenderError as error:
        return b"E" + json.dumps({"cause": error.cause[:2000], "line": error.line}).encode()
    except MemoryError:
        return b"M"


if __name__ == "__main__":
    main()
