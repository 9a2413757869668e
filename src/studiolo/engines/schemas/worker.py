"""The process that checks schemas and answers: ``python -m studiolo.engines.schemas.worker``.

It reads requests from standard input and writes a response for each: JSON after its length in four bytes, big-endian. A
request that takes more than :data:`CPU_LIMIT_SEC` of processor time ends the process, whatever runs: native
code and Python's regular expressions cannot be interrupted otherwise. It ends when standard input does.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any, BinaryIO

from ...platform.limits import cpu_limit, limit_process

CPU_LIMIT_SEC = 2.0
MEMORY_LIMIT_BYTES = 2 * 2**30

LENGTH = struct.Struct(">I")


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)  # output of libraries must not mix with responses
    limit_process(memory_bytes=MEMORY_LIMIT_BYTES)
    from .preparation import prepare
    from .validation import check

    check(prepare("{}").grammar_json, "{}")  # import lazily loaded modules now
    _write(answers, {})
    while (request := _read(requests)) is not None:
        with cpu_limit(CPU_LIMIT_SEC):
            answer = _answer(request)
        _write(answers, answer)


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


def _read(stream: BinaryIO) -> dict[str, Any] | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return json.loads(stream.read(LENGTH.unpack(head)[0]))


def _write(stream: BinaryIO, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


if __name__ == "__main__":
    main()
