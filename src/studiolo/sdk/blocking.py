"""How the sync API is made from the async one: every method runs the async one on the background loop and waits.

A method made here has the parameters, overloads and docstring of its async one, for type checkers as well.
"""

from __future__ import annotations

import functools
import inspect
import queue
from collections.abc import Callable, Coroutine, Iterable
from itertools import zip_longest
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from .background import CallQueue, called_from, run
from .call_place import warnings_deferred
from .process_bound import ProcessBound

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])


class Blocking(ProcessBound, Generic[A]):
    """An object of the sync API.

    Parameters:
        asynchronous: the object of the async API that does the work.
    """

    def __init__(self, asynchronous: A) -> None:
        self.asynchronous = asynchronous


def blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    """Return the sync form of an async method: it waits for the result. Callbacks run in the calling thread."""
    names = method.__code__.co_varnames[1 : method.__code__.co_argcount]

    @functools.wraps(method)
    def call_and_wait(self: Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> R:
        calls: CallQueue = queue.SimpleQueue()

        def redirected(name: str, value: Any) -> Any:
            is_callback = name.startswith("on_") and callable(value) and not inspect.iscoroutinefunction(value)
            return called_from(calls, value) if is_callback else value

        positional = [redirected(name, value) for name, value in zip_longest(names[: len(args)], args, fillvalue="")]
        named = {name: redirected(name, value) for name, value in kwargs.items()}
        work: Coroutine[Any, Any, R] = cast("Any", method)(self.asynchronous, *positional, **named)
        with warnings_deferred():
            return run(work, calls)

    return call_and_wait


def blocking_as(
    convert: Callable[[R], S], method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]
) -> Callable[Concatenate[Any, P], S]:
    """:func:`blocking`, with the result converted to an object of the sync API."""
    wait = blocking(method)

    @functools.wraps(method)
    def call_and_convert(self: Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> S:
        return convert(wait(self, *args, **kwargs))

    return call_and_convert


def each_as(convert: Callable[[R], S]) -> Callable[[Iterable[R]], list[S]]:
    """Return a function that converts every item of a list."""
    return lambda items: [convert(item) for item in items]


def documented_as(method: object) -> Callable[[F], F]:
    """Give a sync method the docstring of its async one."""

    def document(function: F) -> F:
        function.__doc__ = method.__doc__
        return function

    return document
