"""The tree of errors: codes and HTTP statuses."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

import studiolo.errors as errors
from studiolo.errors import HostError, StudioloError, error_class, rejected


def classes(root: type[StudioloError] = StudioloError) -> Iterator[type[StudioloError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


@pytest.mark.parametrize("kind", list(classes()), ids=lambda kind: kind.__name__)
def test_every_class_has_an_http_status_of_a_failure(kind: type[StudioloError]) -> None:
    assert 400 <= kind.http_status < 600


def test_statuses_that_clients_act_on() -> None:
    expected = {
        "ModelNotFoundError": 404,
        "PathNotFoundError": 404,
        "AuthenticationError": 401,
        "BusyError": 503,
        "OverloadedError": 503,
        "SlowClientError": 408,
        "StoppingError": 503,
        "QuarantinedError": 503,
        "NotEnoughMemoryError": 503,
        "PromptTooLongError": 400,
        "ConfigError": 400,
        "RejectedConfigError": 400,
        "EngineDiedError": 500,
        "UnsupportedError": 400,
    }
    assert {name: getattr(errors, name).http_status for name in expected} == expected
    assert rejected(errors.ConfigError("wrong")).http_status == 400


def test_a_code_becomes_its_class_again() -> None:
    for kind in classes(HostError):
        assert error_class(kind.code).code == kind.code
    assert error_class("nobody.knows") is HostError


def test_errors_survive_pickling() -> None:
    error = errors.BusyError("m is busy", cause="c", suggestion="s", data={"waiting": 1})
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.data) == (type(error), str(error), error.data)
