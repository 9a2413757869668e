"""The models on disk: the index, the catalog, and the sources that they come from."""

from .catalog import Catalog, Entry
from .download_options import DownloadOption
from .gguf_file import Metadata
from .model import Model
from .model_library import Library
from .search import SearchHit, SearchResults
from .state import State

__all__ = [
    "Catalog",
    "DownloadOption",
    "Entry",
    "Library",
    "Metadata",
    "Model",
    "SearchHit",
    "SearchResults",
    "State",
]
