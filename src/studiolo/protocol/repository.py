"""Messages of the ``repository`` namespace: search and download."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .declarations import Channel, Rpc
from .structs import Message, WireStruct

FitEstimation = Literal["fullGPUOffload", "partialGPUOffload", "fitWithoutGPU", "willNotFit"]
"""Whether a model fits into the memory of the host's machine."""


class DownloadProgressUpdate(WireStruct, frozen=True):
    """The progress of a download."""

    downloaded_bytes: int
    """Bytes of the model on disk so far."""
    total_bytes: int
    """Bytes of the whole model; 0 if the source does not report them."""
    speed_bytes_per_second: float
    """The rate over the last few seconds."""


class CatalogResult(Message, frozen=True, tag="catalog"):
    """A model of the catalog."""

    identifier: str


class HubResult(Message, frozen=True, tag="hf"):
    """A repository on the Hugging Face hub."""

    identifier: str


SearchResultIdentifier = CatalogResult | HubResult


class ModelSearchOpts(WireStruct, frozen=True, kw_only=True):
    search_term: str | None = None
    limit: Annotated[int, Meta(gt=0, le=25)] | None = None
    compatibility_types: list[str] | None = None


class SearchModelsParameter(WireStruct, frozen=True):
    opts: ModelSearchOpts


class ModelSearchResultEntryData(WireStruct, frozen=True, kw_only=True):
    """A model that can be downloaded."""

    name: str
    identifier: SearchResultIdentifier
    exact: bool = False
    """Whether its name equals the search term."""
    staff_pick: bool = False
    """Whether it is in the catalog."""


class SearchResults(WireStruct, frozen=True, omit_defaults=False):
    results: list[ModelSearchResultEntryData]


class DownloadOptionsParameter(WireStruct, frozen=True):
    model_search_result_identifier: SearchResultIdentifier


class ModelSearchResultDownloadOptionData(WireStruct, frozen=True, kw_only=True):
    """A file, or set of files, that a model can be downloaded as."""

    name: str
    size_bytes: int
    """Of all files together; 0 if unknown."""
    fit_estimation: FitEstimation
    download_identifier: str
    """The identifier to pass to :data:`DOWNLOAD_MODEL`."""
    indexed_model_identifier: str
    """The key to load it by after the download."""
    quantization: str | None = None
    recommended: bool = False
    compatibility_type: str | None = None
    """The file format; LM Studio before 0.4 omits it."""


class DownloadOptions(WireStruct, frozen=True, omit_defaults=False):
    results: list[ModelSearchResultDownloadOptionData]


class DownloadModelParameter(WireStruct, frozen=True):
    download_identifier: str
    """A name in the catalog, or the ``download_identifier`` of a download option."""


class DownloadProgress(Message, frozen=True, tag="downloadProgress"):
    update: DownloadProgressUpdate


class StartFinalizing(Message, frozen=True, tag="startFinalizing"):
    """All bytes are downloaded; the file is being verified and moved into the library."""


class DownloadSuccess(Message, frozen=True, tag="success"):
    default_identifier: str
    """The key to load the model by."""


DownloadMessage = DownloadProgress | StartFinalizing | DownloadSuccess

DOWNLOAD_MODEL: Channel[DownloadModelParameter, DownloadMessage] = Channel(
    "downloadModel", DownloadModelParameter, DownloadMessage
)

SEARCH_MODELS: Rpc[SearchModelsParameter, SearchResults] = Rpc("searchModels", SearchModelsParameter, SearchResults)
DOWNLOAD_OPTIONS: Rpc[DownloadOptionsParameter, DownloadOptions] = Rpc(
    "getModelDownloadOptions", DownloadOptionsParameter, DownloadOptions
)
