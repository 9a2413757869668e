"""The machine: its name and versions, and the limits that it sets: memory bandwidth and peak rates of arithmetic."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import psutil

DOT = Path(__file__).parent / "data" / "dot.c"
"""Counts dot products of signed bytes, as llama.cpp computes them with AVX2."""

BUFFER_BYTES = 256 << 20


def machine() -> dict[str, Any]:
    """Return the machine and the versions that the figures depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("studiolo", "xllamacpp", "lmstudio")},
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def limits(seconds: float) -> dict[str, float | None]:
    """Measure the machine's limits, each for about ``seconds``: the best of several tries counts.

    Return bytes a second that all cores read from memory, and operations a second (a multiplication and an addition are
    two) on floats and on bytes; ``None`` for bytes where there is no C compiler or no AVX2.
    """
    return {
        "read_bytes_per_sec": _read_rate(seconds),
        "float_ops_per_sec": _float_rate(seconds),
        "byte_ops_per_sec": _byte_rate(seconds),
    }


def roofline(found: dict[str, float | None], file_bytes: int, parameters: int) -> dict[str, float | None]:
    """Return the tokens a second that the limits allow: each token of an answer reads all weights, each of a prompt
    multiplies and adds once a parameter.
    """
    read, operations = found["read_bytes_per_sec"], found["byte_ops_per_sec"] or found["float_ops_per_sec"]
    return {
        "decode_tokens_per_sec": read and read / file_bytes,
        "prompt_tokens_per_sec": operations and operations / (2 * parameters),
    }


def _best(work: Callable[[], float], seconds: float) -> float:
    """Return the highest rate: ``work`` returns how much it has done."""
    best, end = 0.0, time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        done = work()
        best = max(best, done / (time.perf_counter() - began))
        if time.perf_counter() > end:
            return best


def _read_rate(seconds: float) -> float:
    cores = os.cpu_count() or 1
    parts = [numpy.ones(BUFFER_BYTES // cores // 8, dtype=numpy.float64) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as threads:

        def read() -> float:
            list(threads.map(numpy.max, parts))
            return sum(part.nbytes for part in parts)

        return _best(read, seconds)


def _float_rate(seconds: float) -> float:
    size = 1024
    matrix = numpy.ones((size, size), dtype=numpy.float32)

    def multiply() -> float:
        numpy.matmul(matrix, matrix)
        return 2.0 * size**3

    return _best(multiply, seconds)


def _byte_rate(seconds: float) -> float | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or platform.machine() not in ("x86_64", "AMD64"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "dot"))
        try:
            subprocess.run([compiler, "-O2", "-mavx2", str(DOT), "-o", program], check=True, capture_output=True)
            cores = os.cpu_count() or 1
            running = [
                subprocess.Popen([program, f"{seconds}"], stdout=subprocess.PIPE, text=True) for _ in range(cores)
            ]
            return sum(float(each.communicate(timeout=60)[0]) for each in running)
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
