"""The ``repository`` namespace: search for models and download them."""

from __future__ import annotations

from collections.abc import Callable

from ...library.model import Model
from ...library.search import FORMAT
from ...protocol import repository as wire
from .context import Context, ServerChannel
from .encoding import download_progress
from .progress import reporting
from .registry import channel, rpc

DEFAULT_LIMIT = 20


@rpc(wire.SEARCH_MODELS, "repository")
async def search_models(context: Context, parameter: wire.SearchModelsParameter) -> wire.SearchResults:
    opts = parameter.opts
    if opts.compatibility_types and FORMAT not in opts.compatibility_types:
        return wire.SearchResults(results=[])  # the library holds models of one format only
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
                indexed_model_identifier=option.path,
                compatibility_type=FORMAT,
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
    async def fetch(report: Callable[[wire.DownloadMessage], None]) -> Model:
        return await context.host.library.fetch(
            parameter.download_identifier,
            lambda progress: report(download_progress(progress)),
            lambda: report(wire.StartFinalizing()),
        )

    model = await reporting(fetch, channel.send)
    await channel.send(wire.DownloadSuccess(default_identifier=model.key))
