"""Benchmarks of studiolo: ``python -m bench`` measures all figures of docs/performance.md. Not part of the package."""
