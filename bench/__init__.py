"""Benchmarks of studiolo's layers: ``python -m bench.run``. Not part of the package."""
