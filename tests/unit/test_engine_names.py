"""No engine is named outside of its own room, so that another one can take its place."""

from __future__ import annotations

import re
from pathlib import Path

import studiolo

SOURCE = Path(studiolo.__file__).parent
ROOMS = ("engines/llama_cpp/", "engines/llama_server/", "runtimes/")
NAMES = re.compile(r"x?llama[._-]?cpp|llama[._-]server", re.IGNORECASE)

EXCEPTIONS = {
    "engines/registry.py": "registers the built-in engines, and says which one is the default",
    "settings.py": "the path of a user's own binary is a setting of one engine",
    "cli/runtime.py": "its subject are binaries of one engine",
    "cli/runtime_listing.py": "lists them beside the other engines",
    "cli/runtime_selection.py": "writes the settings of one engine",
    "protocol/settings_keys.py": "a key of LM Studio's",
}


def named_in(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if NAMES.search(line)]


def test_no_module_outside_of_the_engines_rooms_names_one() -> None:
    found: dict[str, list[str]] = {}
    for path in SOURCE.rglob("*"):
        name = path.relative_to(SOURCE).as_posix()
        if path.suffix not in (".py", ".toml", ".json", ".md") or name.startswith(ROOMS):
            continue
        if lines := named_in(path.read_text(encoding="utf-8")):
            found[name] = lines
    assert {name: lines for name, lines in found.items() if name not in EXCEPTIONS} == {}
    assert found.keys() == EXCEPTIONS.keys(), "an exception that is not needed"


def test_the_search_finds_every_spelling() -> None:
    for spelling in ("llama.cpp", "llama_cpp", "xllamacpp", "llama-server", "LLAMA_SERVER", "llamacpp"):
        assert named_in(f"with {spelling} here"), spelling
