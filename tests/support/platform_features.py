"""This system without some of its features, in this process and in those that it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from studiolo.platform.features import SWITCH, Feature

ALL: tuple[Feature, ...] = get_args(Feature)

_WINDOWS = Path(__file__).with_name("windows")


def switch_off(monkeypatch: pytest.MonkeyPatch, *features: Feature) -> None:
    """Switch features off. For file locks, a stand-in takes the place of the module that Windows has."""
    monkeypatch.setenv(SWITCH, ",".join(features))
    if "file-locks" in features:
        monkeypatch.syspath_prepend(_WINDOWS / "modules")
        inherited = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(_WINDOWS), *inherited]))
