"""The forms of settings have every field of their config, with its meaning, and read what is entered."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("nicegui")

from studiolo.config import PredictionConfig
from studiolo.ui.models.compared_settings import values_in
from studiolo.ui.setting_fields import described_fields, setting_fields

ELSEWHERE = frozenset({"top_k", "top_p", "min_p", "structured", "system_prompt", "raw_tools"})


def test_every_setting_is_a_field_with_its_meaning() -> None:
    fields = {each.name: each for each in setting_fields(PredictionConfig, ELSEWHERE)}
    assert fields.keys() == set(PredictionConfig.__struct_fields__) - ELSEWHERE
    assert all(len(each.help) > 20 and "``" not in each.help for each in fields.values())
    assert "Default: 0.8" in fields["temperature"].help


def test_kinds_of_fields_follow_their_types() -> None:
    fields = {each.name: each for each in setting_fields(PredictionConfig, ELSEWHERE)}
    assert fields["temperature"].is_number and not fields["temperature"].can_be_off
    assert fields["max_tokens"].is_number and fields["max_tokens"].can_be_off
    assert fields["enable_thinking"].choices == ("true", "false")
    assert fields["on_engine_failure"].choices == ("resume", "error")
    assert fields["stop_strings"].is_long and not fields["draft_model"].is_long


def test_parameters_that_share_a_text_have_it_each() -> None:
    text = "Do it.\n\nParameters:\n    a: one,\n        two.\n    b_1,\n    c: ``three``.\n\nRaises:\n    X: no.\n"
    assert described_fields(text)["a"] == "One, two."
    assert described_fields("P.\n\nParameters:\n    b, c: of :class:`X`.\n") == {"b": "Of X.", "c": "Of X."}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        (" , ", []),
        ("1, 2", [1, 2]),
        ("true,false", [True, False]),
        ("f16, q8_0", ["f16", "q8_0"]),
        ('0.5, max, "off"', [0.5, "max", "off"]),
        ('{"ratio": "max"}, {"ratio": 0, "main_gpu": 1}', [{"ratio": "max"}, {"ratio": 0, "main_gpu": 1}]),
    ],
)
def test_values_are_separated_by_commas(text: str, values: list[Any]) -> None:
    assert values_in(text) == values
