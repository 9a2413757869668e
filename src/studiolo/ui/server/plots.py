"""Plots of the last hour, drawn as SVG."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nicegui import ui

from ..element_groups import fact
from ..history import SPAN_SEC

WIDTH, HEIGHT = 360, 80


class Plot:
    """A plot of one figure.

    Parameters:
        title: what it shows.
        shown: returns a value for people.
    """

    def __init__(self, title: str, shown: Callable[[float], str]) -> None:
        self._title = title
        self._shown = shown
        with ui.element("figure").classes("st-plot") as self._figure:
            ui.label(title)
            self._drawing = ui.html("", sanitize=False)
            self._about = fact("")
        self._figure.props["role"] = "group"
        self._figure.props["aria-label"] = title

    def show(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw values at times, in seconds since 1970."""
        if self._figure.is_deleted:
            return
        highest = max((value for _, value in points), default=0.0)
        latest = points[-1][1] if points else 0.0
        self._about.set_text(f"now {self._shown(latest)}, at most {self._shown(highest)}")
        self._drawing.set_content(drawing(points, highest, time.time()))


def drawing(points: Sequence[tuple[float, float]], highest: float, now: float) -> str:
    """Return the plot as SVG: only numbers, from the left an hour ago to the right now."""
    scale = (HEIGHT - 4) / highest if highest else 0.0
    places = [
        (WIDTH * (1 - min(max(now - moment, 0.0), SPAN_SEC) / SPAN_SEC), HEIGHT - 2 - value * scale)
        for moment, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{line}" vector-effect="non-scaling-stroke"/></svg>'
    )
