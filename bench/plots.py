"""The curves as SVG files, whose bytes depend on the figures alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 5.6, 3.2
"""In inches."""


def write_plots(curves: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write a file for each curve; return them."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    settings = {"svg.hashsalt": "studiolo", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    written: list[Path] = []
    with pyplot.rc_context(settings):
        for curve in curves:
            figure, axes = pyplot.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
            for (name, points), marker in zip(curve["lines"].items(), "os^v", strict=False):
                axes.plot([x for x, _ in points], [y for _, y in points], marker=marker, markersize=4, label=name)
            ticks = sorted({x for points in curve["lines"].values() for x, _ in points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
            axes.minorticks_off()
            if curve["logarithmic"]:
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
            axes.set_title(curve["title"])
            axes.set_xlabel(curve["x"])
            axes.set_ylabel(curve["y"])
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
            file = folder / f"{curve['key']}.svg"
            figure.savefig(file, metadata={"Date": None, "Creator": None})
            pyplot.close(figure)
            file.write_text("".join(f"{line.rstrip()}\n" for line in file.read_text("utf-8").splitlines()), "utf-8")
            written.append(file)
    return written
