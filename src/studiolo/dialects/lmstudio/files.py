"""The ``files`` namespace: uploads."""

from __future__ import annotations

import asyncio

from ...host.audio import audio_format, prepare_audio
from ...host.files import image_format
from ...host.images import prepare
from ...protocol import files as wire
from .context import Context
from .registry import rpc


@rpc(wire.UPLOAD_FILE_BASE64, "files")
async def upload_file_base64(context: Context, parameter: wire.UploadFileBase64Parameter) -> wire.UploadedFile:
    def keep() -> wire.UploadedFile:
        if image_format(parameter.content_base64) is not None:
            prepare(parameter.name, parameter.content_base64)  # reject a damaged image now, not in a later chat
        elif audio_format(parameter.content_base64) is not None:
            prepare_audio(parameter.name, parameter.content_base64)
        stored = context.host.files.add(parameter.name, parameter.content_base64)
        is_audio = stored.file_type == "audio"
        return wire.UploadedFile(
            identifier=stored.identifier,
            file_type="unknown" if is_audio else stored.file_type,
            size_bytes=stored.size_bytes,
            is_audio=is_audio,
        )

    return await asyncio.to_thread(keep)


@rpc(wire.GET_LOCAL_FILE_ABSOLUTE_PATH, "files")
async def get_local_file_absolute_path(context: Context, parameter: wire.LocalFilePathParameter) -> wire.LocalFilePath:
    path = await asyncio.to_thread(context.host.files.path, parameter.file_name)
    return wire.LocalFilePath(path=str(path))
