"""A server on an engine that costs next to nothing: run as ``python -m bench.free_engine``; it prints its address.

Its models are ``paced`` (a token at each tick of one clock for all streams), ``free`` (tokens as fast as they are
taken) and ``silent`` (none).
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import studiolo_fake_engine as fake
import uvicorn

from studiolo.dialects import dialects
from studiolo.dialects.base import Serving
from studiolo.domain.generation import Fragment
from studiolo.domain.progress import PromptProgress
from studiolo.engines.base import Completed, CompletionRequest, EngineEvent
from studiolo.engines.spec import EngineSpec, LoadProgress
from studiolo.host.host import Host
from studiolo.paths import Home
from studiolo.platform import event_loop
from studiolo.server.app import create_app
from studiolo.server.gathered_writes import gathering_protocol
from studiolo.server.serve import collect_garbage_rarely, open_store
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model

from .front_end import MODELS, TICK_SEC

BURST = 32
"""Tokens after which a free stream lets others run."""


class FreeEngine(fake.FakeEngine):
    """An engine whose streams do nothing but count."""

    _tick = asyncio.Event()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        limit = request.config.max_tokens or 100
        with self._work(in_slot=True):
            yield PromptProgress(0, 1)
            for count in itertools.count():
                if self.key == "silent":
                    await self.exited.wait()
                if count == limit:
                    break
                if self.key == "paced":
                    await FreeEngine._tick.wait()
                elif count % BURST == 0:
                    await asyncio.sleep(0)
                yield Fragment("t")
            yield Completed(
                stop_reason="max_tokens",
                stop_string=None,
                prompt_tokens=1,
                predicted_tokens=limit,
                tokens_per_second=None,
                draft_tokens=None,
            )


async def _tick() -> None:
    while True:
        await asyncio.sleep(TICK_SEC)
        waiting, FreeEngine._tick = FreeEngine._tick, asyncio.Event()
        waiting.set()


async def _start(
    self: fake.FakeKind, spec: EngineSpec, emit: Callable[[LoadProgress], None] | None = None
) -> fake.FakeEngine:
    engine = FreeEngine(spec, self._node)
    fake.engines.append(engine)
    await engine.load(emit)
    return engine


async def _serve(home: Home) -> None:
    host = Host()
    clock = asyncio.create_task(_tick())
    store = open_store(host.home, host.settings.current().store)
    app = create_app(Serving(host, store=store), dialects())
    config = uvicorn.Config(app, "127.0.0.1", 0, http=gathering_protocol(), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110, uvicorn has no event for it
        await asyncio.sleep(0.01)
    address, port = server.servers[0].sockets[0].getsockname()
    collect_garbage_rarely()
    print(f"{address}:{port}", flush=True)
    try:
        await serving
    finally:
        clock.cancel()
        await host.stop()
        await store.close()


def main() -> None:
    """Serve until a signal ends the process."""
    fake.FakeKind.start = _start
    home = Home(Path(os.environ["STUDIOLO_HOME"]))
    home.create()
    loads = "".join(f"\n[models.{name}]\nload = {{ max_parallel_predictions = 256 }}\n" for name in MODELS)
    home.settings.write_text(SETTINGS.replace("[loading]", "[loading]\nauto_evict = false") + loads)
    for name in MODELS:
        add_model(home, name)
    event_loop.run(_serve(home))


if __name__ == "__main__":
    main()
