"""The models that the tests use, downloaded once by studiolo itself into a folder that outlives the run."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from studiolo.library import Library
from studiolo.paths import Home
from tests.support.homes import DEFAULT_MODEL


async def _fetch(home: Home, name: str) -> None:
    from studiolo.library.partial_downloads import sha256_of

    library = Library(home)
    try:
        model = await library.fetch(name)
        if sha256_of(model.path) != library.catalog[name].sha256:
            model.path.unlink()
            await library.fetch(name)
    finally:
        await library.close()


def fetch_default_model(home: Home) -> None:
    """Download the default model into ``home``, unless it is there."""
    fetch(home, DEFAULT_MODEL)


def fetch(home: Home, name: str) -> None:
    """Download the model ``name`` into ``home``, unless it is there."""
    with ThreadPoolExecutor(1) as thread:  # away from the event loops of pytest-asyncio
        thread.submit(asyncio.run, _fetch(home, name)).result()


def cache_folder() -> Path:
    """Return the folder that keeps what the tests download."""
    return Path(os.environ.get("STUDIOLO_TEST_CACHE") or Path.home() / ".cache" / "studiolo-tests")


def quick_models(cache_home: Home) -> Home:
    """Return a home with two layers of the default model and its first tokens, by its name."""
    from tests.support.models.built import built
    from tests.support.models.quick import write_quick

    whole = next(cache_home.models.rglob("SmolLM2*.gguf"))
    model = built(cache_home.root, whole.name, write_quick, whole)
    home = Home(model.parent / "quick")
    link = home.models / whole.relative_to(cache_home.models)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not (link.is_symlink() and link.readlink() == model):
        part = link.with_name(f"{link.name}.{os.getpid()}")
        part.symlink_to(model)
        part.replace(link)
    return home


def built_embedding_model(cache_home: Home) -> Path:
    """Return the file of the fixture :func:`embedding_model`."""
    from tests.support.models.built import built
    from tests.support.models.minilm import write_minilm

    return built(cache_home.root, "all-MiniLM-L6-v2.F16.gguf", write_minilm)
