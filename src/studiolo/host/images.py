"""Prepare images for an engine: validated, upright, scaled down, in a format that engines read."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..config import PredictionConfig
from ..domain.chat import File, Image, Message, Part
from ..errors import FilesError
from .files import FileStore, image_format

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_SIDE = 2048
"""Pixels of the longer side, by default; larger images are scaled down before a model sees them."""

MAX_PIXELS = 100_000_000
"""Pixels of the largest image that is opened."""

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, MemoryError)
"""What Pillow raises for invalid data."""


def prepare(name: str, data: bytes, max_side: int | None = MAX_SIDE) -> bytes:
    """Return an image as engines take it: JPEG or PNG, RGB, upright, at most ``max_side`` pixels a side.

    Blocks while it decodes: call it in a thread.

    Raises:
        FilesError: it has another format, is damaged or truncated, or has too many pixels.
    """
    import PIL.Image
    import PIL.ImageOps

    with _open(name, data) as image:
        try:
            turned = image.getexif().get(0x0112, 1) != 1  # the tag of the orientation
            limit = max_side or max(image.size)
            fits = max(image.size) <= limit
            if image.format in ("JPEG", "PNG") and image.mode == "RGB" and fits and not turned:
                image.load()
                return data
            image.draft("RGB", (limit, limit))  # a large JPEG is decoded at a fraction of its size
            upright = PIL.ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                white = PIL.Image.new("RGBA", upright.size, "white")
                upright = PIL.Image.alpha_composite(white, upright)
            rgb = upright.convert("RGB")
            rgb.thumbnail((limit, limit), PIL.Image.Resampling.LANCZOS)
        except _DAMAGE as error:
            raise _damaged(name, error) from None
    out = BytesIO()
    rgb.save(out, "PNG", compress_level=1)
    return out.getvalue()


def max_side(config: PredictionConfig) -> int | None:
    """Return the limit of an image's longer side in pixels; ``None`` for no limit."""
    asked = config.user_max_image_dimension_pixels
    return MAX_SIDE if asked is None else asked or None


def with_images(messages: Iterable[Message], files: FileStore, limit: int | None = MAX_SIDE) -> list[Message]:
    """Return a chat with its images as engines take them, those of the file store included.

    Blocks while it reads and decodes: call it in a thread.

    Parameters:
        limit: pixels of the longer side of an image at most; ``None`` for no limit.

    Raises:
        FilesError: a file is missing or is not an image.
    """

    def read(part: Part) -> Part:
        match part:
            case File():
                return Image(prepare(part.name, files.read(part.identifier), limit), part.name)
            case Image():
                return Image(prepare(part.name, part.data, limit), part.name)
            case _:
                return part

    return [replace(message, parts=[read(part) for part in message.parts]) for message in messages]


def has_images(messages: Iterable[Message]) -> bool:
    """Whether a chat has any images or files."""
    return any(isinstance(part, Image | File) for message in messages for part in message.parts)


def images_of(messages: Iterable[Message]) -> list[bytes]:
    """Return the data of a chat's images, in order."""
    return [part.data for message in messages for part in message.parts if isinstance(part, Image)]


def _open(name: str, data: bytes) -> ImageFile:
    # The formats' own classes: Image.open() would warn of large images, which are counted here.
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    kind = image_format(data)
    opener = {"JPEG": JpegImageFile, "PNG": PngImageFile, "WebP": WebPImageFile}.get(kind or "")
    if opener is None:
        raise FilesError(
            f"The file {name!r} is not an image that a model can read",
            cause=f"Its format is {kind}." if kind else "Its content is not an image.",
            suggestion="Convert it to JPEG, PNG or WebP.",
        )
    try:
        image = opener(BytesIO(data))
    except _DAMAGE as error:
        raise _damaged(name, error) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise FilesError(
            f"The image {name!r} has {width} x {height} pixels, and the limit is {MAX_PIXELS:,} in all",
            suggestion="Make it smaller.",
        )
    return image


def _damaged(name: str, error: BaseException) -> FilesError:
    return FilesError(f"The image {name!r} is damaged or truncated", cause=str(error) or None)
