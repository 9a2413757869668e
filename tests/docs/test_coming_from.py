"""The names of studiolo's in docs/coming-from.md exist: commands, settings, functions, routes, variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

import studiolo
from studiolo.config import LoadConfig, PredictionConfig
from studiolo.dialects import dialects
from studiolo.server.api_document import openapi
from studiolo.settings import Settings
from tests.support.documented_commands import check

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming-from.md").read_text()
ROWS = [row for row in re.findall(r"^\| (.+) \| (.+) \|$", PAGE, re.MULTILINE) if row[1] != "studiolo"]
NAMES = sorted({name for _, ours in ROWS for name in re.findall(r"`([^`]+)`", ours)})

FREE = {"pip install studiolo", "gbnf", "suffix", "mcp.json", "response_format", "tool_choice"}
"""Names that are looked for in the source code alone."""


def fields(kind: Any, prefix: str = "") -> set[str]:
    """Return the paths of the fields of a struct, those of its tables included."""
    found: set[str] = set()
    for name, hint in get_type_hints(kind).items():
        if name.startswith("_") or name not in kind.__struct_fields__:
            continue
        found.add(prefix + name)
        for each in (hint, *get_args(hint)):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                found |= fields(each, f"{prefix}{name}.")
    return found


SETTINGS = fields(Settings) | fields(LoadConfig) | fields(PredictionConfig)
ROUTES = {
    f"{method.upper()} {path}" for path, methods in openapi(dialects())["paths"].items() for method in methods
} | {"GET /health"}


def is_public(name: str) -> bool:
    thing: Any = studiolo
    for part in name.split(".")[1:]:
        thing = getattr(thing, part, None)
    return thing is not None


def source() -> str:
    return "".join(path.read_text("utf-8") for path in (ROOT / "src" / "studiolo").rglob("*.py"))


def exists(name: str) -> bool:
    if name.startswith("studiolo "):
        check(name)
        return True
    if re.fullmatch(r"(GET|POST) /\S+", name):
        return name in ROUTES
    if name.startswith("lm."):
        return is_public(name)
    if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", name) or name in FREE:
        return name == "pip install studiolo" or name in source()
    if name.startswith("["):
        return name.strip("[]").partition(".")[0] in SETTINGS
    return name in SETTINGS


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name: str) -> None:
    assert exists(name), f"there is no {name}"


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert len(NAMES) > 80 and len(ROWS) > 80
    for wrong in ("server.prot", "n_ctx", "lm.LLM.answer", "POST /v1/answer", "STUDIOLO_NOTHING_OF_IT", "[model.x]"):
        assert not exists(wrong)
