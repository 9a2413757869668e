"""``studiolo bench`` and ``studiolo tune``: figures of a real model, and settings that are kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from studiolo import benchmark
from studiolo.benchmark import Figures, variants
from studiolo.cli import tune
from studiolo.errors import ConfigError
from studiolo.paths import Home
from studiolo.settings import read_settings
from tests.support.command_line import good, run
from tests.support.homes import DEFAULT_MODEL

SIZE = ("--rounds", "1", "--prompt-tokens", "40", "--tokens", "4")


@pytest.mark.quick_model
def test_bench_measures_each_value_of_a_setting(home: Home) -> None:
    sizes = [f"eval_batch_size={size}" for size in (32, 64)]
    done = run(home, "bench", DEFAULT_MODEL, *SIZE, "--json", *(word for each in sizes for word in ("--set", each)))
    found = json.loads(good(done))["settings"]
    assert [each["config"] for each in found] == [{"eval_batch_size": 32}, {"eval_batch_size": 64}]
    for each in found:
        assert 35 <= each["prompt_tokens"][0] <= 45 and 1 <= each["tokens"][0] <= 4
        assert each["prompt"][0] > 0 and each["decode"][0] > 0
    table = good(run(home, "bench", DEFAULT_MODEL, *SIZE)).splitlines()
    assert "ANSWER TOK/S" in table[0] and table[1].startswith("the model's settings") and table[1].endswith("1.00")


def test_wrong_settings_and_models_are_named(empty_home: Home) -> None:
    assert "No model matches 'none'" in run(empty_home, "bench", "none").stderr
    assert run(empty_home, "bench", "none", "--set", "threads").returncode == 2
    assert "'none'" in run(empty_home, "tune", "none").stderr


def test_each_combination_is_a_variant() -> None:
    assert variants({}) == [{}]
    assert variants({"a": [1, 2], "b": [3]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]


def test_a_gain_is_that_of_the_median_round() -> None:
    slow = Figures(config={}, prompt_tokens=[10] * 3, prompt=[10.0] * 3, tokens=[5] * 3, decode=[5.0] * 3)
    fast = Figures(config={}, prompt_tokens=[10] * 3, prompt=[20.0] * 3, tokens=[5] * 3, decode=[10.0, 10.0, 0.1])
    assert fast.gain(slow) == 2 and slow.gain(fast) == 0.5


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (None, {}),
        ("# mine\n[library]\nprograms = [] # none\n", {}),
        ('[models."a/b"]\nload = { context_length = 512 } # mine\n', {"context_length": 512}),
        ('[models."a/b".load]\ncontext_length = 512 # mine\n\n[server]\nport = 5000\n', {"context_length": 512}),
        ('[models.z]\npreset = "p" # mine\n[presets.p]\ntemperature = 1\n', {}),
    ],
)
def test_settings_are_kept_beside_the_others(tmp_path: Path, text: str | None, load: dict[str, Any]) -> None:
    path = tmp_path / "config.toml"
    if text is not None:
        path.write_text(text)
    before = read_settings(path)
    tune.keep(path, "a/b", {"cpu_thread_pool_size": 2, "flash_attention": False})
    tune.keep(path, "a/b", {"cpu_thread_pool_size": 3})
    after = read_settings(path)
    kept = after.models["a/b"].load
    assert (kept.cpu_thread_pool_size, kept.flash_attention) == (3, False)
    assert kept.context_length == load.get("context_length")
    assert (after.library, after.server, after.presets) == (before.library, before.server, before.presets)
    assert text is None or ("# mine" in path.read_text())


def test_a_settings_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    path, target = tmp_path / "config.toml", tmp_path / "dotfiles" / "studiolo.toml"
    target.parent.mkdir()
    target.write_text("# mine\n")
    target.chmod(0o600)
    path.symlink_to(target)
    tune.keep(path, "a", {"cpu_thread_pool_size": 2})
    assert path.is_symlink() and "# mine" in target.read_text() and "cpu_thread_pool_size" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]


def test_a_settings_file_that_is_wrong_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[models\n")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        tune.keep(path, "a", {"cpu_thread_pool_size": 2})
    assert path.read_text() == "[models\n"


@pytest.mark.parametrize(("speed", "kept"), [({2: 1.5, 1: 2.0}, {"cpu_thread_pool_size": 1}), ({2: 1.02, 1: 0.5}, {})])
def test_what_is_faster_by_a_stub_of_the_measurement_is_kept(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch, speed: dict[int, float], kept: dict[str, Any]
) -> None:
    async def measured(client: Any, model: str, configs: list[dict[str, Any]], **size: Any) -> list[Figures]:
        rates = [speed.get(config.get("cpu_thread_pool_size", 0), 1.0) for config in configs]
        return [
            Figures(config=config, prompt_tokens=[10], prompt=[rate], tokens=[10], decode=[rate])
            for config, rate in zip(configs, rates, strict=True)
        ]

    monkeypatch.setattr(benchmark, "measure", measured)
    monkeypatch.setattr(tune, "candidates", lambda threads, cores: {"cpu_thread_pool_size": [1, 2], "seed": [1]})
    steps, best = asyncio.run(tune.search(None, "m", {"rounds": 1}, print))  # type: ignore[arg-type]
    assert best == kept
    assert [figures.config for figures in steps[1]] == [kept, {**kept, "seed": 1}]
