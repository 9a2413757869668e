"""The ``repository`` namespace: getting models."""

from __future__ import annotations

import asyncio

from ...library.model import Model
from ...protocol import repository as wire
from .context import Context, ServerChannel
from .registry import channel, rpc

DEFAULT_LIMIT = 20
MAX_UNSENT = 16
"""Updates of a download's progress that wait for a client to read."""


@rpc(wire.SEARCH_MODELS, "repository")
async def search_models(context: Context, parameter: wire.SearchModelsParameter) -> wire.SearchResults:
    opts = parameter.opts
    if opts.compatibility_types and "gguf" not in opts.compatibility_types:
        return wire.SearchResults(results=[])  # there are models of that one kind alone
    found = await context.host.library.search(opts.search_term or "", opts.limit or DEFAULT_LIMIT)
    return wire.SearchResults(
        results=[
            wire.ModelSearchResultEntryData(
                name=hit.name,
                identifier=_result(hit.source, hit.identifier),
                exact=hit.exact,
                staff_pick=hit.source == "catalog",
            )
            for hit in found.hits
        ]
    )


@rpc(wire.DOWNLOAD_OPTIONS, "repository")
async def get_model_download_options(
    context: Context, parameter: wire.DownloadOptionsParameter
) -> wire.DownloadOptions:
    options = await context.host.library.download_options(parameter.model_search_result_identifier.identifier)
    return wire.DownloadOptions(
        results=[
            wire.ModelSearchResultDownloadOptionData(
                name=option.name,
                quantization=option.quantization,
                size_bytes=option.size_bytes,
                fit_estimation=option.fit,
                recommended=option.recommended,
                download_identifier=option.identifier,
                indexed_model_identifier=option.files[0].file,
            )
            for option in options
        ]
    )


def _result(source: str, identifier: str) -> wire.SearchResultIdentifier:
    return wire.CatalogResult(identifier) if source == "catalog" else wire.HubResult(identifier)


@channel(wire.DOWNLOAD_MODEL, "repository")
async def download_model(
    context: Context, parameter: wire.DownloadModelParameter, channel: ServerChannel[wire.DownloadMessage]
) -> None:
    messages: asyncio.Queue[wire.DownloadMessage | None] = asyncio.Queue()

    def tell(update: wire.DownloadProgressUpdate) -> None:
        if messages.qsize() < MAX_UNSENT:  # a client that does not read misses some
            messages.put_nowait(wire.DownloadProgress(update=update))

    async def fetch() -> Model:
        try:
            return await context.host.library.fetch(
                parameter.download_identifier,
                tell,
                lambda: messages.put_nowait(wire.StartFinalizing()),
            )
        finally:
            messages.put_nowait(None)

    task = asyncio.create_task(fetch())
    try:
        while (message := await messages.get()) is not None:
            await channel.send(message)
        model = await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    await channel.send(wire.DownloadSuccess(default_identifier=model.key))
