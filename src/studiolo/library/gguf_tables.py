"""The tables of the ``gguf`` package, without the rest of it: that imports numpy, a quarter of a second and 12 MB."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


@functools.cache
def gguf_tables() -> ModuleType:
    """Return the module ``gguf.constants``."""
    if "gguf" not in sys.modules and (spec := importlib.util.find_spec("gguf")) is not None:
        for folder in spec.submodule_search_locations or ():
            file = Path(folder, "constants.py")
            alone = importlib.util.spec_from_file_location("studiolo_gguf_constants", file)
            if file.is_file() and alone is not None and alone.loader is not None:
                module = importlib.util.module_from_spec(alone)
                alone.loader.exec_module(module)
                return module
    return importlib.import_module("gguf.constants")
