"""Messages of the ``repository`` namespace."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .declarations import Channel, Rpc
from .structs import Message, WireStruct

FitEstimation = Literal["fullGPUOffload", "partialGPUOffload", "fitWithoutGPU", "willNotFit"]
"""Whether this machine's memory takes a model."""


class DownloadProgressUpdate(WireStruct, frozen=True):
    """How far a download is."""

    downloaded_bytes: int
    """Bytes of the model on disk so far."""
    total_bytes: int
    """Bytes of the model in all; 0 where the source does not say."""
    speed_bytes_per_second: float
    """The rate of the last few seconds."""


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
    """A model that can be fetched."""

    name: str
    identifier: SearchResultIdentifier
    exact: bool = False
    """Whether the search term is its very name."""
    staff_pick: bool = False
    """Whether it is in the catalog."""


class SearchResults(WireStruct, frozen=True, omit_defaults=False):
    results: list[ModelSearchResultEntryData]


class DownloadOptionsParameter(WireStruct, frozen=True):
    model_search_result_identifier: SearchResultIdentifier


class ModelSearchResultDownloadOptionData(WireStruct, frozen=True, kw_only=True):
    """One form in which a model can be fetched."""

    name: str
    size_bytes: int
    """Of all its files; 0 where that is not known."""
    fit_estimation: FitEstimation
    download_identifier: str
    """What :data:`DOWNLOAD_MODEL` takes."""
    indexed_model_identifier: str
    """The key by which it can be loaded once it is here."""
    quantization: str | None = None
    recommended: bool = False
    compatibility_type: str | None = None
    """The file's format; LM Studio before 0.4 leaves it out."""


class DownloadOptions(WireStruct, frozen=True, omit_defaults=False):
    results: list[ModelSearchResultDownloadOptionData]


class DownloadModelParameter(WireStruct, frozen=True):
    download_identifier: str
    """A name in the catalog, or what a download option names."""


class DownloadProgress(Message, frozen=True, tag="downloadProgress"):
    update: DownloadProgressUpdate


class StartFinalizing(Message, frozen=True, tag="startFinalizing"):
    """All bytes are here; the file is being checked and put in place."""


class DownloadSuccess(Message, frozen=True, tag="success"):
    default_identifier: str
    """The key by which the model can now be loaded."""


DownloadMessage = DownloadProgress | StartFinalizing | DownloadSuccess

DOWNLOAD_MODEL: Channel[DownloadModelParameter, DownloadMessage] = Channel(
    "downloadModel", DownloadModelParameter, DownloadMessage
)

SEARCH_MODELS: Rpc[SearchModelsParameter, SearchResults] = Rpc("searchModels", SearchModelsParameter, SearchResults)
DOWNLOAD_OPTIONS: Rpc[DownloadOptionsParameter, DownloadOptions] = Rpc(
    "getModelDownloadOptions", DownloadOptionsParameter, DownloadOptions
)
