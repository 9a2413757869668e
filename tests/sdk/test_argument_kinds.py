"""What people have in place of str, int, float and list is the same as these: subclasses, NumPy's types, paths, ..."""

from __future__ import annotations

import datetime
import enum
import types
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import studiolo as lm
from tests.support.stub_session import ASYNC_OBJECTS, FILE, SYNC_OBJECTS, calling, finish, sent


@dataclass
class Mirostat:
    version: int


class Text(str):
    """A subclass whose own text is another one."""

    def __str__(self) -> str:
        return "shown"


class Whole(int):
    """A subclass of int."""


class Real(float):
    """A subclass of float."""


class Count:
    def __index__(self) -> int:
        return 3


class Amount:
    def __float__(self) -> float:
        return 0.5


class Location:
    def __fspath__(self) -> str:
        return "/models/a.gguf"


class Series:
    """As pandas' Series: iterable, with keys, of one dimension."""

    ndim = 1

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def keys(self) -> range:
        return range(len(self.values))

    def tolist(self) -> list[Any]:
        return list(self.values)

    def to_dict(self) -> dict[int, Any]:
        return dict(enumerate(self.values))


class Table(Series):
    """As pandas' DataFrame, which iterates over the names of its columns."""

    ndim = 2


Word = enum.StrEnum("Word", {"HELLO": "hello"})


BOTH = pytest.mark.parametrize(
    ("llm", "embedding", "models"),
    [tuple(OBJECTS[:3]) for OBJECTS in (ASYNC_OBJECTS, SYNC_OBJECTS)],
    ids=["async", "sync"],
)


def settings(parameter: Any) -> dict[str, Any]:
    return {
        field.key: field.value for layer in parameter.prediction_config_stack.layers for field in layer.config.fields
    }


def kind_of(value: object) -> str:
    """Return the name of a test's case: the representation of some objects has an address."""
    return type(value).__name__


@BOTH
@pytest.mark.parametrize("text", [Text("hello"), np.str_("hello"), Word.HELLO], ids=repr)
def test_a_subclass_of_str_is_its_text(llm: Any, embedding: Any, models: Any, text: str) -> None:
    chat = lm.Chat(text)
    chat.add_user_message(text)
    assert str(chat).count('"hello"') == 2
    parameters = [
        sent(llm.complete_stream(text, config={"stop_strings": [text]})),
        sent(llm.respond_stream(text, preset=text)),
    ]
    assert [part.history.messages[0].content[0].text for part in parameters] == ["hello", "hello"]
    assert settings(parameters[0])["llm.prediction.stopStrings"] == ["hello"]
    assert parameters[1].fuzzy_preset_identifier == "hello"
    assert type(sent(calling(models.unload, text)).identifier) is str
    assert (
        sent(calling(llm.count_tokens, text)).input_string
        == sent(calling(embedding.embed, text)).input_string
        == "hello"
    )
    assert sent(calling(models.model, text)).identifier == sent(calling(models.load_new_instance, "m", text)).identifier


@BOTH
@pytest.mark.parametrize(
    "value",
    [["a"], ("a",), np.array(["a"]), Series("a"), {"a": 1}.keys(), {1: "a"}.values(), [Text("a")]],
    ids=kind_of,
)
def test_a_list_of_texts_may_be_of_any_kind_with_an_order(llm: Any, embedding: Any, models: Any, value: Any) -> None:
    assert sent(calling(llm.tokenize, value)).input_string == "a"
    assert sent(calling(embedding.embed, (text for text in value))).input_string == "a"


@BOTH
@pytest.mark.parametrize(
    "value",
    [
        {"a"},
        frozenset("a"),
        {"a": 1},
        np.array([["a"]]),
        Table("a"),
        b"a",
        bytearray(b"a"),
        range(2),
        [b"a"],
        str,
        np.array(5),
    ],
    ids=kind_of,
)
def test_what_has_no_order_or_is_no_text_is_refused(llm: Any, embedding: Any, models: Any, value: Any) -> None:
    for function in (embedding.embed, llm.tokenize):
        with pytest.raises(lm.ConfigError, match="The argument 'input"):
            finish(calling(function, value))


@BOTH
def test_numbers_of_every_kind(llm: Any, embedding: Any, models: Any) -> None:
    for three in (3, Whole(3), np.int64(3), np.uint8(3), Count(), np.array(3), Decimal(3), 3.0):
        config = {"max_tokens": three, "logit_bias": [[np.int32(5), Real(0.5)]], "seed": three}
        fields = settings(sent(llm.complete_stream("a", config=config)))
        assert fields["llm.prediction.maxPredictedTokens"] == {"checked": True, "value": 3}
        assert type(fields["llm.prediction.maxPredictedTokens"]["value"]) is int
        assert fields["llm.prediction.llama.logitBias"] == [[5, 0.5]]
    for half in (
        0.5,
        Real(0.5),
        np.float64(0.5),
        np.float32(0.5),
        Decimal("0.5"),
        Fraction(1, 2),
        Amount(),
        np.array(0.5),
    ):
        fields = settings(sent(llm.complete_stream("a", config={"temperature": half, "top_p": half})))
        assert fields["llm.prediction.temperature"] == 0.5
        assert type(fields["llm.prediction.temperature"]) is float
    for wrong in ("3", 3.5, complex(3), np.complex128(3), np.array([3]), Decimal("nan"), Decimal("3.5"), b"3"):
        with pytest.raises(lm.ConfigError, match="'max_tokens'"):
            llm.complete_stream("a", config={"max_tokens": wrong})
    for wrong in (True, np.bool_(True), "0.5", 1j, np.array([0.5]), Decimal("nan"), float("inf")):
        with pytest.raises(lm.ConfigError, match="'temperature'"):
            llm.complete_stream("a", config={"temperature": wrong})


@BOTH
@pytest.mark.parametrize(
    ("ttl", "milliseconds"),
    [(2, 2000), (0.5, 500), (np.float32(0.5), 500), (Decimal("1.5"), 1500), (datetime.timedelta(minutes=1), 60_000)],
    ids=repr,
)
def test_a_ttl_is_a_number_or_a_timedelta(llm: Any, embedding: Any, models: Any, ttl: Any, milliseconds: int) -> None:
    assert sent(calling(models.model, "m", ttl=ttl)).load_ttl_ms == milliseconds
    assert sent(calling(models.load_new_instance, "m", ttl=ttl)).ttl_ms == milliseconds
    for wrong in (0, -1, float("nan"), float("inf"), True, "1", 1j, datetime.timedelta(0)):
        with pytest.raises(lm.ConfigError, match="ttl"):
            finish(calling(models.model, "m", ttl=wrong))


@BOTH
@pytest.mark.parametrize("path", [Path("/models/a.gguf"), Location(), "/models/a.gguf"], ids=kind_of)
def test_a_model_may_be_a_path(llm: Any, embedding: Any, models: Any, path: Any) -> None:
    assert sent(calling(models.model, path)).identifier == "/models/a.gguf"
    assert sent(calling(models.load_new_instance, path)).model_key == "/models/a.gguf"


@BOTH
@pytest.mark.parametrize("identifier", ["", " ", "a\0b", "a\nb", "a\u2028b", "\u200b", "\u200d\u202e", b"a"])
def test_an_identifier_can_be_read(llm: Any, embedding: Any, models: Any, identifier: Any) -> None:
    with pytest.raises(lm.ConfigError, match="identifier"):
        finish(calling(models.load_new_instance, "m", identifier))
    for odd in ("#", "a:2", "-dash", "👨\u200d👩", " a ", "x" * 10_000, "é", "%@:'\""):
        assert sent(calling(models.load_new_instance, "m", odd)).identifier == odd


@BOTH
@pytest.mark.parametrize("mirostat", [types.MappingProxyType({"version": 1}), Mirostat(1)])
def test_a_generator_of_stop_strings_and_a_mapping_or_a_dataclass_of_settings(
    llm: Any, embedding: Any, models: Any, mirostat: Any
) -> None:
    config = {"stop_strings": (each for each in ["a", "b"]), "mirostat_sampling": mirostat}
    fields = settings(sent(llm.complete_stream("a", config=config)))
    assert fields["llm.prediction.stopStrings"] == ["a", "b"]
    assert fields["llm.prediction.llama.mirostatSampling"]["version"] == 1


@BOTH
@pytest.mark.parametrize(
    "images", ["a.png", ["a.png"], [Path("a.png")], [b"x"], [None], {"a": FILE}, [{"text": "a"}], 5]
)
def test_an_image_is_a_handle(llm: Any, embedding: Any, models: Any, images: Any) -> None:
    with pytest.raises(lm.ConfigError, match="images"):
        lm.Chat().add_user_message("x", images=images)
    with pytest.raises(lm.ConfigError, match="audio"):
        lm.Chat().add_user_message("x", audio=images)
