"""A stand-in for a ``llama-server`` that is built with llguidance: xllamacpp's own server, behind a few of its options.

No package on PyPI carries such a binary. Run with the options of ``llama-server``; all but those below are ignored.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import xllamacpp  # pyright: ignore[reportMissingTypeStubs]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--ctx-size", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    options, _ = parser.parse_known_args()
    params: Any = xllamacpp.CommonParams()
    params.model.path = options.model
    params.hostnames = [options.host]
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.ui = False
    _server = xllamacpp.Server(params)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
