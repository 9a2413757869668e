"""What an engine kind is given and what it returns: plain types, which can be sent to another machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ..config import LoadConfig
from ..domain.models import Domain
from ..domain.vocabulary import Vocabulary
from ..errors import ModelFileError
from ..settings import EngineSettings
from .chat_templates.process import TemplateProcesses

Grammar = Literal["llguidance", "gbnf", "json_schema"]
"""What generated text can be held to: a grammar in llguidance's language, one in GBNF, a JSON schema."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """The machine that an engine kind starts engines on, and its folders.

    Parameters:
        name: the machine's name.
        models: the folder that :class:`ModelFile` paths are relative to.
        logs: the folder for the logs of engines.
        run: returns a private folder for sockets, with a short path. It may be another one at each call.
        settings: returns the ``[engine]`` settings in force.
        templates: renders chat templates.
        prompts: the folder for what engines write of their prompts; ``None`` where they write nothing.
    """

    name: str
    models: Path
    logs: Path
    run: Callable[[], Path]
    settings: Callable[[], EngineSettings]
    templates: TemplateProcesses = field(default_factory=TemplateProcesses)
    prompts: Path | None = None


class ProcessRef(Struct, frozen=True):
    """A process on a machine."""

    node: str
    pid: int


class Device(Struct, frozen=True, kw_only=True):
    """Memory that models can be put in: a machine's main memory, or a GPU's.

    Parameters:
        name: for people; unique among the devices of a machine.
        free_bytes: what is free for models.
        total_bytes: all of it.
        gpu: whether it belongs to a GPU.
    """

    name: str
    free_bytes: int
    total_bytes: int
    gpu: bool = True


class Capabilities(Struct, frozen=True, kw_only=True):
    """What an engine can do with a model that can do it, too.

    Parameters:
        completions: continue a text, or answer a chat.
        embeddings: compute embeddings.
        rerank: order texts by how well they answer a question.
        decisions: choose between the answers to questions, with a decision model.
        tools: read tool calls in the model's own format.
        vision: take images.
        audio: take audio.
        grammars: what generated text can be held to; empty for nothing.
        log_probabilities: return the log-probabilities of tokens.
        drafts: draft tokens with a second model.
        lora: change the model with LoRA adapters.
        reasoning_budget: end a thought after a number of tokens.
    """

    completions: bool = True
    embeddings: bool = False
    rerank: bool = False
    decisions: bool = False
    tools: bool = False
    vision: bool = False
    audio: bool = False
    grammars: frozenset[Grammar] = frozenset()
    log_probabilities: bool = False
    drafts: bool = False
    lora: bool = False
    reasoning_budget: bool = False


class ModelFile(Struct, frozen=True, kw_only=True):
    """A reference to a model's file, which each machine looks up in its own models folder.

    Parameters:
        path: relative to the models folder, with ``/`` between its parts; absolute for a file outside of it.
        size_bytes: the file's size.
    """

    path: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path, folder: Path) -> ModelFile:
        """Return the reference to the file at ``path``, on the machine with the models folder ``folder``.

        Raises:
            ModelFileError: the file is gone.
        """
        relative = path.relative_to(folder) if path.is_relative_to(folder) else path
        try:
            return cls(path=relative.as_posix(), size_bytes=path.stat().st_size)
        except OSError as error:
            raise ModelFileError(
                f"The file {path} cannot be read",
                cause=error.strerror,
                suggestion="Put it back or fetch it again; studiolo ls shows what is there.",
            ) from None

    def locate(self, folder: Path) -> Path:
        """Return where the file is on the machine with the models folder ``folder``."""
        return folder / self.path


class ModelFiles(Struct, frozen=True, kw_only=True):
    """The files of a model.

    Parameters:
        model: the GGUF file, or the first of its shards; the others lie beside it.
        projector: the file that gives the model image or audio input, where it has one.
        draft: the file of the model that drafts, where the load config names one.
        adapters: those of the LoRA adapters, in the order of the load config, which has their scales.
    """

    model: ModelFile
    projector: ModelFile | None = None
    draft: ModelFile | None = None
    adapters: Sequence[ModelFile] = ()


class EngineSpec(Struct, frozen=True, kw_only=True):
    """What an engine is started with.

    Parameters:
        identifier: the instance's; the engine's log is named after it.
        domain: what the model is for.
        config: the load config with every default filled in.
        files: references to the model's files.
        architecture: the model's, such as ``llama``; empty where it is not known.
        trained_context: tokens of context that the model was made for; 0 where that is not known.
        layers: how many the model has, to turn an offload ratio into a number; 0 where that is not known.
        vocabulary: what of the tokenizer the prompts depend on.
        start_limit_sec: seconds that loading the model may take.
    """

    identifier: str
    domain: Domain
    config: LoadConfig
    files: ModelFiles
    architecture: str = ""
    trained_context: int = 0
    layers: int = 0
    vocabulary: Vocabulary = Vocabulary()
    start_limit_sec: float = 900.0

    @property
    def is_stretched(self) -> bool:
        """Whether the context is longer than the model was made for."""
        return 0 < self.trained_context < (self.config.context_length or 0)


class LoadProgress(Struct, frozen=True):
    """How much of a model is loaded.

    Parameters:
        fraction: 0 to 1.
    """

    fraction: float


class MemoryNeed(Struct, frozen=True, kw_only=True):
    """The memory that a model takes when it is loaded, in bytes.

    Parameters:
        weights: the tensors, those of a projector, a draft model and LoRA adapters included.
        kv_cache: for all predictions together.
        compute: the buffers of a batch, and of the results.
        checkpoints: states to go back to, for models with sliding-window or recurrent layers.
        engine: the process itself, and the vocabulary.
        on_devices: the total by device, in the order of the devices that the estimate was made for; empty where
            everything goes to main memory.
    """

    weights: int
    kv_cache: int
    compute: int = 0
    checkpoints: int = 0
    engine: int = 0
    on_devices: Sequence[int] = ()

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.weights + self.kv_cache + self.compute + self.checkpoints + self.engine


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was examined, for ``studiolo doctor``.

    Parameters:
        what: the thing.
        found: how it is.
        remedy: what to do about it; ``None`` where all is well.
    """

    what: str
    found: str
    remedy: str | None = None
