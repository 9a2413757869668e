"""Writes to disk what an engine has read of its prompts, and gives it back to the engine of a later load.

llama-server keeps prompts in its slots and, of earlier conversations, in main memory. Both are lost with the process.
It can write a slot to a file, and read it into a slot. So the prompts of the latest answers are noted here, and written
when the engine is stopped or has nothing to do for a while. A request whose prompt begins as one on disk has that read
first. What is restored is safe whatever the notes say: the file has the tokens, which the server compares.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ...errors import StudioloError
from .answers import Count, decode
from .client import LlamaServerClient
from .noted_prompts import MIN_TOKENS, Noted, NotedPrompts, Prefix, common_length
from .saved_prompts import SavedPrompts
from .stream_events import Timings

IDLE_SEC = 60.0
"""How long the engine has nothing to do before prompts are written."""

STOP_LIMIT_SEC = 5.0
"""How long an engine that is stopped may take to write prompts."""

T = TypeVar("T")

_log = logging.getLogger("studiolo.engines")


class _SlotAnswer(msgspec.Struct):
    """The answers of ``/completion`` and of the calls that write and read a slot, as far as they matter here."""

    id_slot: Count
    tokens_evaluated: Count = 0
    n_saved: Count = 0
    n_written: Count = 0
    timings: Timings | None = None


class _SlotState(msgspec.Struct):
    id: Count
    is_processing: bool = False


class PromptKeeper:
    """The prompts of one engine.

    Parameters:
        client: speaks with the engine.
        saved: the files.
        noted: the prompts that the engine has read.
        slot_tokens: tokens that the engine's slots hold together.
        cache_bytes: what it keeps in main memory besides.
    """

    def __init__(
        self,
        client: LlamaServerClient,
        saved: SavedPrompts,
        noted: NotedPrompts,
        slot_tokens: int,
        cache_bytes: int,
    ) -> None:
        self._client = client
        self._saved = saved
        self._noted = noted
        self._slot_tokens = slot_tokens
        self._cache_bytes = cache_bytes
        self._token_bytes = 0.0  # of a token on disk, which is about the same in memory; 0 until one is written
        self._on_disk: list[Noted] | None = None
        self._restoring = asyncio.Lock()
        self._next_slot = 0
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    async def begin(self, prompt: Prefix | None) -> None:
        """Have the engine read from disk what it has not read of ``prompt``; nothing for ``None``.

        :meth:`end` has to follow, also when this is cancelled.
        """
        self._running += 1
        self._stop_timer()
        if prompt is None:
            return
        try:
            async with self._restoring:
                await self._restore(prompt)
        except (OSError, StudioloError) as error:
            _log.debug("no prompt was restored: %s", error)

    def end(self) -> None:
        """Note that a prediction has ended. Prompts are written some time after the last."""
        self._running -= 1
        if self._running == 0:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SEC, self._begin_to_write)

    async def close(self, *, write: bool) -> None:
        """Write the prompts that are not on disk, if ``write``, for as long as the engine may take to stop."""
        self._stop_timer()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        if not write:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT_SEC):
                await self.write()

    async def write(self) -> None:
        """Write the prompts that are not on disk, the latest first, until a request comes."""
        total = 0
        try:
            for noted in reversed(self._noted.latest.copy()):
                total += noted.tokens
                if self._running or total > self._capacity():
                    return  # the engine cannot have more: it would read what is written
                if not noted.written and not await self._write(noted):
                    return
        except (OSError, StudioloError) as error:
            _log.warning("prompts cannot be written to %s: %s", self._saved.folder, error)

    def _capacity(self) -> float:
        return self._slot_tokens + (self._cache_bytes / self._token_bytes if self._token_bytes else 0)

    async def _write(self, noted: Noted) -> bool:
        """Write one prompt. Return whether the engine still had it."""
        text = noted.text
        asked: dict[str, Any] = {"prompt": text, "n_predict": 0, "cache_prompt": True}
        slot = await self._call("/completion", asked)  # puts it into a slot, from wherever the engine has it
        read = slot.timings.prompt_n if slot.timings else 0
        part = self._saved.part(noted.id).name
        await _in_thread(self._saved.make_folder)
        try:
            done = await self._call(f"/slots/{slot.id_slot}?action=save", {"filename": part})
            if done.n_saved == slot.tokens_evaluated:  # otherwise another request has taken the slot
                self._token_bytes = done.n_written / max(1, done.n_saved)
                commit = self._saved.commit
                noted.written = await _in_thread(lambda: commit(noted.id, text, noted.prompt_length, done.n_saved))
        finally:
            self._saved.part(noted.id).unlink(missing_ok=True)
        return read <= max(MIN_TOKENS, slot.tokens_evaluated // 4)

    async def _restore(self, prompt: Prefix) -> None:
        if self._on_disk is None:
            self._on_disk = [
                Noted(each.text, each.prompt_length, each.tokens, written=True, id=each.id)
                for each in await _in_thread(self._saved.load)
            ]
        known = self._noted.known(prompt)
        best = max(self._on_disk, key=lambda noted: common_length(prompt, noted.text), default=None)
        if best is None:
            return
        common = common_length(prompt, best.text)
        more = best.tokens * (common - known) / max(1, len(best.text))
        if more < MIN_TOKENS or common < known * 1.1:
            return
        self._on_disk.remove(best)
        slot = await self._idle_slot()
        if slot is None or not await _in_thread(lambda: self._saved.is_sound(best.id)):
            return
        try:
            await self._call(f"/slots/{slot}?action=restore", {"filename": self._saved.data(best.id).name})
        except StudioloError:
            self._saved.delete(best.id)
            raise
        self._noted.latest.append(best)

    async def _idle_slot(self) -> int | None:
        """Return a slot that no request uses, another one each time: what it had is in the engine's memory by then."""
        states = decode("/slots", await self._client.call("GET", "/slots"), list[_SlotState])
        idle = [state.id for state in states if not state.is_processing]
        if not idle:
            return None
        chosen = next((slot for slot in idle if slot >= self._next_slot), idle[0])
        self._next_slot = chosen + 1
        return chosen

    async def _call(self, path: str, body: dict[str, Any]) -> _SlotAnswer:
        return decode(path, await self._client.call("POST", path, body), _SlotAnswer)

    def _begin_to_write(self) -> None:
        self._writing = asyncio.create_task(self.write(), name="write prompts")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def _in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread; in this one at the end of the interpreter, when no thread can be started."""
    try:
        return await asyncio.to_thread(work)
    except RuntimeError:
        return work()
