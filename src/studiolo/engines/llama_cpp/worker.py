"""The worker process: llama.cpp's server, from xllamacpp's wheel, with one model.

Run as ``python -m studiolo.engines.llama_cpp.worker``. It reads one line of JSON from standard input (``model``,
``hostname``, ``port``, ``api_key``, ``parent_pid``, ``params``), writes one line of JSON to standard output when the
model is loaded or has failed to load, and serves until it is ended. It ends when its parent does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

from ...platform.file_status import create_files_privately
from ...platform.parent_death import end_with_parent
from .. import thread_waits

LOG_LIMIT_SEC, LOG_LOOK_SEC = 1.0, 0.05

DEFAULT_VERBOSITY = 3
"""How much the engine logs; 5 is everything. The environment variable ``STUDIOLO_ENGINE_VERBOSITY`` overrides it."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    spec: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    adapted = thread_waits.set_spins(spec["params"].get("n_threads"))
    end_with_parent(spec["parent_pid"])
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever native code prints belongs in the log
    log_bytes = os.fstat(2).st_size
    try:
        facts = _serve(spec)
    except BaseException as error:
        _wait_for_log(log_bytes)
        _say(answer, {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)  # not os._exit: the native library still writes its log
    _say(answer, {"ready": True, **facts})
    if adapted:
        thread_waits.adapt()
    while True:
        time.sleep(3600)


def _wait_for_log(before_bytes: int) -> None:
    """Wait for what the native library says of a failure: it writes its log in a thread, which an exit may cut off."""
    end = time.monotonic() + LOG_LIMIT_SEC
    while os.fstat(2).st_size == before_bytes and time.monotonic() < end:
        time.sleep(LOG_LOOK_SEC)
    time.sleep(LOG_LOOK_SEC)  # for the lines after the first


def _say(answer: Any, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError), answer:
        answer.write(json.dumps(message) + "\n")


def _serve(spec: dict[str, Any]) -> dict[str, Any]:
    native: Any = importlib.import_module("xllamacpp")
    given: dict[str, Any] = spec["params"]
    params: Any = native.CommonParams()
    params.model.path = spec["model"]
    if spec.get("mmproj"):
        params.mmproj.path = spec["mmproj"]
    params.hostnames = [spec["hostname"]]  # a path that ends with .sock is a Unix socket's
    if spec["port"] is not None:
        params.port, params.api_keys = spec["port"], [spec["api_key"]]
    params.ui = False
    if spec.get("chat_template"):  # instead of the model's own
        params.chat_template = spec["chat_template"]
    params.ctx_shift = True  # who wants to stop at a full context leaves there
    params.verbosity = int(os.environ.get("STUDIOLO_ENGINE_VERBOSITY", DEFAULT_VERBOSITY))
    for name in _PLAIN & given.keys():
        setattr(params, name, given[name])
    params.load_mode = getattr(native.llama_load_mode, f"LLAMA_LOAD_MODE_{given['load_mode']}")
    params.flash_attn_type = getattr(native.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{given['flash_attn_type']}")
    params.cache_type_k = getattr(native.ggml_type, f"GGML_TYPE_{given['cache_type_k']}")
    params.cache_type_v = getattr(native.ggml_type, f"GGML_TYPE_{given['cache_type_v']}")
    if "split_mode" in given:
        params.split_mode = getattr(native.llama_split_mode, f"LLAMA_SPLIT_MODE_{given['split_mode']}")
    if "pooling_type" in given:
        params.pooling_type = getattr(native.llama_pooling_type, f"LLAMA_POOLING_TYPE_{given['pooling_type']}")
    if spec.get("saved_prompts"):
        create_files_privately()
        params.slot_save_path = spec["saved_prompts"]
    params.lora_adapters = [native.CommonAdapterLoraInfo(path, scale) for path, scale in spec.get("lora", [])]
    if "n_threads" in given:
        params.cpuparams.n_threads = given["n_threads"]
    if "n_threads_batch" in given:
        params.cpuparams_batch.n_threads = given["n_threads_batch"]
    if "speculation" in given:
        _speculate(native, params, given["speculation"], spec.get("draft"))

    gpu_count = _offload(native, params, given, spec.get("layers", 0))
    # Fitting the offload to the GPUs' free memory costs a third of a second, and there is nothing to fit without one.
    params.fit_params = gpu_count > 0 and given.get("fit_params", given.get("gpu_ratio") is None)

    global _server
    _server = native.Server(params)
    return {"gpu_layers": 0 if gpu_count == 0 else None}


_server: Any = None  # the server lives as long as the process

_PLAIN = {
    *("n_ctx", "n_parallel", "n_batch", "n_ubatch", "no_kv_offload", "embedding", "main_gpu"),
    *("rope_freq_base", "rope_freq_scale", "kv_unified", "n_ctx_checkpoints", "cache_ram_mib"),
}


def _speculate(native: Any, params: Any, given: dict[str, Any], draft: str | None) -> None:
    """Set how tokens are drafted."""
    kind: str = given["type"]
    name = kind.upper().replace("-", "_")
    speculative = params.speculative
    speculative.types = [getattr(native.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{name}")]
    limits: Any = speculative.draft
    if draft is not None:
        limits.mparams.path = draft
    elif kind == "ngram-mod":
        limits = speculative.ngram_mod
    elif kind != "draft-mtp" and hasattr(speculative, name.lower()):
        limits = getattr(speculative, name.lower())
        # What repeats is looked up by this many tokens; ngram-simple makes no draft that is shorter.
        given = {"size_m": given["n_max"], "size_n": min(given["n_max"], limits.size_n)} if "n_max" in given else {}
    for limit in ("n_max", "n_min", "p_min", "size_m", "size_n"):
        if limit in given and hasattr(limits, limit):
            setattr(limits, limit, given[limit])


def _offload(native: Any, params: Any, given: dict[str, Any], layers: int) -> int:
    """Set how many layers go to which GPUs. Return the number of GPUs in use."""
    cpu = native.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    accelerator = native.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_ACCEL
    gpus = [device for device in native.get_device_info() if device["type"] not in (cpu, accelerator)]
    ratio: float | None = given.get("gpu_ratio")
    if ratio is not None:
        params.n_gpu_layers = round(ratio * (layers + 1)) if ratio < 1 and layers else (999 if ratio else 0)
    disabled: list[int] = given.get("disabled_gpus", [])
    for field, indices in (("gpu.main_gpu", [given.get("main_gpu", 0)]), ("gpu.disabled_gpus", disabled)):
        if gpus and max(indices, default=0) >= len(gpus):
            raise ValueError(f"{field} names GPU {max(indices)}, and there are {len(gpus)}, counted from 0")
    if "n_cpu_moe" in given and gpus:
        layers_there = "|".join(str(index) for index in range(min(given["n_cpu_moe"], layers or 999)))
        params.tensor_buft_overrides = rf"blk\.({layers_there})\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"
    if disabled and gpus:
        split = list(params.tensor_split)
        for index in range(len(gpus)):
            split[index] = 0.0 if index in disabled else 1.0
        params.tensor_split = split
    return 0 if ratio == 0 else len(gpus) - len([index for index in disabled if index < len(gpus)])


if __name__ == "__main__":
    main()
