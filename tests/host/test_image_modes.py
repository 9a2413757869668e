"""Images of every mode: what the model sees is what a viewer shows."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from studiolo.host import images
from studiolo.host.images import prepare

Pixel = tuple[int, int, int]
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, bits: int, kind: int, row: bytes, **chunks: bytes) -> bytes:
    """A PNG of one row."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    more = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(prepare("x", data)))


def row(data: bytes) -> list[Any]:
    image = opened(data)
    return [image.getpixel((x, 0)) for x in range(image.width)]


def grey(*values: int) -> list[Pixel]:
    return [(value, value, value) for value in values]


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(5, 16, GREY, words(0, 4369, 17476, 34952, 65535)), grey(0, 17, 68, 136, 255)),
        (png(3, 16, GREY, words(0, 4369, 4370), tRNS=words(4369)), grey(0, 255, 17)),
        (png(2, 16, GREY_ALPHA, words(4369, 65535, 4369, 0)), grey(17, 255)),
        (png(1, 16, RGB, words(4369, 17476, 34952)), [(17, 68, 136)]),
        (png(2, 16, RGB, words(4369, 17476, 34952, 1, 2, 3), tRNS=words(4369, 17476, 34952)), [WHITE, BLACK]),
        (png(2, 16, RGBA, words(4369, 17476, 34952, 65535, 1, 2, 3, 0)), [(17, 68, 136), WHITE]),
        (png(2, 8, RGB, bytes([10, 20, 30, 40, 50, 60]), tRNS=words(10, 20, 30)), [WHITE, (40, 50, 60)]),
        (png(4, 2, GREY, bytes([0b00011011]), tRNS=words(3)), grey(0, 85, 170, 255)),
        (png(4, 2, GREY, bytes([0b00011011]), tRNS=words(1)), grey(0, 255, 170, 255)),
        (png(2, 4, GREY, bytes([0x5A]), tRNS=words(5)), grey(255, 170)),
        (png(2, 8, PALETTE, b"\0\1", PLTE=bytes([9, 9, 9, 80, 0, 0]), tRNS=b"\0\xff"), [WHITE, (80, 0, 0)]),
    ],
)
def test_pngs_of_every_depth(data: bytes, expected: list[Pixel]) -> None:
    assert row(data) == expected


def cmyk_jpeg(cyan: int, transform: int) -> bytes:
    """A CMYK JPEG with Adobe's marker, whose transform says how its four channels are stored."""
    data = encoded(Image.new("CMYK", (8, 8), (cyan, 0, 0, 0)), "JPEG", quality=100, subsampling=0)
    at = data.index(b"Adobe")
    return data[: at + 11] + bytes([transform]) + data[at + 12 :]


def test_cmyk_and_ycck_jpegs_are_inverted_as_adobe_writes_them() -> None:
    pixel: Any = opened(cmyk_jpeg(255, 0)).getpixel((4, 4))
    assert max(abs(a - b) for a, b in zip(pixel, (0, 255, 255), strict=True)) <= 2
    # The same bytes as YCCK: Y 0, Cb 255, Cr 255, and no black; stored inverted, they are the inverse of that colour.
    pixel = opened(cmyk_jpeg(255, 2)).getpixel((4, 4))
    inverse: Any = Image.new("YCbCr", (1, 1), (0, 255, 255)).convert("RGB").getpixel((0, 0))
    assert max(abs(a + b - 255) for a, b in zip(pixel, inverse, strict=True)) <= 3


@pytest.mark.parametrize(("form", "depth"), [("JPEG", 8), ("WEBP", 8), ("PNG", 8), ("PNG", 16)])
def test_exif_orientation_in_every_format_and_depth(form: str, depth: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (40, 20), 255).convert("I;16" if depth == 16 else "RGB")
    assert opened(encoded(image, form, exif=exif)).size == (20, 40)
    assert opened(encoded(image, form, exif=b"Exif\0\0broken")).size == (40, 20)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (9, 9), (index, 0, 0)) for index in range(0, 250, 5)]
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **lossless)
    assert opened(data).getpixel((4, 4)) == BLACK


@pytest.mark.parametrize(
    ("header", "pixels", "colour"),
    [
        (b"P6 2 2 255\n", b"\xff\0\0" * 4, (255, 0, 0)),
        (b"P5\n# a comment\n2 2\n255\n", b"\x80" * 4, (128, 128, 128)),
        (b"P5 2 2 65535\n", b"\x80\0" * 4, (128, 128, 128)),
        (b"P4 2 2\n", b"\0\0", WHITE),
        (b"P3 2 2 255\n", b"0 0 255 " * 4, (0, 0, 255)),
    ],
)
def test_portable_pixmaps_are_read(header: bytes, pixels: bytes, colour: tuple[int, int, int]) -> None:
    assert opened(header + pixels).getpixel((1, 1)) == colour


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_gif_and_bmp_are_read(mode: str) -> None:
    image = Image.new("RGB", (9, 9), "white").convert(mode)
    for form in ("GIF", "BMP"):
        assert opened(encoded(image, form)).getpixel((4, 4)) == WHITE


def drawing(colour: tuple[int, ...], mode: str = "RGBA") -> Image.Image:
    image = Image.new("RGBA", (40, 40), (*colour, 0))
    image.paste((*colour, 255), (10, 10, 30, 30))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("data", "ground"),
    [
        (encoded(drawing((255, 255, 255))), BLACK),
        (encoded(drawing((240, 240, 240))), BLACK),
        (encoded(drawing((255, 255, 255), "LA")), BLACK),
        (encoded(drawing((255, 255, 255)), "WEBP", lossless=True), BLACK),
        (encoded(drawing((255, 255, 255)), "GIF"), BLACK),
        (png(2, 8, PALETTE, b"\0\1", PLTE=bytes([9, 9, 9, 255, 255, 255]), tRNS=b"\0\xff"), BLACK),
        (png(2, 8, RGB, bytes([10, 20, 30, 250, 250, 250]), tRNS=words(10, 20, 30)), BLACK),
        (encoded(drawing((0, 0, 0))), WHITE),
        (encoded(drawing((200, 30, 30))), WHITE),
        (encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 0))), WHITE),
    ],
)
def test_light_drawings_lie_on_black_and_others_on_white(data: bytes, ground: Pixel) -> None:
    assert opened(data).getpixel((0, 0)) == ground


def test_opaque_and_dark_images_are_as_on_white() -> None:
    page = Image.new("RGBA", (9, 9), (250, 250, 250, 255))
    assert opened(encoded(page)).getpixel((4, 4)) == (250, 250, 250)
    soft = drawing((20, 60, 90)).resize((17, 17))
    expected = Image.alpha_composite(Image.new("RGBA", soft.size, "white"), soft).convert("RGB")
    assert opened(encoded(soft)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("form", ["GIF", "BMP", "PNG", "WEBP", "JPEG"])
def test_huge_pixels_are_refused_before_they_are_decoded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    monkeypatch.setattr(images, "_in_eight_bits", None)
    with pytest.raises(images.FilesError, match="10 x 10 pixels"):
        prepare("x", encoded(Image.new("RGB", (10, 10)), form))


def test_a_gif_whose_first_frame_exceeds_its_canvas_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a frame is declared a second time, behind the canvas's."""
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    data = bytearray(encoded(Image.new("P", (10, 10)), "GIF"))
    at = data.index(b",\0\0\0\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(images.FilesError):
        prepare("x", bytes(data))
