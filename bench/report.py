"""The results as a Markdown table and as JSON."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from .layers import CLIENTS, Way
from .measure import Spread
from .startup import Startup

SERVED = "studiolo's SDK, server"


@dataclass(frozen=True)
class Target:
    """A target, and its measured value."""

    what: str
    value: float
    limit: float
    met: bool


def machine() -> dict[str, Any]:
    """Return the machine and the versions that the figures depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": platform.platform(terse=True),
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


def targets(ways: Sequence[Way], startup: Startup | None) -> list[Target]:
    """Return the targets with their measured values."""
    served = next(way for way in ways if way.name == SERVED)
    ratio, delay = served.ratios().median, served.delays().median * 1000
    out = [
        Target("decode speed through the server, as a share of direct (at least)", ratio, 0.97, ratio >= 0.97),
        Target("time to first token through the server, ms above direct (at most)", delay, 5, delay <= 5),
    ]
    if startup:
        ms = startup.imports["import studiolo"].median * 1000
        out.append(Target("import studiolo, ms (under)", ms, 100, ms < 100))
    return out


def as_json(
    settings: dict[str, Any], ways: Sequence[Way], others: dict[str, Spread], startup: Startup | None
) -> dict[str, Any]:
    """Return all results, in seconds and tokens a second."""
    return {
        "machine": machine(),
        "settings": settings,
        "cores_taken_by_others": {name: spread.json() for name, spread in _all_others(others, startup)},
        "ways": [_way(way) for way in ways],
        "startup_sec": startup
        and {
            "imports": {name: spread.json() for name, spread in startup.imports.items()},
            "complete_to_first_token": startup.command.json(),
            "serve_to_listening": startup.listening.json(),
            "serve_to_model_loaded": startup.loaded.json(),
        },
        "targets": [
            {"what": t.what, "value": round(t.value, 4), "limit": t.limit, "met": t.met} for t in targets(ways, startup)
        ],
    }


def _way(way: Way) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "name": way.name,
        "tokens": way.decode[-1].tokens,
        "decode_tokens_per_sec": Spread.of(way.rates).json(),
        "time_to_first_token_sec": Spread.of(way.first).json(),
        f"tokens_per_sec_of_{CLIENTS}_clients": Spread.of(way.together).json(),
        "client_cpu_sec_per_token": _client_cpu(way).json(),
        "server_cpu_sec_per_token": _server_cpu(way) if way.server_pid else None,
    }
    if way.baseline:
        figures["to_direct"] = {
            "decode_ratio": way.ratios().json(),
            "first_token_delay_sec": way.delays().json(),
            f"ratio_of_{CLIENTS}_clients": way.together_ratios().json(),
        }
    return figures


def table(settings: dict[str, Any], ways: Sequence[Way], others: dict[str, Spread], startup: Startup | None) -> str:
    """Return the printed table, in Markdown. Spreads are the quartiles."""
    about = machine()
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB; {about['os']}; Python {about['python']}; "
        f"studiolo {about['studiolo']}, xllamacpp {about['xllamacpp']}, lmstudio {about['lmstudio']}; {about['date']}",
        f"{settings['model']}, {ways[0].decode[-1].tokens} tokens, temperature 0; medians (quartiles)",
        "",
        f"| way | decode, tok/s | to direct | first token, ms | to direct, ms | {CLIENTS} clients, tok/s | to direct "
        "| CPU a token, µs: client + server |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in ways:
        ratio, delay, together = "1", "0", "1"
        if way.baseline:
            ratio, delay = _show(way.ratios(), 3), _show(way.delays().scaled(1000), 1, sign="+")
            together = _show(way.together_ratios(), 3)
        cpu = f"{_client_cpu(way).median * 1e6:.0f}"
        if way.server_pid:
            cpu += f" + {_server_cpu(way) * 1e6:.0f}"
        cells = (
            *(way.name, _show(Spread.of(way.rates), 1), ratio),
            *(_show(Spread.of(way.first).scaled(1000), 1), delay),
            *(_show(Spread.of(way.together), 1), together, cpu),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if len({decode.text for way in ways for decode in way.decode}) > 1:
        lines += ["", "Not all predictions gave the same text, so that not all did quite the same work."]
    if startup:
        lines += ["", "| start | ms |", "|---|---|"]
        rows = {
            **{_plus(name): spread for name, spread in startup.imports.items()},
            "`studiolo complete`, embedded, to the first token": startup.command,
            "`studiolo serve` to listening": startup.listening,
            "`studiolo serve` to model loaded": startup.loaded,
        }
        lines += [f"| {name} | {_show(spread.scaled(1000), 0)} |" for name, spread in rows.items()]
    taken = ", ".join(
        f"{name} {spread.median:.2f} (at most {spread.high:.2f} in {spread.count} rounds)"
        for name, spread in _all_others(others, startup)
    )
    lines += ["", f"Cores taken by other programs meanwhile: {taken}."]
    lines += ["", "| target | measured | limit | |", "|---|---|---|---|"]
    for target in targets(ways, startup):
        digits = 3 if target.limit < 1 else 1
        met = "met" if target.met else "MISSED"
        lines.append(f"| {target.what} | {target.value:.{digits}f} | {target.limit:g} | {met} |")
    return "\n".join(lines)


def _all_others(others: dict[str, Spread], startup: Startup | None) -> list[tuple[str, Spread]]:
    return [*others.items(), *(startup.others.items() if startup else ())]


def _client_cpu(way: Way) -> Spread:
    return Spread.of([decode.client_cpu for decode in way.decode])


def _server_cpu(way: Way) -> float:
    """Return the mean: a single round is close to the resolution of the system's clock."""
    return sum(decode.server_cpu for decode in way.decode) / len(way.decode)


def _plus(name: str) -> str:
    return name if name == "bare python" else f"`{name}`, above bare python"


def _show(spread: Spread, digits: int, sign: str = "") -> str:
    return f"{spread.median:{sign}.{digits}f} ({spread.q1:{sign}.{digits}f}..{spread.q3:{sign}.{digits}f})"
