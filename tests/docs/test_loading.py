"""docs/loading.md agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

from studiolo.config import GpuSetting, LoadConfig
from studiolo.host.load_plan import SHARES

PAGE = (Path(__file__).parents[2] / "docs" / "loading.md").read_text(encoding="utf-8")


def test_the_table_has_every_field_and_no_other() -> None:
    table = PAGE.partition("## Every field")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    gpu = [f"gpu.{name}" for name in GpuSetting.__struct_fields__]
    assert sorted(named) == sorted([name for name in LoadConfig.__struct_fields__ if name != "gpu"] + gpu)


def test_the_levels_of_the_guardrail_are_those_of_the_code() -> None:
    assert SHARES == {"relaxed": 1.0, "balanced": 0.85, "strict": 0.7}
    assert "`balanced` (default) | 85 % of it" in PAGE and "`strict` | 70 % of it" in PAGE
