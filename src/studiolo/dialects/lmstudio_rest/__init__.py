"""LM Studio's REST API, version 1 and version 0."""
