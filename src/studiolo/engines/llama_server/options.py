"""The settings of a load as the options of ``llama-server``. Source: llama.cpp, tools/server/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import ConfigError, UnsupportedError
from ..llama_cpp.params import scaled_adapters, worker_params
from ..spec import EngineSpec
from .binary import NAME, Binary

# llama.cpp's parameter: the names of its option, the newest first.
_VALUES: dict[str, tuple[str, ...]] = {
    "n_ctx": ("--ctx-size",),
    "n_parallel": ("--parallel",),
    "n_batch": ("--batch-size",),
    "n_ubatch": ("--ubatch-size",),
    "n_threads": ("--threads",),
    "n_threads_batch": ("--threads-batch",),
    "n_ctx_checkpoints": ("--ctx-checkpoints", "--swa-checkpoints"),
    "cache_ram_mib": ("--cache-ram",),
    "rope_freq_base": ("--rope-freq-base",),
    "rope_freq_scale": ("--rope-freq-scale",),
    "main_gpu": ("--main-gpu",),
    "n_cpu_moe": ("--n-cpu-moe",),
}
_LOWER_CASE: dict[str, tuple[str, ...]] = {
    "cache_type_k": ("--cache-type-k",),
    "cache_type_v": ("--cache-type-v",),
    "pooling_type": ("--pooling",),
    "split_mode": ("--split-mode",),
}

# The field of the load config that asks for a parameter, where a binary may be too old to have it.
_FIELDS = {
    "n_ctx_checkpoints": "context_checkpoints",
    "pooling_type": "pooling_type",
    "n_cpu_moe": "gpu.num_cpu_expert_layers_ratio",
}

# Options that a binary may lack: its own default is used.
_DISPENSABLE = {"cache_ram_mib", "split_mode"}


DEFAULT_NGRAM = 12
"""Tokens by which what repeats is looked up. ``ngram-simple`` makes no draft that is shorter."""


def options(binary: Binary, spec: EngineSpec, models: Path, chat_template: str | None = None) -> list[str]:
    """Return the options that start ``binary`` as ``spec`` says, without where it listens.

    Parameters:
        models: the models folder.
        chat_template: a template instead of the model's own.

    Raises:
        UnsupportedError: it has no option for what the load config asks.
    """
    params = worker_params(spec.config, spec.domain, spec.layers)
    chosen = ["--model", str(spec.files.model.locate(models))]

    def add(parameter: str, names: tuple[str, ...], *values: Any) -> None:
        for name in names:
            if name in binary.options:
                chosen.extend([name, *(str(value) for value in values)])
                return
        if parameter not in _DISPENSABLE:
            raise _unsupported(binary, _FIELDS.get(parameter, parameter), names[0])

    for parameter, names in _VALUES.items():
        if parameter in params:
            add(parameter, names, params[parameter])
    for parameter, names in _LOWER_CASE.items():
        if parameter in params:
            add(parameter, names, params[parameter].lower())
    flash = {"AUTO": "auto", "ENABLED": "on", "DISABLED": "off"}[params["flash_attn_type"]]
    add("flash_attention", ("--flash-attn",), flash)
    if params["kv_unified"]:
        add("use_unified_kv_cache", ("--kv-unified",))
    elif "--no-kv-unified" in binary.options:
        chosen.append("--no-kv-unified")
    if params["no_kv_offload"]:
        add("offload_kv_cache_to_gpu", ("--no-kv-offload",))
    if params["embedding"]:
        add("embedding", ("--embedding", "--embeddings"))
    _add_load_mode(binary, params["load_mode"], chosen)
    _add_offload(binary, params, spec.layers, chosen)
    draft = spec.files.draft.locate(models) if spec.files.draft else None
    if "speculation" in params:
        _add_speculation(binary, params["speculation"], draft, chosen)
    for path, scale in scaled_adapters(spec, models):
        _add_adapter(binary, str(path), scale, chosen)
    if "n_expert_used" in params:
        if not spec.architecture:
            raise _unsupported(binary, "num_experts", "--override-kv")
        value = f"{spec.architecture}.expert_used_count=int:{params['n_expert_used']}"
        add("num_experts", ("--override-kv",), value)
    if spec.is_stretched:  # a slot gets no more than the model says
        if not spec.architecture:
            raise _unsupported(binary, "context_length", "--override-kv")
        value = f"{spec.architecture}.context_length=int:{spec.config.context_length}"
        add("context_length", ("--override-kv",), value)
    if spec.files.projector is not None:
        add("mmproj", ("--mmproj",), spec.files.projector.locate(models))
    chosen += [name for name in ("--context-shift", "--jinja") if name in binary.options]
    if chat_template is not None and "--chat-template" in binary.options:
        chosen += ["--chat-template", chat_template]
    chosen += [name for name in ("--no-ui", "--no-webui") if name in binary.options][:1]
    return chosen


def _add_load_mode(binary: Binary, mode: str, chosen: list[str]) -> None:
    if "--load-mode" in binary.options:
        named = {"NONE": "none", "MLOCK": "mlock", "MMAP_MLOCK": "mmap+mlock", "DIRECT_IO": "dio"}
        if mode in named:
            chosen += ["--load-mode", named[mode]]
        return
    if mode == "DIRECT_IO":
        if "--direct-io" not in binary.options:
            raise _unsupported(binary, "try_direct_io", "--direct-io")
        chosen.append("--direct-io")
    if mode in ("NONE", "MLOCK"):
        chosen.append("--no-mmap")
    if mode in ("MLOCK", "MMAP_MLOCK"):
        chosen.append("--mlock")


def _add_offload(binary: Binary, params: dict[str, Any], layers: int, chosen: list[str]) -> None:
    ratio: float | None = params.get("gpu_ratio")
    if ratio is not None:
        count = round(ratio * (layers + 1)) if ratio < 1 and layers else (999 if ratio else 0)
        chosen += ["--n-gpu-layers", str(count)]
    if "--fit" in binary.options and (ratio is not None or "fit_params" in params):
        chosen += ["--fit", "on" if params.get("fit_params") else "off"]
    if params.get("disabled_gpus"):
        raise UnsupportedError(
            "The load config's field 'gpu.disabled_gpus' is not supported with a llama-server of your own",
            suggestion="Hide the GPUs from the host with CUDA_VISIBLE_DEVICES or GGML_VK_VISIBLE_DEVICES.",
            feature="gpu.disabled_gpus",
            engine=NAME,
            engine_version=binary.version,
        )


def _add_speculation(binary: Binary, given: dict[str, Any], draft: Path | None, chosen: list[str]) -> None:
    kind: str = given["type"]
    if "--spec-type" not in binary.options:
        raise _unsupported(binary, "speculative_draft_model" if draft else "speculative_ngram", "--spec-type")
    chosen += ["--spec-type", kind]
    if draft is not None:
        chosen += ["--spec-draft-model", str(draft)]
    prefix = f"--spec-{kind}-" if kind.startswith("ngram") else "--spec-draft-"
    longest = "size-m" if kind in ("ngram-simple", "ngram-map-k", "ngram-map-k4v") else "n-max"
    for limit, name in (("n_max", longest), ("n_min", "n-min"), ("p_min", "p-min")):
        if limit in given:
            if prefix + name not in binary.options:
                raise _unsupported(binary, f"speculative_draft_{'max' if limit == 'n_max' else 'min'}_tokens", name)
            chosen += [prefix + name, str(given[limit])]
    if (
        longest == "size-m"
        and given.get("n_max", DEFAULT_NGRAM) < DEFAULT_NGRAM
        and prefix + "size-n" in binary.options
    ):
        chosen += [prefix + "size-n", str(given["n_max"])]


def _add_adapter(binary: Binary, path: str, scale: float, chosen: list[str]) -> None:
    option = "--lora" if scale == 1 else "--lora-scaled"
    if option not in binary.options:
        raise _unsupported(binary, "lora", option)
    for mark in ',:"' if scale != 1 else ',"':
        if mark in path:
            raise ConfigError(
                f"The LoRA adapter {path} cannot be given to {binary.path}",
                cause=f"{option} takes no path with {mark!r} in it.",
                suggestion="Move the file, or leave its scale at 1." if mark == ":" else "Move the file.",
            )
    chosen += [option, path if scale == 1 else f"{path}:{scale}"]


def _unsupported(binary: Binary, field: str, option: str) -> UnsupportedError:
    return UnsupportedError(
        f"The load config's field {field!r} is not supported by {binary.path}",
        cause=f"Its version ({binary.version}) has no option {option}.",
        suggestion="Leave the field out, or use a newer llama-server.",
        feature=field,
        engine=NAME,
        engine_version=binary.version,
    )
