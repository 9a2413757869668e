"""An engine of another package: it runs in a process of its own, reads no weights, and repeats its prompt."""
