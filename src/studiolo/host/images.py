"""Prepare images for an engine: validated, upright, scaled down, in a format that engines read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from ..config import PredictionConfig
from ..domain.chat import ChatRequest, File, Image, Message, Part
from ..errors import FilesError, UnsupportedError
from ..library.model import Model
from .files import FileStore, image_format

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.Image import Transpose
    from PIL.ImageFile import ImageFile

MAX_SIDE = 2048
"""Pixels of the longer side, by default; larger images are scaled down before a model sees them."""

MAX_PIXELS = 100_000_000
"""Pixels of the largest image that is opened."""

LARGE_PIXELS = 16_000_000
"""Images of more pixels are prepared one at a time: each takes up to 13 bytes a pixel meanwhile."""

LIGHT_MEAN = 200
"""The brightness above which a drawing on a transparent ground is laid on black instead of white."""

_large = threading.Lock()

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, MemoryError)
"""What Pillow raises for invalid data."""


def prepare(name: str, data: bytes, max_side: int | None = MAX_SIDE) -> bytes:
    """Return an image as engines take it: JPEG or PNG, RGB, upright, at most ``max_side`` pixels a side.

    Blocks while it decodes: call it in a thread.

    Raises:
        FilesError: it has another format, is damaged or truncated, or has too many pixels.
    """
    import PIL.Image

    with _open(name, data) as image, _large if _pixels(image) > LARGE_PIXELS else contextlib.nullcontext():
        try:
            turn = _turn(image)
            limit = max_side or max(image.size)
            fits = max(image.size) <= limit
            opaque = "transparency" not in image.info
            if image.format in ("JPEG", "PNG") and image.mode == "RGB" and fits and turn is None and opaque:
                image.load()
                return data
            image.draft("RGB", (limit, limit))  # a large JPEG is decoded at a fraction of its size
            upright = _in_eight_bits(image, data)
            if turn is not None:
                upright = upright.transpose(turn)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = _on_ground(upright.convert("RGBA"))
            rgb = upright.convert("RGB")
            rgb.thumbnail((limit, limit), PIL.Image.Resampling.LANCZOS)
        except _DAMAGE as error:
            raise _damaged(name, error) from None
    out = BytesIO()
    rgb.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _pixels(image: ImageFile) -> int:
    return image.width * image.height


def _turn(image: ImageFile) -> Transpose | None:
    """Return what makes an image upright by its EXIF block; ``None`` if it is upright, or its block is unreadable."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(0x0112, 1)
    except _DAMAGE:  # of the block; damage of the pixels is found when they are decoded
        return None
    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)


def _in_eight_bits(image: ImageFile, data: bytes) -> Picture:
    """Return an image with 8 bits a channel, its transparent colour in the same scale.

    Pillow opens 16-bit grey in a mode of its own, whose conversion would make all but black white. Of a PNG it keeps
    the transparent colour in the bits of the file: 2, 4 or 16.
    """
    import PIL.Image
    import PIL.ImageChops

    bits = data[24] if image.format == "PNG" else 8
    transparent = image.info.get("transparency")
    if image.mode not in ("I", "I;16", "I;16B"):
        if bits != 8 and image.mode in ("L", "RGB") and transparent is not None:
            if isinstance(transparent, tuple):
                values = cast("tuple[int, ...]", transparent)
                image.info["transparency"] = tuple(value >> (bits - 8) for value in values)
            elif bits < 8:
                image.info["transparency"] = transparent * 255 // (2**bits - 1)
        return image
    image.load()
    pixels = image.convert("I;16") if image.mode == "I" else image
    raw = pixels.tobytes()
    first, second = (PIL.Image.frombytes("L", image.size, raw[start::2]) for start in (0, 1))
    high, low = (first, second) if pixels.mode == "I;16B" else (second, first)
    if not isinstance(transparent, int):
        return high
    differs = [
        band.point([0 if value == wanted else 255 for value in range(256)])
        for band, wanted in ((high, transparent >> 8), (low, transparent & 255))
    ]
    return PIL.Image.merge("LA", (high, PIL.ImageChops.lighter(*differs)))


def _on_ground(image: Picture) -> Picture:
    """Return an RGBA image on an opaque ground: white, or black where the drawing itself is light."""
    import PIL.Image
    import PIL.ImageChops
    import PIL.ImageStat

    alpha = image.getchannel("A")
    light = PIL.ImageChops.multiply(image.convert("RGB").convert("L"), alpha)
    weight = PIL.ImageStat.Stat(alpha).sum[0] / 255
    is_light = weight > 0 and PIL.ImageStat.Stat(light).sum[0] / weight > LIGHT_MEAN
    ground = PIL.Image.new("RGBA", image.size, "black" if is_light else "white")
    return PIL.Image.alpha_composite(ground, image)


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
                return Image(prepare(part.name, files.read(part.identifier, part.name), limit), part.name)
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


_HEIF = "Convert it to JPEG: 'sips -s format jpeg IN --out OUT.jpg' on macOS, 'heif-convert IN OUT.jpg' elsewhere."
_CONVERTERS = {
    "HEIC": _HEIF,
    "AVIF": _HEIF,
    "TIFF": "Convert it to PNG: python -c \"from PIL import Image; Image.open('IN').save('OUT.png')\".",
}


def _open(name: str, data: bytes) -> ImageFile:
    # The formats' own classes: Image.open() would warn of large images, which are counted here.
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    kind = image_format(data)
    opener = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "WebP": WebPImageFile,
        "GIF": GifImageFile,
        "BMP": BmpImageFile,
    }.get(kind or "")
    if opener is None:
        raise FilesError(
            f"The file {name!r} is not an image that a model can read",
            cause=f"Its format is {kind}." if kind else "Its content is not an image.",
            suggestion=_CONVERTERS.get(kind or "", "Convert it to JPEG, PNG or WebP."),
        )
    from PIL.Image import DecompressionBombError

    try:
        image = opener(BytesIO(data))
    except (*_DAMAGE, DecompressionBombError) as error:
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


def check_sight(model: Model, chat: ChatRequest) -> None:
    """Raise :class:`UnsupportedError` if a chat has images and the model does not see, or files that are no images."""
    for part in (part for message in chat.messages for part in message.parts if isinstance(part, File | Image)):
        if isinstance(part, File) and part.file_type != "image":
            raise UnsupportedError(
                f"The file {part.name!r} in the chat is not an image ({part.file_type})",
                suggestion="Images can be part of a chat; put the text of other files into a message.",
                feature="files",
            )
        if not model.vision:
            raise UnsupportedError(
                f"{model.key} cannot see the image {part.name!r}: it is a model without vision",
                cause=model.note,
                suggestion="Use a model with vision: studiolo ls --detailed shows which have it.",
                feature="vision",
            )
