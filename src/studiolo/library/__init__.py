"""The models on disk: the index, the catalog, and the sources that they come from."""

from .catalog import Catalog, Entry
from .gguf_file import Metadata
from .library import Library
from .model import Model
from .options import DownloadOption
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
