"""Model files for the tests, each written by a script: ``python -m tests.models.minilm OUT.gguf``."""
