"""What studiolo's layers cost: ``python -m bench.run``. Nothing of this is in the package."""
