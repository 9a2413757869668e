"""Every public name of the package has a docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import studiolo


def documented(thing: Any) -> bool:
    return bool((getattr(thing, "__doc__", None) or "").strip())


def public() -> Iterator[tuple[str, Any]]:
    """Yield functions and classes of the package, and methods and properties of the classes, inherited ones too."""
    for name in studiolo.__all__:
        thing = getattr(studiolo, name)
        if inspect.isroutine(thing) or inspect.isclass(thing):
            yield name, thing
        for base in thing.__mro__ if inspect.isclass(thing) else ():
            if base.__module__.startswith("studiolo"):
                for member, value in vars(base).items():
                    callables = isinstance(value, property | classmethod | staticmethod) or inspect.isroutine(value)
                    if callables and not member.startswith("_"):
                        yield f"{base.__name__}.{member}", value


def test_public_names_have_docstrings() -> None:
    things = dict(public())
    assert len(things) > 200
    assert [name for name, thing in things.items() if not documented(thing)] == []
