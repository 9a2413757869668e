"""The wheel's llama-server as its own launcher starts it: run as ``python bench/wheel_server.py MODEL [JSON]``.

It prints its address when the model is loaded, and ends when its standard input does. All settings are those of the
wheel, but for the ones in JSON: names of ``CommonParams``, with a dot for those of a part (``cpuparams.n_threads``).
No code of studiolo runs here.
"""

import json
import sys

import xllamacpp


def main() -> None:
    """Serve."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    for name, value in json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}").items():
        part = params
        *path, last = name.split(".")
        for each in path:
            part = getattr(part, each)
        setattr(part, last, value)
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
