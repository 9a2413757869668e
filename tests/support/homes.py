"""Homes with models in them, for the tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from studiolo.paths import Home

DEFAULT_MODEL = "smollm2-135m-instruct"


DEFAULT_EMBEDDING_MODEL = "nomic-embed-text-v1.5"


def link_models(source: Home, target: Home) -> None:
    """Give ``target`` the models of ``source``, and what is known of them."""
    for model in source.models.rglob("*.gguf"):
        link = target.models / model.relative_to(source.models)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(model)
    if source.state.exists():
        shutil.copy(source.state, target.state)


def bare_home(folder: Path) -> Home:
    """A home in ``folder`` without models, and with none of other programs."""
    home = Home(folder / "home")
    home.root.mkdir()
    home.settings.write_text("[library]\nprograms = []\n")
    return home


def new_home(folder: Path, source: Home, *models: Path) -> Home:
    """A home in ``folder`` with the models of ``source`` and ``models``, and none of other programs."""
    home = bare_home(folder)
    link_models(source, home)
    for model in models:
        link_model(model, home)
    return home


SHORT_ANSWERS = f'[models."{DEFAULT_MODEL}"]\nload = {{ context_length = 256 }}\n'
"""Settings that bound the completions without a limit, which end when the model ends them, by a small context."""

SHORTER_ANSWERS = f"{SHORT_ANSWERS}prediction = {{ max_tokens = 60 }}\n"
"""Settings that bound them to a number of tokens, too."""

SHORT_VALUES = [[18, 100], [77, 50], [109, 50]]
"""A ``logit_bias`` with which any value of a schema or argument of a tool ends as soon as it may, for a model that says
anything: the tokens of ``"``, which must come before the others in a text, and of ``]`` and ``}``."""


ENDLESS: dict[str, Any] = {
    "temperature": 0,
    "repeat_penalty": False,
    "context_overflow_policy": "rollingWindow",
    "logit_bias": [(0, "-inf"), (2, "-inf")],
}
"""A prediction config with which an answer of the default model, the quick one or the whole, has no end."""


ENDLESS_ANSWERS = (
    'prediction = { context_overflow_policy = "rollingWindow", logit_bias = [[0, "-inf"], [2, "-inf"]] }\n'
)
"""Settings of the default model, for the end of a home's: its answers have no end of their own."""


def link_model(model: Path, home: Home, publisher: str = "tests") -> str:
    """Link the file ``model``, and its mmproj if it has one, into ``home``; returns its path in the models folder."""
    relative = f"{publisher}/{model.stem}-GGUF/{model.name}"
    link = home.models / relative
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(model)
    mmproj = model.with_name(f"mmproj-{model.name}")
    if mmproj.exists():
        link.with_name(mmproj.name).symlink_to(mmproj)
    return relative
