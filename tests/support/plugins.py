"""Packages that add to studiolo by entry points alone, installed by pip into a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ECHO = Path(__file__).parent / "plugin_engine"
"""The package ``echo-engine``: an engine kind called ``echo``."""


def install(package: Path, folder: Path) -> Path:
    """Install the package in the folder ``package`` into ``folder / "site"``, and return that."""
    source, site = folder / "source", folder / "site"
    shutil.copytree(package, source, ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return site
