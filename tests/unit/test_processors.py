"""How many threads engines use: by the processors, the affinity, the quotas of control groups, OpenMP's limits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from studiolo.config import LoadConfig
from studiolo.domain.models import Domain
from studiolo.engines.llama_cpp.params import worker_params
from studiolo.errors import ConfigError
from studiolo.host.load_plan import checked_settings
from studiolo.library.model import Model
from studiolo.platform import control_groups, processors
from studiolo.platform.processors import engine_threads, usable_processors

CONFIG = LoadConfig(context_length=4096, max_parallel_predictions=1)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of control groups, none of which limits anything, on a machine with 64 cores."""
    root = tmp_path / "cgroup"
    root.mkdir()
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr(control_groups, "ROOT", root)
    monkeypatch.setattr(control_groups, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64 if logical else 32)
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    return root


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_a_limit_the_engine_chooses(groups: Path) -> None:
    assert usable_processors().count == 64 and engine_threads() is None
    assert "n_threads" not in worker_params(CONFIG, "llm")


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("100000 100000", 1), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("6400000 100000", None)],
)
def test_a_quota_is_rounded_up(groups: Path, quota: str, threads: int | None) -> None:
    write(groups, cpu__max=quota)
    found = engine_threads()
    assert (found and found.count) == threads
    if found is not None:
        assert "quota" in found.reason


def test_the_quota_of_a_group_above_counts(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/system.slice/studiolo.service\n")
    write(groups / "system.slice", cpu__max="300000 100000")
    write(groups / "system.slice" / "studiolo.service", cpu__max="max 100000")
    assert usable_processors().count == 3
    write(groups / "system.slice" / "studiolo.service", cpu__max="200000 100000")
    assert usable_processors().count == 2


def test_version_1_of_control_groups(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n")
    write(groups / "cpu,cpuacct" / "docker" / "abc", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(groups / "cpu,cpuacct" / "docker", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    assert usable_processors().count == 3
    limits = {"memory__limit_in_bytes": "9000000", "memory__usage_in_bytes": "5000000"}
    write(groups / "memory" / "docker" / "abc", **limits, memory__stat="inactive_file 3\ntotal_inactive_file 7")
    write(groups / "memory", memory__limit_in_bytes=str(2**63 - 4096), memory__usage_in_bytes="1")
    assert (control_groups.memory_left(), control_groups.memory_limit()) == (4000007, 9000000)


def test_a_group_outside_of_the_container_and_files_of_nonsense_are_no_limit(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/../../other\nnonsense\n")
    write(groups, cpu__max="many", memory__max="some", memory__current="1")
    assert usable_processors().count == 64 and control_groups.memory_left() is None


def test_the_affinity_counts_and_may_change(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    found = engine_threads()
    assert found is not None and found.count == 3 and "affinity" in found.reason
    domains: list[Domain] = ["llm", "embedding"]
    for domain in domains:
        assert worker_params(CONFIG, domain)["n_threads"] == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert worker_params(CONFIG, "llm")["n_threads"] == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(40)), raising=False)
    assert engine_threads() is None, "more than the cores, one thread each"


def test_openmps_limits_count_unless_threads_are_set(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert worker_params(CONFIG, "llm")["n_threads"] == 4
    own = LoadConfig(context_length=4096, max_parallel_predictions=1, cpu_thread_pool_size=8)
    assert worker_params(own, "llm")["n_threads"] == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert engine_threads() is None


def test_more_threads_than_may_be_used_are_refused_with_the_reason(groups: Path) -> None:
    write(groups, cpu__max="200000 100000")
    model = Model(
        key="m",
        group="m",
        origin="home",
        path=Path("/none/m.gguf"),
        relative_path="m.gguf",
        display_name="m",
        publisher="",
        size_bytes=1,
    )
    with pytest.raises(ConfigError, match=r"2 logical processors may be used. The limit is the quota"):
        checked_settings(LoadConfig(cpu_thread_pool_size=3), model)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_a_real_affinity_is_followed() -> None:
    program = (
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from studiolo.platform.processors import usable_processors\nprint(usable_processors().count)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert processors.usable_processors().count >= 1
