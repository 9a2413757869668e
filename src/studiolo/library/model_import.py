"""Import model files into the home's models folder, and remove them. All functions block."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ConfigError, LibraryFileError, ModelFileError, ModelNotFoundError
from ..paths import Home, writing_remedy
from .adapters import fitting_models, is_adapter
from .file_copy import copy_into_place, remove_empty
from .gguf_file import Metadata, describe, read_header
from .model import Model, not_a_model, split_name
from .other_programs import PROGRAM_NAMES
from .scan import found_file, join_shards

How = Literal["move", "copy", "hard-link", "symbolic-link"]
OnCopied = Callable[[int, int], None]
"""Called with the bytes copied so far, and the total."""

_REPOSITORY = re.compile(r"[\w][\w.\- ]*/[\w][\w.\- ]*")


@dataclass(frozen=True)
class Import:
    """A planned import.

    Parameters:
        how: what happens to the files.
        files: pairs of a source and a target.
    """

    how: How
    files: tuple[tuple[Path, Path], ...]

    @property
    def size_bytes(self) -> int:
        return sum(source.stat().st_size for source, _ in self.files)


def plan_import(
    home: Home, file: Path, how: How = "move", repository: str | None = None, models: Sequence[Model] = ()
) -> Import:
    """Plan the import of ``file`` into the home's models folder. Nothing is changed.

    If the file is a shard, the other shards are imported with it.

    Parameters:
        home: the home.
        file: a GGUF file: a model, a projector, or a LoRA adapter that fits one of ``models``.
        how: what happens to the file.
        repository: the target folder, ``publisher/name``. By default the organisation in the header, else
            ``imported``, and the file's name.
        models: the models of the library.

    Raises:
        ConfigError: ``repository`` does not have that form.
        ModelNotFoundError: the file does not exist.
        ModelFileError: it, or one of its shards, is not a usable GGUF file.
        LibraryFileError: the target exists already, or the file to move is a link.
    """
    if repository is not None and (not _REPOSITORY.fullmatch(repository) or ".." in repository):
        raise ConfigError(f"{repository!r} is not a place in the library", suggestion="Give it as publisher/name")
    file = Path(os.path.abspath(file.expanduser()))  # noqa: PTH100  (links must not be resolved)
    sources = _with_shards(file)
    header = read_header(sources[0])
    _refuse_useless(sources[0], describe(header), models)
    for source in sources[1:]:
        read_header(source)
    folder = home.models / (repository or _guess_repository(file, header.fields.get("general.organization")))
    if how == "move":
        for source in sources:
            if source.is_symlink():
                raise LibraryFileError(
                    f"{source} is a link to {source.resolve()}",
                    cause="Moving the link or its target could break the program that created it",
                    suggestion="Choose --copy, --hard-link or --symbolic-link",
                )
    plan = Import(how, tuple((source, folder / source.name) for source in sources))
    for _, target in plan.files:
        if os.path.lexists(target):
            raise LibraryFileError(
                f"{target} exists already",
                suggestion="Remove it first (studiolo rm), or choose another place with --user-repo",
            )
    return plan


def _refuse_useless(path: Path, metadata: Metadata, models: Sequence[Model]) -> None:
    """Raise :class:`ModelFileError` for a file that no model of the library could be loaded with."""
    if metadata.type == "mmproj" or (is_adapter(metadata) and fitting_models(metadata, models)):
        return
    if (refusal := not_a_model(path, metadata, knows_all=True)) is not None:
        raise refusal


def carry_out(plan: Import, on_copied: OnCopied | None = None) -> list[Path]:
    """Carry out an import. Return the new paths of the files. If it fails, what was done is undone.

    Raises:
        LibraryFileError: the system refused; the error says what to do about it.
    """
    total = plan.size_bytes
    copied = 0
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in plan.files:
            target.parent.mkdir(parents=True, exist_ok=True)
            if _place(
                source, target, plan.how, lambda count, base=copied: on_copied and on_copied(base + count, total)
            ):
                copied += target.stat().st_size
            done.append((source, target))
        if plan.how == "move":
            for source, target in done:
                if os.path.lexists(source) and not source.samefile(target):  # it was copied to another file system
                    source.unlink()
    except BaseException as error:
        for source, target in reversed(done):
            _undo(source, target, plan.how)
        remove_empty(plan.files[0][1].parent, plan.files[0][1].parents[2])
        if isinstance(error, OSError):
            raise _refused(error, plan) from error
        raise
    return [target for _, target in done]


def _place(source: Path, target: Path, how: How, on_copied: Callable[[int], object]) -> bool:
    """Put one file in place. Return whether it had to be copied."""
    if how == "symbolic-link":
        target.symlink_to(source.resolve())
        return False
    if how == "hard-link":
        target.hardlink_to(source.resolve())
        return False
    if how == "move":
        try:
            source.rename(target)
            return False
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    copy_into_place(source, target, on_copied)
    return True


def _undo(source: Path, target: Path, how: How) -> None:
    with contextlib.suppress(OSError):
        if how == "move" and not os.path.lexists(source):
            target.rename(source)
        else:
            target.unlink()


def _refused(error: OSError, plan: Import) -> LibraryFileError:
    reason = error.strerror or str(error)
    if error.errno == errno.EXDEV:
        return LibraryFileError(
            f"{plan.files[0][0]} cannot be linked",
            cause="A hard link cannot point to another file system",
            suggestion="Choose --copy or --symbolic-link",
        )
    source, target = plan.files[0]
    models = target.parents[2]
    stays = plan.how == "move" and os.access(models, os.W_OK) and not os.access(source.parent, os.W_OK)
    return LibraryFileError(
        f"{source} could not be imported into {target.parent}",
        cause=reason,
        suggestion="Choose --copy: the file cannot be moved away" if stays else writing_remedy(error, models),
    )


def _with_shards(file: Path) -> list[Path]:
    try:
        status = file.stat()
        if not file.is_file():
            raise ModelNotFoundError(f"{file} is not a file", suggestion="Give the path of a GGUF file")
        beside = [path for path in file.parent.iterdir() if path.suffix.lower() == ".gguf" and path.is_file()]
    except OSError as error:
        raise ModelNotFoundError(f"{file} cannot be read", cause=error.strerror or str(error)) from error
    files = [found_file(path, path.name, path.stat(), "path") for path in {*beside, file}]
    for found in join_shards(files):
        paths = [part.path for part in found.parts]
        if file in paths:
            if found.missing:
                missing = ", ".join(map(str, found.missing))
                raise ModelFileError(
                    f"{file} is one of {found.shards} shards",
                    cause=f"Missing beside it: number {missing}",
                    suggestion="Download them too",
                )
            return paths
    raise ModelNotFoundError(f"{file} is not a file", cause=f"It has {status.st_size} bytes")


def _guess_repository(file: Path, organization: object) -> str:
    """Return ``publisher/name`` from the organisation in the header, and from the file's name."""
    publisher = re.sub(r"[^\w.\-]+", "-", organization).strip("-.") if isinstance(organization, str) else ""
    return f"{publisher or 'imported'}/{split_name(file.name)[0].lstrip('.')}-GGUF"


def plan_removal(home: Home, model: Model, models: list[Model]) -> list[Path]:
    """Return the files to remove with ``model``: its own, and a projector that no other model needs. Of a link, the
    link is removed and not its target.

    Raises:
        LibraryFileError: the model is not in the home's models folder.
    """
    for part in model.parts:
        if not _is_within(part, home.models):
            owner = next((name for program, name in PROGRAM_NAMES.items() if program == model.origin), None)
            raise LibraryFileError(
                f"{model.key} is not in studiolo's own models folder",
                cause=f"It is at {part}" + (f" and belongs to {owner}" if owner else ""),
                suggestion="Remove it with the program that owns it"
                if owner
                else "Remove the file itself if it is not needed",
            )
    files = list(model.parts)
    others = [other.mmproj for other in models if other.path != model.path]
    if model.mmproj is not None and model.mmproj not in others and _is_within(model.mmproj, home.models):
        files.append(model.mmproj)
    return files


def remove(home: Home, files: list[Path]) -> None:
    """Remove ``files``, and the folders under the home's models folder that become empty.

    Raises:
        LibraryFileError: the system refused.
    """
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise LibraryFileError(
                f"{file} could not be removed",
                cause=error.strerror or str(error),
                suggestion=f"Make {file.parent} writable.",
            ) from error
    for file in files:
        remove_empty(file.parent, home.models)


def _is_within(file: Path, folder: Path) -> bool:
    """Whether a file, or the link to it, is really under ``folder``."""
    return file.parent.resolve().is_relative_to(folder.resolve()) and file.is_relative_to(folder)
