"""Check audio for an engine: its format, that it is whole, and how long it is, without decoding it.

An engine allocates what the headers of a file promise. Therefore it gets the very part that was measured here.
"""

from __future__ import annotations

import re
from typing import Literal

from ..errors import FilesError

MAX_SECONDS = 3600
"""Of audio that an engine is given with one request: it decodes to 64,000 bytes a second."""

MAX_TAIL_BYTES = 2**16
"""Bytes after the last frame of an MP3 file at most: tags."""

AudioFormat = Literal["wav", "mp3", "flac"]

_PIPED_BYTES = 0x7FFF0000
"""Programs that write a WAV file to a pipe put this length or a larger one into its header."""

_ID3 = re.compile(rb"ID3[\2-\4]")
# Of a frame of MPEG audio: layer III, a stated bit rate, and a stated sample rate.
_MP3_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]")
_MP3_RATES = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}
_MP3_KILOBITS = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)

Measured = tuple[bytes, float]
"""The part of a file that an engine gets, and its seconds."""


def audio_format(data: bytes) -> AudioFormat | None:
    """Return the format of audio by its first bytes; ``None`` if it is not audio that engines read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    return "mp3" if _ID3.match(data) or _mp3_frame(data, 0) is not None else None


def prepare_audio(name: str, data: bytes, earlier_sec: float = 0.0) -> Measured:
    """Return audio as engines take it (WAV, FLAC, or the frames of an MP3 file), and its seconds.

    Blocks while it counts the frames of an MP3 file: call it in a thread.

    Parameters:
        earlier_sec: seconds of audio that the same request has before it.

    Raises:
        FilesError: it has another format, is damaged or truncated, or is too long.
    """
    kind = audio_format(data)
    if kind is None:
        raise FilesError(
            f"The file {name!r} is not audio that a model can read",
            cause="Its content is not a WAV, MP3 or FLAC file.",
            suggestion=_CONVERT,
        )
    data, seconds = {"wav": _wav, "mp3": _mp3, "flac": _flac}[kind](name, data)
    if not seconds:
        raise _refusal(name, "It has no sound.")
    if seconds + earlier_sec > MAX_SECONDS:
        after = f" with the {earlier_sec:.0f} s before it" if earlier_sec else ""
        raise FilesError(f"The audio {name!r} is longer than {MAX_SECONDS} s{after}", suggestion="Send less at once.")
    return data, seconds


def _wav(name: str, data: bytes) -> Measured:
    at, rate, frame_bytes = 12, 0, 0

    def number(offset: int, size: int = 2) -> int:
        return int.from_bytes(data[at + offset : at + offset + size], "little")

    while at + 8 <= len(data):
        kind, size = data[at : at + 4], number(4, 4)
        if kind == b"fmt ":
            coding, channels, bits = number(8), number(10), number(22)
            coding = number(32) if coding == 0xFFFE else coding  # an extended header states it elsewhere
            # The bytes of other codings do not say how long they are.
            if frame_bytes or coding not in (1, 3, 6, 7) or bits not in (8, 16, 24, 32, 64):
                raise _refusal(name, "Its sound is not in plain PCM.")
            rate, frame_bytes = number(12, 4), channels * bits // 8
        elif kind == b"data":
            if not rate or not frame_bytes:
                break
            begin, rest = at + 8, len(data) - at - 8
            if rest < size < _PIPED_BYTES:
                raise _refusal(name, f"Its header states {size} bytes of sound, and there are {rest}.")
            if rest < size:
                size, data = rest, data[: at + 4] + rest.to_bytes(4, "little") + data[begin:]
            return data, size // frame_bytes / rate
        at += 8 + size + size % 2
    raise _refusal(name, "It has no format or no sound.")


def _flac(name: str, data: bytes) -> Measured:
    fields = int.from_bytes(data[18:26], "big")
    rate, samples = fields >> 44, fields & (1 << 36) - 1
    if len(data) <= 42 or data[4] & 0x7F or not rate:
        raise _refusal(name, "It has no header.")
    if not samples:
        raise _refusal(name, "Its header does not state how long it is.")
    return data, samples / rate


def _mp3(name: str, data: bytes) -> Measured:
    at, seconds = 0, 0.0
    if _ID3.match(data):
        at = 10 + sum((each & 0x7F) << 7 * place for place, each in enumerate(reversed(data[6:10])))
    found = _MP3_FRAME.search(data, at)
    at = begin = found.start() if found is not None else len(data)
    while seconds <= MAX_SECONDS and (frame := _mp3_frame(data, at)) is not None:
        # Decoders look elsewhere for the next frame if it is of another kind.
        differs = (data[at + 1] ^ data[begin + 1]) & 0xFE or (data[at + 2] ^ data[begin + 2]) & 12
        if differs or at + frame[0] > len(data):
            break
        at, seconds = at + frame[0], seconds + frame[1]
    if seconds <= MAX_SECONDS and len(data) - at > MAX_TAIL_BYTES:
        raise _refusal(name, f"Its frames end after {seconds:.2f} s, and {len(data) - at} bytes follow.")
    return data[begin:at], seconds


def _mp3_frame(data: bytes, at: int) -> tuple[int, float] | None:
    """Return the bytes of a frame and its seconds; ``None`` where there is none."""
    if _MP3_FRAME.match(data, at) is None or (step := data[at + 2] >> 2 & 3) == 3:
        return None
    version, flags = data[at + 1] >> 3 & 3, data[at + 2]
    rate, samples = _MP3_RATES[version][step], 1152 if version == 3 else 576
    return samples * 125 * _MP3_KILOBITS[version == 3][flags >> 4] // rate + (flags >> 1 & 1), samples / rate


_CONVERT = "Convert it: ffmpeg -i IN -ac 1 -ar 16000 OUT.wav"


def _refusal(name: str, cause: str) -> FilesError:
    return FilesError(f"The audio {name!r} is damaged or of an unknown form", cause=cause, suggestion=_CONVERT)
