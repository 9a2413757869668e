"""The paths of studiolo's files.

All are under one home folder: ``STUDIOLO_HOME`` if it is set, else a folder in the system's folder for user data.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import LocalFileError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The numbers of the errors of a disk, or a quota, that has no space left."""


@dataclass(frozen=True)
class Home:
    """The home folder and the paths in it. Folders are created when they are first written to."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """Return the home that ``STUDIOLO_HOME`` names, else the one in the system's folder for user data.

        Raises:
            LocalFileError: it is not a folder, or cannot be created.
        """
        home = cls.named()
        if (fault := home.fault()) is not None:
            raise _unusable(home.root, fault)
        return home

    @classmethod
    def named(cls) -> Home:
        """Return the same home as :meth:`default`, also if it cannot be used."""
        named = os.environ.get("STUDIOLO_HOME")
        if named:
            try:
                return cls(Path(named).expanduser().absolute())
            except RuntimeError as error:  # ~nobody
                raise _unusable(Path(named), str(error)) from None
        import platformdirs

        return cls(platformdirs.user_data_path("studiolo", appauthor=False))

    def fault(self) -> str | None:
        """Return why the home folder cannot be used, as far as that is known without writing; ``None`` if it can."""
        place = self.root
        try:
            while not os.path.lexists(place) and place != place.parent:
                place = place.parent
            if not place.is_dir():
                return f"{place} is not a folder"
        except OSError as error:
            return error.strerror or str(error)
        if not os.access(place, os.X_OK) or (place != self.root and not os.access(place, os.W_OK)):
            return f"{place} is not writable"
        return None

    def create(self) -> None:
        """Create the folder if it does not exist. Raises :class:`LocalFileError`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self.root, error.strerror or str(error)) from None

    @property
    def models(self) -> Path:
        """Model files, at ``publisher/name/file.gguf`` as in LM Studio; files at any depth are found."""
        return self.root / "models"

    @property
    def downloads(self) -> Path:
        """Unfinished downloads. A finished one is renamed, or copied if ``models`` is on another file system."""
        return self.root / "downloads"

    @property
    def files(self) -> Path:
        """Files that clients have uploaded: images and documents of chats."""
        return self.root / "files"

    @property
    def logs(self) -> Path:
        """Logs."""
        return self.root / "logs"

    @property
    def engine_logs(self) -> Path:
        """Logs of engines, in a folder of their own: an instance may have any name."""
        return self.logs / "engines"

    @property
    def saved_prompts(self) -> Path:
        """What engines have read of prompts."""
        return self.root / "saved-prompts"

    @property
    def runtimes(self) -> Path:
        """The runtimes that were added or built, in a folder each."""
        return self.root / "runtimes"

    @property
    def state(self) -> Path:
        """The SQLite database of what is kept between runs."""
        return self.root / "state.db"

    @property
    def catalog(self) -> Path:
        """The user's additions to the catalog."""
        return self.root / "catalog.toml"

    @property
    def settings(self) -> Path:
        """The settings of the host."""
        return self.root / "config.toml"

    @property
    def chat_history(self) -> Path:
        """The prompts of ``studiolo chat``, a JSON text a line."""
        return self.root / "chat-history.jsonl"

    @property
    def page_key(self) -> Path:
        """What links to the pages, and their sessions, are signed with."""
        return self.root / "pages.key"

    @property
    def derived_models(self) -> Path:
        """Names that clients have given to models, with settings of their own."""
        return self.root / "derived-models.json"


def writing_remedy(error: OSError, folder: Path) -> str:
    """Return what to do where the system refused, with ``error``, to write to a folder of the home."""
    if error.errno in DISK_FULL:
        return f"Free some space on the disk of {folder}, or set STUDIOLO_HOME to a folder on another disk."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"Move away the file in the place of {folder}."
    return f"Make {folder} writable, or set STUDIOLO_HOME to a folder that is."


def _unusable(root: Path, cause: str) -> LocalFileError:
    return LocalFileError(
        f"The home folder {root} cannot be used",
        cause=cause,
        suggestion="Set STUDIOLO_HOME to a writable folder.",
    )
