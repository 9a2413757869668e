"""The index: turns files on disk into models, and reads each header once."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..domain.models import Domain
from ..errors import ModelFileError
from ..paths import Home
from ..settings import without_prefix
from ..struct_types import examined
from .adapters import Adapter, fitting_models, is_adapter
from .gguf_file import ENCODERS, Metadata, count_string, read_metadata
from .model import Model, is_projector_name, not_a_model
from .model_keys import Keys, Name, Role, assign_keys, name_of
from .projectors import NO_PROJECTOR, Projectors, candidates_for, choose_projector
from .scan import File, Found, join_shards
from .state import State
from .tensor_shapes import StoredShapes
from .variants import select, usable_memory

log = logging.getLogger(__name__)

CONTENT_VERSION = 7
"""The version of stored rows; others are read again. Raise it when :class:`Metadata` changes its meaning."""

_LAST_VARIANT = "last_variant:"
_SPARE_ROWS = 500

Content = Metadata | ModelFileError


class _Kept(Struct, frozen=True, omit_defaults=True):
    """The content of a row in the database."""

    version: int
    metadata: Metadata | None = None
    error: tuple[str, str | None, str | None, dict[str, Any]] | None = None


class Index:
    """The models that files make. Methods block; call them from one thread at a time.

    Parameters:
        state: stores the metadata for the next process.
        home: the home that ``state`` belongs to: what is stored of its files is relative to it.
    """

    def __init__(self, state: State, home: Home) -> None:
        self._state = state
        self._home = home
        self._read: dict[Path, tuple[int, int, Content]] = {}
        self._shapes = StoredShapes(state)

    def models(
        self,
        files: list[File],
        reserved: Mapping[Path, str],
        last_variants: Mapping[str, str],
        domains: Mapping[Path, Domain] | None = None,
        *,
        knows_all: bool = False,
    ) -> list[Model]:
        """Return the models that ``files`` make, sorted by key.

        Parameters:
            files: each once.
            reserved: keys of certain files, which no other file can take.
            last_variants: see :meth:`last_variants`.
            domains: the domains of certain files, whatever they contain; an encoder stays an embedding model.
            knows_all: whether the engine may know other architectures than the bundled one's.
        """
        contents = self._contents(files)
        of_other_domain = _with_domains(contents, domains or {})
        weights: list[File] = []
        projectors: dict[Path, list[File]] = defaultdict(list)
        for file in files:
            content = contents[file.path]
            kind = content.type if isinstance(content, Metadata) else None
            if kind == "mmproj" or (kind is None and file.tag is None and is_projector_name(file.path.name)):
                projectors[file.path.parent].append(file)
            else:
                weights.append(file)
        found = join_shards(weights)
        fixed = {str(path): key for path, key in reserved.items()}
        roles: dict[Path, Role] = {each.first.path: _role(contents[each.first.path]) for each in found}
        names = {each.first.path: name_of(each, roles[each.first.path]) for each in found}
        chosen = _choose_projectors(found, names, projectors, contents)
        mentioned = {path for each in chosen.values() for path in each.mentioned}
        for stray in join_shards(file for beside in projectors.values() for file in beside):
            if stray.first.path not in mentioned:
                found.append(stray)
                roles[stray.first.path] = "other"
                names[stray.first.path] = name_of(stray, "other")
        keys = assign_keys(found, fixed, lambda each: roles[each.first.path])
        groups: dict[str, list[Model]] = defaultdict(list)
        for each in found:
            path, key = each.first.path, keys[str(each.first.path)]
            projector = chosen.get(path, NO_PROJECTOR)
            model = _model(each, key, names[path], contents, projector, knows_all)
            if path in of_other_domain:
                model = msgspec.structs.replace(model, domain_set=True)
            groups[key.group].append(model)
        models = sorted(_grouped(groups, reserved, last_variants), key=lambda model: model.key)
        return [self._with_fitting(model, models, contents) for model in models]

    def model_at(self, path: Path, *, knows_all: bool = False) -> Model:
        """Return the model in a file outside of the library's folders. Raises :class:`OSError`."""
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        file = File(path, str(path), status.st_size, status.st_mtime_ns, identity, "path", "")
        keys, found = Keys(str(path), str(path)), Found((file,))
        return _model(found, keys, name_of(found), self._one(file), NO_PROJECTOR, knows_all)

    @property
    def has_refused_files(self) -> bool:
        """Whether the system refused to open one of the files: it may allow it later, without a change of the file."""
        return any(_may_pass(content) for _, _, content in self._read.values())

    def last_variants(self) -> dict[str, str]:
        """Return the paths of the variants used last, by group. Other processes may have used others since."""
        places = self._state.recall_all(_LAST_VARIANT)
        return {group: str(self._home.root / place) for group, place in places.items()}

    def place_of(self, model: Model) -> str:
        """Return the path of ``model`` as it is stored: relative to the home, which may be copied or moved."""
        path, root = model.path, self._home.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def remember_used(self, model: Model) -> None:
        """Store that ``model`` is the variant of its group that was used last."""
        if model.variants:
            self._state.remember(_LAST_VARIANT + model.group, self.place_of(model))

    def failure(self, model: Model) -> ModelFileError:
        """Return the error of a model that cannot be used."""
        known = self._read.get(model.path)
        content = known[2] if known is not None else None
        if isinstance(content, Metadata) and (refusal := not_a_model(model.path, content, knows_all=False)):
            return refusal
        if isinstance(content, ModelFileError):
            return ModelFileError(content.title, cause=content.cause, suggestion=content.suggestion, data=content.data)
        return ModelFileError(f"{model.path} cannot be used", cause=model.error)

    def adapter(self, model: Model) -> Adapter:
        """Return ``model`` as the LoRA adapter that it is. Raises :class:`ModelFileError` if it is none."""
        known = self._read.get(model.path)
        content = known[2] if known is not None else None
        if isinstance(content, Metadata) and is_adapter(content):
            return Adapter(model.key, model.path, model.size_bytes, content)
        if model.error is not None:
            raise self.failure(model)
        raise ModelFileError(f"{model.path} is not a LoRA adapter", cause="It is a model.")

    def _contents(self, files: list[File]) -> dict[Path, Content]:
        """Return the content of each file: from memory, else from the database, else from the file."""
        known = {file.path: self._known(file) for file in files}
        unknown = [file for file in files if known[file.path] is None]
        if unknown:
            kept = self._state.model_files()
            new: list[tuple[str, int, int, bytes]] = []
            for file in unknown:
                # By the real path, so that a model that is linked into several homes is read once.
                place = os.path.realpath(file.path)
                content = _decode(kept.get(place), file)
                if content is None:
                    content = _read(file)
                    if not _may_pass(content):
                        new.append((place, file.size_bytes, file.mtime_ns, _encode(content)))
                known[file.path] = content
            self._state.put_model_files(new)
            if len(kept) > 2 * len(files) + _SPARE_ROWS:
                self._state.forget_model_files(path for path in kept if not os.path.lexists(path))
        contents = {path: content for path, content in known.items() if content is not None}
        self._read = {file.path: (file.size_bytes, file.mtime_ns, contents[file.path]) for file in files}
        return contents

    def _one(self, file: File) -> dict[Path, Content]:
        content = self._known(file)
        if content is None:
            place = os.path.realpath(file.path)
            content = _decode(self._state.model_files().get(place), file)
            if content is None:
                content = _read(file)
                if not _may_pass(content):
                    self._state.put_model_files([(place, file.size_bytes, file.mtime_ns, _encode(content))])
            self._read[file.path] = (file.size_bytes, file.mtime_ns, content)
        return {file.path: content}

    def _with_fitting(self, model: Model, models: list[Model], contents: Mapping[Path, Content]) -> Model:
        """Return ``model``; if it is a LoRA adapter, with the models that it fits."""
        content = contents.get(model.path)
        if not isinstance(content, Metadata) or not is_adapter(content):
            return model
        return msgspec.structs.replace(model, fits=fitting_models(content, models, self._shapes.of))

    def _known(self, file: File) -> Content | None:
        known = self._read.get(file.path)
        if known is None or known[:2] != (file.size_bytes, file.mtime_ns) or _may_pass(known[2]):
            return None
        return known[2]


def _grouped(
    groups: Mapping[str, list[Model]], reserved: Mapping[Path, str], last_variants: Mapping[str, str]
) -> Iterable[Model]:
    memory = usable_memory()
    for group, variants in groups.items():
        if len(variants) == 1:
            yield variants[0]
            continue
        first = next((model.path for model in variants if model.path in reserved), None)
        # Older versions kept the last variant of an embedding model under its name without the prefix.
        last = last_variants.get(group) or last_variants.get(without_prefix(group))
        selected = select(variants, last, first, memory)
        keys = tuple(sorted(model.key for model in variants))
        for model in variants:
            yield msgspec.structs.replace(model, variants=keys, selected=model is selected)


def _size(path: Path | None) -> int:
    try:
        return path.stat().st_size if path is not None else 0
    except OSError:  # just removed
        return 0


def _role(content: Content) -> Role:
    if not isinstance(content, Metadata):
        return "llm"
    return content.domain if content.type == "model" else "other"


def _choose_projectors(
    found: list[Found],
    names: Mapping[Path, Name],
    projectors: Mapping[Path, list[File]],
    contents: Mapping[Path, Content],
) -> dict[Path, Projectors]:
    """Return the projectors of each LLM, by its path."""
    bases: dict[str, set[str]] = defaultdict(set)
    for each in found:
        bases[names[each.first.path].place].add(names[each.first.path].base)
    chosen: dict[Path, Projectors] = {}
    for each in found:
        path, content = each.first.path, contents[each.first.path]
        if isinstance(content, Metadata) and _role(content) == "llm":
            alone = len(bases[names[path].place]) == 1
            candidates = candidates_for(each.first, names[path], alone, projectors.get(path.parent, []))
            chosen[path] = choose_projector(candidates, content, contents)
    return chosen


def _with_domains(contents: dict[Path, Content], domains: Mapping[Path, Domain]) -> set[Path]:
    """Set the domains of files in ``contents``; return the files whose own domain is another one."""
    changed: set[Path] = set()
    for path, domain in domains.items():
        content = contents.get(path)
        if not isinstance(content, Metadata) or content.domain == domain:
            continue
        if domain == "embedding" or content.architecture not in ENCODERS:
            contents[path] = msgspec.structs.replace(content, domain=domain)
            changed.add(path)
    return changed


def _read(file: File) -> Content:
    try:
        return read_metadata(file.path)
    except ModelFileError as error:
        return error


def _may_pass(content: Content) -> bool:
    """Whether the system refused to open the file (permissions), which can change without a change of the file."""
    return isinstance(content, ModelFileError) and isinstance(content.__cause__, OSError)


def _encode(content: Content) -> bytes:
    if isinstance(content, Metadata):
        return msgspec.json.encode(_Kept(CONTENT_VERSION, metadata=content))
    error = (content.title, content.cause, content.suggestion, content.data)
    return msgspec.json.encode(_Kept(CONTENT_VERSION, error=error))


_decode_kept = msgspec.json.Decoder(examined(_Kept)).decode


def _decode(row: tuple[int, int, bytes] | None, file: File) -> Content | None:
    if row is None or row[:2] != (file.size_bytes, file.mtime_ns):
        return None
    try:
        kept = _decode_kept(row[2])
    except (msgspec.DecodeError, TypeError):
        return None
    if kept.version != CONTENT_VERSION:
        return None
    if kept.error is not None:
        title, cause, suggestion, data = kept.error
        return ModelFileError(title, cause=cause, suggestion=suggestion, data=data)
    return kept.metadata


def _model(
    found: Found,
    keys: Keys,
    name: Name,
    contents: Mapping[Path, Content],
    projectors: Projectors,
    knows_all: bool,
) -> Model:
    parts = [contents[part.path] for part in found.parts]
    errors = [str(part) for part in parts if isinstance(part, ModelFileError)]
    good = [part for part in parts if isinstance(part, Metadata)]
    metadata = None if errors or found.missing else _joined(good)
    error = _missing(found) or (errors[0] if errors else None)
    kind = metadata.type if metadata is not None else "model"
    if error is None and metadata is not None and (refusal := not_a_model(found.first.path, metadata, knows_all)):
        error, metadata = str(refusal), None
    llm = metadata is not None and metadata.domain == "llm"
    projector = projectors.chosen if llm else None
    files = [part.size_bytes for part in found.parts] + [_size(projector)]
    quantization = metadata.quantization.lower() if metadata and metadata.quantization else None
    return Model(
        key=keys.key,
        group=keys.group,
        variant=name.variant or quantization,
        path=found.first.path,
        relative_path=found.first.relative_path,
        origin=found.first.origin,
        display_name=name.display,
        publisher=found.first.publisher,
        size_bytes=sum(files),
        parts=tuple(part.path for part in found.parts),
        mmproj=projector,
        vision=projectors.vision and llm,
        audio=projectors.audio and llm,
        metadata=metadata,
        kind=kind,
        error=error,
        note=projectors.note if llm else None,
    )


def _joined(parts: list[Metadata]) -> Metadata:
    """Join the metadata of shards: the first describes the model, each counts its own weights."""
    first = parts[0]
    if len(parts) == 1:
        return first
    total = sum(part.parameter_count for part in parts)
    said = first.params_string
    if said == count_string(first.parameter_count):
        said = count_string(total)
    return msgspec.structs.replace(first, parameter_count=total, params_string=said)


def _missing(found: Found) -> str | None:
    if not found.missing:
        return None
    some = ", ".join(map(str, found.missing[:5])) + (", ..." if len(found.missing) > 5 else "")
    what = f"Shard {some} of {found.shards} is" if len(found.missing) == 1 else f"Shards {some} of {found.shards} are"
    return f"{found.first.path} is incomplete. {what} missing."
