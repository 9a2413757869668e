"""Run language models on your own machine.

>>> import studiolo as lm
>>> llm = lm.llm()
>>> print(llm.complete("My name is"))

The names are those of LM Studio's Python SDK. Each is imported on first use: ``import studiolo`` alone imports nothing
else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from ._public import *
else:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            value = list(_modules())
        elif not name.startswith("_") and name in _modules():
            from importlib import import_module

            value = getattr(import_module(f".{_modules()[name]}", __name__), name)
        else:
            raise AttributeError(f"module 'studiolo' has no attribute {name!r}")
        globals()[name] = value
        return value


_found: dict[str, str] = {}


def _modules() -> dict[str, str]:
    """Return the module of each public name. The imports of ``_public`` are run with a function that only records."""
    if not _found:
        from importlib.util import find_spec
        from types import SimpleNamespace

        def record(name: str, _globals: Any, _locals: Any, names: tuple[str, ...], _level: int) -> SimpleNamespace:
            _found.update(dict.fromkeys(names, name))
            return SimpleNamespace(**dict.fromkeys(names))

        loader: Any = getattr(find_spec("._public", __name__), "loader")  # noqa: B009
        exec(loader.get_code(f"{__name__}._public"), {"__builtins__": {"__import__": record}})
    return _found


def __dir__() -> list[str]:
    return sorted({*globals(), *_modules()})
