"""Say what a GGUF file is, if it is not a model that the engine runs by itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .gguf_tables import gguf_tables

PHRASES = {
    "mmproj": "a projector, which adds image or audio input to a model beside it",
    "adapter": "a LoRA adapter",
    "imatrix": "an imatrix",
    "vocab": "a vocabulary without weights",
    "controlvector": "a control vector",
    "draft": "a draft head, which speculates for the model that it was made with",
    "diffusion": "an image or video model, which the engine does not run",
    "speech": "a speech model, which the engine does not run",
}
"""What files are that are not models, by the kind that :func:`kind_of` returns."""

# Architectures in GGUF files of other programs.
_DIFFUSION = frozenset(
    {
        *("aura", "chroma", "cosmos", "flux", "hidream", "hyvid", "ltxv", "lumina2", "pig", "qwen_image"),
        *("sd1", "sd3", "sdxl", "wan", "z_image"),
    }
)
_SPEECH = frozenset({"bark", "csm", "dia", "kokoro", "parler-tts", "vits", "wavtokenizer-dec", "whisper"})
_DRAFT = frozenset({"dflash", "dspark", "eagle", "eagle2", "eagle3", "gemma4-assistant", "medusa"})

# Architectures of the bundled engine that this version of the gguf package does not list.
_FURTHER = frozenset(
    {
        *("qwen4exp", "gemma4-assistant", "gemma-embedding2", "maple", "cohere2moe", "deepseek32", "deepseek4"),
        *("graniteswitch", "granite_swa", "bailingmoe3", "dots3note", "laguna", "hy_v3", "hy_v4", "minimax-01"),
        *("hrm_text", "spark2_5", "kimi-k3", "glm5-next", "talkie", "mellum", "nanbeige", "qwen3tts", "pockettts"),
        "k2-horizon",
    }
)


def kind_of(fields: Mapping[str, Any], tensors: Iterable[str]) -> str:
    """Return what a file is: ``model``, one of :data:`PHRASES`, or another ``general.type``.

    Parameters:
        fields: the fields of its header.
        tensors: the names of its tensors.
    """
    names = list(tensors)
    given, stated = fields.get("general.architecture"), fields.get("general.type")
    architecture = given if isinstance(given, str) else ""
    if any(key.startswith("imatrix.") for key in fields) or any(name.endswith(".in_sum2") for name in names):
        return "imatrix"
    if "adapter.type" in fields or any(name.endswith(".lora_a") for name in names):
        return "adapter"
    if architecture == "controlvector" or (names and all(name.startswith("direction.") for name in names)):
        return "controlvector"
    if architecture == "clip" or (names and all(name.startswith(("v.", "a.", "mm.")) for name in names)):
        return "mmproj"
    if isinstance(stated, str) and stated not in ("", "model"):
        return stated
    if not names:
        return "vocab"
    if architecture in _DIFFUSION:
        return "diffusion"
    if architecture in _SPEECH:
        return "speech"
    if architecture in _DRAFT or _drafts_only(names):
        return "draft"
    return "model"


def phrase(kind: str) -> str | None:
    """Return what a file of ``kind`` is, for people; ``None`` for a model."""
    return None if kind == "model" else PHRASES.get(kind, "of another type than a model, as its header says")


def unknown_architecture(name: str) -> str | None:
    """Return what a model of the architecture ``name`` is, for people, if the bundled engine does not know it."""
    if name in _architectures():
        return None
    shown = f" {name!r}" if re.fullmatch(r"[\w.\-]{1,40}", name, re.ASCII) else ""
    return f"a model of the architecture{shown}, which the engine does not know"


def _drafts_only(names: list[str]) -> bool:
    """Whether the layers are only those that predict several tokens ahead."""
    return any(".nextn." in name for name in names) and not any(name.startswith("blk.0.") for name in names)


@functools.cache
def _architectures() -> frozenset[str]:
    return frozenset(gguf_tables().MODEL_ARCH_NAMES.values()) | _FURTHER
