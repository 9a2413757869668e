"""Prompts on disk: what an engine has read is not read again by the engine of a later load."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed, Engine
from studiolo.engines.llama_cpp.kind import LlamaCppKind
from studiolo.engines.llama_cpp.saved_prompts import DEFAULT_LIMIT, SavedPrompts, size_limit
from studiolo.engines.spec import Node
from studiolo.paths import Home
from tests.support.engine_calls import run
from tests.support.engines import node_in, spec_of

CHATS = 20

Save = Callable[..., SavedPrompts]


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    """Returns the prompts of a made-up model ``name`` whose load has some settings, at most ``limit`` bytes."""

    def of(name: str = "model", limit: int | None = None, engine: str = "engine 1", **config: Any) -> SavedPrompts:
        model = tmp_path / f"{name}.gguf"
        if not model.exists():
            model.write_bytes(name.encode())
        node = node_in(tmp_path, tmp_path / "prompts", saved_prompts_mib=1)
        found = SavedPrompts.of(node, spec_of(model, **config), engine)
        assert found is not None
        found.limit = limit or found.limit
        return found

    return of


def write(prompts: SavedPrompts, name: str, size: int = 1000, used: float = 0) -> None:
    """Write a prompt as an engine does, used last at the time ``used``."""
    prompts.make_folder()
    prompts.part(name).write_bytes(b"x" * size)
    if prompts.commit(name, f"text of {name}", 4, 100):
        os.utime(prompts.folder / f"{name}.json", (used, used))


def names(prompts: SavedPrompts) -> list[str]:
    return [each.id for each in prompts.load()]


def test_the_prompts_used_longest_ago_are_deleted_first_of_whichever_model(saved: Save) -> None:
    one, other = saved("one"), saved("other")
    for number in range(3):
        write(one, f"one{number}", used=10 + number)
    write(other, "other", used=11.5)
    one.limit = 3500
    one.prune()
    assert (names(one), names(other)) == (["one2"], ["other"])
    one.limit = 1500
    write(one, "large", size=2000, used=20)
    assert names(one) == ["one2"], "one that is larger than the limit is not kept"


def test_files_that_are_damaged_or_foreign_are_deleted(saved: Save) -> None:
    prompts, other = saved(), saved("other")
    for name in ("whole", "shorter", "changed", "undescribed", "unreadable"):
        write(prompts, name)
    write(other, "foreign")
    for path in other.folder.iterdir():
        path.rename(prompts.folder / path.name)
    prompts.data("shorter").write_bytes(b"x")
    prompts.data("changed").write_bytes(b"y" * 1000)
    (prompts.folder / "undescribed.json").unlink()
    os.utime(prompts.data("undescribed"), (1, 1))
    (prompts.folder / "unreadable.json").write_text("{")
    assert sorted(names(prompts)) == ["changed", "whole"]
    assert prompts.is_sound("whole")
    assert not prompts.is_sound("changed")
    prompts.prune()
    assert sorted(path.name for path in prompts.folder.iterdir()) == ["whole.json", "whole.kv"]


def test_prompts_belong_to_a_model_an_engine_and_the_settings_that_matter(saved: Save, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(b"adapter")
    folders = [
        saved().folder,
        saved("other").folder,
        saved(engine="engine 2").folder,
        saved(context_length=1024).folder,
        saved(llama_k_cache_quantization_type="q8_0").folder,
        saved(adapters=[adapter], lora=["adapter"]).folder,
        saved(adapters=[adapter], lora=[("adapter", 0.5)]).folder,
    ]
    assert len(set(folders)) == len(folders)
    assert saved(cpu_thread_pool_size=1, eval_batch_size=64).folder == folders[0]
    (tmp_path / "model.gguf").write_bytes(b"model, changed")
    assert saved().folder != folders[0]


def test_nothing_is_written_unless_the_home_is_private_or_the_settings_say_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    model = tmp_path / "model.gguf"
    model.write_bytes(b"model")

    def node(**settings: Any) -> Node:
        return node_in(tmp_path, Home(home).saved_prompts, **settings)

    assert size_limit(node()) == DEFAULT_LIMIT
    assert size_limit(node(saved_prompts_mib=7)) == 7 << 20
    prompts = SavedPrompts.of(node(), spec_of(model), "engine 1")
    assert prompts is not None
    write(prompts, "private")
    home.chmod(0o755)
    assert size_limit(node()) == 0
    assert SavedPrompts.of(node(), spec_of(model), "engine 1") is None
    assert not list(prompts.root.rglob("*.*")), "what was written before is deleted"
    assert SavedPrompts.of(node(saved_prompts_mib=7), spec_of(model), "engine 1") is not None
    assert SavedPrompts.of(node(saved_prompts_mib=7), spec_of(model, draft=model), "engine 1") is None


def question(chat: int) -> str:
    return f"Chat {chat}. " + " ".join(f"{chat * 31 + 100 + place} apples" for place in range(14)) + ". And then"


async def answer(engine: Engine, prompt: str) -> tuple[str, Completed]:
    events = await run(engine, prompt, max_tokens=3)
    end = events[-1]
    assert isinstance(end, Completed)
    return prompt + "".join(event.text for event in events if isinstance(event, Fragment)), end


async def next_turns(engine: Engine, chats: dict[int, str]) -> tuple[int, int]:
    """Continue the chats, one after the other. Return the tokens of all prompts, and those that the engine read."""
    total = read = 0
    for chat, text in chats.items():
        chats[chat], end = await answer(engine, f"{text}\nSay more:")
        assert end.cached_tokens is not None
        total += end.prompt_tokens
        read += end.prompt_tokens - end.cached_tokens - 4  # "Say more" is new
    return total, read


@pytest.mark.slow
async def test_twenty_chats_on_four_slots_are_not_read_again_also_after_a_restart(
    quick_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studiolo.engines.llama_cpp.prompt_keeper.STOP_LIMIT_SEC", 60)  # the machine may be busy
    kind = LlamaCppKind(node_in(tmp_path, tmp_path / "prompts", saved_prompts_mib=64))
    spec = spec_of(next(quick_home.models.rglob("*.gguf")), max_parallel_predictions=4, prompt_cache_mib=64)
    engine = await kind.start(spec)
    try:
        chats = {chat: (await answer(engine, question(chat)))[0] for chat in range(CHATS)}
        total, read = await next_turns(engine, chats)
        assert read <= total * 0.05
    finally:
        await engine.stop()
    written = [path for path in (tmp_path / "prompts").rglob("*") if path.is_file()]
    assert len(written) == 2 * CHATS
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    assert stat.S_IMODE((tmp_path / "prompts").stat().st_mode) == 0o700
    refused = next(path for path in written if path.suffix == ".json" and b"Chat 7." in path.read_bytes())
    garbage = b"x" * refused.with_suffix(".kv").stat().st_size
    refused.with_suffix(".kv").write_bytes(garbage)
    described = json.loads(refused.read_bytes())
    refused.write_text(json.dumps({**described, "sha256": hashlib.sha256(garbage).hexdigest()}))
    engine = await kind.start(spec)
    try:
        _, end = await answer(engine, chats.pop(7))
        assert end.cached_tokens == 0
        assert not refused.exists()
        total, read = await next_turns(engine, chats)
        assert read <= total * 0.05
    finally:
        await engine.stop()
    assert len(list((tmp_path / "prompts").rglob("*.kv"))) == CHATS, "a later turn takes the place of the earlier"
