"""``studiolo load``: every setting by name, and the estimate without a load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.command_line import good, run
from tests.support.homes import DEFAULT_MODEL, link_model
from tests.support.model_files import write_lora
from tests.support.models.quick import LAYERS
from tests.support.running import serving

pytestmark = pytest.mark.quick_model


def test_estimate_only_works_without_a_server(home: Home) -> None:
    words = ("load", DEFAULT_MODEL, "--estimate-only", "--context-length", "2048", "--parallel", "2")
    answer = json.loads(good(run(home, *words, "--json")))
    assert answer["context_length"] == 2048 and answer["max_parallel_predictions"] == 2
    assert answer["kv_cache_bytes"] == LAYERS * 3 * (1 << 20)
    assert answer["total_bytes"] > answer["weights_bytes"] + answer["kv_cache_bytes"]
    assert answer["fits"] is True and answer["largest_context_length"] == 2048
    table = good(run(home, *words))
    assert "kv cache" in table and "main memory" in table and "guardrail is balanced" in table


def test_an_estimate_that_does_not_fit_fails(home: Home) -> None:
    home.settings.write_text("[loading]\nguardrail = 1000000\n")
    done = run(home, "load", DEFAULT_MODEL, "--estimate-only")
    assert done.returncode == 1 and "does not fit" in done.stderr
    assert "weights" in done.stdout


def test_any_setting_is_given_by_name(home: Home, tmp_path: Path) -> None:
    done = run(home, "load", DEFAULT_MODEL, "--estimate-only", "--set", "context_lenght=5")
    assert done.returncode == 1 and "context_length" in done.stderr
    assert run(home, "load", DEFAULT_MODEL, "--estimate-only", "--set", "what").returncode == 2
    quantised = ("--set", "llama_k_cache_quantization_type=q8_0", "--set", "flashAttention=true")
    words = ("load", DEFAULT_MODEL, "--estimate-only", "--json", "--context-length", "2048")
    plain, small = (json.loads(good(run(home, *words, *more)))["kv_cache_bytes"] for more in ((), quantised))
    assert small < 0.8 * plain
    write_lora(home.models / "me" / "adapters" / "tune.gguf", layers=LAYERS)
    outside = write_lora(tmp_path / "other.gguf", layers=LAYERS, seed=2)
    adapters = ("--lora", "tune", "--lora", f"{outside}:0.5")
    without, heavier = (
        json.loads(good(run(home, *words, *more)))["weights_bytes"] for more in ((), (*adapters, "--parallel", "1"))
    )
    assert 2 * outside.stat().st_size == heavier - without
    unknown = run(home, *words, "--lora", "tune:none")
    assert unknown.returncode == 1 and "'lora' names 'tune:none'" in unknown.stderr
    with serving(home, tmp_path, "--no-load") as server:
        load = ("load", DEFAULT_MODEL, "--context-length", "256", "--set", "eval_batch_size=64", *adapters)
        assert "is loaded" in run(home, *load, host=server.address).stderr
        with lm.Client(server.address) as client:
            loaded = client.llm.model(DEFAULT_MODEL).get_load_config()
            assert loaded.adapters == [lm.LoraSetting("tune"), lm.LoraSetting(str(outside), 0.5)]
        kept = run(home, "load", DEFAULT_MODEL, "--context-length", "128", host=server.address)
        assert kept.returncode == 0 and kept.stderr.count("is loaded") == 1, kept.stderr
        assert "is already loaded with other settings: context_length is 256, not 128" in kept.stderr
        differs = run(home, "load", DEFAULT_MODEL, "--set", "seed=5", "--on-mismatch", "error", host=server.address)
        assert differs.returncode == 1 and "seed is the default, not 5" in differs.stderr
        assert "--on-mismatch reload" in differs.stderr and "on_mismatch" not in differs.stderr
        again = run(
            home, "load", DEFAULT_MODEL, "--context-length", "128", "--on-mismatch", "reload", host=server.address
        )
        assert again.returncode == 0 and "other settings" not in again.stderr
        listed = json.loads(good(run(home, "ps", "--json", host=server.address)))
        assert [(each["identifier"], each["contextLength"]) for each in listed] == [(DEFAULT_MODEL, 128)]
        words = ("load", DEFAULT_MODEL, "--identifier", "x")
        sizes = ("--set", "physical_batch_size=4096", "--set", "eval_batch_size=2048")
        refused = run(home, *words, *sizes, host=server.address)
        assert refused.returncode == 1 and "physical_batch_size" in refused.stderr


def test_an_embedding_model_is_loaded_too(home: Home, embedding_model: Path, tmp_path: Path) -> None:
    link_model(embedding_model, home)
    with serving(home, tmp_path, "--no-load") as server:
        assert (
            "text-embedding-all-minilm-l6-v2 is loaded"
            in run(home, "load", "all-minilm-l6-v2", host=server.address).stderr
        )
        assert (
            "all-minilm-l6-v2 is unloaded"
            in run(home, "unload", "text-embedding-all-minilm-l6-v2", host=server.address).stderr
        )
