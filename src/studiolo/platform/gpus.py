"""Signs of GPUs."""

from __future__ import annotations

import sys
from pathlib import Path

DEVICE_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/dxg")
"""Linux: where none of these exists, there is no GPU that an engine could use."""


def may_have_gpus() -> bool:
    """Return whether this machine may have a GPU that an engine can use. It costs nothing to ask."""
    return sys.platform in ("darwin", "win32") or any(Path(file).exists() for file in DEVICE_FILES)
