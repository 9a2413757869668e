"""Runtimes: the llama-server binaries that this machine has, and how one is built for it from source."""
