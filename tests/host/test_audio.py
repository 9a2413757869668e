"""Audio: which files engines are given, and which models, on the fake engine."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import studiolo_fake_engine as fake

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.chat import Audio, ChatRequest, File, Message, Text
from studiolo.domain.decisions import Question
from studiolo.errors import FilesError, UnsupportedError
from studiolo.host import audio
from studiolo.host.audio import audio_format, prepare_audio
from studiolo.host.decisions import decide
from studiolo.host.files import FileStore, file_type
from studiolo.host.host import Host
from studiolo.host.token_counts import count_tokens
from tests.support.fake_host import result_of
from tests.support.fake_models import add_model
from tests.support.models.audio import tone

WAV = tone(seconds=1)


def wav(size: int | None = None, sound: bytes = bytes(64), inner: int = 1, **fields: int) -> bytes:
    """A WAV file whose header says what ``fields`` and ``size`` say; an extended one has the coding ``inner``."""
    form = {"coding": 1, "channels": 1, "rate": 16000, "speed": 32000, "align": 2, "bits": 16} | fields
    header = struct.pack("<HHIIHHHHIH14s", *form.values(), 22, 16, 0, inner, bytes(14))
    header = header if form["coding"] == 0xFFFE else header[:16]
    size = len(sound) if size is None else size
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(header)) + header
    return b"RIFF" + struct.pack("<I", 9) + b"WAVE" + chunks + b"data" + struct.pack("<I", size) + sound


def mp3(frames: int = 40, head: bytes = b"\xff\xfb\x14\xc0") -> bytes:
    """An MP3 file: 32 kbit/s and 48 kHz, unless ``head`` says otherwise; a frame has 96 bytes and 24 ms."""
    return (head + bytes(92)) * frames


def flac(samples: int = 16000, rate: int = 16000) -> bytes:
    return b"fLaC\0\0\0\x22" + bytes(10) + (rate << 44 | 15 << 36 | samples).to_bytes(8, "big") + bytes(100)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(WAV, "wav"), (wav(coding=3, bits=32), "wav"), (wav(coding=0xFFFE), "wav"), (mp3(), "mp3"), (flac(), "flac")],
)
def test_a_whole_file_is_given_as_it_is(data: bytes, kind: str) -> None:
    assert audio_format(data) == kind and file_type("a", data) == "audio"
    assert prepare_audio("a", data)[0] == data


def test_tags_of_an_mp3_file_are_not_given() -> None:
    tag = b"ID3\4\0\0\0\0\1\2" + bytes(130)
    assert prepare_audio("a", tag + mp3() + b"TAG" + bytes(125))[0] == mp3()
    assert prepare_audio("a", mp3() + mp3(1)[:50])[0] == mp3(), "half a frame"
    assert prepare_audio("a", mp3() + mp3(2, b"\xff\xfb\x18\xc0"))[0] == mp3(), "frames of another rate"


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_file_from_a_pipe_gets_its_length(size: int) -> None:
    assert prepare_audio("a", wav(size))[0] == wav()


@pytest.mark.parametrize(
    "data",
    [b"", b"ID3 tags are", "Grüße".encode("utf-16"), b"OggS" + bytes(40), b"\xff\xd8\xff\xe0" + bytes(40), WAV[1:]],
)
def test_other_files_are_not_audio(data: bytes) -> None:
    assert audio_format(data) is None and file_type("a", data) != "audio"
    with pytest.raises(FilesError, match=r"'a\.b' is not audio that a model can read.*ffmpeg"):
        prepare_audio("a.b", data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (wav(65), "65 bytes of sound, and there are 64"),
        (wav(0), "no sound"),
        (wav()[:50], "no format or no sound"),
        (wav(coding=2, bits=4), "not in plain PCM"),
        (wav(coding=0xFFFE, inner=17), "not in plain PCM"),
        (wav(bits=12), "not in plain PCM"),
        (wav(channels=0), "no format or no sound"),
        (wav(rate=0), "no format or no sound"),
        (flac(0), "does not state how long"),
        (flac(rate=0), "no header"),
        (flac()[:30], "no header"),
        (b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3(), "no sound"),
        (mp3() + bytes(audio.MAX_TAIL_BYTES + 1), "frames end after 0.96 s"),
        (mp3() + mp3(700, b"\xff\xfb\x18\xc0"), "frames end after 0.96 s"),
    ],
)
def test_damaged_and_odd_files_are_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(FilesError, match=rf"'a\.b' is damaged or of an unknown form.*{says}"):
        prepare_audio("a.b", data)


@pytest.mark.parametrize(
    "data",
    [wav(rate=1, sound=bytes(7204)), wav(0x7FFE0000, channels=1), flac(3601 * 16000), mp3(150_001)],
    ids=["slow", "stated", "flac", "mp3"],
)
def test_audio_of_more_than_an_hour_is_refused(data: bytes) -> None:
    with pytest.raises(FilesError, match=r"longer than 3600 s|there are 64"):
        prepare_audio("a", data)


def chat(*parts: Any) -> ChatRequest:
    return ChatRequest(messages=[Message("user", [Text("What is this?"), *parts])])


async def ask(host: Host, model: str, asked: ChatRequest) -> None:
    instance = await host.load(await host.find_model(model), LoadConfig())
    prediction = host.predict(instance.lease(), asked, PredictionConfig())
    try:
        await result_of(prediction)
    finally:
        await prediction.close()


async def test_a_model_with_audio_input_is_given_it_by_a_stub_engine(fake_host: Host) -> None:
    add_model(fake_host.home, "ears", audio=True)
    stored = fake_host.files.add("b.mp3", mp3())
    file = File(identifier=stored.identifier, name="b.mp3", file_type=stored.file_type)
    await ask(fake_host, "ears", chat(Audio(WAV, "a.wav"), file))
    assert list(fake.engines[0].requests[-1].media) == [WAV, mp3()]
    with pytest.raises(FilesError, match=r"'half\.wav' is damaged"):
        await ask(fake_host, "ears", chat(Audio(WAV[:-2], "half.wav")))
    with pytest.raises(FilesError, match=r"'b\.flac' is longer than 3600 s with the 1801 s before it"):
        await ask(fake_host, "ears", chat(Audio(flac(1801 * 16000), "a.flac"), Audio(flac(1800 * 16000), "b.flac")))
    lie = File(identifier=fake_host.files.add("b.txt", b"text").identifier, name="b.txt", file_type="audio")
    with pytest.raises(FilesError, match=r"'b\.txt' is not audio"):
        await ask(fake_host, "ears", chat(lie))


async def test_a_model_without_audio_input_refuses_audio_by_name(fake_host: Host) -> None:
    add_model(fake_host.home, "eyes", vision=True)
    for model in ("alpha", "eyes"):
        for part in (Audio(WAV, "a.wav"), File(identifier="x", name="a.wav", file_type="audio")):
            with pytest.raises(UnsupportedError, match=rf"{model} cannot hear the audio 'a\.wav'") as caught:
                await ask(fake_host, model, chat(part))
            assert caught.value.data["feature"] == "audio"
    async with (await fake_host.load(await fake_host.find_model("alpha"), LoadConfig())).lease().held() as lease:
        with pytest.raises(UnsupportedError, match="cannot hear"):
            await count_tokens(fake_host, lease, chat(Audio(WAV)), PredictionConfig())
        with pytest.raises(UnsupportedError, match="cannot hear"):
            await decide(fake_host, lease, chat(Audio(WAV)), [Question(choices=["a", "b"])], PredictionConfig())


async def test_an_engine_without_audio_refuses_it_by_name(fake_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model(fake_host.home, "ears", audio=True)
    monkeypatch.setattr(fake.FakeEngine, "capabilities", fake.Capabilities())
    with pytest.raises(UnsupportedError, match=r"engine fake 1\.0 does not take audio"):
        await ask(fake_host, "ears", chat(Audio(WAV)))


def test_a_file_that_is_audio_is_kept_as_such(fake_home: Any) -> None:
    assert FileStore(fake_home.files).add("x", flac()).file_type == "audio"
