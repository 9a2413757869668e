"""List the GPUs that the native library sees, as JSON: ``python -m studiolo.engines.llama_cpp.device_worker``.

It runs in a process of its own, as all native code does.
"""

from __future__ import annotations

import importlib
import json
import os
from typing import Any


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever native code prints does not belong in the answer
    native: Any = importlib.import_module("xllamacpp")
    kinds = native.ggml_backend_dev_type
    others = (kinds.GGML_BACKEND_DEVICE_TYPE_CPU, kinds.GGML_BACKEND_DEVICE_TYPE_ACCEL)
    found = [
        {
            "name": f"{device['name']} ({device['description']})",
            "free_bytes": device["memory_free"],
            "total_bytes": device["memory_total"],
        }
        for device in native.get_device_info()
        if device["type"] not in others
    ]
    with answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main()
