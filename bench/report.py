"""The results as a table in Markdown, between markers of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .run import ROWS, Row

BEGIN = "<!-- results: written by make bench -->"
END = "<!-- end of the results -->"


def rendered(results: dict[str, Any], plots: dict[str, str]) -> str:
    """Return the results in Markdown.

    Parameters:
        results: as in the results file.
        plots: the path of each plot from the page, by the key of its curve.
    """
    about = results["machine"]
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['os']}; Python {about['python']},"
        f" studiolo {about['studiolo']}, xllamacpp {about['xllamacpp']}, lmstudio {about['lmstudio']};"
        f" {about['date']}. Model: {results['model']}.",
        "",
        f"Noise: {results['noise_text']}.",
        "",
        "| figure | wanted | measured | studiolo | reference |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS.values():
        if row.key in results["rows"]:
            lines += _row(row, results["rows"][row.key])
    lines += ["", *_limits(results)]
    lines += ["", *_notes(results)]
    for curve in results["curves"]:
        if curve["key"] in plots:
            lines += ["", f"![{curve['title']}]({plots[curve['key']]})"]
    return "\n".join(lines)


def _row(row: Row, result: dict[str, Any]) -> list[str]:
    wanted = f"{'at least' if row.least else 'at most'} {_number(row.wanted)}{_unit(row.unit)}"
    if result["error"]:
        return [f"| {row.figure} | {wanted} | failed: {_plain(result['error'])} | | |"]
    lines: list[str] = []
    for number, part in enumerate(result["parts"]):
        met = row.is_met(part["value"]["median"])
        verdict = ("" if met else "**") if part["judged"] else ""
        figure = row.figure if number == 0 else ""
        name = f"{figure}{': ' if figure and part['name'] else ''}{part['name']}"
        unit = f" {part['unit']}" if part["unit"] not in ("", "ratio") else ""
        own, reference = (part[side] and f"{spread(part[side])}{unit}" for side in ("own", "reference"))
        shown = f"{verdict}{spread(part['value'])}{_unit(row.unit)}{verdict}"
        limit = wanted if part["judged"] else ""
        lines.append(f"| {name} | {limit} | {shown} | {own or ''} | {reference or ''} |")
    return lines


def spread(values: dict[str, Any]) -> str:
    """Return a median, with its quartiles if there are several values."""
    median = _number(values["median"])
    if values["count"] < 2:
        return median
    return f"{median} ({_number(values['q1'])}..{_number(values['q3'])})"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 2 else 3
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:200]


def _limits(results: dict[str, Any]) -> list[str]:
    limits, roof = results["limits"], results["roofline"]
    if not limits:
        return []
    bytes_rate = limits["byte_ops_per_sec"]
    found = [
        f"Limits of the machine, all cores: {limits['read_bytes_per_sec'] / 1e9:.1f} GB/s read from memory,"
        f" {limits['float_ops_per_sec'] / 1e9:.0f} thousand million operations a second on floats"
        + (f", {bytes_rate / 1e9:.0f} on signed bytes (AVX2)." if bytes_rate else ".")
    ]
    if roof["decode_tokens_per_sec"] and roof["prompt_tokens_per_sec"]:
        found.append(
            f"For this model that allows {roof['decode_tokens_per_sec']:.0f} tokens/s of an answer, each of which reads"
            f" all weights, and {roof['prompt_tokens_per_sec']:.0f} tokens/s of a prompt."
        )
    return found


def _notes(results: dict[str, Any]) -> list[str]:
    taken = [f"{ROWS[key].figure}: {row['others']:.2f}" for key, row in results["rows"].items() if row["others"] > 0.1]
    lines = [
        f"Bold: the wanted figure is not reached. Medians of the rounds (quartiles). The run took"
        f" {results['seconds'] / 60:.1f} minutes."
    ]
    if taken:
        lines.append(f"Cores that other programs took meanwhile, where more than a tenth: {'; '.join(taken)}.")
    return lines


def write_between_markers(page: Path, text: str) -> None:
    """Put ``text`` between the markers of a page; raise ``ValueError`` if it has none."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")
