"""What a load may take: limits of the model and of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studiolo.config import LoadConfig
from studiolo.errors import ConfigError
from studiolo.host.resources import load_settings_in_force
from studiolo.library.gguf_file import Metadata
from studiolo.library.model import Model

MODEL = Model(
    key="small",
    path=Path("/none/small.gguf"),
    relative_path="small.gguf",
    display_name="small",
    publisher="",
    size_bytes=1,
    metadata=Metadata(architecture="llama", max_context_length=2048),
)


def test_a_context_beyond_the_model_is_refused_unless_rope_stretches_it() -> None:
    with pytest.raises(ConfigError, match=r"'context_length' is 4096.*2048"):
        load_settings_in_force(LoadConfig(context_length=4096), MODEL)
    stretched = load_settings_in_force(LoadConfig(context_length=4096, rope_frequency_scale=0.5), MODEL)
    assert stretched.context_length == 4096
    assert load_settings_in_force(LoadConfig(), MODEL).context_length == 2048


@pytest.mark.parametrize("field", ["cpu_thread_pool_size", "batch_threads"])
def test_more_threads_than_processors_are_refused(field: str) -> None:
    processors = os.cpu_count() or 1
    assert load_settings_in_force(LoadConfig(**{field: processors}), MODEL)
    with pytest.raises(ConfigError, match=f"{field!r} is {processors + 1}"):
        load_settings_in_force(LoadConfig(**{field: processors + 1}), MODEL)
