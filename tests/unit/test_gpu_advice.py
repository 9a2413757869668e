"""Which wheel or build puts a GPU to use, for the machines that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studiolo.engines.llama_cpp.gpu_wheels import advise
from studiolo.platform.gpus import GpuHardware, find_gpu_hardware
from tests.support.running import script

NVIDIA_SMI = """#!/bin/sh
case "$1" in
"") echo "| NVIDIA-SMI 580.82   Driver Version: 580.82   CUDA Version: 13.0     |" ;;
*) echo "NVIDIA RTX 4090" ;;
esac
"""


@pytest.mark.parametrize(
    ("hardware", "found", "remedy"),
    [
        (GpuHardware(nvidia="RTX 5090", cuda=(13, 2), glibc=(2, 39)), "RTX 5090", "whl/cu132"),
        (
            GpuHardware(nvidia="RTX 4090", cuda=(13, 0), glibc=(2, 36)),
            "CUDA 13.0",
            "xllamacpp==1.2 --index-url .*whl/cu128",
        ),
        (GpuHardware(nvidia="GTX 980", cuda=(12, 8)), "CUDA 12.8", "--force-reinstall --no-deps .*whl/cu128"),
        (GpuHardware(nvidia="GTX 980", cuda=(12, 2)), "CUDA 12.2", "Update the driver .* --backend vulkan"),
        (GpuHardware(nvidia="GTX 980"), "without a working driver", "nvidia-smi"),
        (GpuHardware(nvidia="T4", cuda=(12, 8), glibc=(2, 31)), "older than 2.35", "runtime build --backend cuda"),
        (GpuHardware(amd=True, rocm=(7, 1), glibc=(2, 39)), "ROCm 7.1", "whl/rocm-7.2.4"),
        (GpuHardware(amd=True, rocm=(6, 4)), "ROCm 6.4", "whl/rocm-6.4.1"),
        (GpuHardware(amd=True, rocm=(6, 4), glibc=(2, 31)), "ROCm 6.4", "runtime build --backend rocm"),
        (GpuHardware(amd=True, rocm=(5, 7)), "ROCm 5.7", "whl/vulkan .*ROCm 7"),
        (GpuHardware(amd=True), "AMD", "whl/vulkan"),
        (GpuHardware(vulkan="intel_icd.json"), "intel_icd", "whl/vulkan"),
    ],
)
def test_each_machine_is_given_a_command(hardware: GpuHardware, found: str, remedy: str) -> None:
    advice = advise(hardware, "1.2")
    assert advice is not None and found in advice.found
    assert re.search(remedy, advice.remedy), advice.remedy


def test_nothing_is_advised_without_a_gpu_or_with_metal() -> None:
    assert advise(GpuHardware(), "1.2") is None
    assert advise(GpuHardware(metal=True, vulkan="MoltenVK.json"), "1.2") is None, "the wheel has Metal"


@pytest.mark.slow
def test_a_stub_of_nvidia_smi_names_the_gpu_and_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "nvidia-smi", NVIDIA_SMI)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = find_gpu_hardware(tmp_path)
    assert (found.nvidia, found.cuda) == ("NVIDIA RTX 4090", (13, 0))
    script(tmp_path / "nvidia-smi", "#!/bin/sh\nexit 9\n")
    assert find_gpu_hardware(tmp_path).nvidia is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    found = find_gpu_hardware(tmp_path)
    assert (found.nvidia, found.cuda) == ("its model is not known", None)


def test_signs_of_gpus_are_found_among_the_files_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("dev/kfd", "opt/rocm/.info/version", "usr/share/vulkan/icd.d/lvp_icd.x86_64.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("7.2.4-1\n")
    found = find_gpu_hardware(tmp_path)
    assert (found.amd, found.rocm, found.vulkan) == (True, (7, 2), None)
    (tmp_path / "usr/share/vulkan/icd.d/radeon_icd.x86_64.json").write_text("{}")
    assert find_gpu_hardware(tmp_path).vulkan is None, "there is no GPU for the driver"
    (tmp_path / "dev/dri").mkdir()
    (tmp_path / "dev/dri/renderD128").touch()
    assert find_gpu_hardware(tmp_path).vulkan == "radeon_icd.x86_64.json", "software drivers do not count"
