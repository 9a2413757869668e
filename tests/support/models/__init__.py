"""Model files for the tests, each written by a script: ``python -m tests.support.models.minilm OUT.gguf``."""
