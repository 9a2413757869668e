"""Run language models on your own machine.

>>> import studiolo as lm
>>> llm = lm.llm()
>>> print(llm.complete("My name is"))

The names are those of LM Studio's Python SDK. They are imported on first use: ``import studiolo`` alone imports nothing
else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from ._public import *
else:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return _public_names()
        if not name.startswith("_") and name in _public_names():
            value = getattr(import_module("._public", __name__), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module 'studiolo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_public_names()})


def _public_names() -> list[str]:
    public = vars(import_module("._public", __name__))
    return ["__version__", *(name for name in public if not name.startswith("_"))]
