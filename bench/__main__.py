"""All figures of docs/performance.md in one run: ``python -m bench``, or ``make bench`` and ``make bench-quick``.

It measures the noise of the machine first. On a noisy one it writes no figures into the documentation, unless
``--force`` is given. Exit status: 0 done; 1 a row has failed; 2 wrong options; 3 the machine is noisy; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studiolo.library.gguf_file import read_metadata
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts

from . import growth, report, rows, texts
from .machine import limits, machine, roofline
from .noise import MAX_OTHERS, Others, measure_noise
from .plots import write_plots
from .run import FULL, QUICK, ROWS, Row, Run, Size, ensure_model, home_with, started

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "plots"
RESULTS = ROOT / "bench" / "results.json"

NOISY = 3
LONGEST = ("embeddings", "tuned", "prompt", "stream_gap", "prompt_beside")
"""Rows that are measured last, in this order: a slow machine may have no time left for them."""

LEAST_WATCHED_SEC = 0.5
"""The shortest time over which the use of other programs is worth something."""

MAX_SHARE = 0.35
"""The share of the run's time after which a row is stopped, so that the others have some."""

QUIET_SHARE = 0.8
"""The share of the rows during which the machine must have been quiet."""

assert rows  # registers the rows


class OutOfTimeError(Exception):
    """A row has taken too long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(arguments)
    if options.engine is not None:
        options.engine = options.engine.resolve()
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure studiolo against llama-server.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under two minutes")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="measure these rows alone")
    parser.add_argument("--minutes", type=float, help="what the run may take (default: 19, with --quick 2)")
    parser.add_argument("--no-growth", action="store_true", help="measure no curves")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--server", type=Path, metavar="PATH", help="also compare with this llama-server")
    parser.add_argument(
        "--engine", type=Path, metavar="PATH", help="run this llama-server on all sides; the page is not written"
    )
    parser.add_argument(
        "--llama-cpp-python", type=Path, metavar="PYTHON", help="also compare with the server of llama-cpp-python"
    )
    parser.add_argument("--force", action="store_true", help="render figures of a noisy machine, too")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="PATH", help="default: bench/results.json")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="PATH", help="the page with the table")
    parser.add_argument("--render", action="store_true", help="render the results of --json, measure nothing")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    if options.render:
        render(json.loads(options.json.read_text("utf-8")), options.page)
        return 0
    size = QUICK if options.quick else FULL
    if options.minutes:
        size = replace(size, minutes=options.minutes)
    chosen = [ROWS[key] for key in options.row or ROWS]
    curves = [] if options.no_growth or options.row or options.quick else list(growth.CURVES)
    model = ensure_model(options.model)
    embedding = ensure_model(None, "embedding") if any(row.key == "embeddings" for row in chosen) else None
    results = measure(size, chosen, curves, model, embedding, _others(options, model[1]), say, options.engine)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(report.rendered(results, {}))
    say(f"written to {options.json}")
    if not results["quiet"] and not options.force:
        say(f"The machine is noisy: {results['noise_text']}. Nothing is concluded; --force renders it nevertheless.")
        return NOISY
    if options.engine is None and options.row is None and (not options.quick or options.force):
        render(results, options.page)
        say(f"rendered into {options.page}")
    return 1 if any(row["error"] for row in results["rows"].values()) else 0


def _others(options: argparse.Namespace, model: Path) -> dict[str, tuple[list[str], str]]:
    """Return the commands of the user's servers."""
    found: dict[str, tuple[list[str], str]] = {}
    if options.server:
        found[f"`{options.server.name}` of the user, directly"] = started(options.server.resolve(), model)
    if options.llama_cpp_python:
        command = [str(options.llama_cpp_python), "-m", "llama_cpp.server", "--model", str(model)]
        found["llama-cpp-python's server, directly"] = ([*command, "--port", "{port}"], "/v1/models")
    return found


def render(results: dict[str, Any], page: Path) -> None:
    """Write the plots, and the table into its page."""
    files = write_plots(results["curves"], page.parent / "plots")
    plots = {file.stem: file.relative_to(page.parent).as_posix() for file in files}
    report.write_between_markers(page, report.rendered(results, plots))


def measure(
    size: Size,
    chosen: Sequence[Row],
    curves: Sequence[str],
    model: tuple[str, Path],
    embedding: tuple[str, Path] | None,
    others: dict[str, tuple[list[str], str]],
    say: Callable[[str], None],
    engine: Path | None = None,
) -> dict[str, Any]:
    """Run the benchmark; return what the results file has."""
    began = time.perf_counter()
    end = began + 60 * size.minutes
    key, file = model
    noise = measure_noise(size.noise_sec)
    say(f"noise: {noise}")
    found = limits(min(size.noise_sec / 4, 2))
    measured: dict[str, Any] = {}
    drawn: list[dict[str, Any]] = []
    try:
        with (
            home_with(file, *([embedding[1]] if embedding else []), engine=engine) as home,
            contextlib.ExitStack() as stack,
        ):
            stack.callback(lambda: background.run(close_hosts()))
            run = Run(size, home, key, file, embedding, stack, say, others, engine)
            for row in _in_order(chosen):
                measured[row.key] = _row(run, row, end)
            for name in curves:
                drawn += _curves(run, name, end)
            for row in (
                chosen if size.repeats else ()
            ):  # once more where other programs disturbed it, while there is time
                first = measured[row.key]
                fits = time.perf_counter() + first["seconds"] < end
                if _is_disturbed(first) and fits and first["seconds"] > LEAST_WATCHED_SEC and not first["shared"]:
                    measured[row.key] = _row(run, row, end)
    finally:
        taken = time.perf_counter() - began
    quiet_rows = sum(not _is_disturbed(row) for row in measured.values())
    return {
        "machine": machine(),
        "model": key,
        "engine": str(engine or ""),
        "size": size.name,
        "seconds": round(taken, 1),
        "noise": noise.json(),
        "noise_text": f"{noise}; the machine was quiet during {quiet_rows} of {len(measured)} rows",
        "quiet": noise.quiet and quiet_rows >= QUIET_SHARE * len(measured),
        "limits": found,
        "roofline": roofline(found, file.stat().st_size, read_metadata(file).parameter_count),
        "rows": {row.key: measured[row.key] for row in chosen},
        "curves": drawn,
    }


def _is_disturbed(result: dict[str, Any]) -> bool:
    return result["others"] > MAX_OTHERS


def _in_order(chosen: Sequence[Row]) -> list[Row]:
    """Return the rows in the order in which they are measured: what takes longest comes last."""
    return sorted(chosen, key=lambda row: LONGEST.index(row.key) if row.key in LONGEST else -1)


def _row(run: Run, row: Row, end: float) -> dict[str, Any]:
    shared = run.shared_count
    parts, error, seconds, others = _watched(run, row.figure, lambda: row.measure(run), end)
    for part in parts or []:
        mark = "" if not part.judged else "met" if row.is_met(part.value.median) else "NOT MET"
        run.say(f"  {part.name or row.key}: {report.spread(part.value.json())} {row.unit} {mark}")
    return {
        "figure": row.figure,
        "unit": row.unit,
        "wanted": row.wanted,
        "at_least": row.least,
        "how": row.how,
        "seconds": seconds,
        "others": others,
        "shared": run.shared_count > shared,
        "error": error,
        "parts": [part.json() for part in parts or []],
    }


def _curves(run: Run, name: str, end: float) -> list[dict[str, Any]]:
    found, _, _, _ = _watched(run, f"curves of {name}", lambda: growth.CURVES[name](run), end)
    return [curve.json() for curve in found or []]


def _watched(
    run: Run, name: str, work: Callable[[], list[Any]], end: float
) -> tuple[list[Any] | None, str, float, float]:
    """Run ``work``; return what it returns, its error, its seconds, and the cores that others took meanwhile."""
    left = end - time.perf_counter()
    if left <= 0:
        run.say(f"{name}: no time is left")
        return None, "no time was left", 0.0, 0.0
    texts.begin_attempt()
    run.say(f"{name} ({left / 60:.1f} minutes left)")
    began, watch = time.perf_counter(), Others()
    error, found = "", None
    try:
        with _limit(min(left + 20, 60 * run.size.minutes * MAX_SHARE)):
            found = work()
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
        run.say(f"  failed: {error}")
    seconds = time.perf_counter() - began
    others = watch.cores() if seconds > LEAST_WATCHED_SEC else 0.0
    return found, error, round(seconds, 1), round(others, 3)


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTimeError` in this thread after ``seconds``, where the system has signals for that."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise OutOfTimeError(f"it took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def say(text: str) -> None:
    """Print progress."""
    print(f"bench: {text[:500]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # runs all cleanup
    sys.exit(main())
