"""llama.cpp's server as an engine. Nothing is imported here: the worker process starts from this package."""
