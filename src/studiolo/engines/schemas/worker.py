"""The process that checks schemas and answers: ``python -m studiolo.engines.schemas.worker``.

Requests and answers are JSON; see :mod:`studiolo.platform.worker_loop`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ...platform.limits import limit_process
from ...platform.worker_loop import serve

CPU_LIMIT_SEC = 2.0
MEMORY_LIMIT_BYTES = 2 * 2**30
REQUEST_MEMORY_BYTES = 512 * 2**20
MEMORY_PER_BYTE = 64
"""What a request may take: so much, and so much for each of its bytes; in all, what the process may."""


def main() -> None:
    serve(_prepare, cpu_sec=CPU_LIMIT_SEC, memory_bytes=REQUEST_MEMORY_BYTES, memory_per_byte=MEMORY_PER_BYTE)


def _prepare() -> Callable[[bytes], bytes]:
    limit_process(memory_bytes=MEMORY_LIMIT_BYTES)
    from .preparation import prepare
    from .validation import check

    check(prepare("{}").grammar_json, "{}")  # import lazily loaded modules now
    return lambda request: json.dumps(_answer(json.loads(request))).encode()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from .grammar_build import check_grammar
    from .preparation import prepare
    from .schema_checks import RefusedError
    from .validation import check

    try:
        match request:
            case {"check": str(answer), "schema": str(schema)}:
                return {"problem": check(schema, answer)}
            case {"grammar": str(grammar)}:
                check_grammar(grammar)
                return {}
            case _:
                prepared = prepare(request["schema"], spaced=bool(request.get("spaced")))
                return {"grammar_json": prepared.grammar_json, "warnings": prepared.warnings}
    except RefusedError as error:
        return {"refused": error.kind, "path": error.path, "why": error.why, "hint": error.hint}
    except Exception as error:  # libraries raise unforeseen errors for unusual schemas
        why = f"{type(error).__name__}: {error}"
        return {"refused": "unsupported", "path": "$", "why": why, "hint": "Simplify the schema.", "problem": why}


if __name__ == "__main__":
    main()
