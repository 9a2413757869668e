"""Load settings: each has its effect on the real engine, and what does not fit is refused by name before a start."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from studiolo.config import LoadConfig, LoraSetting, check_load_config, explicit_fields, load_config
from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed, CompletionRequest, Constraint, Engine
from studiolo.engines.llama_cpp.params import worker_params
from studiolo.errors import ConfigError, EngineStartError, UnsupportedError
from studiolo.host.prediction_settings import settings_in_force
from studiolo.paths import Home
from studiolo.protocol import kv
from tests.support.engine_calls import request
from tests.support.engines import kind_in, socket_in, spec_of

Start = Callable[..., Awaitable[Engine]]

pytestmark = pytest.mark.quick_model


@pytest.fixture
def model(home: Home) -> Path:
    return next(home.models.rglob("*.gguf"))


@pytest.fixture
async def start(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start an engine with the given load settings on top of a small context and one slot."""
    monkeypatch.setenv("STUDIOLO_ENGINE_VERBOSITY", "5")
    started: list[Engine] = []

    async def start(path: Path = model, *, draft: Path | None = None, domain: Any = "llm", **config: Any) -> Engine:
        settings = {"context_length": 256, "max_parallel_predictions": 1, **config}
        spec = spec_of(path, domain=domain, draft=draft, identifier=str(len(started)), **settings)
        started.append(await kind_in(tmp_path).start(spec))
        return started[-1]

    yield start
    for engine in started:
        await engine.stop()


async def logged(folder: Path, pattern: str, value: str | None = None) -> str:
    """What the first group of ``pattern`` matches last in the log of the engine that was started last.

    An engine writes its log from threads of its own: a line can follow the answer that it is ready. Some seconds
    are left for the line to come, or for ``value`` to stand in it.
    """
    found: list[str] = []
    for _ in range(200):
        found = re.findall(pattern, max(folder.glob("*.log")).read_text(errors="replace"))
        if found and value in (None, found[-1]):
            break
        await asyncio.sleep(0.05)
    assert found, f"the engine's log has nothing like {pattern!r}"
    return found[-1]


async def ask(folder: Path, path: str) -> Any:
    connector = aiohttp.UnixConnector(str(socket_in(folder)), force_close=True)
    async with aiohttp.ClientSession("http://engine", connector=connector) as session, session.get(path) as answer:
        return await answer.json()


@pytest.mark.parametrize(
    ("config", "pattern", "value"),
    [
        ({"eval_batch_size": 64}, r"n_batch += (\d+)", "64"),
        ({"eval_batch_size": 64}, r"n_ubatch += (\d+)", "64"),
        ({"physical_batch_size": 32}, r"n_ubatch += (\d+)", "32"),
        ({"flash_attention": False}, r"flash_attn += (\w+)", "disabled"),
        ({"flash_attention": True}, r"flash_attn += (\w+)", "enabled"),
        ({"rope_frequency_base": 50000}, r"llama_context: freq_base += ([\d.]+)", "50000.0"),
        ({"rope_frequency_scale": 0.5}, r"llama_context: freq_scale += ([\d.]+)", "0.5"),
        ({"llama_k_cache_quantization_type": "q8_0"}, r"K \((\w+)\)", "q8_0"),
        ({"llama_v_cache_quantization_type": "q4_0"}, r"V \((\w+)\)", "q4_0"),
        ({"llama_v_cache_quantization_type": "q4_0"}, r"flash_attn += (\w+)", "enabled"),
        ({"use_fp16_for_kv_cache": False}, r"K \((\w+)\)", "f32"),
        ({"cpu_thread_pool_size": 1}, r"system_info: n_threads = (\d+)", "1"),
        ({"cpu_thread_pool_size": 1, "batch_threads": 2}, r"n_threads_batch = (\d+)", "2"),
        ({"max_parallel_predictions": 3, "use_unified_kv_cache": True}, r"kv_unified += (\w+)", "true"),
        ({"max_parallel_predictions": 3, "use_unified_kv_cache": True}, r"llama_context: n_ctx += (\d+)", "256"),
        ({"max_parallel_predictions": 3}, r"llama_context: n_ctx += (\d+)", "768"),
        ({"prompt_cache_mib": 77}, r"prompt cache is enabled, size limit: (\d+)", "77"),
        ({"try_mmap": False}, r"(CPU(?:_Mapped)?) model buffer", "CPU"),
        ({"try_mmap": True}, r"(CPU(?:_Mapped)?) model buffer", "CPU_Mapped"),
        ({"context_checkpoints": 5}, r"context checkpoints enabled, max = (\d+)", "5"),
    ],
)
async def test_the_engine_runs_with(
    start: Start, tmp_path: Path, config: dict[str, Any], pattern: str, value: str
) -> None:
    await start(**config)
    assert await logged(tmp_path, pattern, value) == value


async def test_a_context_length_is_each_slots_own(start: Start, tmp_path: Path) -> None:
    await start(context_length=512, max_parallel_predictions=2)
    assert [slot["n_ctx"] for slot in await ask(tmp_path, "/slots")] == [512, 512]


async def test_a_unified_cache_gives_each_slot_the_whole_context(start: Start, tmp_path: Path) -> None:
    await start(context_length=512, max_parallel_predictions=2, use_unified_kv_cache=True)
    assert [slot["n_ctx"] for slot in await ask(tmp_path, "/slots")] == [512, 512]


async def test_weights_kept_in_memory_are_locked_there(start: Start, model: Path) -> None:
    def locked(engine: Engine) -> int:
        status = Path(f"/proc/{engine.process.pid}/status").read_text()
        return int(re.findall(r"VmLck:\s+(\d+) kB", status)[0])

    assert locked(await start(keep_model_in_memory=False)) == 0
    assert locked(await start(keep_model_in_memory=True)) > 0.9 * model.stat().st_size / 1024


async def test_direct_reading_maps_no_file(start: Start, model: Path) -> None:
    async def maps(**config: Any) -> bool:
        engine = await start(**config)
        return any(m.path == str(model.resolve()) for m in psutil.Process(engine.process.pid).memory_maps())

    assert await maps()
    assert not await maps(try_direct_io=True)


@pytest.mark.parametrize("gpu", [{"ratio": "off"}, {"ratio": 0.5}, {"ratio": "max", "disabled_gpus": [0]}])
async def test_a_gpu_setting_is_taken_on_any_machine(start: Start, gpu: dict[str, Any]) -> None:
    engine = await start(gpu=gpu)
    assert await engine.tokenize("My name is")
    if gpu["ratio"] == "off":
        assert engine.gpu_layers == 0


async def run(engine: Engine, prompt: str, load: LoadConfig | None = None, **settings: Any) -> tuple[str, Completed]:
    asked = request(prompt, **settings)
    if load is not None:
        asked = CompletionRequest(prompt=prompt, config=settings_in_force(asked.config, load))
    text = ""
    async for event in engine.complete(asked):
        text += getattr(event, "text", "")
        if isinstance(event, Completed):
            return text, event
    raise AssertionError("no end")


async def test_the_seed_of_a_load_is_that_of_predictions_without_one(start: Start) -> None:
    engine = await start()

    async def text(seed: int | bool) -> str:
        return (await run(engine, "Once", LoadConfig(seed=seed), temperature=1.5, max_tokens=24))[0]

    assert await text(5) == await text(5)
    assert len({await text(5), await text(6), await text(False), await text(False)}) > 2


REPEATED = "one two three four five six seven eight nine ten "
REPEATS = REPEATED * 8


async def test_drafting_without_a_model_leaves_the_text_as_it_is(start: Start, tmp_path: Path) -> None:
    async def texts(**config: Any) -> tuple[str, Completed]:
        engine = await start(context_length=512, **config)
        free = request(REPEATS, max_tokens=32, repeat_penalty=False)
        held = replace(free, constraint=Constraint(grammar=f"%llguidance {{}}\nstart: {json.dumps(REPEATED * 3)}\n"))
        events = [event for each in (free, held) for event in [event async for event in engine.complete(each)]]
        end = events[-1]
        assert isinstance(end, Completed)
        return "".join(event.text for event in events if isinstance(event, Fragment)), end

    plain, end = await texts()
    assert not end.draft_tokens
    for kind in ("ngram-simple", "ngram-mod", "ngram-map-k", "ngram-map-k4v", "ngram-cache"):
        drafted, end = await texts(speculative_ngram=kind)
        assert drafted == plain, kind
        if kind == "ngram-simple":
            assert end.accepted_draft_tokens
        assert await logged(tmp_path, f"({kind.replace('-', '[-_]')})")


async def test_a_draft_model_drafts(start: Start, model: Path, tmp_path: Path) -> None:
    config = {"speculative_draft_model": "itself", "speculative_draft_max_tokens": 4}
    engine = await start(draft=model, **config)
    await run(engine, "Once upon a time", max_tokens=24)
    counts = await logged(tmp_path, r"draft acceptance\D*[\d.]+ \( *(\d+ accepted / *\d+) generated\)")
    accepted, generated = (int(number) for number in re.findall(r"\d+", counts))
    assert 0 < accepted <= generated


async def test_a_draft_model_that_the_engine_passes_over_is_an_error(
    start: Start, embedding_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineStartError, match="does not draft with all-MiniLM"):
        await start(draft=embedding_model, speculative_draft_model="other")
    assert not list(tmp_path.glob("*.sock"))


async def test_the_pooling_type_of_an_embedding_model(start: Start, embedding_model: Path, tmp_path: Path) -> None:
    vectors: list[list[float]] = []
    for pooling in ("mean", "cls", None):
        engine = await start(embedding_model, domain="embedding", pooling_type=pooling)
        connector = aiohttp.UnixConnector(str(socket_in(tmp_path)), force_close=True)
        async with (
            aiohttp.ClientSession("http://engine", connector=connector) as session,
            session.post("/embedding", json={"content": "A house by the sea"}) as answer,
        ):
            vectors.append((await answer.json())[0]["embedding"][0])
        await engine.stop()
    mean, cls, own = vectors
    assert mean == own, "the model's own pooling is the mean"
    assert mean != cls


async def test_an_embedding_model_takes_a_whole_text_at_once(
    start: Start, embedding_model: Path, tmp_path: Path
) -> None:
    await start(embedding_model, domain="embedding", context_length=512)
    assert await logged(tmp_path, r"n_ubatch += (\d+)", "512") == "512"


@pytest.mark.parametrize(
    ("config", "params"),
    [
        ({"gpu": {"ratio": 0.5}}, {"gpu_ratio": 0.5}),
        ({"gpu": {"ratio": "max"}}, {"gpu_ratio": 1.0}),
        ({"gpu": {"split_strategy": "favorMainGpu", "main_gpu": 1}}, {"main_gpu": 1, "split_mode": "NONE"}),
        ({"gpu": {"num_cpu_expert_layers_ratio": 0.5}}, {"n_cpu_moe": 15}),
        ({"gpu_strict_vram_cap": True}, {"fit_params": True}),
        ({"offload_kv_cache_to_gpu": False}, {"no_kv_offload": True}),
    ],
)
def test_what_only_a_gpu_shows_is_mapped(config: dict[str, Any], params: dict[str, Any]) -> None:
    settings = load_config({"context_length": 256, "max_parallel_predictions": 1, **config})
    assert params.items() <= worker_params(settings, "llm", layers=30).items()


async def test_what_the_bundled_engine_cannot_do_is_refused_before_a_start(start: Start, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'num_experts'"):
        await start(num_experts=2)
    assert not (tmp_path / "0.log").exists()


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"flash_attention": False, "llama_v_cache_quantization_type": "q8_0"}, "llama_v_cache.*flash_attention"),
        ({"eval_batch_size": 64, "physical_batch_size": 128}, "physical_batch_size.*eval_batch_size"),
        ({"try_direct_io": True, "try_mmap": True}, "try_direct_io.*try_mmap"),
        ({"try_direct_io": True, "keep_model_in_memory": True}, "try_direct_io.*keep_model_in_memory"),
        ({"auto_fit": False, "auto_fit_min_context_length": 1}, "auto_fit_min_context_length.*auto_fit"),
        ({"context_length": 9, "auto_fit_min_context_length": 10}, "auto_fit_min_context_length.*context_length"),
        ({"max_parallel_predictions": 257}, "max_parallel_predictions.*256"),
        ({"max_parallel_predictions": 1024}, "max_parallel_predictions"),
        ({"prompt_template": {"type": "manual", "manual_prompt_template": {}}}, "prompt_template.*Jinja"),
        ({"speculative_draft_simple": True}, "speculative_draft_simple.*speculative_draft_model"),
        ({"speculative_draft_model": "a", "speculative_ngram": "ngram-mod"}, "speculative_ngram.*draft_model"),
        ({"speculative_draft_model": "a", "speculative_draft_min_tokens": 9, "speculative_draft_max_tokens": 2}, "9"),
        ({"speculative_draft_max_tokens": 2}, "speculative_draft_max_tokens.*no effect"),
        ({"rope_frequency_base": True}, "rope_frequency_base"),
        ({"seed": True}, "seed"),
        ({"cpu_thread_pool_size": 0}, "cpu_thread_pool_size"),
        ({"batch_threads": 1000}, "batch_threads"),
        ({"pooling_type": "max"}, "pooling_type"),
        ({"gpu": {"disabled_gpus": [-1]}}, r"gpu\.disabled_gpus\[0\]"),
        ({"prompt_cache_mib": -1}, "prompt_cache_mib"),
        ({"lora": "a"}, "lora"),
        ({"lora": [["a", "b"]]}, "lora"),
        ({"lora": [""]}, "lora"),
        ({"lora": [["a", float("nan")]]}, "lora"),
        ({"lora": [{"path": "a"}]}, "lora"),
        ({"lora": ["a", ("a", 2)]}, "'a' twice"),
    ],
)
def test_what_does_not_fit_the_rest_is_refused_by_name(config: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        load_config(config)


def test_adapters_are_written_in_several_forms() -> None:
    wanted = [LoraSetting("a"), LoraSetting("b", 0.5), LoraSetting("c", 2.0)]
    given: list[Any] = ["a", ("b", 0.5), {"adapter": "c", "scale": 2}]
    assert load_config({"lora": given}).lora == load_config({"lora": given}).adapters == wanted
    assert load_config({"lora": ["a", ["b", 0.5], LoraSetting("c", 2)]}).lora == wanted
    assert load_config(LoadConfig(lora=["a", ("b", 0.5), LoraSetting("c", 2)])).lora == wanted
    assert load_config(LoadConfig(lora=given)).to_dict() == {
        "lora": [{"adapter": "a", "scale": 1.0}, {"adapter": "b", "scale": 0.5}, {"adapter": "c", "scale": 2.0}]
    }


WIRE_VALUES: dict[str, Any] = {
    "context_length": 100, "max_parallel_predictions": 2, "use_unified_kv_cache": True, "gpu_strict_vram_cap": True,
    "offload_kv_cache_to_gpu": False, "eval_batch_size": 64, "physical_batch_size": 32, "cpu_thread_pool_size": 2,
    "batch_threads": 3, "flash_attention": True, "try_mmap": True, "try_direct_io": False,
    "keep_model_in_memory": True, "rope_frequency_base": False, "rope_frequency_scale": 0.5,
    "llama_k_cache_quantization_type": "q8_0", "llama_v_cache_quantization_type": False,
    "use_fp16_for_kv_cache": True, "context_checkpoints": 3, "prompt_cache_mib": 9, "num_experts": 2,
    "speculative_draft_model": "small", "speculative_draft_simple": True, "speculative_draft_mtp": False,
    "speculative_draft_max_tokens": 5, "speculative_draft_min_tokens": 1,
    "speculative_draft_min_continue_probability": 0.5, "speculative_ngram": "ngram-mod", "pooling_type": "cls",
    "lora": [{"adapter": "a", "scale": 0.5}], "seed": 7, "auto_fit": False, "auto_fit_min_context_length": 64,
    "reasoning_budget_message": "Enough.",
    "prompt_template": {"type": "jinja", "jinja_prompt_template": {"template": "{{ messages }}"}},
    "gpu": {"ratio": 0.5, "main_gpu": 1, "split_strategy": "favorMainGpu", "disabled_gpus": [2],
            "num_cpu_expert_layers_ratio": "max"},
}  # fmt: skip
"""A value for every field, false where that is a value of its own."""


@pytest.mark.parametrize("field", LoadConfig.__struct_fields__)
@pytest.mark.parametrize("domain", ["llm", "embedding"])
def test_every_field_survives_the_wire(field: str, domain: str) -> None:
    needs: dict[str, Any] = {}
    if field.startswith("speculative_draft"):
        needs = {"speculative_draft_model": "small"}
    config = load_config({**needs, field: WIRE_VALUES[field]})
    flat = kv.flatten(kv.stack_of(kv.encode_load_config(config, domain)))
    assert explicit_fields(kv.decode_load_config(flat, domain)) == explicit_fields(config)


def test_keys_of_other_engines_are_ignored_and_those_without_a_meaning_here_are_refused_by_name() -> None:
    assert kv.decode_load_config({"llm.load.mlx.autoFit": False, "llm.load.vllm.x": 1}) == LoadConfig()
    assert kv.decode_load_config({"llm.load.llama.speculativeDecoding.draftModel": "", "envVars": {}}) == LoadConfig()
    for key, name in (
        ("llm.load.llama.argumentsOverride", "llama_cpp_arguments_override"),
        ("llm.load.llama.speculativeDecoding.draftMtpSidecar", "draft_mtp_sidecar"),
        ("envVars", "env_vars"),
    ):
        with pytest.raises(UnsupportedError, match=name):
            kv.decode_load_config({key: {"a": "b"}})
    off = {"enabled": False, "disabledParameters": [], "overrideParameters": {"a": "b"}, "excludeAllConfig": True}
    assert kv.decode_load_config({"llm.load.llama.argumentsOverride": off}) == LoadConfig()
    with pytest.raises(UnsupportedError, match="llama_cpp_arguments_override"):
        kv.decode_load_config({"llm.load.llama.argumentsOverride": {**off, "enabled": True}})


def test_a_config_built_by_type_is_checked_as_well() -> None:
    with pytest.raises(ConfigError, match="auto_fit"):
        check_load_config(LoadConfig(auto_fit=False, auto_fit_min_context_length=5))
