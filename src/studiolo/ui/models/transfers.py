"""The part of the page with the downloads."""

from __future__ import annotations

from nicegui import ui

from ...units import duration, size
from ..element_groups import fact, panel, row
from ..elements import button, heading
from .downloads import Download, downloads, remove_download, watchers


class _Line:
    """The line of a download."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self._state = ""
        with row() as self.root:
            self.root.props["role"] = "group"
            self.root.props["aria-label"] = download.name
            ui.label(download.name).classes("st-grow st-mono")
            self._about = fact("")
            self._about.props["role"] = "status"
            self._buttons = ui.element("div").classes("st-buttons")
            self._bar = ui.linear_progress(0.0, show_value=False).classes("st-wide")
            self._bar.props["aria-label"] = f"Progress of {download.name}"
        self.refresh()

    def refresh(self) -> None:
        """Show what has changed."""
        download = self._download
        self._about.set_text(_about(download))
        self._bar.set_visibility(download.state != "done")
        self._bar.set_value(round(download.fraction or 0.0, 3))
        if download.state == self._state:
            return
        self._state = download.state
        self._buttons.clear()
        with self._buttons:
            if download.runs:
                button("Pause", download.pause)
            elif download.state != "done":
                button("Resume", download.resume)
            if not download.runs:
                button("Remove from the list", lambda: remove_download(download))


def _about(download: Download) -> str:
    match download.state:
        case "done":
            return f"is in the library as {download.outcome}"
        case "failed":
            return download.outcome
        case "verifying":
            return "is being verified"
        case _:
            pass
    progress = download.progress
    if progress is None:
        return "paused" if download.state == "paused" else "is being looked for"
    whole = f" of {size(progress.total_bytes)}" if progress.total_bytes else ""
    text = f"{size(progress.downloaded_bytes)}{whole}"
    if download.state == "paused":
        return f"{text}, paused"
    speed = progress.speed_bytes_per_second
    left = progress.total_bytes - progress.downloaded_bytes
    ends = f", {duration(left / speed)} left" if speed > 0 and progress.total_bytes else ""
    return f"{text}, {size(speed)}/s{ends}"


def transfers_section() -> None:
    """Make it; it is hidden while there are no downloads."""
    with ui.element("section").classes("st-section") as section:
        heading("Downloads")
        place = panel()
    lines: dict[int, _Line] = {}

    def refresh() -> None:
        if section.is_deleted:
            return
        listed = downloads()
        section.set_visibility(bool(listed))
        numbers = [each.number for each in listed]
        if [*lines] == numbers:
            for line in lines.values():
                line.refresh()
            return
        place.clear()
        lines.clear()
        with place:
            lines.update({each.number: _Line(each) for each in listed})

    refresh()
    watchers.add_page(refresh)
