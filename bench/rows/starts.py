"""Starts, imports, loads, and the memory of an idle host."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import psutil

import studiolo

from .. import texts
from ..measure import Ask, Spread, take
from ..processes import PYTHON, bytecode_cached, engine_processes, running, serving, wheel_server
from ..run import Part, Run, row
from ..streams import llama_server

SETTLE_SEC = 2.0
"""How long an idle host rests before its memory is read."""


@row(
    "first_output",
    "process start to first token, model in the page cache",
    unit="s",
    most=1.0,
    how="""From the start of a process of `studiolo complete`, embedded, to its first output. The reference is the
    wheel's launcher and a request to it. Python's bytecode is cached, as by an installation.""",
)
def first_output(run: Run) -> list[Part]:
    def own(number: int) -> float:
        prompt = texts.fresh(8, ("start", number))
        words = ("complete", prompt, "--model", run.model, "--max-tokens", "1", "--temperature", "0")
        began = time.perf_counter()
        with running([*PYTHON, "-m", "studiolo", *words], environment={"STUDIOLO_HOST": "embedded"}) as process:
            assert process.stdout is not None
            if not process.stdout.read(1):
                raise RuntimeError(f"studiolo complete printed nothing: {process.communicate()[1]}")
            return time.perf_counter() - began

    def reference(number: int) -> float:
        with wheel_server(run.file) as server:
            return server.ready_after + take(llama_server(server.connect), Ask(texts.fresh(8, number), 1)).first

    with bytecode_cached():
        own(-1)
        found = run.alternate({"own": own, "reference": reference}, 20, most=6)
    return [Part("", Spread.of(found["own"]), Spread.of(found["own"]), Spread.of(found["reference"]), "s")]


IMPORTS = ("studiolo", "lmstudio")


@row(
    "imports",
    "`import studiolo` / `import lmstudio`",
    most=0.2,
    how="New processes with cached bytecode, what a bare interpreter takes subtracted.",
)
def imports(run: Run) -> list[Part]:
    def one(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([*PYTHON, "-c", code], check=True)
        return 1000 * (time.perf_counter() - began)

    codes = {"bare": "pass", **{name: f"import {name}" for name in IMPORTS}, "Client": "from studiolo import Client"}
    with bytecode_cached():
        for code in codes.values():
            one(code)
        found = run.alternate({name: lambda _, code=code: one(code) for name, code in codes.items()}, 12)
    bare = Spread.of(found["bare"]).median
    added = {name: [value - bare for value in found[name]] for name in codes}
    return [
        Part.of_rounds("", added["studiolo"], added["lmstudio"], "ms"),
        Part.of_rounds("with `studiolo.Client`", added["Client"], added["lmstudio"], "ms", judged=False),
    ]


@row(
    "memory",
    "host's own memory, server idle with one model, above the engine's",
    unit="MB",
    most=80,
    how="""Memory of the server's process and of its helpers, without the engine's process, two seconds after an answer:
    the proportional set size, or the resident memory on systems without it.""",
)
def memory(run: Run) -> list[Part]:
    with serving(run.model) as server, studiolo.Client(server.address) as client:
        client.llm.model(run.model).complete(texts.fresh(20, "memory"), config={"max_tokens": 8})
        time.sleep(SETTLE_SEC)
        engines = engine_processes(server.process.pid)
        host = psutil.Process(server.process.pid)
        helpers = [each for each in host.children(recursive=True) if each not in engines]
        value = Spread.of([sum(map(_megabytes, [host, *helpers]))])
        checks: dict[str, Any] = {
            "host_mb": round(_megabytes(host), 1),
            "helpers_mb": [round(_megabytes(each), 1) for each in helpers],
        }
        return [Part("", value, value, Spread.of([sum(map(_megabytes, engines))]), "MB", checks=checks)]


def _megabytes(process: psutil.Process) -> float:
    memory = process.memory_full_info()
    return (getattr(memory, "pss", 0) or memory.rss) / 1e6


@row(
    "load",
    "load of a model already in the page cache / the wheel's server directly",
    most=1.05,
    how="""A call of the SDK to a running server, until it returns, against the start of the wheel's server until it is
    ready; both with 4 slots of 2,048 tokens.""",
)
def load(run: Run) -> list[Part]:
    slots, context = 4, 2048
    config = {"max_parallel_predictions": slots, "context_length": context}
    with serving() as server, studiolo.Client(server.address) as client:

        def own(_: int) -> float:
            began = time.perf_counter()
            llm = client.llm.load_new_instance(run.model, "bench", config=config)
            took = time.perf_counter() - began
            llm.unload()
            return took

        def reference(_: int) -> float:
            with run.direct(slots, context) as wheel:
                return wheel.ready_after

        own(-1)
        found = run.alternate({"own": own, "reference": reference}, 20, most=8)
    return [Part.of_rounds("", found["own"], found["reference"], "s")]
