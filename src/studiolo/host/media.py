"""The images and the audio of a chat: which models take them, and the parts as engines get them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from ..domain.chat import Audio, ChatRequest, File, Image, Message, Part
from ..errors import UnsupportedError
from ..library.model import Model
from .audio import prepare_audio
from .files import FileStore
from .images import MAX_SIDE, prepare


def with_media(messages: Iterable[Message], files: FileStore, limit: int | None = MAX_SIDE) -> list[Message]:
    """Return a chat with its images and audio as engines take them, those of the file store included.

    Blocks while it reads and decodes: call it in a thread.

    Parameters:
        limit: pixels of the longer side of an image at most; ``None`` for no limit.

    Raises:
        FilesError: a file is missing, or is neither an image nor audio; the audio is too long in all.
    """

    seconds = 0.0

    def read(part: Part) -> Part:
        nonlocal seconds
        match part:
            case File():
                data = files.read(part.identifier, part.name)
                return read(Audio(data, part.name) if part.file_type == "audio" else Image(data, part.name))
            case Image():
                return Image(prepare(part.name, part.data, limit), part.name)
            case Audio():
                data, lasts = prepare_audio(part.name, part.data, seconds)
                seconds += lasts
                return Audio(data, part.name)
            case _:
                return part

    return [replace(message, parts=[read(part) for part in message.parts]) for message in messages]


def media_in(messages: Iterable[Message]) -> list[Image | Audio | File]:
    """Return the images, the audio and the files of a chat, in order."""
    return [part for message in messages for part in message.parts if isinstance(part, Image | Audio | File)]


def media_bytes(messages: Iterable[Message]) -> list[bytes]:
    """Return the data of a chat's images and audio, in order."""
    return [part.data for part in media_in(messages) if not isinstance(part, File)]


def is_audio(part: Image | Audio | File) -> bool:
    """Return whether a part of a chat is audio."""
    return isinstance(part, Audio) or (isinstance(part, File) and part.file_type == "audio")


def check_media(model: Model, chat: ChatRequest) -> None:
    """Raise :class:`UnsupportedError` for images and audio that the model does not take, and for other files."""
    for part in media_in(chat.messages):
        if isinstance(part, File) and part.file_type not in ("image", "audio"):
            raise UnsupportedError(
                f"The file {part.name!r} in the chat is not an image and not audio ({part.file_type})",
                suggestion="Images and audio can be part of a chat; put the text of other files into a message.",
                feature="files",
            )
        check_sense(model, "audio" if is_audio(part) else "vision", part.name)


def check_sense(model: Model, sense: Literal["vision", "audio"], name: str) -> None:
    """Raise :class:`UnsupportedError` if a model takes no images, or no audio.

    Parameters:
        name: the name of the image or the audio.
    """
    what, ability = {"vision": ("see the image", "vision"), "audio": ("hear the audio", "audio input")}[sense]
    if not getattr(model, sense):
        raise UnsupportedError(
            f"{model.key} cannot {what} {name!r}: it is a model without {ability}",
            cause=model.note,
            suggestion=f"Use a model with {ability}: studiolo ls --detailed shows which have it.",
            feature=sense,
        )
