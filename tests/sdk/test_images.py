"""Images in chats, with a real engine and a tiny vision model: over an embedded host and over a served one."""

from __future__ import annotations

import array
import base64
import math
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import studiolo as lm
from studiolo.config import prediction_config
from studiolo.host import images
from studiolo.host.files import FileStore, file_type
from studiolo.paths import Home
from tests.support.homes import ENDLESS, link_model

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

CONFIG = {"temperature": 0, "max_tokens": 8}


def picture(colour: str = "red", size: tuple[int, int] = (120, 80), mode: str = "RGB") -> Image.Image:
    """A picture that is not the same upside down."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2, size[1] // 2), "white")
    return image.convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def eyes(place: tuple[str, int], vision_model: Path) -> Iterator[lm.LLM]:
    """A model that distinguishes two images."""
    link_model(vision_model, Home.default())
    with lm.Client(place[0]) as client:
        llm = client.llm.model("tiny-vision")
        yield llm
        llm.unload()


def seen(llm: lm.LLM, *handles: lm.FileHandle) -> str:
    chat = lm.Chat()
    chat.add_user_message("What is this?", images=handles)
    return llm.respond(chat, config=CONFIG).content


def test_a_model_sees_what_it_is_given(client: lm.Client, eyes: lm.LLM) -> None:
    red, blue = (client.files.prepare_image(encoded(picture(colour))) for colour in ("red", "blue"))
    assert red.file_type == "image" and red.size_bytes == len(encoded(picture("red")))
    assert seen(eyes, red) == seen(eyes, red) != seen(eyes, blue)
    assert seen(eyes, red) != seen(eyes)
    assert seen(eyes, red, blue) != seen(eyes, blue, red)
    assert eyes.get_info().vision is True  # type: ignore[union-attr]


def test_a_decision_is_about_the_image(client: lm.Client, eyes: lm.LLM) -> None:
    chats: list[lm.Chat] = []
    for colour in ("red", "blue"):
        chats.append(lm.Chat())
        chats[-1].add_user_message("What is this?", images=[client.files.prepare_image(encoded(picture(colour)))])
    prediction = eyes.respond(chats[0], config={"temperature": 0, "max_tokens": 1, "log_probs": 100})
    assert prediction.logprobs is not None
    words = [each for each in prediction.logprobs[0] if each.text.isascii() and each.text.isalpha()][:3]
    choices = [words[0].text, words[1].text, words[2].text * 2]
    found = eyes.decide(chats[0], choices).probabilities
    ratio = math.log(found[choices[0]] / found[choices[1]])
    assert ratio == pytest.approx(words[0].logprob - words[1].logprob, abs=0.02)
    assert eyes.decide(chats[1], choices).probabilities != pytest.approx(found, abs=1e-6)
    many = eyes.decide_many(["What is this?", "Is it red?"], choices, context=chats[0])
    assert many[0].probabilities != pytest.approx(many[1].probabilities, abs=1e-6)


def test_an_image_has_tokens_and_stands_where_it_was_put(client: lm.Client, eyes: lm.LLM) -> None:
    red = client.files.prepare_image(encoded(picture()))
    chat = lm.Chat()
    chat.add_user_message(["Before.", red, "After."])
    with_image = eyes.respond(chat, config=CONFIG).stats.prompt_tokens_count
    without = eyes.respond("Before.\n\nAfter.", config=CONFIG).stats.prompt_tokens_count
    assert with_image is not None and without is not None and with_image - without == 16
    formatted = eyes.apply_prompt_template(chat)
    assert formatted.index("Before.") < formatted.index("media") < formatted.index("After.")
    # A longer conversation keeps its images.
    chat.add_assistant_response("Nothing.")
    chat.add_user_message("Sure?", images=[red])
    assert eyes.respond(chat, config=CONFIG).stats.prompt_tokens_count > with_image + 16  # type: ignore[operator]


def test_an_image_in_a_message_of_another_program_is_uploaded(client: lm.Client, eyes: lm.LLM) -> None:
    data = base64.b64encode(encoded(picture())).decode()
    text = {"type": "text", "text": "What is this?"}
    openai = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    anthropic = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    expected = seen(eyes, client.files.prepare_image(encoded(picture())))
    for part in (openai, anthropic):
        chat = lm.Chat.from_history([{"role": "user", "content": [text, part]}])
        before = chat.to_dict()
        assert eyes.respond(chat, config=CONFIG).content == expected
        assert chat.to_dict() == before == lm.Chat.from_dict(before).to_dict()
    assert "media" in eyes.apply_prompt_template([{"role": "user", "content": [openai]}])
    with pytest.raises(lm.FilesError, match=r"image\.png"):
        eyes.respond([{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,aGk="}]}])


def test_every_source_and_format_gives_the_same(client: lm.Client, eyes: lm.LLM, tmp_path: Path) -> None:
    png = encoded(picture())
    path = tmp_path / "picture.png"
    path.write_bytes(png)
    webp = encoded(picture(), "WEBP", lossless=True)
    with path.open("rb") as file:
        sources: list[Any] = [png, bytearray(png), memoryview(png), array.array("B", png), path, str(path), file, webp]
        handles = [client.files.prepare_image(source) for source in sources]
    assert {seen(eyes, handle) for handle in handles} == {seen(eyes, handles[0])}
    assert [handle.name for handle in handles[4:7]] == ["picture.png"] * 3
    assert client.prepare_image(path, "another.png").name == "another.png"
    jpeg = client.files.prepare_image(encoded(picture(), "JPEG", quality=95), "picture.jpg")
    assert jpeg.identifier.endswith(".jpg") and seen(eyes, jpeg)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.gif", encoded(picture(), "GIF")[:-40], "damaged"),
        ("a.bmp", encoded(picture(), "BMP")[:-40], "damaged"),
        ("a.tiff", encoded(picture(), "TIFF"), r"format is TIFF.*python -c"),
        ("a.heic", bytes(4) + b"ftypheic" + bytes(20), r"format is HEIC.*heif-convert"),
        ("a.ppm", encoded(picture(), "PPM")[:-40], "damaged"),
        ("a.ppm", b"P6 99999 99999 255 ", "pixels"),
        ("a.ico", encoded(picture(), "ICO"), r"format is ICO.*python -c"),
        ("a.jp2", bytes([0, 0, 0, 12]) + b"jP  \r\n\x87\n" + bytes(20), r"format is JPEG 2000.*python -c"),
        ("a.j2k", b"\xff\x4f\xff\x51" + bytes(20), "format is JPEG 2000"),
        ("a.psd", b"8BPS" + bytes(20), "format is PSD"),
        ("a.png", encoded(picture())[:-30], "damaged"),
        ("a.png", encoded(picture())[:20], "damaged"),
        ("a.jpg", encoded(picture(), "JPEG")[:-40], "damaged"),
        ("a.webp", encoded(picture(), "WEBP")[:-9], "damaged"),
        ("a.txt", b"no image at all", "not an image"),
        ("a.bin", bytes(range(256)), "not an image"),
        ("a.png", b"", "not an image"),
    ],
)
def test_what_is_no_image_is_refused(client: lm.Client, name: str, data: bytes, says: str) -> None:
    with pytest.raises(lm.FilesError, match=says) as caught:
        client.files.prepare_image(data, name)
    assert name in str(caught.value)


def test_what_cannot_be_read_here(client: lm.Client, tmp_path: Path) -> None:
    with pytest.raises(lm.LMStudioOSError, match="nonesuch") as caught:
        client.files.prepare_image(tmp_path / "nonesuch.png")
    assert isinstance(caught.value, OSError)
    with pytest.raises(lm.LocalFileError):
        client.files.prepare_image(tmp_path)
    with pytest.raises(lm.ConfigError, match="'src' is None"):
        client.files.prepare_image(None)  # type: ignore[arg-type]
    text = tmp_path / "text"
    text.write_text("hi")
    with text.open() as file, pytest.raises(lm.ConfigError, match="'rb'"):
        client.files.prepare_image(file)  # type: ignore[arg-type]


def test_a_model_without_vision_says_so(client: lm.Client) -> None:
    llm = client.llm.model("smollm2-135m-instruct")
    red = client.files.prepare_image(encoded(picture()), "red.png")
    with pytest.raises(lm.UnsupportedError, match=r"cannot see the image 'red.png'") as caught:
        seen(llm, red)
    assert caught.value.data["feature"] == "vision"


def test_files_that_are_unknown_or_no_images(client: lm.Client, eyes: lm.LLM) -> None:
    handle = client.files.prepare_image(encoded(picture()))
    for identifier in ("0" * 64, "../config.toml", "/etc/passwd", ""):
        stranger = lm.FileHandle(name="x.png", identifier=identifier, size_bytes=3, file_type="image")
        with pytest.raises(lm.FilesError, match="has no file"):
            seen(eyes, stranger)
    text = lm.FileHandle(name="x.txt", identifier=handle.identifier, size_bytes=3, file_type="text/plain")
    with pytest.raises(lm.UnsupportedError, match=r"'x.txt'.*not an image"):
        seen(eyes, text)


async def test_the_async_client(place: tuple[str, int], eyes: lm.LLM) -> None:
    async with lm.AsyncClient(place[0]) as client:
        handle = await client.files.prepare_image(encoded(picture()))
        llm = await client.llm.model("tiny-vision")
        chat = lm.Chat()
        chat.add_user_message("What is this?", images=[handle])
        assert (await llm.respond(chat, config=CONFIG)).content == seen(eyes, handle)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "CMYK", "1", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(mode: str) -> None:
    image = picture(mode="L" if mode == "I;16" else mode)
    form = "JPEG" if mode == "CMYK" else "PNG"
    prepared = Image.open(BytesIO(images.prepare("x", encoded(image.convert(mode), form))))
    assert (prepared.mode, prepared.size) == ("RGB", (120, 80))


def test_what_is_transparent_becomes_white() -> None:
    prepared = Image.open(BytesIO(images.prepare("x", encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 0))))))
    assert prepared.getpixel((4, 4)) == (255, 255, 255)


def test_a_large_image_is_scaled_down_and_a_small_one_left_alone() -> None:
    large = encoded(picture(size=(5000, 500)), "JPEG")
    assert Image.open(BytesIO(images.prepare("x", large))).size == (images.MAX_SIDE, 205)
    for small in (encoded(picture(size=(2048, 10))), encoded(picture(), "JPEG")):
        assert images.prepare("x", small) == small


def test_the_limit_of_a_side_can_be_set(client: lm.Client, eyes: lm.LLM) -> None:
    large = encoded(picture(size=(5000, 500)))
    assert Image.open(BytesIO(images.prepare("x", large, 100))).size == (100, 10)
    assert images.prepare("x", large, None) == large
    for field, pixels in ((None, images.MAX_SIDE), (False, None), (100, 100)):
        assert images.max_side(prediction_config({"user_max_image_dimension_pixels": field})) == pixels
    chat = lm.Chat()
    small = Image.open(BytesIO(encoded(picture()))).resize((3, 2), Image.Resampling.LANCZOS)
    chat.add_user_message("What is this?", images=[client.files.prepare_image(encoded(picture()))])
    whole = eyes.respond(chat, config=CONFIG).content
    limited = eyes.respond(chat, config={**CONFIG, "userMaxImageDimensionPixels": 3}).content
    assert limited == seen(eyes, client.files.prepare_image(encoded(small))) != whole


def test_a_photograph_taken_sideways_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the left
    prepared = Image.open(BytesIO(images.prepare("x", encoded(picture(), "JPEG", exif=exif, quality=95))))
    assert prepared.size == (80, 120)
    corner: Any = prepared.getpixel((75, 5))
    assert min(corner) > 200, "the white corner has moved to the right"


def test_an_image_of_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(lm.FilesError, match="120 x 80 pixels"):
        images.prepare("x", encoded(picture()))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.png", encoded(picture()), "image"),
        ("a", encoded(picture(), "WEBP"), "image"),
        ("a.pdf", b"%PDF-1.7 ...", "application/pdf"),
        ("a.txt", "Grüße".encode() * 2000, "text/plain"),
        ("a.md", b"# Hi", "text/other"),
        ("a", b"\0\1\2\xff", "unknown"),
        ("a.txt", "Grüße".encode("utf-16"), "text/plain"),
        ("a.csv", "Grüße".encode("cp1252"), "text/other"),
        ("a.gif", encoded(picture(), "GIF"), "image"),
        ("a.bmp", encoded(picture(), "BMP"), "image"),
        ("a.tiff", encoded(picture(), "TIFF"), "unknown"),
        ("a.ppm", encoded(picture(), "PPM"), "image"),
        ("a.ico", encoded(picture(), "ICO"), "unknown"),
        ("a.txt", b"P1 is the first of 12 34 parts", "text/plain"),
        ("a.zip", b"PK\3\4", "unknown"),
    ],
)
def test_what_a_file_is(name: str, data: bytes, expected: str) -> None:
    assert file_type(name, data) == expected


def test_the_store_keeps_what_was_used_last(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files", max_total_bytes=250)
    first, second = store.add("a.png", b"a" * 100), store.add("b.png", b"b" * 100)
    os.utime(store.path(first.identifier), (1, 1))
    os.utime(store.path(second.identifier), (2, 2))
    assert store.read(first.identifier) == b"a" * 100  # which makes it the one used last
    assert store.path(store.add("a.png", b"a" * 100).identifier) == store.path(first.identifier)
    store.add("c.png", b"c" * 100)
    assert store.read(first.identifier)
    with pytest.raises(lm.FilesError, match="has no file"):
        store.read(second.identifier)
    assert len(list((tmp_path / "files").iterdir())) == 2


def test_each_upload_has_an_identifier_of_its_own_and_the_content_is_kept_once(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    one, two = store.add("a.png", b"same"), store.add("a.png", b"same")
    assert one.identifier != two.identifier and len(list((tmp_path / "files").iterdir())) == 1
    assert store.read(one.identifier) == store.read(two.identifier) == b"same"
    of_older_versions = store.path(one.identifier).name
    assert store.read(of_older_versions) == b"same"


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    empty = store.add("a.txt", b"")
    assert (empty.size_bytes, empty.file_type, store.read(empty.identifier)) == (0, "text/plain", b"")


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studiolo.host.files.MAX_FILE_BYTES", 10)
    with pytest.raises(lm.FilesError, match="limit"):
        FileStore(tmp_path).add("x", bytes(11))


def test_a_store_that_cannot_be_written_keeps_files_in_a_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    store = FileStore(tmp_path / "files")
    stored = store.add("a.png", b"x")
    kept = store.path(stored.identifier)
    assert store.read(stored.identifier) == b"x" and kept.parent != tmp_path / "files"
    assert os.name == "nt" or kept.parent.stat().st_mode & 0o077 == 0
    store.close()
    assert not kept.parent.exists()


def test_a_store_without_any_place_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files").write_text("in the way")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(lm.FilesError, match=r"'a.png' cannot be kept in .*files, nor in"):
        FileStore(tmp_path / "files").add("a.png", b"x")


def test_files_of_a_read_only_store_are_read_by_a_stub_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "files")
    kept = store.add("a.png", b"x")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.utime", refuse)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert store.read(kept.identifier) == b"x"
    assert store.read(store.add("a.png", b"x").identifier) == b"x"


def test_errors_name_a_file_as_the_user_did(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    gone = store.add("holiday.png", b"x").identifier
    store.path(gone).unlink()
    with pytest.raises(lm.FilesError, match=r"has no file 'holiday.png'"):
        store.read(gone)


def test_a_model_that_sees_ends_at_its_context_under_every_policy(eyes: lm.LLM) -> None:
    result = eyes.complete("1 2 3", config=ENDLESS | {"context_overflow_policy": "rollingWindow"})
    assert result.stats.stop_reason == "contextLengthReached"
    assert result.stats.total_tokens_count == eyes.get_context_length()
