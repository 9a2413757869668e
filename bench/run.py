"""The benchmark of studiolo's layers and start times.

Run as ``python -m bench.run``. It starts an embedded host and a server, each with one worker, and stops both at the
end, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from . import layers, report, startup
from .processes import bytecode_cached
from .ways import PROMPT


def main() -> int:
    """Run the benchmark. Exit status: 0 done, 1 a target was missed and ``--check`` was given, 130 interrupted."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # runs all cleanup
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measure the cost of studiolo's layers.")
    parser.add_argument("--rounds", type=int, default=12, help="quiet rounds of each measurement (default: 12)")
    parser.add_argument("--tokens", type=int, default=256, help="maximum tokens of a prediction (default: 256)")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results to this file")
    parser.add_argument("--no-startup", action="store_true", help="skip import and start times")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    if options.rounds < 1 or options.tokens < 2:
        parser.error("--rounds must be at least 1, and --tokens at least 2")
    return options


def _run(options: argparse.Namespace) -> int:
    model = layers.ensure_model(options.model)
    started = None
    if not options.no_startup:
        with bytecode_cached():
            started = startup.measure_startup(model, options.rounds, _say)
    with layers.ways(model) as ways:
        others = layers.compare(ways, options.rounds, options.tokens, _say)
    settings: dict[str, Any] = {
        "model": model,
        "prompt": PROMPT,
        "rounds": options.rounds,
        "max_tokens": options.tokens,
        "temperature": 0,
        "clients": layers.CLIENTS,
    }
    print(report.table(settings, ways, others, started))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report.as_json(settings, ways, others, started), indent=2) + "\n")
        _say(f"written to {options.json}")
    missed = [target for target in report.targets(ways, started) if not target.met]
    return 1 if missed and options.check else 0


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
