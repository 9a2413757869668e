"""The page of models: what is loaded, what is downloaded, what is on disk, and a search for more."""

from __future__ import annotations

from ..element_groups import column
from ..elements import heading
from .disk import disk_section
from .found import search_section
from .loaded import loaded_section
from .transfers import transfers_section


async def build() -> None:
    """Make the page."""
    with column():
        heading("Models", 1)
        loaded_section()
        transfers_section()
        await disk_section()
        search_section()
