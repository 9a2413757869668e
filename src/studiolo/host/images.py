"""Images on their way to an engine: checked, turned upright, made small enough, in a format that engines read."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

from ..config import PredictionConfig
from ..errors import FilesError
from ..protocol.chat import AnyChatMessage, files_of
from .files import FileStore, image_format

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_SIDE = 2048
"""Pixels of the longer side, by default; larger images are made smaller before a model sees them."""

MAX_PIXELS = 100_000_000
"""The largest image that is opened at all."""

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, MemoryError)
"""What Pillow raises of data that is not as it should be."""


def prepare(name: str, data: bytes, max_side: int | None = MAX_SIDE) -> bytes:
    """The image as engines take it: JPEG or PNG, RGB, upright, at most ``max_side`` pixels a side.

    Blocks while it decodes: call it in a thread.

    Raises:
        FilesError: it is of another format, damaged, cut off, or has too many pixels.
    """
    from PIL import Image, ImageOps

    with _open(name, data) as image:
        try:
            turned = image.getexif().get(0x0112, 1) != 1  # the tag of the orientation
            limit = max_side or max(image.size)
            fits = max(image.size) <= limit
            if image.format in ("JPEG", "PNG") and image.mode == "RGB" and fits and not turned:
                image.load()
                return data
            image.draft("RGB", (limit, limit))  # a large JPEG is decoded at a fraction of its size
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright)
            rgb = upright.convert("RGB")
            rgb.thumbnail((limit, limit), Image.Resampling.LANCZOS)
        except _DAMAGE as error:
            raise _damaged(name, error) from None
    out = BytesIO()
    rgb.save(out, "PNG", compress_level=1)
    return out.getvalue()


def max_side(config: PredictionConfig) -> int | None:
    """Pixels of an image's longer side at most; ``None`` for no limit."""
    asked = config.user_max_image_dimension_pixels
    return MAX_SIDE if asked is None else asked or None


def read_images(messages: Iterable[AnyChatMessage], files: FileStore, limit: int | None = MAX_SIDE) -> list[bytes]:
    """The images of a chat, in order, as engines take them; ``limit`` is that of their longer side, in pixels.

    Blocks while it reads: call it in a thread.

    Raises:
        FilesError: a file is not there, or is no image.
    """
    return [
        prepare(file.name, files.read(file.identifier), limit) for message in messages for file in files_of(message)
    ]


def _open(name: str, data: bytes) -> ImageFile:
    # The formats' own classes: Image.open() would warn of large images, which are counted here.
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    kind = image_format(data)
    opener = {"JPEG": JpegImageFile, "PNG": PngImageFile, "WebP": WebPImageFile}.get(kind or "")
    if opener is None:
        raise FilesError(
            f"The file {name!r} is no image that a model can be given",
            cause=f"It is in the format {kind}." if kind else "Its content is that of no image.",
            suggestion="JPEG, PNG and WebP can be read.",
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
    return FilesError(f"The image {name!r} is damaged or cut off", cause=str(error) or None)
