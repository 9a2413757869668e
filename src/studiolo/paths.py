"""Where things lie on disk.

Everything lives under one home folder: ``STUDIOLO_HOME`` where it is set, else the platform's data folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The home folder and the places in it. Folders are made when they are first written to."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """The home that the environment names (``STUDIOLO_HOME``), else the platform's data folder."""
        named = os.environ.get("STUDIOLO_HOME")
        if named:
            return cls(Path(named).expanduser().absolute())
        import platformdirs

        return cls(platformdirs.user_data_path("studiolo", appauthor=False))

    @property
    def models(self) -> Path:
        """Model files, ``publisher/name/file.gguf`` as LM Studio lays them out; any depth is found."""
        return self.root / "models"

    @property
    def downloads(self) -> Path:
        """Fetches in progress. On the same file system as ``models``, so that finishing is a rename."""
        return self.root / "downloads"

    @property
    def files(self) -> Path:
        """Files that clients have given to the host: images of chats."""
        return self.root / "files"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def state(self) -> Path:
        """The SQLite database of what is worth remembering between runs."""
        return self.root / "state.db"

    @property
    def catalog(self) -> Path:
        """The user's own additions to the catalog."""
        return self.root / "catalog.toml"

    @property
    def settings(self) -> Path:
        """The settings of the host."""
        return self.root / "config.toml"
