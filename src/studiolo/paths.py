"""Where things lie on disk.

Everything lives under one home folder: ``STUDIOLO_HOME`` where it is set, else the platform's data folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import LocalFileError


@dataclass(frozen=True)
class Home:
    """The home folder and the places in it. Folders are made when they are first written to."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """The home that the environment names (``STUDIOLO_HOME``), else the platform's data folder.

        Raises:
            LocalFileError: it is no folder, or cannot be made.
        """
        home = cls.named()
        if (fault := home.fault()) is not None:
            raise _unusable(home.root, fault)
        return home

    @classmethod
    def named(cls) -> Home:
        """As :meth:`default`, whether it can be used or not."""
        named = os.environ.get("STUDIOLO_HOME")
        if named:
            try:
                return cls(Path(named).expanduser().absolute())
            except RuntimeError as error:  # ~nobody
                raise _unusable(Path(named), str(error)) from None
        import platformdirs

        return cls(platformdirs.user_data_path("studiolo", appauthor=False))

    def fault(self) -> str | None:
        """Why the home folder cannot be used, as far as can be told without writing; ``None`` where it can."""
        place = self.root
        try:
            while not os.path.lexists(place) and place != place.parent:
                place = place.parent
            if not place.is_dir():
                return f"{place} is not a folder"
        except OSError as error:
            return error.strerror or str(error)
        if not os.access(place, os.X_OK) or (place != self.root and not os.access(place, os.W_OK)):
            return f"{place} is not yours to use"
        return None

    def create(self) -> None:
        """Make the folder where it is not there. Raises :class:`LocalFileError`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self.root, error.strerror or str(error)) from None

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
    def engine_logs(self) -> Path:
        """The logs of engines, apart from the others: an instance may have any name."""
        return self.logs / "engines"

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


def _unusable(root: Path, cause: str) -> LocalFileError:
    return LocalFileError(
        f"The home folder {root} cannot be used",
        cause=cause,
        suggestion="Set STUDIOLO_HOME to a folder that can be written to.",
    )
