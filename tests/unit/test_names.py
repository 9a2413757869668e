"""The official module's names: each is in studiolo too, and an ``except`` written for one works for the other."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import lmstudio
import pytest

import studiolo

PARTS = ("sdk_api", "schemas", "history", "json_api", "async_api", "sync_api")
NAMES = sorted({name for part in PARTS for name in importlib.import_module(f"lmstudio.{part}").__all__})


@pytest.mark.parametrize("name", NAMES)
def test_the_official_name_is_here(name: str) -> None:
    assert name in studiolo.__all__
    assert getattr(studiolo, name) is not None


def test_every_name_of_ours_can_be_had() -> None:
    for name in studiolo.__all__:
        assert getattr(studiolo, name) is not None, name
    assert set(dir(studiolo)) >= set(studiolo.__all__)


ERRORS = sorted(
    name
    for name in NAMES
    if isinstance(getattr(lmstudio, name), type) and issubclass(getattr(lmstudio, name), Exception)
)


@pytest.mark.parametrize("name", [name for name in ERRORS if name != "ValidationError"])
def test_an_except_clause_means_the_same(name: str) -> None:
    theirs, ours = getattr(lmstudio, name), getattr(studiolo, name)
    for parent in theirs.__mro__:
        if parent.__module__.startswith("lmstudio"):
            assert issubclass(ours, getattr(studiolo, parent.__name__)), parent
        else:
            assert issubclass(ours, parent), parent
    error = ours("what", cause="why", suggestion="do")
    assert str(error) == "what. why. do."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_file_that_is_not_there_is_a_file_not_found_error(tmp_path: Path) -> None:
    with studiolo.Client("embedded") as client:
        for kind in (FileNotFoundError, studiolo.LMStudioFileNotFoundError, studiolo.LMStudioOSError):
            with pytest.raises(kind, match=r"none\.png"):
                client.prepare_image(tmp_path / "none.png")


def test_what_nobody_asked_for_is_not_imported() -> None:
    code = "import sys, studiolo; print([m for m in ('msgspec', 'asyncio', 'websockets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


EXAMPLES: dict[str, dict[str, object]] = {
    "LlmPredictionStats": {"stopReason": "eosFound", "promptTokensCount": 3, "tokensPerSecond": 1.5},
    "LlmPredictionFragment": {"content": "a", "tokensCount": 1, "containsDrafted": False, "reasoningType": "none"},
    "LlmPredictionConfig": {
        "maxTokens": False,
        "topKSampling": 4,
        "stopStrings": ["a"],
        "structured": {"type": "json", "jsonSchema": {"a_b": 1}},
        "reasoningParsing": {"enabled": True, "startString": "<", "endString": ">"},
    },
    "LlmLoadModelConfig": {"contextLength": 3, "gpu": {"ratio": 0.5}, "useFp16ForKVCache": True},
    "ModelQuery": {"identifier": "a"},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_objects_to_and_from_dicts(name: str) -> None:
    ours, example = getattr(studiolo, name), EXAMPLES[name]
    assert getattr(lmstudio, name).from_dict(example).to_dict() == example
    assert example.items() <= ours.from_dict(example).to_dict().items()
    with pytest.raises(studiolo.LMStudioValueError):
        ours.from_dict({**example, next(iter(example)): object()})


def test_what_the_official_objects_can_do_ours_can() -> None:
    for name in NAMES:
        theirs, ours = getattr(lmstudio, name), getattr(studiolo, name)
        for method in ("to_dict", "from_dict"):
            assert not isinstance(theirs, type) or not hasattr(theirs, method) or hasattr(ours, method), name
