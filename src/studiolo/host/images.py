"""Prepare images for an engine: validated, upright, scaled down, in a format that engines read."""

from __future__ import annotations

import contextlib
import threading
from io import BytesIO
from typing import TYPE_CHECKING, cast

from ..config import PredictionConfig
from ..errors import FilesError
from .files import image_format

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


_HEIF = "Convert it to JPEG: 'sips -s format jpeg IN --out OUT.jpg' on macOS, 'heif-convert IN OUT.jpg' elsewhere."
_PILLOW = "Convert it to PNG: python -c \"from PIL import Image; Image.open('IN').save('OUT.png')\"."
_CONVERTERS = {"HEIC": _HEIF, "AVIF": _HEIF, **dict.fromkeys(("TIFF", "ICO", "JPEG 2000", "PSD", "ICNS"), _PILLOW)}


def _open(name: str, data: bytes) -> ImageFile:
    # The formats' own classes: Image.open() would warn of large images, which are counted here.
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.PpmImagePlugin import PpmImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    kind = image_format(data)
    opener = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "WebP": WebPImageFile,
        "GIF": GifImageFile,
        "BMP": BmpImageFile,
        "PPM": PpmImageFile,
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
