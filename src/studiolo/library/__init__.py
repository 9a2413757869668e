"""The library: all models on disk, the catalog of those that can be had, and how they are fetched."""
